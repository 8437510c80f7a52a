"""The command `mechinterp`: the outermost layer, which only reads arguments, calls and prints.

Nothing heavy is imported before a command needs it, so that `--help` answers at once.
"""

import os
import sys
from collections.abc import Sequence
from typing import Annotated, NoReturn

import typer

from mechinterp_course import __version__
from mechinterp_course.cli import (
    appeals,
    book,
    certify,
    chapter,
    doctor,
    grading,
    learning,
    models,
    monitor,
    sae,
)
from mechinterp_course.cli.terminal import complain
from mechinterp_course.errors import CourseError

UsageError = typer.BadParameter.__base__  # typer does not export the class of all errors in arguments

app = typer.Typer(
    help="A course in mechanistic interpretability that can be graded.",
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for family in (grading, appeals, learning, certify, doctor):
    family.add_commands(app)
app.add_typer(models.app, name="models")
app.add_typer(sae.app, name="sae")
app.add_typer(monitor.app, name="monitor")
app.add_typer(chapter.app, name="chapter")
app.add_typer(book.app, name="book")


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"mechinterp {__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def _overview(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


def main() -> NoReturn:
    """Run the command that `sys.argv` names and exit with its status."""
    sys.exit(run())


def run(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status; whatever goes wrong is one line on stderr.

    0 done · 1 checked, and something is not right · 2 unusable arguments · 3 the grader erred · 130 Ctrl-C.
    Set MECHINTERP_TRACEBACK to see where an unexpected error comes from.
    """
    try:
        return app(arguments, prog_name="mechinterp", standalone_mode=False) or 0
    except CourseError as error:
        return complain(str(error), error.status)
    except UsageError as error:
        return complain(f"{error.format_message().rstrip('.')}; see `{_command_path(error)} --help`", 2)
    except (KeyboardInterrupt, typer.Abort):
        return 130
    except Exception as error:
        if os.environ.get("MECHINTERP_TRACEBACK"):
            raise
        name = type(error).__name__
        return complain(f"unexpected {name}: {error} (MECHINTERP_TRACEBACK=1 shows where)", 3)


def _command_path(error: Exception) -> str:
    context = getattr(error, "ctx", None)
    return context.command_path if context else "mechinterp"
