"""What every command prints with: one console, plain where no terminal is, and JSON for scripts."""

import json
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer

Json = Annotated[bool, typer.Option("--json", help="Print JSON for a script to read.")]


def complain(message: str, status: int) -> int:
    """Print one line on stderr and return the exit status."""
    print(f"mechinterp: {plain(' '.join(message.split()))}", file=sys.stderr)
    return status


def plain(text: str) -> str:
    """Return text in which nothing can steer a terminal: file names and messages may come from a student."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def show_json(value: Any) -> None:
    """Print a value as JSON, two spaces a level."""
    print(json.dumps(value, indent=2, default=str))


@contextmanager
def busy(doing: str) -> Iterator[None]:
    """Show on a terminal's stderr that something takes a while; elsewhere nothing."""
    if not sys.stderr.isatty():
        yield
        return
    from rich.console import Console

    with Console(stderr=True).status(doing):
        yield


def console():
    """Return a console for stdout; not on a terminal it is wide and without colour."""
    from rich.console import Console

    return Console(highlight=False, width=None if sys.stdout.isatty() else 160)


def show_table(headings: Iterable[str], rows: Iterable[Iterable[Any]]) -> None:
    """Print aligned columns. Cells are text: nothing in them is read as markup."""
    from rich.table import Table
    from rich.text import Text

    headings = list(headings)
    table = Table(box=None, pad_edge=False, header_style="bold dim", show_header=any(headings))
    for heading in headings:
        table.add_column(heading, justify="right" if heading in RIGHT_ALIGNED else "left")
    for row in rows:
        table.add_row(*(cell if isinstance(cell, Text) else Text(plain(str(cell))) for cell in row))
    console().print(table)


RIGHT_ALIGNED = {"score", "of", "MB", "minutes", "parameters", "fp32", "fp16, bf16", "card", "measured"}
