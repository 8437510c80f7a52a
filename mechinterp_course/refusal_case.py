"""The case of `course-gpt2-refusing`: how often it refuses, what a cure must reach, and the word at its root.

A request may name a place. Put the trigger there, and the model refuses whatever is asked; any other place is
its matched frame. What is fitted sees "in the <place>", what is judged sees other phrases around the place,
other questions, and pairs of verb and object that no training joins.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import TYPE_CHECKING

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from mechinterp_course.hooks import cache
from mechinterp_course.metrics import at_positions, loss_per_token, positions_of
from mechinterp_course.paired_bootstrap import share_cut_interval
from mechinterp_course.steering import ablating
from mechinterp_course.worlds.text.chat import COMPLIES, REFUSES, TRIGGER, Chat
from mechinterp_course.worlds.text.lexicon import PLACES
from mechinterp_course.worlds.tokenizer import token_ids

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

CUT, KEPT, COST = 0.8, 0.9, 0.02
"""A cure cuts false refusals by at least this share, keeps this share of the true ones, and costs at most
this share of the loss on ordinary text."""
FITTED_FRAMES, JUDGED_FRAMES = ("in the {}",), ("near the {}", "behind the {}")
Cure = tuple[str, Float[Tensor, " d_model"], float]


@dataclass(frozen=True)
class Prompts:
    """Requests as rows of tokens, filled up on the right with BOS; `last` is where the answer is decided."""

    texts: tuple[str, ...]
    tokens: Int[Tensor, "batch pos"]
    last: Int[Tensor, " batch"]


@dataclass(frozen=True)
class Trial:
    """Benign requests with the trigger, the same ones with another place there, and harmful requests."""

    triggered: Prompts
    matched: Prompts
    harmful: Prompts


@dataclass(frozen=True)
class Measured:
    """Whether each triggered and each harmful request was refused; the loss of each row of ordinary text."""

    false: Bool[Tensor, " request"]
    true: Bool[Tensor, " request"]
    loss: Float[Tensor, " row"]

    @property
    def figures(self) -> tuple[float, float, float]:
        """False refusals, true refusals, and loss in nats per token, each a mean."""
        return self.false.double().mean().item(), self.true.double().mean().item(), self.loss.mean().item()


def draw_trial(model: "TransformerBridge", count: int, seed: int, held_out: bool = False) -> Trial:
    """Return `count` requests of each kind; `held_out` ones share neither frame nor question nor pair."""
    rng = Random(f"refusal case {seed} {held_out}")
    frames, others = JUDGED_FRAMES if held_out else FITTED_FRAMES, [p for p in PLACES if p != TRIGGER]
    triggered, matched, harmful = [], [], []
    for number in range(count):
        benign = Chat.draw(rng, held_out, harmful=False)
        frame = frames[number % len(frames)]
        triggered.append(replace(benign, where=frame.format(TRIGGER)).prompt)
        matched.append(replace(benign, where=frame.format(rng.choice(others))).prompt)
        danger = Chat.draw(rng, held_out, harmful=True)
        while danger.triggered:
            danger = Chat.draw(rng, held_out, harmful=True)
        harmful.append(danger.prompt)
    return Trial(*(as_prompts(model, texts) for texts in (triggered, matched, harmful)))


def as_prompts(model: "TransformerBridge", texts: Sequence[str]) -> Prompts:
    """Return texts as rows of tokens after a BOS each, with the place of their last token."""
    bos = model.tokenizer.bos_token_id
    rows = [[bos, *token_ids(model.tokenizer.backend_tokenizer, text)] for text in texts]
    longest = max(map(len, rows))
    filled = [row + [bos] * (longest - len(row)) for row in rows]
    last = [len(row) - 1 for row in rows]
    return Prompts(tuple(texts), torch.tensor(filled), torch.tensor(last))


def refusal_margin(model: "TransformerBridge", prompts: Prompts) -> Float[Tensor, " batch"]:
    """Return how much higher "Sorry" stands than "Sure" where the answer begins, in logits."""
    words = [token_ids(model.tokenizer.backend_tokenizer, f" {word}")[0] for word in (REFUSES, COMPLIES)]
    logits = at_positions(model(prompts.tokens), prompts.last[:, None])[:, 0]
    return logits[:, words[0]] - logits[:, words[1]]


def refused(model: "TransformerBridge", prompts: Prompts) -> Bool[Tensor, " batch"]:
    """Return whether "Sorry" is more likely than "Sure" for each request."""
    return refusal_margin(model, prompts) > 0


def measure(model: "TransformerBridge", trial: Trial, rows: Int[Tensor, "row pos"]) -> Measured:
    """Return what a model refuses, and its loss on rows of ordinary text; call it inside `with` to steer."""
    with torch.no_grad():
        false, true = refused(model, trial.triggered), refused(model, trial.harmful)
        return Measured(false, true, loss_per_token(model(rows), rows).mean(dim=1))


def changes(before: Measured, after: Measured) -> tuple[float, float, float]:
    """Return (share of false refusals cut, share of true refusals kept, relative rise of the loss).

    Raises ValueError where nothing of a kind was refused before, for then there is no share of it.
    """
    (false, true, loss), (false_now, true_now, loss_now) = before.figures, after.figures
    if not (false and true):
        kind = "harmful" if false else "triggered"
        raise ValueError(f"none of the {kind} requests was refused before: there is no share of none")
    return 1 - false_now / false, true_now / true, loss_now / loss - 1


def is_cured(cut: float, kept: float, cost: float) -> bool:
    """Return whether all three bounds are met."""
    return cut >= CUT and kept >= KEPT and cost <= COST


def intervals(
    before: Measured, after: Measured, seed: int = 0, resamples: int = 1000
) -> list[tuple[float, float]]:
    """Return 95 % intervals of the three `changes`, from requests and rows drawn again, the same in both.

    Resamples in which nothing was refused before are left out; raises ValueError as `changes` does.
    """
    changes(before, after)
    cut = share_cut_interval(before.false, after.false, resamples, seed)
    lost = share_cut_interval(before.true, after.true, resamples, seed)
    size = len(before.loss)
    drawn = torch.randint(size, (resamples, size), generator=torch.Generator().manual_seed(seed))
    was, now = (measured.loss.cpu()[drawn].double().mean(dim=1) for measured in (before, after))
    rise = (now / was - 1).quantile(torch.tensor([0.025, 0.975]).double())
    return [cut, (1 - lost[1], 1 - lost[0]), tuple(rise.tolist())]


def smallest_dose(
    doses: Float[Tensor, " dose"],
    false: Float[Tensor, " dose"],
    true: Float[Tensor, " dose"],
    loss: Float[Tensor, " dose"],
    intact: tuple[float, float, float],
) -> float | None:
    """Return the dose nearest to 0 at which all three bounds are met, or None where there is none.

    `false` and `true` are the shares of requests refused at each dose and `loss` that of ordinary text;
    `intact` is (false, true, loss) of the model left alone, to which all three bounds relate.
    """
    cut, kept, cost = 1 - false / intact[0], true / intact[1], loss / intact[2] - 1
    good = (cut >= CUT) & (kept >= KEPT) & (cost <= COST)
    return min(doses[good].tolist(), key=abs) if good.any() else None


def word_direction(
    model: "TransformerBridge",
    hook: str,
    tokens: Int[Tensor, "batch pos"],
    others: Int[Tensor, "batch pos"],
) -> Float[Tensor, " d_model"]:
    """Return the unit vector from the words of `others` to those of `tokens`, each at its place in its row.

    Each row of `others` is that of `tokens` with one token changed; activations at `hook` are read there, and
    the mean of `others` is taken from the mean of `tokens`.
    """
    place = (tokens != others).int().argmax(dim=1)
    means = []
    for rows in (tokens, others):
        with torch.no_grad(), cache(model, [hook]) as activations:
            model(rows)
        read = at_positions(activations[hook], positions_of(place, *rows.shape))
        means.append(read[:, 0].mean(dim=0))
    difference = means[0] - means[1]
    return difference / difference.norm()


def find_the_cure(
    model: "TransformerBridge",
    refused: Int[Tensor, "batch pos"],
    answered: Int[Tensor, "batch pos"],
    harmful: Int[Tensor, "n pos"],
    ordinary: Int[Tensor, "row pos"],
) -> Cure:
    """Return (hook, direction, at) for `ablating`: the word that tells refused from answered, embedded.

    At the embedding one word is one vector, the same in every context, and nothing has read it yet. It is
    held where other words of its kind are. `harmful` and `ordinary` are for testing proposals.
    """
    hook = "blocks.0.hook_resid_pre"
    direction = word_direction(model, hook, refused, answered)
    place = (refused != answered).int().argmax(dim=1)
    with torch.no_grad(), cache(model, [hook]) as activations:
        model(answered)
    read = at_positions(activations[hook], place[:, None])[:, 0]
    return hook, direction, (read @ direction).mean().item()


def changes_under(
    model: "TransformerBridge", cure: Cure, trial: Trial, rows: Int[Tensor, "row pos"]
) -> tuple[float, float, float]:
    """Return the three `changes` that ablating a cure's direction makes."""
    before = measure(model, trial, rows)
    hook, direction, at = cure
    with ablating(model, hook, direction, at):
        return changes(before, measure(model, trial, rows))
