"""The book: built with the network cut, without a warning, self-contained, folded, with its plots."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from mechinterp_course.authoring.book import page, table_of_contents
from mechinterp_course.authoring.book_build import build_book
from mechinterp_course.authoring.chapter import chapter_slugs, load_chapter
from mechinterp_course.authoring.offline_pages import remote_assets
from mechinterp_course.errors import CourseError
from mechinterp_course.layout import course_root

ROOT = course_root()
SLUGS = chapter_slugs(ROOT)
BUILD = (
    "import sys; from pathlib import Path; from mechinterp_course.authoring.book_build import build_book; "
    "print(build_book(Path(sys.argv[1])))"
)
CUT_OFF = ["unshare", "--net", "--map-root-user", "sh", "-c", 'ip link set lo up && exec "$@"', "sh"]
"""A network namespace of its own, in which only the loopback device exists: kernels talk through that."""
GUARD = """
import socket

connect = socket.socket.connect

def connect_here(self, address):
    if self.family != socket.AF_UNIX and address[0] not in ("127.0.0.1", "::1", "localhost"):
        raise OSError(f"the network is cut off: {address}")
    return connect(self, address)

socket.socket.connect = connect_here
"""
"""A sitecustomize.py, for systems where the namespace is not allowed: it reaches the kernels as well."""
CLOSED = "http://127.0.0.1:9"


def without_network() -> list[str]:
    """Return the words that cut a command off, or none where the system does not allow it."""
    allowed = (
        shutil.which("unshare") and subprocess.run([*CUT_OFF, "true"], capture_output=True).returncode == 0
    )
    return CUT_OFF if allowed else []


@pytest.fixture(scope="module")
def book(tmp_path_factory) -> Path:
    """The folder of the built book."""
    pytest.importorskip("jupyter_book", reason="needs the extra `book`")
    out = tmp_path_factory.mktemp("book") / "html"
    proxies = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"), CLOSED)
    guard = tmp_path_factory.mktemp("guard")
    (guard / "sitecustomize.py").write_text(GUARD, encoding="utf-8")
    path = os.pathsep.join(filter(None, [str(guard), os.environ.get("PYTHONPATH")]))
    done = subprocess.run(
        [*without_network(), sys.executable, "-c", BUILD, str(out)],
        cwd=tmp_path_factory.mktemp("elsewhere"),
        env=os.environ | proxies | {"OMP_NUM_THREADS": "1", "PYTHONPATH": path},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    return out


def text(book: Path, slug: str) -> str:
    return (book / f"{slug}.html").read_text(encoding="utf-8")


@pytest.mark.book
def test_pages_load_nothing_from_elsewhere(book):
    assert remote_assets(book) == []
    assert (book / "_static" / "mathjax" / "tex-svg.js").stat().st_size > 1_000_000
    assert "thebe" not in "".join(
        re.findall(r"<script.*?>", (book / "intro.html").read_text(encoding="utf-8"))
    )


@pytest.mark.book
@pytest.mark.parametrize("slug", SLUGS)
def test_every_local_file_that_a_page_loads_is_there(book, slug):
    loaded = re.findall(r"""<(?:script|img|link)\b[^>]*?\b(?:src|href)=["']([^"'#?]+)""", text(book, slug))
    missing = [name for name in loaded if "://" not in name and not name.startswith("data:")]
    missing = [name for name in missing if not (book / name).exists()]
    assert missing == []


@pytest.mark.book
@pytest.mark.parametrize("slug", SLUGS)
def test_a_chapters_plots_are_shown(book, slug):
    images = re.findall(r"<img[^>]*src=[\"'](_images/[^\"']+)", text(book, slug))
    demos = [c for c in load_chapter(ROOT, slug).cells if c.role == "demo" and "plots." in c.text]
    drawn = [cell for cell in demos if re.search(r"^plots\.plot_", cell.text, flags=re.MULTILINE)]
    assert len(images) >= max(1, len(drawn))
    assert all((book / image).stat().st_size > 2_000 for image in images)


@pytest.mark.book
@pytest.mark.parametrize("slug", SLUGS)
def test_solutions_are_folded_and_every_visible_check_passed(book, slug):
    html = text(book, slug)
    checks = [c for e in load_chapter(ROOT, slug).exercises for c in e.checks if not c.hidden]
    assert html.count("tag_solution") == len(load_chapter(ROOT, slug).exercises)
    assert len(
        re.findall(r'tag_solution[^>]*>\s*<details class="[^"]*hide above-input">', html)
    ) == html.count("tag_solution")
    assert html.count("✓ ") == len(checks)


@pytest.mark.book
@pytest.mark.parametrize("slug", SLUGS)
def test_hidden_checks_are_absent(book, slug):
    everything = "".join(p.read_text(encoding="utf-8", errors="replace") for p in book.rglob("*.html"))
    everything += (book / "searchindex.js").read_text(encoding="utf-8")
    checks = [check for each in SLUGS for e in load_chapter(ROOT, each).exercises for check in e.checks]
    shown = {check.name for check in checks if not check.hidden}  # other exercises may call theirs the same
    hidden = [c for e in load_chapter(ROOT, slug).exercises for c in e.checks if c.hidden]
    found = set(re.findall(r"check_(\w+)", everything))
    named = [c.name for c in hidden if c.name in found - shown]
    assert hidden and named == [] and [c.name for c in hidden if c.claim in everything] == []


REMOTE = {
    "script": '<script async src="https://cdn.example/x.js"></script>',
    "protocol-relative image": "<img alt='' src='//cdn.example/x.png'>",
    "style sheet": '<link href="https://fonts.example/css" rel="stylesheet">',
    "icon": '<link rel="icon" href="https://cdn.example/x.ico">',
    "module": '<script type="module">import { a } from "https://cdn.example/a.js"</script>',
    "frame": '<iframe src="http://example.org"></iframe>',
}
LOCAL = {
    "link to read": '<a href="https://example.org/paper">paper</a>',
    "canonical": '<link rel="canonical" href="https://example.org/">',
    "own script": '<script src="_static/x.js"></script>',
    "quoted code": "<pre>fetch the page at https://example.org</pre>",
}


@pytest.mark.parametrize("kind", REMOTE)
def test_a_remote_asset_is_found(tmp_path, kind):
    (tmp_path / "page.html").write_text(f"<html>{REMOTE[kind]}</html>", encoding="utf-8")
    assert [found.split(":")[0] for found in remote_assets(tmp_path)] == ["page.html"]


@pytest.mark.parametrize("kind", LOCAL)
def test_what_loads_nothing_is_let_through(tmp_path, kind):
    (tmp_path / "page.html").write_text(f"<html>{LOCAL[kind]}</html>", encoding="utf-8")
    assert remote_assets(tmp_path) == []


def test_a_remote_font_in_a_style_sheet_is_found(tmp_path):
    (tmp_path / "x.css").write_text(
        '@font-face { src: url("https://fonts.example/x.woff2") }', encoding="utf-8"
    )
    assert len(remote_assets(tmp_path)) == 1


def test_a_folder_with_other_files_is_never_replaced(tmp_path):
    pytest.importorskip("jupyter_book", reason="needs the extra `book`")
    (tmp_path / "thesis.tex").write_text("mine", encoding="utf-8")
    with pytest.raises(CourseError, match="holds other files; run `mechinterp book build --out`"):
        build_book(tmp_path)
    assert (tmp_path / "thesis.tex").read_text(encoding="utf-8") == "mine"


def test_without_jupyter_book_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr("mechinterp_course.authoring.book_build.find_spec", lambda name: None)
    with pytest.raises(CourseError, match=r"run `pip install 'mechinterp-course\[book\]'`"):
        build_book(tmp_path / "out")


@pytest.mark.parametrize("slug", SLUGS)
def test_code_that_holds_fences_stays_inside_its_cell(slug):
    fences = [line for line in page(load_chapter(ROOT, slug)).split("\n") if line.startswith("```")]
    assert len(fences) % 2 == 0


FAILING_PAGE = """\
---
file_format: mystnb
kernelspec: {name: python3, display_name: Python 3, language: python}
---

# A page that fails

```{code-cell} ipython3
raise ValueError("the plot is missing")
```
"""


@pytest.mark.book
def test_a_page_whose_code_fails_stops_the_build_and_leaves_no_book(tmp_path, monkeypatch):
    pytest.importorskip("jupyter_book", reason="needs the extra `book`")
    ignore = shutil.ignore_patterns("_build", "ch*.md")
    shutil.copytree(ROOT / "book", tmp_path / "course" / "book", ignore=ignore)
    (tmp_path / "course" / "book" / "_toc.yml").write_text(
        table_of_contents(["ch99_fails"]), encoding="utf-8"
    )
    (tmp_path / "course" / "book" / "ch99_fails.md").write_text(FAILING_PAGE, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CourseError, match=r"the book was not built .*read book-build\.log") as refused:
        build_book(tmp_path / "html", root=tmp_path / "course")
    assert "\n" not in str(refused.value) and not (tmp_path / "html").exists()
    assert "the plot is missing" in (tmp_path / "book-build.log").read_text(encoding="utf-8")
