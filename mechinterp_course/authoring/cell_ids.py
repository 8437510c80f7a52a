"""Ids of cells: derived from exercise and role, never from position."""

import hashlib
import re
from collections.abc import Iterable

LONGEST = 64
"""nbformat's limit."""


def cell_id(slug: str, *parts: str) -> str:
    """Return an id such as `ch03-induction_score-hint1`, at most 64 characters of [A-Za-z0-9_-].

    Longer ones keep their beginning and end in eight digits of a hash of the whole.
    """
    whole = "-".join([slug.split("_")[0], *parts])
    clean = re.sub(r"[^A-Za-z0-9_-]", "_", whole)
    return clean if len(clean) <= LONGEST else f"{clean[: LONGEST - 9]}-{digest(whole, 8)}"


def digest(text: str, length: int) -> str:
    """Return the first `length` hexadecimal digits of the text's SHA-256."""
    return hashlib.sha256(text.encode()).hexdigest()[:length]


def first_repeated(ids: Iterable[str]) -> str | None:
    """Return the first id that occurs a second time, or None."""
    seen: set[str] = set()
    for identifier in ids:
        if identifier in seen:
            return identifier
        seen.add(identifier)
    return None
