"""Who may talk to the monitor: only a page that the monitor itself has served, opened by its owner.

Three things are asked of a request. Its Host is one that the monitor goes by, so that another name that was
made to point here (DNS rebinding) is of no use. Its Origin, if it has one, is the monitor's own, so that
other pages are turned away. For all but the empty page it carries the token that was printed where the
monitor was started; no cookie does, so a browser never sends it on somebody else's behalf.
"""

import hmac
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

Scope = Mapping[str, Any]
Receive = Callable[[], Awaitable[dict]]
Send = Callable[[dict], Awaitable[None]]
OPEN = {"/", "/page.css", "/page.js", "/favicon.ico"}  # the page is the same for everyone, and knows nothing
LARGEST = 100_000  # bytes of a request
LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; "
    "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}


@dataclass(frozen=True)
class Guard:
    """An ASGI application in front of another: it answers what may not pass, and lets the rest through.

    `hosts` are the names, with their port, by which the monitor goes.
    """

    app: Callable[[Scope, Receive, Send], Awaitable[None]]
    token: str
    hosts: frozenset[str]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self.app(scope, receive, send)
            return  # there are no web sockets here
        refused = self.refuses(scope)
        if refused:
            await _answer(send, *refused)
            return

        async def guarded(message: dict) -> None:
            if message["type"] == "http.response.start":
                added = [(name.lower().encode(), value.encode()) for name, value in HEADERS.items()]
                message = message | {"headers": [*message["headers"], *added]}
            await send(message)

        await self.app(scope, receive, guarded)

    def refuses(self, scope: Scope) -> tuple[int, str] | None:
        """Return status and reason when a request may not pass."""
        hosts, origins = (_values(scope, name) for name in ("host", "origin"))
        if len(hosts) != 1 or hosts[0].lower() not in self.hosts:
            return 421, "the monitor doesn't go by this name"
        if len(origins) > 1 or any(origin.lower() != f"http://{hosts[0].lower()}" for origin in origins):
            return 403, "another page may not drive the monitor"
        if _values(scope, "sec-fetch-site") not in ([], ["same-origin"], ["none"]):
            return 403, "another page may not drive the monitor"
        if scope["path"] in OPEN and scope["method"] in ("GET", "HEAD"):
            return None
        if not self.knows(_values(scope, "authorization")):
            return 401, "the token is missing or wrong: open the address that the monitor printed"
        if scope["method"] not in ("GET", "HEAD"):
            return _unfit_body(scope)
        return None

    def knows(self, authorization: list[str]) -> bool:
        """Return whether a request carries the token."""
        expected = f"Bearer {self.token}".encode()
        return len(authorization) == 1 and hmac.compare_digest(authorization[0].encode(), expected)


def hosts_of(host: str, port: int, names: tuple[str, ...] = ()) -> frozenset[str]:
    """Return the Host headers by which a monitor at that address goes; `names` are further ones.

    Browsers leave out port 80, so there the bare names are among them.
    """
    own = () if host in ("0.0.0.0", "::") else (f"[{host}]" if ":" in host else host,)
    called = [name.lower() for name in (*LOOPBACK, *own, *names)]
    return frozenset([f"{name}:{port}" for name in called] + (called if port == 80 else []))


def _unfit_body(scope: Scope) -> tuple[int, str] | None:
    kinds, lengths = (_values(scope, name) for name in ("content-type", "content-length"))
    if kinds != ["application/json"]:
        return 415, "send JSON"
    if len(lengths) != 1 or not lengths[0].isdecimal():
        return 411, "say how long the request is"
    return (413, "the request is too large") if int(lengths[0]) > LARGEST else None


def _values(scope: Scope, name: str) -> list[str]:
    return [value.decode("latin-1") for key, value in scope["headers"] if key == name.encode()]


async def _answer(send: Send, status: int, reason: str) -> None:
    body = json.dumps({"error": reason}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
