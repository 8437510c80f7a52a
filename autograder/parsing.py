"""Python source, parsed by one thread at a time.

CPython 3.11 counts how deep it is inside a syntax tree in one place for all threads (python/cpython#106905):
while one thread parsed a submission that nests deeply, the parse of another's ended in a SystemError.
"""

import ast
from threading import Lock

_ONE_AT_A_TIME = Lock()


def parse(source: str) -> ast.Module:
    """Return the syntax tree of `source`; raises what `ast.parse` raises."""
    with _ONE_AT_A_TIME:
        return ast.parse(source)
