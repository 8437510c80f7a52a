"""Is a head redundant, or does a loss that is near zero anyway hide what it adds?"""

from collections.abc import Collection
from functools import partial
from itertools import combinations
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, Int
from torch import Tensor

from mechinterp_course.hooks import edit
from mechinterp_course.patching import z_name

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

Head = tuple[int, int]  # (layer, head)
FALL, RISE, LEFT, COMPANY = 0.75, 1.0, 0.5, 2  # logits, nats, share of the lead, heads


def refute_redundancy(
    model: "TransformerBridge",
    tokens: Int[Tensor, "batch pos"],
    answers: Int[Tensor, " batch"],
    layer: int,
    head: int,
) -> list[Head] | None:
    """The heads in whose absence this one's absence costs loss, or None if it is redundant indeed.

    It is redundant if silencing it lowers the lead by less than `FALL` logits. If not, the company returned
    has at most `COMPANY` other heads; without it at least `LEFT` of the lead remains, and silencing the head
    as well raises the loss by at least `RISE` nats. Of the smallest such companies it is the one with the
    largest rise; if there is none, ValueError is raised. Silencing is zero ablation of `hook_z`.
    """
    target = (layer, head)
    _, lead = loss_and_lead(model, tokens, answers, [])
    if lead - loss_and_lead(model, tokens, answers, [target])[1] < FALL:
        return None
    every = [(layer, head) for layer in range(model.cfg.n_layers) for head in range(model.cfg.n_heads)]
    for size in range(COMPANY + 1):
        rises = {}
        for company in combinations([place for place in every if place != target], size):
            loss, left = loss_and_lead(model, tokens, answers, company)
            if left >= LEFT * lead:
                rises[company] = loss_and_lead(model, tokens, answers, [*company, target])[0] - loss
        best = max(rises, key=rises.get, default=())
        if rises.get(best, 0.0) >= RISE:
            return list(best)
    raise ValueError(f"no company of at most {COMPANY} heads shows what L{layer}H{head} adds")


def loss_and_lead(
    model: "TransformerBridge",
    tokens: Int[Tensor, "batch pos"],
    answers: Int[Tensor, " batch"],
    silenced: Collection[Head],
) -> tuple[float, float]:
    """(loss in nats, lead in logits) of the answers at the last position, with some heads' z set to zero.

    The lead is the answer's logit minus the mean of all logits. Both are means over the batch.
    """
    layers = {layer: [head for at, head in silenced if at == layer] for layer, _ in silenced}
    with edit(model, {z_name(layer): partial(_silence, heads=heads) for layer, heads in layers.items()}):
        logits = model(tokens)[:, -1]
    answer = logits.gather(1, answers[:, None])[:, 0]
    return (logits.logsumexp(1) - answer).mean().item(), (answer - logits.mean(1)).mean().item()


def _silence(z: Float[Tensor, "batch pos head d_head"], heads: list[int]) -> Tensor:
    z = z.clone()
    z[:, :, torch.tensor(heads, device=z.device)] = 0.0
    return z
