"""Build the book from the course's files: executed, folded, self-contained, without a warning."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

from mechinterp_course.errors import CourseError
from mechinterp_course.layout import PACKAGE, course_root

JUPYTER_BOOK = "from jupyter_book.cli.main import main; main()"
KERNEL_CONFIG = "c.InlineBackend.figure_formats = {'svg'}\n"


def build_book(out: Path, root: Path | None = None) -> Path:
    """Execute the chapters' pages, write the book's HTML to `out` and return its `index.html`.

    `root` is the folder that holds `book/`, by default the course's own. Its sources are copied to a
    temporary folder first, so that an installed package stays untouched.
    Raises CourseError when the extra `book` is not installed, `out` holds other files, or a page fails.
    """
    for module in ("jupyter_book", "sphinx-mathjax-offline", "ipykernel"):
        if find_spec(module) is None:
            raise CourseError(f"{module} is not installed; run `pip install 'mechinterp-course[book]'`")
    _refuse_other_files(out)
    with TemporaryDirectory(prefix="mechinterp-book-") as temporary:
        work = Path(temporary)
        shutil.copytree(
            (root or course_root()) / "book", work / "book", ignore=shutil.ignore_patterns("_build")
        )
        _run_jupyter_book(work)
        shutil.rmtree(out, ignore_errors=True)
        shutil.copytree(work / "_build" / "html", out)
    return out / "index.html"


def _refuse_other_files(out: Path) -> None:
    """Let a book be replaced, and nothing else."""
    if out.exists() and not (out.is_dir() and ((out / "objects.inv").is_file() or not any(out.iterdir()))):
        raise CourseError(f"{out} holds other files; run `mechinterp book build --out` with a new folder")


def _run_jupyter_book(work: Path) -> None:
    command = [sys.executable, "-c", JUPYTER_BOOK, "build", str(work / "book")]
    options = ["--path-output", str(work), "--warningiserror", "--keep-going"]
    done = subprocess.run(
        [*command, *options],
        cwd=work,
        env=_environment(work),
        capture_output=True,
        text=True,
        errors="replace",
    )
    if done.returncode:
        log = Path.cwd() / "book-build.log"
        log.write_text(done.stdout + done.stderr, encoding="utf-8")
        raise CourseError(
            f"the book was not built ({_first_complaint(done.stderr)}); read {log.name}", status=3
        )


def _environment(work: Path) -> Mapping[str, str]:
    """Return an environment in which kernels import this very package and ignore personal settings."""
    profile = work / "ipython" / "profile_default"
    profile.mkdir(parents=True)
    (profile / "ipython_kernel_config.py").write_text(KERNEL_CONFIG, encoding="utf-8")
    path = os.pathsep.join(filter(None, [str(PACKAGE.parent), os.environ.get("PYTHONPATH")]))
    own = {"PYTHONPATH": path, "IPYTHONDIR": str(work / "ipython"), "PYDEVD_DISABLE_FILE_VALIDATION": "1"}
    return {k: v for k, v in os.environ.items() if k != "MPLBACKEND"} | own


def _first_complaint(log: str) -> str:
    """Return the first warning of Sphinx or error of Python in a build's log, without colours."""
    lines = [re.sub(r"\x1b\[[0-9;]*m", "", line).strip() for line in log.split("\n")]
    return next(
        (line for line in lines if re.search(r"(WARNING|ERROR|CRITICAL|Error): ", line)), "no complaint"
    )
