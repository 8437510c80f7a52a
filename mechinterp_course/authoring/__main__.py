"""`python -m mechinterp_course.authoring [--check] [CHAPTER…]`: refresh the views, or name the stale ones."""

import argparse
import sys
from collections.abc import Sequence

from mechinterp_course.authoring.refresh import explain_stale, refresh, stale
from mechinterp_course.errors import CourseError
from mechinterp_course.layout import course_root


def main(arguments: Sequence[str] | None = None) -> int:
    """Return the exit status: 0 when views are fresh, 1 when `--check` finds a stale one, 2 for a slip."""
    parser = argparse.ArgumentParser(prog="python -m mechinterp_course.authoring", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 when a view is stale")
    parser.add_argument("chapters", nargs="*", metavar="CHAPTER", help="slugs such as ch03_induction_heads")
    options = parser.parse_args(arguments)
    root = course_root()
    try:
        if options.check:
            return _check(stale(root, options.chapters), options.chapters)
        for path in refresh(root, options.chapters):
            print(f"wrote {path}")
    except CourseError as error:
        print(error, file=sys.stderr)
        return error.status
    return 0


def _check(paths: Sequence[str], slugs: Sequence[str]) -> int:
    if not paths:
        print("every view is fresh")
        return 0
    print(explain_stale(paths, slugs), file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
