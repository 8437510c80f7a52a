"""Everything that a page about a dictionary shows of each feature, gathered in two passes over the text.

No more than a few rows are held with all features at a time; what is kept is small: counts, and where each
feature fires most. Beside the strongest contexts stand some drawn at random among the rows in which a feature
fires at all, since the strongest ones flatter.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, Int
from torch import Tensor

from mechinterp_course.feature_reading import direct_logits, hook_of, stream_features
from mechinterp_course.sae import Autoencoder

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

BINS = 30
BEFORE, AFTER = 24, 8  # tokens shown around the one on which a feature fires most
HELD = 2**25  # activations of features held at a time: 128 MiB
AT_A_TIME = 256  # features whose logits are held


@dataclass
class Chosen:
    """The rows with the highest keys for each feature, and the place of its peak in each; row -1 is none."""

    keys: Float[Tensor, "slot d_sae"]
    rows: Int[Tensor, "slot d_sae"]
    places: Int[Tensor, "slot d_sae"]

    @staticmethod
    def none(slots: int, d_sae: int) -> "Chosen":
        empty = torch.full((slots, d_sae), -1)
        return Chosen(torch.zeros(slots, d_sae), empty, empty.clone())

    def offer(self, keys: Tensor, rows: Tensor, places: Tensor) -> None:
        """Keep the highest of these and of what was kept; a key of 0 is never kept."""
        keys = torch.cat([self.keys, keys])
        rows = torch.cat([self.rows, rows[:, None].expand(-1, keys.shape[1])])
        places = torch.cat([self.places, places])
        best = keys.topk(len(self.keys), dim=0).indices
        self.keys, self.rows, self.places = (kept.gather(0, best) for kept in (keys, rows, places))
        self.rows[self.keys <= 0] = -1


@dataclass(frozen=True)
class Window:
    """Some tokens of a row, `start` to `start + len(values)`, with a feature's activation at each."""

    row: int
    start: int
    place: int
    values: Float[Tensor, " pos"]


@dataclass(frozen=True)
class FeatureSurvey:
    """What was gathered: `fired` counts tokens, `histogram` those of each bin between 0 and `highest`.

    `strongest` and `random` hold a feature's windows; `raised` and `lowered` tokens and logits, None where
    the dictionary does not write to the residual stream; `nearest` other features and cosines.
    """

    hook: str
    tokens: Int[Tensor, "row pos"]
    fired: Int[Tensor, " d_sae"]
    highest: Float[Tensor, " d_sae"]
    histogram: Int[Tensor, "d_sae bin"]
    strongest: list[list[Window]]
    random: list[list[Window]]
    raised: tuple[Tensor, Tensor] | None
    lowered: tuple[Tensor, Tensor] | None
    nearest: tuple[Tensor, Tensor]

    @property
    def density(self) -> Float[Tensor, " d_sae"]:
        """The share of tokens on which each feature fires."""
        return self.fired / self.tokens.numel()


def survey_features(
    model: "TransformerBridge",
    sae: Autoencoder,
    tokens: Int[Tensor, "row pos"],
    hook: str | None = None,
    contexts: int = 8,
    at_random: int = 4,
    words: int = 10,
    near: int = 8,
    seed: int = 0,
) -> FeatureSurvey:
    """Return what each feature does on `tokens`, and what its decoder row says."""
    hook, d_sae = hook_of(sae, hook), sae.W_dec.shape[0]
    together = max(1, HELD // (tokens.shape[1] * d_sae))
    fired, highest = torch.zeros(d_sae, dtype=torch.long), torch.zeros(d_sae)
    strongest, random = Chosen.none(contexts, d_sae), Chosen.none(at_random, d_sae)
    generator = torch.Generator().manual_seed(seed)
    for first, acts in stream_features(model, sae, tokens, hook, together):
        peaks, places = acts.max(dim=1)
        rows = torch.arange(first, first + len(acts))
        fired += (acts > 0).sum(dim=(0, 1))
        highest = torch.maximum(highest, peaks.amax(0))
        strongest.offer(peaks, rows, places)
        drawn = 1 - torch.rand(peaks.shape, generator=generator)  # never 0
        random.offer(drawn * (peaks > 0), rows, places)
    seen = _second_pass(model, sae, tokens, hook, together, highest, (strongest, random))
    writes = sae.W_dec.shape[1] == model.cfg.d_model and "resid" in hook
    raised, lowered = said(model, sae, words) if writes else (None, None)
    return FeatureSurvey(hook, tokens, fired, highest, *seen, raised, lowered, nearest(sae, near))


def said(model: "TransformerBridge", sae: Autoencoder, count: int) -> tuple[tuple[Tensor, Tensor], ...]:
    """Return the tokens that each feature raises most and lowers most: ids and logits, [d_sae, count]."""
    raised, lowered = [], []
    for rows in sae.W_dec.detach().split(AT_A_TIME):
        logits = direct_logits(model, rows).cpu()
        raised.append(logits.topk(count))
        lowered.append(logits.topk(count, largest=False))
    return tuple(
        (torch.cat([best.indices for best in one]), torch.cat([best.values for best in one]))
        for one in (raised, lowered)
    )


def nearest(sae: Autoencoder, count: int) -> tuple[Int[Tensor, "d_sae near"], Float[Tensor, "d_sae near"]]:
    """Return for each feature the others whose decoder rows have the largest cosine with its own."""
    rows = sae.W_dec.detach().float().cpu()
    units = rows / rows.norm(dim=-1, keepdim=True).clamp(min=1e-12)
    count, found = min(count, len(rows) - 1), []
    for first in range(0, len(rows), AT_A_TIME):
        cosines = units[first : first + AT_A_TIME] @ units.T
        own = torch.arange(len(cosines))
        cosines[own, own + first] = -torch.inf
        found.append(cosines.topk(count))
    return torch.cat([best.indices for best in found]), torch.cat([best.values for best in found])


def _second_pass(
    model: "TransformerBridge",
    sae: Autoencoder,
    tokens: Int[Tensor, "row pos"],
    hook: str,
    together: int,
    highest: Float[Tensor, " d_sae"],
    chosen: tuple[Chosen, ...],
) -> tuple:
    """Return the histogram, and the windows of each kind of context, feature by feature."""
    counts = torch.zeros(len(highest) * BINS, dtype=torch.long)
    windows = [[[None] * len(kind.rows) for _ in highest] for kind in chosen]
    for first, acts in stream_features(model, sae, tokens, hook, together):
        row, place, feature = (acts > 0).nonzero(as_tuple=True)
        share = acts[row, place, feature] / highest[feature]
        bins = (share * BINS).long().clamp(max=BINS - 1)
        counts += torch.bincount(feature * BINS + bins, minlength=len(counts))
        for kind, kept in zip(chosen, windows, strict=True):
            for slot, at, window in _windows(kind, first, acts):
                kept[at][slot] = window
    gathered = ([[one for one in own if one is not None] for own in kind] for kind in windows)
    return counts.view(len(highest), BINS), *gathered


def _windows(
    kind: Chosen, first: int, acts: Float[Tensor, "row pos d_sae"]
) -> Iterator[tuple[int, int, Window]]:
    here = (kind.rows >= first) & (kind.rows < first + len(acts))
    for slot, feature in here.nonzero().tolist():
        row, place = int(kind.rows[slot, feature]), int(kind.places[slot, feature])
        start = max(0, place - BEFORE)
        values = acts[row - first, start : place + AFTER + 1, feature].clone()
        yield slot, feature, Window(row, start, place, values)
