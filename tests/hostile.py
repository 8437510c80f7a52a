"""The attacks in `tests/exploits/`: read, laid out as submissions, and what of a teacher's they aim at.

An attack is one file: its docstring says what it claims, `EXERCISE` which exercise it answers, `SAYS` what
the report must say, `HONEST` the points of the same answer without the attack (0), `LIMIT` why it is not
held, and `PEERS = False` that other graders are spared it (because it would take the machine down, or speaks
our protocol). It is the submission itself, or has a function `build(folder)` that writes one. An attack that
gets what it wants says so: by points, by raising "WON: …", or by changing what it may not.
"""

import ast
import importlib.util
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parent / "exploits"
CANARY = Path("/tmp/mechinterp-canary")  # the attacks name it
SECRET, TOKEN = "the teacher's diary", "token-4711"


@dataclass(frozen=True)
class Attack:
    """One file of `tests/exploits/`."""

    path: Path
    claim: str
    exercise: str
    says: str | None
    peers: bool
    builds: bool
    limit: str | None = None
    honest: float = 0

    @property
    def name(self) -> str:
        return self.path.stem

    def lay_out(self, folder: Path) -> Path:
        """Return the submission: the file itself, or what it builds in `folder`."""
        if not self.builds:
            return self.path
        spec = importlib.util.spec_from_file_location(self.name, self.path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        folder.mkdir(parents=True, exist_ok=True)
        return module.build(folder)


def attacks() -> list[Attack]:
    """Return every attack, by name."""
    return [_read(path) for path in sorted(FOLDER.glob("*.py"))]


def _read(path: Path) -> Attack:
    tree = ast.parse(path.read_text(encoding="utf8"))
    facts = {}
    for node in tree.body:
        name = ast.unparse(node.targets[0]) if isinstance(node, ast.Assign) else ""
        if name in ("EXERCISE", "SAYS", "PEERS", "LIMIT", "HONEST"):
            facts[name] = ast.literal_eval(node.value)
    builds = any(isinstance(node, ast.FunctionDef) and node.name == "build" for node in tree.body)
    claim = " ".join(ast.get_docstring(tree).split())
    says, peers, limit = facts.get("SAYS"), facts.get("PEERS", True), facts.get("LIMIT")
    return Attack(path, claim, facts["EXERCISE"], says, peers, builds, limit, facts.get("HONEST", 0))


@contextmanager
def canary() -> Iterator[None]:
    """Put a secret and a file to be left alone where the attacks look, and a token into the environment."""
    CANARY.mkdir(exist_ok=True)
    for name, text in {"secret.txt": SECRET, "target.txt": "intact"}.items():
        (CANARY / name).write_text(text)
        os.utime(CANARY / name, (1e9, 1e9))
        (CANARY / name).chmod(0o600)
    CANARY.chmod(0o700)
    os.environ["GRADER_TOKEN"] = TOKEN
    try:
        yield
    finally:
        del os.environ["GRADER_TOKEN"]
        CANARY.chmod(0o700)
        for path in CANARY.iterdir():
            path.unlink()
        CANARY.rmdir()


def harm_done() -> list[str]:
    """Return what was done to the teacher's files, one line each; empty if they are as they were."""
    left = [path.name for path in CANARY.iterdir() if path.suffix != ".txt" and path.name != "won"]
    found = [f"{name} was left there" for name in left]
    if (CANARY / "won").is_file():
        found += (CANARY / "won").read_text().splitlines()
    target = CANARY / "target.txt"
    if not target.is_file():
        return [*found, "a file was removed"]
    facts = target.stat()
    changes = {
        "a file was changed": stat.S_IMODE(facts.st_mode) & 0o400 == 0 or target.read_text() != "intact",
        "a file's mode was changed": stat.S_IMODE(facts.st_mode) != 0o600,
        "a file's time was changed": facts.st_mtime != 1e9,
        "a folder's mode was changed": stat.S_IMODE(CANARY.stat().st_mode) != 0o700,
    }
    return found + [words for words, happened in changes.items() if happened]
