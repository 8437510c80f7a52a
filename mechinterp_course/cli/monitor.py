"""`monitor`: watch features of a dictionary while a model generates, on a local page."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mechinterp_course.cli.terminal import Json, busy, show_json, show_table
from mechinterp_course.errors import CourseError

if TYPE_CHECKING:
    from mechinterp_course.monitor.calibration import Prompts
    from mechinterp_course.monitor.service import Monitor
    from mechinterp_course.monitor.watchlist import Watchlist

app = typer.Typer(help="Watch features while a model generates, and steer them.")
WATCHLIST, STORE = Path("watchlist.toml"), Path("monitor.sqlite")
List = Annotated[Path, typer.Option("--watchlist", metavar="FILE", help="What is watched (TOML).")]
Kept = Annotated[Path, typer.Option("--store", metavar="FILE", help="Where what was seen is kept (SQLite).")]
Texts = Annotated[Path | None, typer.Option(metavar="FILE", help="One prompt a line.")]


@app.callback()
def _family() -> None:
    """Watch features while a model generates, and steer them."""


@app.command()
def calibrate(
    out: Annotated[Path, typer.Option(metavar="FILE", help="The watchlist to write.")] = WATCHLIST,
    model: Annotated[str, typer.Option(help="The model to watch.")] = "course-gpt2-refusing",
    sae: Annotated[str, typer.Option(help="course-sae, a release's name, or a folder.")] = "course-sae",
    hook: Annotated[str | None, typer.Option(help="Which dictionary of a release.")] = None,
    feature: Annotated[list[int] | None, typer.Option(help="Watch this one; may be repeated.")] = None,
    count: Annotated[int, typer.Option(min=1, max=256, help="How many to watch, if none is named.")] = 8,
    window: Annotated[int, typer.Option(min=8, help="Tokens over which rates roll.")] = 100,
    suspects: Texts = None,
    matched: Texts = None,
    ordinary: Texts = None,
    seed: Annotated[int, typer.Option(help="Decides the text world's prompts.")] = 0,
    force: Annotated[bool, typer.Option("--force", help="Write over a file that is there.")] = False,
) -> int:
    """Write a first watchlist: features that tell a misbehaviour, and what is ordinary of them.

    Suspect prompts, on which the model misbehaves, are compared with matched ones on which it doesn't, and
    the bands are measured on ordinary prompts. Without files they are requests of the course's text world:
    harmless ones in the garden, the same elsewhere, and ordinary ones.
    """
    from mechinterp_course.monitor.calibration import SIGN, Calibration
    from mechinterp_course.monitor.watchlist import write_watchlist

    if out.is_dir() or not out.parent.is_dir() or (out.exists() and not force):
        raise CourseError(
            f"{out} is there already, or can't be written: choose another --out, or use --force"
        )
    prompts = _prompts(suspects, matched, ordinary, seed)
    reader, dictionary, place = _loaded(model, sae, hook)
    wrong = [one for one in feature or [] if not 0 <= one < dictionary.W_dec.shape[0]]
    if wrong:
        raise CourseError(f"--feature {wrong[0]}: {sae} has features 0 to {dictionary.W_dec.shape[0] - 1}")
    with busy("listening to ordinary answers"):
        made = Calibration(reader, dictionary, place, prompts).watchlist(
            (model, sae), tuple(dict.fromkeys(feature or ())), count, window
        )
    out.write_text(write_watchlist(made), encoding="utf-8")
    _show(made)
    if not feature and all(one.note == SIGN for one in made.features):
        print("no causes: suspect and matched prompts are answered with the same first word")
    print(f"written to {out}: `mechinterp monitor serve --watchlist {out}` watches them")
    return 0


@app.command()
def serve(
    watchlist: List = WATCHLIST,
    store: Kept = STORE,
    prompts: Texts = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 8765,
    host: Annotated[str, typer.Option(help="Anything but loopback lets other machines in.")] = "127.0.0.1",
    name: Annotated[
        list[str] | None, typer.Option(help="A name by which other machines call this one.")
    ] = None,
    max_tokens: Annotated[int, typer.Option(min=1, help="Of each answer to --prompts.")] = 60,
) -> int:
    """Show the page: activations, rates, alerts and sliders, while the model generates; until Ctrl-C."""
    from mechinterp_course.monitor.server import Server, listening

    lines = _lines(prompts) if prompts else []
    bound = listening(host, port)
    monitor = _monitor(watchlist, store)
    monitor.listen(_complain)
    server = Server(monitor, bound, tuple(name or ()))
    _queue(monitor, lines, max_tokens)
    if host not in ("127.0.0.1", "localhost", "::1"):
        print(f"other machines can reach {host}: whoever has the address below can drive the model")
    print(f"{server.address}\nOpen this address; keep it to yourself. Ctrl-C ends the monitor.", flush=True)
    try:
        server.serve_until_stopped()
    finally:
        monitor.close()
    return 0


@app.command()
def run(
    prompts: Annotated[Path, typer.Argument(metavar="FILE", help="One prompt a line.")],
    watchlist: List = WATCHLIST,
    store: Kept = STORE,
    max_tokens: Annotated[int, typer.Option(min=1, help="Of each answer.")] = 60,
    as_json: Json = False,
) -> int:
    """Run a file of prompts without a page: what they say, and which rates left their bands.

    Status 1 when one did, 3 when a prompt could not be run to its end.
    """
    lines = _lines(prompts)
    monitor = _monitor(watchlist, store)
    first = monitor.store.runs(1)
    _queue(monitor, lines, max_tokens)
    monitor.finish()
    after = first[0]["id"] if first else 0
    runs = [one for one in monitor.store.runs(len(lines)) if one["id"] > after][::-1]
    alerts = [one for one in monitor.store.alerts(10_000) if one["run"] > after and one["leaves"]][::-1]
    if as_json:
        show_json({"runs": runs, "alerts": alerts, "errors": monitor.errors})
    else:
        _show_runs(runs, alerts)
        print(f"{len(runs)} of {len(lines)} prompts, {len(alerts)} alerts; kept in {store}")
    for error in monitor.errors:
        print(f"not run to its end: {error}", file=sys.stderr)
    if monitor.errors or len(runs) < len(lines) or any(one["ended"] != "done" for one in runs):
        return 3
    return 1 if alerts else 0


@app.command()
def export(
    out: Annotated[Path, typer.Argument(metavar="FILE", help="Ends in .csv or .parquet.")],
    store: Kept = STORE,
) -> int:
    """Write what was seen as a table: a row for every token and watched feature."""
    from mechinterp_course.monitor.store import Store, export_csv, export_parquet

    writers = {".csv": export_csv, ".parquet": export_parquet}
    if out.suffix not in writers:
        raise CourseError(f"{out} ends in neither .csv nor .parquet")
    if not store.is_file():
        raise CourseError(f"{store} is not there: `mechinterp monitor serve` writes one")
    if not out.parent.is_dir():
        raise CourseError(f"the folder of {out} is not there")
    print(f"{writers[out.suffix](Store(store), out):,} rows written to {out}")
    return 0


def _loaded(model: str, sae: str, hook: str | None):
    from mechinterp_course.dictionary_folders import expect_fits, load_dictionary
    from mechinterp_course.feature_reading import hook_of
    from mechinterp_course.models import load_language_model

    with busy(f"loading {model} and {sae}"):
        dictionary, reader = load_dictionary(sae, hook), load_language_model(model)
        expect_fits(reader, dictionary)
    return reader, dictionary, hook_of(dictionary)


def _monitor(watchlist: Path, store: Path) -> "Monitor":
    from mechinterp_course.monitor.generation import Watcher
    from mechinterp_course.monitor.service import Monitor
    from mechinterp_course.monitor.store import Store
    from mechinterp_course.monitor.watchlist import expect_features, load_watchlist

    listed = load_watchlist(watchlist)
    kept = Store(store, listed)
    model, dictionary, _ = _loaded(listed.model, listed.sae, listed.hook)
    expect_features(listed, dictionary.W_dec.shape[0], str(watchlist))
    features = tuple(one.feature for one in listed.features)
    return Monitor(Watcher(model, dictionary, listed.hook, features), listed, kept)


def _queue(monitor: "Monitor", lines: list[str], max_tokens: int) -> None:
    from mechinterp_course.monitor.generation import Settings

    for line in lines:
        monitor.submit(line, Settings(max_tokens=max_tokens), typed=False)


def _complain(event: dict) -> None:
    """Say in the terminal what went wrong, for the page may not be open."""
    if event["type"] == "error":
        print(f"not run to its end: {event['message']}", file=sys.stderr, flush=True)


def _prompts(suspects: Path | None, matched: Path | None, ordinary: Path | None, seed: int) -> "Prompts":
    from mechinterp_course.monitor.calibration import Prompts, prompts_of_world

    given = [tuple(_lines(path)) if path else None for path in (suspects, matched, ordinary)]
    if not any(given):
        return prompts_of_world(seed=seed)
    if given[2] is None:
        raise CourseError("--suspects and --matched need --ordinary prompts too, on which bands are measured")
    return Prompts(*(some or () for some in given))


def _lines(path: Path) -> list[str]:
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except UnicodeDecodeError as error:
        raise CourseError(f"{path} is no UTF-8 text: save it as UTF-8") from error
    except OSError as error:
        raise CourseError(f"{path} can't be read: {error.strerror}") from error
    if not lines:
        raise CourseError(f"{path} holds no prompt: write one a line")
    return lines


def _show_runs(runs: list[dict], alerts: list[dict]) -> None:
    show_table(("run", "prompt", "said"), [(one["id"], one["prompt"], one["said"]) for one in runs])
    for one in alerts:
        print(
            f"feature {one['feature']} ({one['label']}) left its band in run {one['run']}: "
            f"{one['rate']:.1%}, ordinary {one['low']:.1%} to {one['high']:.1%}"
        )


def _show(watchlist: "Watchlist") -> None:
    headings = ("feature", "fires most on", "ordinary rate", "band", "why")
    show_table(
        headings,
        [
            (one.feature, one.label, f"{one.rate:.1%}", f"{one.low:.1%} to {one.high:.1%}", one.note)
            for one in watchlist.features
        ],
    )
