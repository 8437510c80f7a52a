"""How well one direction, one feature or one word tells where a known property of the text world holds.

A detector gives every token a score and says "yes" from a threshold on. Detector and threshold are chosen on
one half of the texts, and their F1 is that on the other half. Over whole texts the highest score counts.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from mechinterp_course.figures.behaviour import tokens_of
from mechinterp_course.figures.directions import activations_at
from mechinterp_course.figures.induction import HELD_OUT
from mechinterp_course.worlds import text
from mechinterp_course.worlds.text.properties import properties

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

CHUNK = 512  # detectors looked at together
PROBE_STEPS = 500
PROBE_BATCH = 2048
PROBE_RATE = 0.05
BATCH = 64


@dataclass(frozen=True)
class Labelled:
    """Labels of properties for some tokens or texts; `known` is where a property says anything at all."""

    labels: Bool[Tensor, "example property"]
    known: Bool[Tensor, "example property"]
    first_half: Bool[Tensor, " example"]

    def at(self, where: Bool[Tensor, " example"]) -> "Labelled":
        """Return the examples at which `where` holds."""
        return Labelled(self.labels[where], self.known[where], self.first_half[where])

    def f1(self, fires: Bool[Tensor, "example detector"]) -> Float[Tensor, "property detector"]:
        """Return the F1 of every detector for every property: 2 · hits / (alarms + cases)."""
        known, cases, alarms = self.known.float(), (self.labels & self.known).float(), fires.float()
        return 2 * (cases.T @ alarms) / (known.T @ alarms + cases.sum(dim=0)[:, None]).clamp(min=1)

    def best_threshold(self, score: Float[Tensor, " example"]) -> tuple[Tensor, Tensor]:
        """Return the score from which on a detector says yes best, and its F1 then, for each property.

        All of its scores are tried but the lowest, with which it would say yes to everything.
        """
        high = (score > score.min()).nonzero()[:, 0]
        if not len(high):
            return torch.full(self.labels.shape[1:], torch.inf), torch.zeros(self.labels.shape[1:])
        score, order = score[high].sort(descending=True)
        order = high[order]
        cases = self.labels & self.known
        hits, alarms = cases[order].float().cumsum(dim=0), self.known[order].float().cumsum(dim=0)
        f1 = 2 * hits / (alarms + cases.sum(dim=0)).clamp(min=1)
        f1[:-1][score[:-1] == score[1:]] = 0  # equal scores say the same
        best, place = f1.max(dim=0)
        return score[place], best


@dataclass(frozen=True)
class Examples:
    """Tokens of many texts: activations, ids, the text that each belongs to, and labels for both."""

    activations: Float[Tensor, "token d_model"]
    ids: Int[Tensor, " token"]
    text: Int[Tensor, " token"]
    tokens: Labelled
    texts: Labelled

    def highest(self, scores: Float[Tensor, "token detector"]) -> Float[Tensor, "text detector"]:
        """Return the highest score of each detector in each text."""
        return torch.segment_reduce(scores, "max", lengths=self.text.bincount())

    def mean_activations(self) -> Float[Tensor, "text d_model"]:
        return torch.segment_reduce(self.activations, "mean", lengths=self.text.bincount())


@dataclass
class Found:
    """The best detector of each property, its threshold and the F1 on the texts that it was chosen on."""

    detector: Int[Tensor, " property"]
    threshold: Float[Tensor, " property"]
    chosen_at: Float[Tensor, " property"]
    f1: Float[Tensor, " property"]

    def take(self, other: "Found", where: Bool[Tensor, " property"]) -> None:
        """Put the other's detectors in place of these where `where` holds."""
        for name, own in vars(self).items():
            setattr(self, name, torch.where(where, getattr(other, name), own))


def draw_examples(model: "TransformerBridge", hook: str, texts: int, seed: int) -> Examples:
    """Return the tokens of `texts` texts that no training has drawn, each text by itself after a BOS.

    There are as many of each task, so that rare kinds of text count as much as frequent ones.
    """
    samples = [text.sample(task, HELD_OUT + seed * texts + number) for number, task in _turns(texts)]
    activations, ids, labels = [], [], []
    for start in range(0, texts, BATCH):
        batch = samples[start : start + BATCH]
        rows, last = tokens_of(model, [sample.text for sample in batch])
        read = activations_at(model, rows, hook)
        for sample, row, at, end in zip(batch, rows, read, last.tolist(), strict=True):
            activations.append(at[1 : end + 1])
            ids.append(row[1 : end + 1])
            labels.append(_labels(model, sample, ids[-1].tolist()))
    of_text = torch.arange(texts).repeat_interleave(torch.tensor([len(row) for row in ids]))
    first = of_text.diff(prepend=torch.tensor([-1])) > 0
    label = torch.cat(labels)
    tokens = Labelled(label == 1, label >= 0, of_text % 2 == 0)
    whole = Labelled(tokens.labels[first], tokens.known[first], tokens.first_half[first])
    return Examples(torch.cat(activations), torch.cat(ids), of_text, tokens, whole)


