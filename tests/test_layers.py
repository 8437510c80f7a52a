"""Who may import whom, read from the source."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
OUTER = ("mechinterp_course.cli", "mechinterp_course.authoring")

FORBIDDEN = {
    "mechinterp_course": ("autograder", "chapters", "solutions", "tests", *OUTER),
    "autograder": ("chapters", "solutions", "tests", "mechinterp_course.cli"),
    "mechinterp_course/authoring": (
        "autograder",
        "torch",
        "transformers",
        "transformer_lens",
        "mechinterp_course.cli",
    ),
    "solutions": ("autograder", "chapters", "tests", *OUTER),
    "autograder/checks": ("autograder", "solutions", "tests", *OUTER),
}


def imported(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf8"))):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.update({node.module} | {f"{node.module}.{alias.name}" for alias in node.names})
    return names


def layer(folder: str) -> list[Path]:
    """The files of a layer, without those of an outer or inner layer inside it."""
    inside = [ROOT / other for other in FORBIDDEN if other != folder and other.startswith(f"{folder}/")]
    inside += [ROOT / "mechinterp_course/cli"] if folder == "mechinterp_course" else []
    return [p for p in sorted((ROOT / folder).rglob("*.py")) if not any(i in p.parents for i in inside)]


@pytest.mark.parametrize("folder", FORBIDDEN)
def test_a_layer_imports_no_layer_outside_it(folder):
    wrong = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in layer(folder)
        for name in sorted(imported(path))
        if any(name == banned or name.startswith(f"{banned}.") for banned in FORBIDDEN[folder])
    ]
    assert wrong == []


@pytest.mark.parametrize("module", ["sandbox", "channel", "codec", "worker", "zygote"])
def test_what_a_worker_inherits_never_imported_our_library(module):
    names = imported(ROOT / "autograder" / f"{module}.py")
    assert not any(name.startswith("mechinterp_course") for name in names)


@pytest.mark.parametrize(
    "module", ["mechinterp_course", "mechinterp_course.cli", "mechinterp_course.authoring"]
)
def test_import_stays_free_of_torch(module):
    code = f"import sys, {module}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
