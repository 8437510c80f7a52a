"""Sphinx extension of the book: pages load nothing from another machine, or the build fails.

MathJax is copied from the `sphinx-mathjax-offline` wheel; the scripts of thebe, which Jupyter Book 1
always adds although no page uses them, are left out.
"""

import re
import shutil
from importlib.util import find_spec
from pathlib import Path

MATHJAX = "mathjax/tex-svg.js"
THEBE_SETTINGS = re.compile(
    r"""<script type="text/x-thebe-config">.*?</script>\s*(?:<script>\s*kernelName.*?</script>)?""", re.DOTALL
)
REMOTE_IN_HTML = re.compile(
    r"""<(?:script|img|iframe|source|video|audio|embed|object)\b[^>]*?\b(?:src|data)=["'](?:https?:)?//[^"']+"""
    r"""|<link\b(?=[^>]*\brel=["']?(?:stylesheet|preload|prefetch|icon|modulepreload))"""
    r"""[^>]*?\bhref=["'](?:https?:)?//[^"']+"""
    r"""|\bimport\s[^;<]{0,200}?from\s*["']https?://[^"']+"""
    r"""|\b(?:import|fetch)\(\s*["']https?://[^"']+""",
    re.IGNORECASE,
)
REMOTE_IN_CSS = re.compile(
    r"""@import\s+(?:url\()?["']?(?:https?:)?//[^"')]+|url\(\s*["']?(?:https?:)?//[^"')]+"""
)


def setup(app) -> dict[str, object]:
    """Connect the extension to a Sphinx application."""
    app.connect("config-inited", _use_carried_mathjax)
    app.connect("html-page-context", _drop_thebe, priority=900)
    app.connect("build-finished", _copy_mathjax, priority=400)
    app.connect("build-finished", _refuse_remote_assets, priority=900)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}


def remote_assets(folder: Path) -> list[str]:
    """Return `file: reference` for whatever the built pages under `folder` would load from elsewhere."""
    return [
        f"{path.relative_to(folder).as_posix()}: {match.group()[:140]}"
        for suffix, pattern in ((".html", REMOTE_IN_HTML), (".css", REMOTE_IN_CSS))
        for path in sorted(folder.rglob(f"*{suffix}"))
        for match in pattern.finditer(path.read_text(encoding="utf-8", errors="replace"))
    ]


def _use_carried_mathjax(app, config) -> None:
    config.mathjax_path = MATHJAX


def _copy_mathjax(app, exception) -> None:
    from sphinx.errors import ExtensionError

    wheel = find_spec("sphinx-mathjax-offline")
    if wheel is None:
        raise ExtensionError("sphinx-mathjax-offline is missing; run `pip install 'mechinterp-course[book]'`")
    source = Path(wheel.submodule_search_locations[0], "static", MATHJAX)
    target = Path(app.outdir, "_static", MATHJAX)
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)


def _drop_thebe(app, pagename, templatename, context, doctree) -> None:
    context["body"] = THEBE_SETTINGS.sub("", context.get("body", ""))
    context["script_files"] = [s for s in context.get("script_files", []) if not _is_thebe(s)]


def _is_thebe(script) -> bool:
    body = getattr(script, "attributes", {}).get("body") or ""
    return "thebe" in str(getattr(script, "filename", "") or "") or "THEBE" in body


def _refuse_remote_assets(app, exception) -> None:
    from sphinx.errors import ExtensionError

    found = remote_assets(Path(app.outdir)) if exception is None else []
    if found:
        raise ExtensionError("pages load remote assets:\n  " + "\n  ".join(found))
