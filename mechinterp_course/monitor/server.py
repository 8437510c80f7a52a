"""The monitor's page and what it asks for: state, events as they happen (server-sent), controls, exports."""

import asyncio
import contextlib
import json
import secrets
import socket
import tempfile
from collections.abc import AsyncIterator
from dataclasses import asdict
from importlib.resources import files
from pathlib import Path

import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import FileResponse, JSONResponse, Response, StreamingResponse
from pydantic import BaseModel, Field
from starlette.background import BackgroundTask

from mechinterp_course.errors import CourseError
from mechinterp_course.monitor.generation import Settings
from mechinterp_course.monitor.guard import Guard, hosts_of
from mechinterp_course.monitor.service import Event, Monitor
from mechinterp_course.monitor.store import export_csv, export_parquet

BEHIND = 5_000  # events that a listener may be behind before it has to begin anew
PULSE = 15.0  # seconds after which silence is broken, so that a dead connection is noticed
KINDS = {"page.html": "text/html", "page.css": "text/css", "page.js": "text/javascript"}
EXPORTS = {"csv": (export_csv, "text/csv"), "parquet": (export_parquet, "application/vnd.apache.parquet")}


class Prompt(BaseModel):
    """A text to be continued."""

    prompt: str
    max_tokens: int = Field(60, ge=1, le=2000)
    temperature: float = Field(0.0, ge=0, le=10)
    seed: int = Field(0, ge=0, lt=2**31)


class Steering(BaseModel):
    """What is to be done to a feature."""

    feature: int
    mode: str
    value: float = Field(0.0, allow_inf_nan=False)


def application(monitor: Monitor, token: str, hosts: frozenset[str]) -> Guard:
    """Return the web application, guarded: the page, and under /api what it talks to."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    app.exception_handler(CourseError)(_explain)
    for path, name in (("/", "page.html"), ("/page.css", "page.css"), ("/page.js", "page.js")):
        app.get(path)(_file(name))
    app.get("/favicon.ico")(lambda: Response(status_code=204))
    _let_read(app, monitor)
    _let_drive(app, monitor)
    return Guard(app, token, hosts)


def _let_read(app: FastAPI, monitor: Monitor) -> None:
    """Add what tells of the monitor and changes nothing."""

    @app.get("/api/state")
    def state() -> dict:
        store = monitor.store
        rates = {"rates": monitor.rates.rates(), "outside": monitor.rates.outside}
        past = {"runs": store.runs(), "alerts": store.alerts(), "controls": monitor.controls_now()}
        now = {"running": monitor.running, "waiting": monitor.waiting.qsize()}
        return {"watchlist": asdict(monitor.watchlist)} | now | rates | past

    @app.get("/api/runs/{run}")
    def run_seen(run: int) -> list[dict]:
        return monitor.store.steps(run)

    @app.get("/api/events")
    async def events() -> StreamingResponse:
        return StreamingResponse(event_stream(monitor), media_type="text/event-stream")

    @app.get("/api/export.{kind}")
    def export(kind: str) -> Response:
        if kind not in EXPORTS:
            raise CourseError(f"exports are {' or '.join(EXPORTS)}, not {kind}")
        write, media_type = EXPORTS[kind]
        folder = tempfile.TemporaryDirectory()
        path = Path(folder.name, f"monitor.{kind}")
        write(monitor.store, path)
        return FileResponse(path, media_type=media_type, background=BackgroundTask(folder.cleanup))


def _let_drive(app: FastAPI, monitor: Monitor) -> None:
    """Add what makes the monitor do something."""

    @app.post("/api/generate")
    def generate(asked: Prompt) -> dict:
        monitor.submit(asked.prompt, Settings(asked.max_tokens, asked.temperature, asked.seed))
        return {"accepted": True}

    @app.post("/api/stop")
    def stop() -> dict:
        monitor.stop()
        return {"stopped": True}

    @app.post("/api/controls")
    def control(asked: Steering) -> dict:
        monitor.set_control(asked.feature, asked.mode, asked.value)
        return monitor.controls_now()


async def event_stream(monitor: Monitor) -> AsyncIterator[str]:
    """Yield every event as the server-sent kind; a listener too far behind is let go, and begins anew."""
    loop, waiting = asyncio.get_running_loop(), asyncio.Queue(BEHIND)
    lost = asyncio.Event()

    def take(event: Event) -> None:
        lost.set() if waiting.full() else waiting.put_nowait(event)

    def hear(event: Event) -> None:
        with contextlib.suppress(RuntimeError):  # the server has ended since
            loop.call_soon_threadsafe(take, event)

    forget = monitor.listen(hear)
    try:
        yield "retry: 1000\n\n"
        while not lost.is_set():
            try:
                event = await asyncio.wait_for(waiting.get(), PULSE)
                yield f"event: {event['type']}\ndata: {json.dumps(event)}\n\n"
            except TimeoutError:
                yield ": still here\n\n"
    finally:
        forget()


def listening(host: str, port: int) -> socket.socket:
    """Return a socket that listens at the address; raises CourseError when it is taken, or is none here.

    Whoever is told the address may connect at once, and waits until there is a server.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        bound = socket.socket(family)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((host, port))
        bound.listen()
        return bound
    except OSError as error:
        reason = error.strerror or str(error)
        raise CourseError(f"{host}:{port} can't be listened at ({reason}): choose another --port") from error


class Server(uvicorn.Server):
    """A server on a bound socket. `address` holds the token where only the browser that opens it sees it."""

    def __init__(self, monitor: Monitor, bound: socket.socket, names: tuple[str, ...] = ()):
        self.bound, self.token = bound, secrets.token_urlsafe(24)
        host, port = bound.getsockname()[:2]
        shown = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)
        self.origin = f"http://{shown}:{port}"
        self.address = f"{self.origin}/#{self.token}"
        app = application(monitor, self.token, hosts_of(host, port, names))
        quiet = {"log_level": "warning", "access_log": False, "server_header": False}
        super().__init__(uvicorn.Config(app, timeout_graceful_shutdown=1, lifespan="off", **quiet))

    def serve_until_stopped(self) -> None:
        """Serve until Ctrl-C, or until `should_exit` is set."""
        self.run(sockets=[self.bound])


async def _explain(request: Request, error: CourseError) -> JSONResponse:
    return JSONResponse({"error": str(error)}, status_code=400)


def _file(name: str):
    content = files("mechinterp_course.monitor").joinpath(name).read_text("utf-8")
    return lambda: Response(content, media_type=KINDS[name])
