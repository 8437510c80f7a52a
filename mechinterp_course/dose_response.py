"""What an intervention does as its dose grows: the curve in which a lucky amount has no place to hide."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, Int
from torch import Tensor

from mechinterp_course.metrics import at_positions
from mechinterp_course.steering import adding

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge


def refusal_curve(
    model: "TransformerBridge",
    hook: str,
    direction: Float[Tensor, " d_model"],
    amounts: Sequence[float],
    tokens: Int[Tensor, "batch pos"],
    last: Int[Tensor, " batch"],
    words: tuple[int, int],
) -> Float[Tensor, " amount"]:
    """Return the share of requests refused with each amount of a direction added at a hook, at all positions.

    A request is refused if, at its position `last`, the logit of `words[0]` is above that of `words[1]`.
    """
    shares = []
    for amount in amounts:
        with torch.no_grad(), adding(model, hook, direction, amount):
            answers = at_positions(model(tokens), last[:, None])[:, 0]
        shares.append((answers[:, words[0]] > answers[:, words[1]]).float().mean())
    return torch.stack(shares)
