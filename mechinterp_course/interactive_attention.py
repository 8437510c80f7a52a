"""Attention patterns to move the mouse over, drawn by CircuitsVis and self-contained: no CDN, no network.

CircuitsVis' own HTML loads its script from a CDN wherever there is a network, and carries 1.3 MB in each
picture where there is none. Here a page loads the script once, from the installed wheel; pictures are small.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path

from jaxtyping import Float
from torch import Tensor

PAGE = """\
<div id="{name}" style="margin: 1em 0; background: white; color: #23262B;"></div>
<script>
(function draw() {{
  if (!window.CircuitsVis) {{ setTimeout(draw, 100); return; }}
  window.CircuitsVis.render({name_json}, window.CircuitsVis.AttentionHeads, {props});
}})();
</script>"""


@dataclass(frozen=True)
class Html:
    """A piece of a page: a notebook and the book show it, `print` says how long it is; pieces add up."""

    text: str

    def __add__(self, other: "Html") -> "Html":
        return Html(f"{self.text}\n{other.text}")

    def _repr_html_(self) -> str:
        return self.text

    def __repr__(self) -> str:
        return f"<{len(self.text):,} characters of HTML>"


def load_circuitsvis() -> Html:
    """Return what a page needs once, in any cell: the script of the installed CircuitsVis, inline.

    It goes before or after the pictures; loaded twice, the second copy does nothing new.
    """
    folder = Path(find_spec("circuitsvis").submodule_search_locations[0])
    script = (folder / "dist" / "cdn" / "iife.js").read_text(encoding="utf-8")
    script = re.sub(r"^//# sourceMappingURL=.*$", "", script, flags=re.MULTILINE)
    return Html(f"<script>{_inside_script(script)}window.CircuitsVis = CircuitsVis;</script>")


def attention_heads(
    pattern: Float[Tensor, "head query key"], words: Sequence[str], names: Sequence[str]
) -> Html:
    """Return a picture of where each head looks: choose a head, then point at a word of the text.

    `words` stand at the positions, `names` are those of the heads. The page needs `load_circuitsvis` once.
    Raises ValueError when words or names are not as many as positions or heads.
    """
    if pattern.shape != (len(names), len(words), len(words)):
        raise ValueError(
            f"{len(names)} names and {len(words)} words are not those of a pattern {tuple(pattern.shape)}"
        )
    weights = [[[round(weight, 3) for weight in row] for row in head] for head in pattern.tolist()]
    props = {"attention": weights, "tokens": list(words), "attentionHeadNames": list(names)}
    text = _inside_script(json.dumps(props | {"minValue": 0, "maxValue": 1}))
    name = f"attention-{sha256(text.encode()).hexdigest()[:12]}"
    return Html(PAGE.format(name=name, name_json=json.dumps(name), props=text))


def _inside_script(text: str) -> str:
    """The same JavaScript, without the characters at which a page would end its script."""
    return re.sub(r"</(script)", r"<\\/\1", text, flags=re.IGNORECASE).replace("<!--", r"<\!--")
