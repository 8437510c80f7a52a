"""What a language model answers on samples of the text world, against what is true there."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, Int
from torch import Tensor

from mechinterp_course.text_rows import TextRows
from mechinterp_course.worlds.text.sample import Sample
from mechinterp_course.worlds.tokenizer import token_ids

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

BATCH = 64


@dataclass(frozen=True)
class Outcome:
    """How a model does on some samples, judged where each prompt ends.

    `prefers` is the share in which the answer's logit beats the rival's, `says` the share in which it beats
    every other token's; `difference` is the mean logit of the answer minus the rival's.
    """

    prefers: float
    says: float
    difference: float


def draw_many(draw: Callable[[Random], Sample], count: int, seed: int) -> list[Sample]:
    """Return `count` samples from one generator; as training does, `draw` is given nothing else."""
    rng = Random(f"measured {seed}")
    return [draw(rng) for _ in range(count)]


def tokens_of(
    model: "TransformerBridge", prompts: Sequence[str]
) -> tuple[Int[Tensor, "batch pos"], Int[Tensor, " batch"]]:
    """Return rows of BOS and a prompt, filled up on the right, and the place of each one's last token."""
    tokenizer, bos = model.tokenizer.backend_tokenizer, TextRows(model).bos
    ids = [[bos, *token_ids(tokenizer, prompt)] for prompt in prompts]
    longest = max(map(len, ids))
    rows = torch.tensor([row + [bos] * (longest - len(row)) for row in ids])
    return rows, torch.tensor([len(row) - 1 for row in ids])


def word_ids(model: "TransformerBridge", words: Sequence[str]) -> Int[Tensor, " batch"]:
    """Return the id of each word with its leading space; every word of the world has one."""
    tokenizer = model.tokenizer.backend_tokenizer
    return torch.tensor([token_ids(tokenizer, f" {word}")[0] for word in words])


def final_logits(model: "TransformerBridge", prompts: Sequence[str]) -> Float[Tensor, "batch d_vocab"]:
    """Return the logits at each prompt's last token."""
    found = []
    for start in range(0, len(prompts), BATCH):
        tokens, last = tokens_of(model, prompts[start : start + BATCH])
        logits = model(tokens.to(model.cfg.device)).cpu()
        found.append(logits[torch.arange(len(last)), last])
    return torch.cat(found)


def outcome(model: "TransformerBridge", samples: Sequence[Sample]) -> Outcome:
    """Return how the model does on `samples`."""
    logits = final_logits(model, [sample.prompt for sample in samples])
    answer = logits.gather(1, word_ids(model, [sample.answer for sample in samples])[:, None])[:, 0]
    rival = logits.gather(1, word_ids(model, [sample.rival for sample in samples])[:, None])[:, 0]
    return Outcome(
        prefers=(answer > rival).double().mean().item(),
        says=(answer == logits.amax(1)).double().mean().item(),
        difference=(answer - rival).mean().item(),
    )
