"""HTML that stays inert whatever a student wrote: escaping, and a page frame that allows no script at all."""

import base64
import hashlib
import html
import re
import unicodedata
from importlib.resources import files

LONGEST = 4000
TAG = re.compile(r"<[^>]*>")
CODE = re.compile(r"`([^`\n]+)`")
UNSEEN = {"Cc", "Cf", "Cs", "Co", "Zl", "Zp"}


def visible(text: str, longest: int = LONGEST) -> str:
    """Return text as HTML in which nothing acts and nothing hides.

    Markup is escaped. Control, formatting and direction-changing characters are shown as their code point,
    because `\\u202e` can make a line read differently from what it is. What is longer than `longest`
    characters is cut, and the page says how much.
    """
    shown = "".join(_character(character) for character in text[:longest])
    cut = len(text) - longest
    return shown + (f' <em class="cut">… {cut:,} more characters</em>' if cut > 0 else "")


def prose(text: str) -> str:
    """Return a sentence of ours or a student's as HTML, with `code` between backticks set as code."""
    return CODE.sub(r"<code>\1</code>", visible(text))


def contrast(expected: str, actual: str) -> tuple[str, str]:
    """Return two values as HTML; unless they are numbers, the part that differs is marked in both."""
    if _is_number(expected) and _is_number(actual):
        return visible(expected), visible(actual)
    start = _common(expected, actual)
    end = _common(expected[start:][::-1], actual[start:][::-1])
    return _marked(expected, start, end), _marked(actual, start, end)


def tag(name: str, content: str = "", **attributes: str | None) -> str:
    """Return an element around `content`, which is HTML already; attribute values are escaped here.

    A trailing underscore frees Python's keywords (`class_`), other underscores become hyphens.
    """
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{html.escape(value)}"'
        for key, value in attributes.items()
        if value is not None
    )
    return f"<{name}{written}>{content}</{name}>"


def page(title: str, body: str) -> str:
    """Return a whole document: one style sheet inside, allowed by its hash, and no other resource."""
    style = files("autograder").joinpath("report.css").read_text("utf-8")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n<meta name="referrer" content="no-referrer">\n'
        f"<title>{TAG.sub('', visible(title))}</title>\n<style>{style}</style>\n</head>\n"
        f"<body>\n{body}\n</body>\n</html>\n"
    )


def _character(character: str) -> str:
    if character in "\n\t" or unicodedata.category(character) not in UNSEEN:
        return html.escape(character)
    return f'<span class="unseen">U+{ord(character):04X}</span>'


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _common(left: str, right: str) -> int:
    pairs = zip(left, right, strict=False)
    return next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(left), len(right)))


def _marked(value: str, start: int, end: int) -> str:
    stop = len(value) - end
    middle = visible(value[start:stop])
    return visible(value[:start]) + (f"<mark>{middle}</mark>" if middle else "") + visible(value[stop:])
