"""Inputs that the student has never seen: everything a check draws comes from one seed."""

import hashlib
import json
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from random import Random
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from mechinterp_course.layout import embedded_data
from mechinterp_course.models import PROCESS_STATE

if TYPE_CHECKING:
    from torchvision.models import ResNet
    from transformer_lens.model_bridge import TransformerBridge

UNSEEN_PICTURES = 2**52  # training and its judges draw their seeds below 2**50, figures a little above
T = TypeVar("T")


def check_seed(batch_seed: int, name: str) -> int:
    """Return the seed of one check, e.g. "ch03_induction_heads.induction_score.agrees", within a batch."""
    return int.from_bytes(hashlib.sha256(f"{batch_seed}:{name}".encode()).digest()[:6], "big")


@contextmanager
def seeded_generators(seed: int) -> Iterator[None]:
    """Seed the global generators of torch, NumPy and Python inside `with`; their states come back after.

    One thread at a time: the generators belong to the whole process.
    """
    with PROCESS_STATE:
        states = torch.random.get_rng_state(), np.random.get_state(), random.getstate()
        torch.random.default_generator.manual_seed(seed)
        np.random.seed(seed % 2**32)
        random.seed(seed)
        try:
            yield
        finally:
            torch.random.set_rng_state(states[0])
            np.random.set_state(states[1])
            random.setstate(states[2])


class Draw:
    """One check's source of random inputs. Equal seeds and equal calls give equal inputs, on any device.

    Tensors are drawn on the CPU and moved to `device`. The sizes of one drawn tensor's axes differ from each
    other, where its meaning allows it, so that mixed-up axes show.
    """

    def __init__(self, seed: int, device: str = "cpu"):
        self.origin = seed
        self.device = device
        self._random = Random(seed)
        self._models: dict[str, TransformerBridge] = {}

    @property
    def student_seed(self) -> int:
        """The seed of the student's own generators in this check; what is drawn can't be told from it."""
        return check_seed(self.origin, "student")

    def restart(self) -> "Draw":
        """Return a draw that gives the same inputs again, with models of its own."""
        return Draw(self.origin, self.device)

    def fork(self, name: str) -> "Draw":
        """Return an independent draw, fixed by this one's seed and `name`, not by what was drawn before."""
        return Draw(check_seed(self.origin, name), self.device)

    def seed(self) -> int:
        """Return a new seed for something else, below 2**31."""
        return self._random.randrange(2**31)

    def integer(self, low: int, high: int) -> int:
        """Return a whole number from `low` to `high`, both included."""
        return self._random.randint(low, high)

    def choice(self, options: Sequence[T]) -> T:
        """Return one of the options."""
        return self._random.choice(options)

    def normal(self, *shape: int) -> Float[Tensor, "..."]:
        """Return independent standard normal values, float32."""
        return torch.randn(*shape, generator=self._generator()).to(self.device)

    def tokens(self, batch: int, length: int, d_vocab: int) -> Int[Tensor, "batch pos"]:
        """Return uniformly random token ids, int64."""
        return torch.randint(d_vocab, (batch, length), generator=self._generator()).to(self.device)

    def attention_patterns(self, count: int = 3) -> list[Float[Tensor, "batch head query key"]]:
        """Return causal patterns of several sizes; each row sums to one. The third has a batch of one."""
        return [self._pattern(self.integer(6, 12), single=(index == 2)) for index in range(count)]

    def repeat_patterns(self, count: int = 3) -> list[tuple[Float[Tensor, "batch head query key"], int]]:
        """Return (pattern, length): causal patterns over a BOS token and `length` tokens that come twice.

        Each has 2·length + 1 positions and another length, 4 to 12; the third has a batch of one.
        """
        lengths = self._random.sample(range(4, 13), count)
        return [
            (self._pattern(2 * length + 1, single=(index == 2)), length)
            for index, length in enumerate(lengths)
        ]

    def language_model(self, name: str = "course-gpt2") -> "TransformerBridge":
        """Return an embedded model whose heads are permuted in every layer: the same function, other labels.

        The permutation is fixed by this draw's seed; one draw gives one object for each name, and a fork
        gives another permutation.
        """
        if name not in self._models:
            from mechinterp_course.models import load_language_model

            self._models[name] = load_language_model(
                name, device=self.device, head_order=self.head_order(name)
            )
        return self._models[name]

    def head_order(self, name: str) -> tuple[tuple[int, ...], ...]:
        """Return this draw's order of the heads in each layer of an embedded model, never the model's own."""
        config = json.loads((embedded_data(name) / "config.json").read_text(encoding="utf-8"))
        source = Random(check_seed(self.origin, f"head order of {name}"))
        return tuple(_other_order(config["n_head"], source) for _ in range(config["n_layer"]))

    def vision_model(self, name: str = "course-resnet18") -> "ResNet":
        """Return an embedded ResNet whose hidden channels have other numbers: same function, other labels.

        No channel keeps its number. The order is fixed by this draw's seed; one draw gives one object for
        each name, and a fork gives another order.
        """
        if name not in self._models:
            from mechinterp_course.models import load_vision_model

            self._models[name] = load_vision_model(
                name, device=self.device, channel_seed=self.channel_seed(name)
            )
        return self._models[name]

    def channel_seed(self, name: str) -> int:
        """Return the seed of this draw's order of an embedded ResNet's channels."""
        return check_seed(self.origin, f"channel order of {name}")

    def image_seeds(self, count: int) -> list[int]:
        """Return seeds for `worlds.images`, of pictures that no training, judge or figure has used."""
        return [UNSEEN_PICTURES + self._random.randrange(UNSEEN_PICTURES) for _ in range(count)]

    def images(self, count: int) -> Float[Tensor, "batch 3 64 64"]:
        """Return pictures of `worlds.images`, colours in [0, 1], of objects of random classes."""
        from mechinterp_course.worlds import images

        return images.batch(self.image_seeds(count)).images.to(self.device)

    def _pattern(self, length: int, single: bool) -> Float[Tensor, "batch head query key"]:
        head = self.integer(3, 5)
        batch = 1 if single else self.choice([size for size in range(2, 6) if size != head])
        scores = 2 * torch.randn(batch, head, length, length, generator=self._generator())
        future = torch.ones(length, length, dtype=torch.bool).triu(1)
        return scores.masked_fill(future, -torch.inf).softmax(-1).to(self.device)

    def _generator(self) -> torch.Generator:
        return torch.Generator().manual_seed(self.seed())


def _other_order(heads: int, source: Random) -> tuple[int, ...]:
    original = tuple(range(heads))
    order = original
    while order == original and heads > 1:
        order = tuple(source.sample(original, heads))
    return order