def best_detectors(scores: Tensor, examples: Examples) -> Found:
    """Return the best of the detectors for each property; `scores` is [token, detector] of any dtype."""
    found = None
    for start in range(0, scores.shape[1], CHUNK):
        chunk = scores[:, start : start + CHUNK].float()
        best = _best(chunk, examples.tokens)
        best.take(_best(examples.highest(chunk), examples.texts), _of_whole_texts())
        best.detector = best.detector + start
        if found is None:
            found = best
        else:
            found.take(best, best.chosen_at > found.chosen_at)
    return found


def best_directions(scores: Float[Tensor, "token direction"], examples: Examples) -> Found:
    """Return the best of directions that may be read with either sign."""
    return best_detectors(torch.cat([scores, -scores], dim=1), examples)


def best_words(examples: Examples) -> Found:
    """Return the word whose presence tells each property best: what needs no look into the model."""
    size = int(examples.ids.max()) + 1
    present = torch.zeros(len(examples.ids), size, dtype=torch.bool)
    return best_detectors(present.scatter_(1, examples.ids[:, None], True), examples)


def linear_probes(examples: Examples) -> Found:
    """Return how well logistic regression does, trained on the texts that detectors are chosen on.

    It sees the activation of each token, or for a property of whole texts their mean over its tokens.
    """
    found = _best(_probe(examples.activations, examples.tokens), examples.tokens)
    of_texts = _probe(examples.mean_activations(), examples.texts)
    found.take(_best(of_texts, examples.texts), _of_whole_texts())
    return found


def _turns(texts: int) -> Iterable[tuple[int, str]]:
    """Yield numbers and tasks, one after the other; each task is in both halves of the texts."""
    tasks = tuple(text.TASKS)
    return ((number, tasks[number // 2 % len(tasks)]) for number in range(texts))


def _labels(model: "TransformerBridge", sample: text.Sample, ids: list[int]) -> Int[Tensor, "pos property"]:
    """Return 1, 0 or -1 (says nothing) for each token and property."""
    tokens = [model.tokenizer.backend_tokenizer.decode([token]) for token in ids]
    rows = [each.labels(sample, tokens) for each in properties()]
    return torch.tensor([[-1 if label is None else int(label) for label in row] for row in rows]).T


def _of_whole_texts() -> Bool[Tensor, " property"]:
    return torch.tensor([each.whole_text for each in properties()])


def _best(scores: Float[Tensor, "example detector"], labelled: Labelled) -> Found:
    """Choose detector and threshold on the first half, and judge them on the second."""
    half = labelled.first_half
    chosen_on, judged_on = labelled.at(half), labelled.at(~half)
    nothing = torch.zeros(labelled.labels.shape[1])
    best = Found(nothing.long(), torch.full_like(nothing, torch.inf), nothing, nothing)
    for detector, score in enumerate(scores[half].T):
        threshold, f1 = chosen_on.best_threshold(score)
        found = Found(torch.full_like(best.detector, detector), threshold, f1, nothing)
        best.take(found, f1 > best.chosen_at)
    best.f1 = judged_on.f1(scores[~half][:, best.detector] >= best.threshold).diagonal()
    return best


def _probe(seen: Float[Tensor, "example d_model"], labelled: Labelled) -> Float[Tensor, "example property"]:
    """Return the log odds that probes trained on the first half give to each property."""
    half = labelled.first_half
    mean, spread = seen[half].mean(0), seen[half].std(0)
    seen = (seen - mean) / spread
    learned, target, known = seen[half], labelled.labels[half].float(), labelled.known[half].float()
    generator = torch.Generator().manual_seed(0)
    weight = torch.zeros(seen.shape[1], target.shape[1], requires_grad=True)
    bias = torch.zeros(target.shape[1], requires_grad=True)
    optimizer = torch.optim.Adam([weight, bias], lr=PROBE_RATE)
    for step in range(PROBE_STEPS):
        optimizer.param_groups[0]["lr"] = PROBE_RATE * (1 - step / PROBE_STEPS)
        some = torch.randint(len(learned), (PROBE_BATCH,), generator=generator)
        loss = torch.nn.functional.binary_cross_entropy_with_logits(
            learned[some] @ weight + bias, target[some], weight=known[some], reduction="sum"
        )
        optimizer.zero_grad()
        (loss / PROBE_BATCH).backward()
        optimizer.step()
    return (seen @ weight + bias).detach()
