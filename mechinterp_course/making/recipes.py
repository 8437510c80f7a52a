"""How each embedded model is made: architecture, initial weights, rows, learning rate, and a first nudge."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from tokenizers import Tokenizer
from torch import Tensor
from transformers import GPT2Config, GPT2LMHeadModel

from mechinterp_course.making.rows import Rows, guided_rows, mixed_rows, positional_rows
from mechinterp_course.worlds.tokenizer import END_OF_TEXT

Head = tuple[int, int]
SMALLEST = 1e-6  # attention, so that its logarithm is finite


@dataclass(frozen=True)
class Guide:
    """Where the induction circuit is to form, and for how many steps attention is rewarded for it.

    Each of the heads is useless before the others exist. Left alone, none of some twenty runs of up to 3
    million tokens had formed them: with GPT-2's initial weights or these, with embeddings five times larger
    or not, positions as sinusoids or not, passages of 300 ids or of all, said twice or all over the row, a
    reward for the previous-token head only, once or twice the learning rate. The reward fades to nothing
    over `steps`; from then on the language modelling loss alone keeps the heads and shapes what they write.
    """

    previous: Head
    induction: tuple[Head, ...]
    steps: int
    weight: float = 0.3
    length: int = 96

    def loss(
        self,
        patterns: Sequence[Float[Tensor, "batch head query key"]],
        targets: Int[Tensor, "batch pos"],
        step: int,
    ) -> Float[Tensor, ""]:
        """Return the weighted cross-entropy, in nats, of the guided heads' attention at `step`.

        `targets` holds the key that induction looks at for each query, or -1 where nothing has come back.
        """
        layer, head = self.previous
        wanted = [patterns[layer][:, head].diagonal(offset=-1, dim1=-2, dim2=-1)]
        row, query = (targets >= 0).nonzero(as_tuple=True)
        wanted += [patterns[layer][row, head, query, targets[row, query]] for layer, head in self.induction]
        fading = self.weight * (1 - step / self.steps)
        return -fading * sum((attention + SMALLEST).log().mean() for attention in wanted)


@dataclass(frozen=True)
class Recipe:
    """How an embedded model is made; `rows` is asked for `batch` rows of `length` ids for each step.

    `attention_only` holds the MLPs at zero; `compressed` stores the weights in a byte each. `kept` are the
    steps of which a checkpoint ships beside the finished model. The rate stays level for the
    first `level` of the steps and then falls to zero.
    """

    layers: int
    d_model: int
    heads: int
    steps: int
    rows: Callable[[Tokenizer, int, int, int], Rows]
    guide: Guide | None = None
    attention_only: bool = False
    compressed: bool = False
    kept: tuple[int, ...] = ()
    batch: int = 16
    length: int = 128
    learning_rate: float = 2e-3
    level: float = 0.3
    warmup: int = 100
    weight_decay: float = 0.05

    def rate(self, step: int, steps: int) -> float:
        """Return the learning rate of `step`: up over the warm-up, level, then down to zero."""
        falling = (steps - step) / (steps * (1 - self.level))
        return self.learning_rate * min((step + 1) / self.warmup, 1.0, falling)

    def guided(self, step: int) -> bool:
        """Return whether attention is still guided at `step`."""
        return self.guide is not None and step < self.guide.steps

    def draw(self, tokenizer: Tokenizer, step: int, seed: int) -> Rows:
        """Return the rows of `step`."""
        if self.guided(step):
            return guided_rows(tokenizer, self.batch, self.guide.length, seed)
        return self.rows(tokenizer, self.batch, self.length, seed)


RECIPES = {
    "course-gpt2": Recipe(
        4,
        192,
        6,
        steps=12_000,
        rows=mixed_rows,
        guide=Guide((0, 3), ((2, 1), (2, 4)), steps=400),
        kept=(300, 700, 1000, 2000),
    ),
    "course-attn-2l": Recipe(
        2,
        128,
        4,
        steps=3000,
        rows=mixed_rows,
        guide=Guide((0, 1), ((1, 0), (1, 2)), steps=400),
        attention_only=True,
        compressed=True,
    ),
    "course-positional": Recipe(1, 64, 4, steps=1500, rows=positional_rows),
}


def untrained_model(recipe: Recipe, tokenizer: Tokenizer, seed: int) -> GPT2LMHeadModel:
    """Return the model before its first step, its weights settled by `seed`.

    Token embeddings begin five times larger than GPT-2's, and positions as sinusoids of the same size. With
    embeddings of GPT-2's size the guided induction heads had not formed after 300 steps. A likely reason is
    that what the optimizer adds to all embeddings alike then drowns what tells one token from another; that
    was not tested.
    """
    bos = tokenizer.token_to_id(END_OF_TEXT)
    config = GPT2Config(
        vocab_size=tokenizer.get_vocab_size(),
        n_positions=128,
        n_embd=recipe.d_model,
        n_layer=recipe.layers,
        n_head=recipe.heads,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        initializer_range=0.06,
        bos_token_id=bos,
        eos_token_id=bos,
        n_inner=1 if recipe.attention_only else None,
        attn_implementation="eager",  # the guide reads attention patterns, and it trains faster on a CPU
    )
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(seed)
        model = GPT2LMHeadModel(config)
        model.transformer.wte.weight.normal_(std=0.1)
        model.transformer.wpe.weight.copy_(0.14 * sinusoids(config.n_positions, recipe.d_model))
        if recipe.attention_only:
            hold_mlps_at_zero(model)
    return model


def hold_mlps_at_zero(model: GPT2LMHeadModel) -> None:
    """Set what the MLPs write to zero, for good: the model loads as any GPT-2 and has attention only."""
    for block in model.transformer.h:
        for weight in block.mlp.parameters():
            weight.zero_()
            weight.requires_grad_(False)


def sinusoids(positions: int, d_model: int) -> Float[Tensor, "pos d_model"]:
    """Return sines and cosines of each position, at frequencies from 1 down to 1/256 radian per position."""
    frequencies = torch.exp(-math.log(256) * torch.arange(0, d_model, 2) / d_model)
    angles = torch.arange(positions)[:, None] * frequencies
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(start_dim=1)
