"""Where the course's files lie: in a checkout, or inside an installed wheel."""

from pathlib import Path

PACKAGE = Path(__file__).resolve().parent


def course_root() -> Path:
    """Return the folder that holds `chapters/`, `solutions/` and `book/`.

    In a checkout that is the repository; a wheel carries the three inside the package.
    """
    carried = PACKAGE / "course"
    return carried if carried.is_dir() else PACKAGE.parent


def embedded_data(name: str) -> Path:
    """Return the folder of an embedded model's weights, tokenizer and card."""
    return PACKAGE / "data" / name
