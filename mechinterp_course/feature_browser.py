"""A dictionary as one page to look through: a self-contained HTML file that opens by a double click.

The page carries its data as compact JSON and draws only what is looked at, so a few thousand features open at
once. It loads nothing from anywhere, and text from models and files is never read as markup.
"""

import json
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from jaxtyping import Int
from torch import Tensor

from mechinterp_course.feature_reading import token_string
from mechinterp_course.feature_survey import FeatureSurvey, Window, survey_features
from mechinterp_course.sae import Autoencoder
from mechinterp_course.text_rows import TextRows

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

LEVELS = 999  # an activation is stored as a share of the feature's highest


@dataclass
class Numbered:
    """Things numbered in the order in which they were first asked for."""

    places: dict[int, int]

    def __call__(self, thing: int) -> int:
        return self.places.setdefault(thing, len(self.places))


def write_browser(
    model: "TransformerBridge",
    sae: Autoencoder,
    tokens: Int[Tensor, "row pos"],
    out: Path,
    title: str,
    hook: str | None = None,
    text: str = "",
) -> FeatureSurvey:
    """Write the page about every feature of a dictionary on `tokens` to `out`; return what it shows.

    `text` says in the page what the tokens are of. Raises CourseError when nothing says where the dictionary
    reads the model.
    """
    survey = survey_features(model, sae, tokens, hook)
    out.write_text(page(browser_data(model, survey, title, text)), encoding="utf-8")
    return survey


def page(data: dict) -> str:
    """Return the page as HTML, its style, script and data inside."""
    here = files("mechinterp_course")
    template = here.joinpath("feature_browser.html").read_text("utf-8")
    written = json.dumps(data, separators=(",", ":"), ensure_ascii=False).replace("<", "\\u003c")
    parts = {
        "/*STYLE*/": here.joinpath("feature_browser.css").read_text("utf-8"),
        "/*SCRIPT*/": here.joinpath("feature_browser.js").read_text("utf-8"),
        "/*DATA*/": written,
    }
    for place, part in parts.items():
        template = template.replace(place, part, 1)
    return template


def browser_data(model: "TransformerBridge", survey: FeatureSurvey, title: str, text: str = "") -> dict:
    """Return what the page knows, in numbers and one list of strings.

    Each feature is [tokens on which it fires, highest activation, histogram, strongest contexts, random
    contexts, raised, lowered, neighbours]; the last three alternate number and value.
    """
    row, word = Numbered({}), Numbered({})
    features = []
    for feature in range(len(survey.fired)):
        kinds = (survey.strongest[feature], survey.random[feature])
        highest = survey.highest[feature].item()
        contexts = [[_context(row(one.row), one, highest) for one in kind] for kind in kinds]
        raised, lowered = (_pairs(side, feature, word) for side in (survey.raised, survey.lowered))
        near = _pairs(survey.nearest, feature, int)
        bins = survey.histogram[feature].tolist() if survey.fired[feature] else []
        features.append([int(survey.fired[feature]), _short(highest), bins, *contexts, raised, lowered, near])
    rows = [[word(token) for token in survey.tokens[number].tolist()] for number in row.places]
    return {
        "title": title,
        "hook": survey.hook,
        "text": text,
        "tokens": survey.tokens.numel(),
        "bos": word(TextRows(model).bos),
        "words": [token_string(model, token) for token in word.places],
        "rows": rows,
        "features": features,
    }


def _context(row: int, window: Window, highest: float) -> list:
    levels = (window.values / highest * LEVELS).round().long()
    fires = levels.nonzero()[:, 0].tolist()
    return [
        row,
        window.start,
        len(levels),
        window.place - window.start,
        [[at, int(levels[at])] for at in fires],
    ]


def _pairs(side: tuple[Tensor, Tensor] | None, feature: int, number) -> list:
    if side is None:
        return []
    pairs = zip(side[0][feature].tolist(), side[1][feature].tolist(), strict=True)
    return [value for first, second in pairs for value in (number(first), _short(second))]


def _short(value: float) -> float:
    return float(f"{value:.3g}")
