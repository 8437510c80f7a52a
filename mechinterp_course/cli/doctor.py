"""`doctor`: what this machine has, what is missing, and the command that brings it."""

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec

import typer

from mechinterp_course.cli.terminal import Json, show_json, show_table

LIBRARIES = ("torch", "transformer-lens", "transformers", "jupytext", "nbformat")
EXTRAS = {"book": "jupyter_book", "classroom": "nbgrader", "test": "pytest"}


def add_commands(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command()(doctor)


def doctor(as_json: Json = False) -> int:
    """Say what this machine has, what is missing, and what brings it.

    Status 1 when something that grading needs is missing.
    """
    facts = {
        "python": f"{platform.python_version()} on {platform.system()} {platform.machine()}",
        **{name: _version(name) for name in LIBRARIES},
        "device": _devices(),
        "memory": _memory(),
        "isolation": _isolation(),
        "models": _models(),
        "extras": {name: find_spec(module) is not None for name, module in EXTRAS.items()},
    }
    problems = _problems(facts)
    if as_json:
        show_json(facts | {"problems": problems})
    else:
        show_table(("", ""), [(name, _in_words(fact)) for name, fact in facts.items()])
        print("\n".join(problems) if problems else "Everything needed is here: try `mechinterp demo`.")
    return 1 if problems else 0


def _version(library: str) -> str | None:
    try:
        return version(library)
    except PackageNotFoundError:
        return None


def _devices() -> list[str]:
    try:
        import torch
    except ImportError:
        return []
    found = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return [f"cpu, {os.cpu_count()} cores", *(f"cuda: {name}" for name in found)]


def _memory() -> str:
    try:
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return "unknown"
    return f"{total / 2**30:.1f} GiB"


def _isolation() -> dict:
    from autograder.sandbox import probe

    tier = probe()
    return {"tier": tier.name, "reasons": list(tier.reasons)}


def _models() -> dict[str, str]:
    """Return each model with where it is: embedded here, missing, or public (`models list` says more)."""
    from mechinterp_course.catalogue import EMBEDDED, PUBLIC

    here = {model.name: "embedded" if model.weights else "missing" for model in EMBEDDED}
    return here | {model.name: "public" for model in PUBLIC}


def _problems(facts: dict) -> list[str]:
    """Return what keeps the course from working, each with the next command."""
    missing = [name for name in LIBRARIES if facts[name] is None]
    problems = [f"{name} is missing: pip install mechinterp-course" for name in missing]
    return problems + [
        f"{name} is missing: `mechinterp models train {name}` makes it"
        for name, state in facts["models"].items()
        if state == "missing"
    ]


def _in_words(fact) -> str:
    if isinstance(fact, dict) and "tier" in fact:
        return fact["tier"] + (f" ({'; '.join(fact['reasons'])})" if fact["reasons"] else "")
    if isinstance(fact, dict):
        return ", ".join(f"{name}: {_in_words(state)}" for name, state in fact.items())
    if isinstance(fact, list):
        return "; ".join(fact)
    return {True: "installed", False: "not installed", None: "missing"}.get(fact, str(fact))
