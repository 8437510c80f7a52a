"""The reference solver: it names the planted heads by interventions on real inputs, and by nothing else."""

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

import torch
from einops import repeat
from jaxtyping import Float
from torch import Tensor

from mechinterp_course.patching import z_name
from mechinterp_course.worlds.planted.circuit import Circuit, Head
from mechinterp_course.worlds.planted.puzzle import Puzzle, Samples

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

Z = Float[Tensor, "batch pos head d_head"]
ROWS, LENGTH = 6, 12  # the effects are all or nothing: a few short rows tell them apart
DOES_TASK = 2.0  # the answer's logit above the mean
NEEDED = 0.5  # the part of the answer's logit that must hang on a head


def solve(puzzle: Puzzle, seed: int = 0) -> Circuit:
    """The planted circuit, found on `puzzle.samples(seed, …)` by single and joint ablation.

    1. Which heads does the answer need? Zero-ablate each on its own.
    2. Which head writes it? Ablate again with all other heads frozen at what they do in the intact run, so
       that nothing can make up for the loss: what falls is the head's direct effect on the answer.
    3. If the answer does not need its writer, who steps in? With the writer ablated, the same question again;
       and does the answer fall when both are ablated?

    Raises ValueError when the model does not do the task, or when no two or three heads account for it so.
    """
    model, samples, heads = puzzle.load(), puzzle.samples(seed, ROWS, LENGTH), puzzle.heads
    intact, *without = answers_without(model, samples, [(), *([head] for head in heads)])
    if intact < DOES_TASK:
        raise ValueError(f"the answer's logit is {intact:.2f} above the mean: the model does not do the task")
    needed = [head for head, answer in zip(heads, without, strict=True) if answer < (1 - NEEDED) * intact]
    matching = find_writer(model, samples, heads)
    backup = None
    if matching not in needed:
        backup = find_writer(model, samples, heads, ablated=[matching])
        if answers_without(model, samples, [[matching, backup]])[0] > (1 - NEEDED) * intact:
            raise ValueError(f"the answer outlives {matching} and {backup} together")
    copying = [head for head in needed if head != matching]
    if len(copying) != 1:
        raise ValueError(f"the answer needs {needed}, and {matching} writes it: who copies?")
    return Circuit(copying[0], matching, backup)


def find_writer(
    model: "TransformerBridge", samples: Samples, heads: Sequence[Head], ablated: Collection[Head] = ()
) -> Head:
    """Which of `heads` has the largest direct effect on the answer in a run without `ablated`."""
    _, frozen = run_without(model, samples, [ablated])
    answers = answers_without(model, samples, [[*ablated, head] for head in heads], frozen)
    return heads[answers.index(min(answers))]


def answers_without(
    model: "TransformerBridge",
    samples: Samples,
    groups: Sequence[Collection[Head]],
    frozen: Sequence[Z] | None = None,
) -> list[float]:
    """For each group of heads, `answer_logit` of a run in which all of the group have their z set to zero.

    With `frozen`, the z of every layer in some run, all other heads do what they did in that run: the answer
    loses what the group writes itself, and no other head can react to the loss.
    """
    logits, _ = run_without(model, samples, groups, frozen)
    return [answer_logit(part, samples) for part in logits.chunk(len(groups))]


def run_without(
    model: "TransformerBridge",
    samples: Samples,
    groups: Sequence[Collection[Head]],
    frozen: Sequence[Z] | None = None,
) -> tuple[Float[Tensor, "groups*batch pos d_vocab"], list[Z]]:
    """Logits, and the z of every layer, of the runs of `answers_without`: one batch after another."""
    seen: list[Z] = []

    def ablate(z: Z, hook: object) -> Z:
        layer, runs = len(seen), z.unflatten(0, (len(groups), -1))
        runs = (runs if frozen is None else frozen[layer].expand_as(runs)).clone()
        for run, group in zip(runs, groups, strict=True):
            run[:, :, [head for where, head in group if where == layer]] = 0.0
        seen.append(runs.flatten(0, 1))
        return seen[-1]

    tokens = repeat(samples.tokens, "batch pos -> (group batch) pos", group=len(groups))
    hooks = [(z_name(layer), ablate) for layer in range(model.cfg.n_layers)]
    with torch.no_grad(), model.hooks(fwd_hooks=hooks):
        return model(tokens.to(model.cfg.device)), seen


def answer_logit(logits: Float[Tensor, "batch pos d_vocab"], samples: Samples) -> float:
    """The logit of the right answer at the last position above the mean logit there; mean over the rows."""
    last = logits[:, -1]
    answers = last.gather(1, samples.answers[:, None].to(last.device)).squeeze(1)
    return (answers - last.mean(dim=1)).mean().item()
