"""The course as a book: `book build`, `serve` and `check`."""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="The course as a book to read offline.")
Out = Annotated[Path, typer.Option("--out", metavar="DIR", help="The folder for the book's pages.")]
DEFAULT = Path("mechinterp-book")


@app.callback()
def _family() -> None:
    """The course as a book to read offline."""


@app.command()
def build(out: Out = DEFAULT) -> int:
    """Execute the chapters and write the book."""
    from mechinterp_course.authoring.book_build import build_book

    print(f"wrote {build_book(out)}")
    return 0


@app.command()
def serve(
    out: Out = DEFAULT,
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 8000,
) -> int:
    """Build the book if it is not there, and serve it to this machine until Ctrl-C."""
    from functools import partial
    from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

    if not (out / "index.html").is_file():
        build(out)
    handler = partial(SimpleHTTPRequestHandler, directory=str(out))
    with ThreadingHTTPServer(("127.0.0.1", port), handler) as server:
        print(f"http://127.0.0.1:{server.server_port}/ (Ctrl-C ends it)", flush=True)
        server.serve_forever()
    return 0


@app.command()
def check() -> int:
    """Say whether the book's pages and all other views are fresh.

    Status 1 when one is stale.
    """
    from mechinterp_course.authoring.refresh import explain_stale, stale
    from mechinterp_course.errors import CourseError
    from mechinterp_course.layout import course_root

    if not (course_root() / "autograder").is_dir():
        raise CourseError("an installed course has no views to check: use a checkout")
    paths = stale(course_root())
    print(explain_stale(paths, ()) if paths else "every view is fresh")
    return 1 if paths else 0
