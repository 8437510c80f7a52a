"""For a teacher who writes: `chapter new`."""

from typing import Annotated

import typer

app = typer.Typer(help="Write a chapter of your own.", no_args_is_help=False)


@app.callback()
def _family() -> None:
    """Write a chapter of your own."""


@app.command()
def new(slug: Annotated[str, typer.Argument(help="Such as ch20_my_subject.")]) -> int:
    """Begin a chapter: one small exercise that works, with its checks, hints, mistakes and variants."""
    from mechinterp_course.authoring.scaffold import new_chapter

    for path in new_chapter(slug):
        print(f"wrote {path}")
    print("After each change: python -m mechinterp_course.authoring")
    return 0
