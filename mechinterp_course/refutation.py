"""What a claimed circuit has to survive: the knockout and the prompt on which it and the model part."""

from collections.abc import Collection, Iterator
from itertools import combinations
from typing import TYPE_CHECKING

from jaxtyping import Float, Int
from torch import Tensor

from mechinterp_course.faithfulness import run_circuit
from mechinterp_course.metrics import LogitDifference

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

Head = tuple[int, int]  # (layer, head)


def break_circuit(
    model: "TransformerBridge",
    tokens: Int[Tensor, "batch pos"],
    other: Int[Tensor, "batch pos"],
    right: Int[Tensor, " batch"],
    wrong: Int[Tensor, " batch"],
    circuit: Collection[Head],
    kind: str = "resample",
) -> tuple[list[Head], int, float]:
    """(knockout, prompt, gap): where the claim that nothing but `circuit` matters fails by most.

    If it were true, knocking heads of the circuit out would do the same to the circuit as to the model. For
    every part K of the circuit, the empty one and the whole included, the gap of a prompt is

        | F(circuit without K) - F(all heads but K) |,   F = logit of `right` - logit of `wrong` at the end

    with all other heads ablated by `kind`, as in `run_circuit`. Returned are the K (sorted), the row and the
    gap of the largest. With K empty it is faithfulness that fails; Wang et al. 2022 ("Interpretability in the
    Wild", section 4) ask for all K and call it completeness. Needs 2 · 2^n runs for n heads.
    """
    measure = LogitDifference(right, wrong)
    every = [(layer, head) for layer in range(model.cfg.n_layers) for head in range(model.cfg.n_heads)]

    def behaviour(kept: Collection[Head]) -> Float[Tensor, " batch"]:
        return measure.per_prompt(run_circuit(model, tokens, kept, kind, other))

    largest: tuple[list[Head], int, float] = ([], 0, -1.0)
    for knockout in parts(sorted(circuit)):
        alone = behaviour([head for head in circuit if head not in knockout])
        gaps = (alone - behaviour([head for head in every if head not in knockout])).abs()
        if gaps.max().item() > largest[2]:
            largest = list(knockout), int(gaps.argmax()), gaps.max().item()
    return largest


def parts(heads: Collection[Head]) -> Iterator[tuple[Head, ...]]:
    """Every subset of `heads`, the smallest first."""
    for size in range(len(heads) + 1):
        yield from combinations(heads, size)
