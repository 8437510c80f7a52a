"""How a model does a task, as far as ablation tells: what the answers rest on, and what it reads."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, Int
from torch import Tensor

from mechinterp_course import heads, patching
from mechinterp_course.figures.behaviour import draw_many, tokens_of, word_ids
from mechinterp_course.figures.language import gift_draws, other_draws
from mechinterp_course.worlds.text.agreement import Agreement
from mechinterp_course.worlds.text.chat import Chat
from mechinterp_course.worlds.text.gifts import Gift
from mechinterp_course.worlds.text.sample import Sample

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

Head = tuple[int, int]
SAMPLES = 100
STRONGEST = 4  # components that are told for each task


def tasks(seed: int) -> dict[str, list[Sample]]:
    """Return samples of each task whose mechanism is told on a card."""
    draws = {
        "indirect object": gift_draws()["gift, unseen templates"],
        "facts": other_draws()["facts, unseen paraphrases"],
        "numbers": other_draws()["numbers, unseen templates"],
        "agreement": lambda rng: Agreement.draw(rng, held_out=True),
        "refusal": lambda rng: Chat.draw(rng, held_out=True, harmful=True),
    }
    return {name: draw_many(draw, SAMPLES, seed) for name, draw in draws.items()}


def logit_difference(model: "TransformerBridge", samples: Sequence[Sample]) -> float:
    """Return the mean logit of the answer minus the rival's, where each prompt ends."""
    tokens, last = tokens_of(model, [sample.prompt for sample in samples])
    logits = model(tokens)[torch.arange(len(last)), last]
    rows = torch.arange(len(last))
    answers = word_ids(model, [sample.answer for sample in samples])
    rivals = word_ids(model, [sample.rival for sample in samples])
    return (logits[rows, answers] - logits[rows, rivals]).mean().item()


def effects(model: "TransformerBridge", samples: Sequence[Sample]) -> dict[str, float]:
    """Return, for every head and MLP, how far the logit difference falls when its mean replaces it.

    The mean is over `samples` and all their places, so whatever the component says on average stays. Names
    are "head 2.4" and "MLP 0".
    """
    whole = logit_difference(model, samples)
    lost = {}
    for name, hook in _ablations(model):
        with model.hooks(fwd_hooks=[hook]):
            lost[name] = whole - logit_difference(model, samples)
    return lost


def strongest(lost: dict[str, float]) -> list[tuple[str, float]]:
    """Return the components that cost most, largest first."""
    ranked = sorted(lost.items(), key=lambda item: item[1], reverse=True)
    return [(name, round(fall, 2)) for name, fall in ranked[:STRONGEST]]


def attention_to_names(model: "TransformerBridge", gifts: Sequence[Gift], head: Head) -> dict[str, float]:
    """Return the mean attention of `head` from where the prompt ends to the receiver and to the agent.

    "receiver" is the indirect object; "agent, first" and "agent, second" are the two mentions of who gives.
    """
    tokens, last = tokens_of(model, [gift.prompt for gift in gifts])
    _, cache = model.run_with_cache(tokens)
    pattern = cache[heads.pattern_name(head[0])][torch.arange(len(last)), head[1], last]
    receiver = word_ids(model, [gift.other for gift in gifts])
    agent = word_ids(model, [gift.agent for gift in gifts])
    return {
        "receiver": _attention_at(pattern, tokens, receiver, first=True),
        "agent, first": _attention_at(pattern, tokens, agent, first=True),
        "agent, second": _attention_at(pattern, tokens, agent, first=False),
    }


def measure(model: "TransformerBridge", seed: int = 2000) -> dict:
    """Return each task's logit difference and strongest components; for gifts also what heads look at."""
    told = {}
    for task, samples in tasks(seed).items():
        found = strongest(effects(model, samples))
        told[task] = {"logit_difference": round(logit_difference(model, samples), 2), "strongest": found}
        if task == "indirect object":
            looked = [name for name, _ in found if name.startswith("head")]
            told[task]["attention"] = {
                name: {
                    place: round(share, 2)
                    for place, share in attention_to_names(model, samples, _head(name)).items()
                }
                for name in looked
            }
    return told


def _ablations(model: "TransformerBridge") -> list[tuple[str, tuple[str, Callable]]]:
    def mean_of_head(head: int) -> Callable:
        def ablate(z: Float[Tensor, "batch pos head d_head"], hook: object) -> Tensor:
            z = z.clone()
            z[:, :, head] = z[:, :, head].mean((0, 1))
            return z

        return ablate

    def mean_of_mlp(out: Float[Tensor, "batch pos d_model"], hook: object) -> Tensor:
        return out.mean((0, 1), keepdim=True).expand_as(out)

    found = []
    for layer in range(model.cfg.n_layers):
        for head in range(model.cfg.n_heads):
            found.append((f"head {layer}.{head}", (patching.z_name(layer), mean_of_head(head))))
        found.append((f"MLP {layer}", (f"blocks.{layer}.hook_mlp_out", mean_of_mlp)))
    return found


def _attention_at(
    pattern: Float[Tensor, "batch key"],
    tokens: Int[Tensor, "batch pos"],
    wanted: Int[Tensor, " batch"],
    first: bool,
) -> float:
    rows = []
    for attention, row, token in zip(pattern, tokens, wanted, strict=True):
        places = (row == token).nonzero()[:, 0]
        rows.append(attention[places[0 if first else -1]])
    return torch.stack(rows).mean().item()


def _head(name: str) -> Head:
    layer, head = name.removeprefix("head ").split(".")
    return int(layer), int(head)
