"""What attention patterns show: where each head looks, reduced to one number per head."""

from typing import TYPE_CHECKING

import torch
from einops import reduce
from jaxtyping import Float, Int
from torch import Tensor

from mechinterp_course.patching import ablate_head, second_copy_loss
from mechinterp_course.worlds.tokens import repeated_tokens

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

ROWS = 32  # sequences per length in `is_induction_head`
SMALLEST_EFFECT = 0.05  # nats


def previous_token_score(pattern: Float[Tensor, "batch head query key"]) -> Float[Tensor, " head"]:
    """Mean attention from each query to the key just before it, over the batch and the queries 1, 2, …

    Query 0 has nothing before it and is left out.
    """
    diagonal = pattern.diagonal(offset=-1, dim1=-2, dim2=-1)
    return reduce(diagonal, "batch head query -> head", "mean")


def duplicate_token_score(
    pattern: Float[Tensor, "batch head query key"], length: int
) -> Float[Tensor, " head"]:
    """Mean attention from the second copy to the same token in the first: key = query - length.

    For patterns on `repeated_tokens`; the mean is over the batch and the queries length+1 .. 2·length.
    """
    diagonal = pattern.diagonal(offset=-length, dim1=-2, dim2=-1)
    return reduce(diagonal[..., 1:], "batch head query -> head", "mean")


def induction_score(pattern: Float[Tensor, "batch head query key"], length: int) -> Float[Tensor, " head"]:
    """Mean attention from the second copy to the token after its last occurrence: key = query - (length-1).

    For patterns on `repeated_tokens`; the mean is over the batch and the queries length+1 .. 2·length.
    Olsson et al. 2022 call it the prefix matching score ("In-context Learning and Induction Heads").
    """
    diagonal = pattern.diagonal(offset=1 - length, dim1=-2, dim2=-1)
    return reduce(diagonal[..., 2:], "batch head query -> head", "mean")


def pattern_completion_score(
    pattern: Float[Tensor, "batch head query key"], period: int
) -> Float[Tensor, " head"]:
    """Mean attention to all earlier tokens that are what comes next, on BOS and a sequence of that period.

    The sequence A B A B A … begins at position 1. A query that has seen its token before, so from position
    1 + period on, should look at keys query + 1 - period, query + 1 - 2·period, …: whichever of them it
    chooses, the token there is the next one. Raises ValueError where no query has seen its token before.
    """
    places = torch.arange(pattern.shape[-1], device=pattern.device)
    query, key = places[:, None], places
    distance = query + 1 - key
    right = (distance >= period) & (distance % period == 0) & (key >= 1)
    late = places >= 1 + period
    if not late.any():
        raise ValueError(f"{len(places) - 1} tokens after BOS hold no second round of period {period}")
    looked = (pattern * right).sum(-1)[..., late]
    return reduce(looked, "batch head query -> head", "mean")


def find_induction_heads(
    model: "TransformerBridge", tokens: Int[Tensor, "batch pos"], threshold: float = 0.4
) -> list[tuple[int, int]]:
    """(layer, head), sorted, of heads that score at least `threshold` for induction on `repeated_tokens`."""
    length = (tokens.shape[1] - 1) // 2
    _, cache = model.run_with_cache(tokens, names_filter=lambda name: name.endswith("attn.hook_pattern"))
    found = []
    for layer in range(model.cfg.n_layers):
        scores = induction_score(cache[pattern_name(layer)], length)
        found += [(layer, head) for head, score in enumerate(scores.tolist()) if score >= threshold]
    return found


def is_induction_head(
    model: "TransformerBridge",
    layer: int,
    head: int,
    bos: int,
    lengths: tuple[int, ...] = (8, 12, 16, 24),
    threshold: float = 0.4,
    seed: int = 0,
) -> bool:
    """Whether a head does induction at every length: it looks where it should, and copying needs it.

    At each of `lengths`, on 32 rows of `repeated_tokens` drawn from `seed`, its induction score must be at
    least `threshold`, and zero-ablating it must raise the second-copy loss by at least 0.05 nats. One length
    is not enough: a head that looks back a fixed distance passes at that distance and at no other.
    """
    for length in lengths:
        tokens = repeated_tokens(model.cfg.d_vocab, length, ROWS, bos, seed).to(model.cfg.device)
        if (layer, head) not in find_induction_heads(model, tokens, threshold):
            return False
        intact = second_copy_loss(model(tokens), tokens)
        if second_copy_loss(ablate_head(model, tokens, layer, head), tokens) - intact < SMALLEST_EFFECT:
            return False
    return True


def pattern_name(layer: int) -> str:
    """The hook point of a layer's attention pattern; shape [batch, head, query, key], rows sum to one."""
    return f"blocks.{layer}.attn.hook_pattern"
