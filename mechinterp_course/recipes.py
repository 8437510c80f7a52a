"""How each embedded model is made: architecture, initial weights, rows, learning rate, and a first nudge."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from tokenizers import Tokenizer
from torch import Tensor
from transformers import GPT2Config, GPT2LMHeadModel

from mechinterp_course.worlds.batches import Rows, guided_rows, mixed_rows, positional_rows
from mechinterp_course.worlds.tokenizer import END_OF_TEXT

Head = tuple[int, int]
SMALLEST = 1e-6  # attention, so that its logarithm is finite


@dataclass(frozen=True)
class Guide:
    """Where the induction circuit is to form, and for how many steps attention is rewarded for it.

    Each of the heads is useless before the others exist. Without a guide, 2,300 steps (2.4 million tokens)
    had not brought the circuit about, though from smaller initial embeddings; whether it forms from these
    was not tried. The reward fades to nothing over `steps`; from then on the language modelling loss alone
    keeps the heads and shapes what they write.
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
    """How an embedded model is made; `rows` is asked for `batch` rows of `length` ids for each step."""

    layers: int
    d_model: int
    heads: int
    steps: int
    rows: Callable[[Tokenizer, int, int, int], Rows]
    guide: Guide | None = None
    batch: int = 16
    length: int = 128
    learning_rate: float = 2e-3
    warmup: int = 100
    weight_decay: float = 0.01

    def rate(self, step: int, steps: int) -> float:
        """Return the learning rate of `step`: up over the warm-up, level while guided, then down to zero."""
        level = self.guide.steps if self.guide else 0
        falling = (steps - step) / max(steps - level, 1)
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
        4, 192, 6, steps=2400, rows=mixed_rows, guide=Guide((0, 3), ((2, 1), (2, 4)), steps=400)
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
        attn_implementation="eager",  # the guide reads attention patterns
    )
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(seed)
        model = GPT2LMHeadModel(config)
        model.transformer.wte.weight.normal_(std=0.1)
        model.transformer.wpe.weight.copy_(0.14 * sinusoids(config.n_positions, recipe.d_model))
    return model


def sinusoids(positions: int, d_model: int) -> Float[Tensor, "pos d_model"]:
    """Return sines and cosines of each position, at frequencies from 1 down to 1/256 radian per position."""
    frequencies = torch.exp(-math.log(256) * torch.arange(0, d_model, 2) / d_model)
    angles = torch.arange(positions)[:, None] * frequencies
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(start_dim=1)
