"""Turn a language model: add a direction to its stream, take one out, or hold a feature of a dictionary.

Only inside `with`, and at every position of every run: in prompts and in generated tokens, with or without a
cache of keys and values. `hook` is a TransformerLens name such as "blocks.3.hook_resid_pre"; blocks nest.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from mechinterp_course.directions import class_direction
from mechinterp_course.hooks import edit
from mechinterp_course.sae import Autoencoder

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

Direction = Float[Tensor, " d_model"]
Positions = slice | Int[Tensor, " n"] | Bool[Tensor, "batch pos"] | list[int] | None


@contextmanager
def adding(
    model: "TransformerBridge",
    hook: str,
    direction: Direction,
    amount: float,
    positions: Positions = None,
) -> Iterator[None]:
    """Add `amount` times the direction at a hook: activation addition (Turner et al. 2023).

    The direction is taken as it is: with length 1, `amount` is in units of the activation. `positions` are
    those of the tokens that a run is given, from 0, or a mask [batch, pos] of them; without, all. While
    generating with a cache a run is given one token, so positions are for prompts.

    Raises CourseError for a hook that the model doesn't have.
    """

    def add(activation: Float[Tensor, "batch pos d_model"]) -> Float[Tensor, "batch pos d_model"]:
        return _at(activation, activation + amount * direction.to(activation), positions)

    with edit(model, {hook: add}):
        yield


@contextmanager
def ablating(
    model: "TransformerBridge",
    hook: str,
    direction: Direction,
    at: float = 0.0,
    positions: Positions = None,
) -> Iterator[None]:
    """Take the component along a direction out at a hook, or hold it at `at` times the unit direction.

    The direction may have any length but 0. With `at` the mean component on ordinary text, this is mean
    ablation of one direction, which leaves activations where the model knows them (Arditi et al. 2024 take
    `at` 0). `positions` as for `adding`.

    Raises CourseError for a hook that the model doesn't have.
    """

    def hold(activation: Float[Tensor, "batch pos d_model"]) -> Float[Tensor, "batch pos d_model"]:
        unit = (direction / direction.norm()).to(activation)
        held = activation + (at - activation @ unit)[..., None] * unit
        return _at(activation, held, positions)

    with edit(model, {hook: hold}):
        yield


@contextmanager
def clamping(
    model: "TransformerBridge",
    hook: str,
    sae: Autoencoder,
    feature: int,
    value: float,
    positions: Positions = None,
) -> Iterator[None]:
    """Hold one feature of a dictionary at a value; 0 ablates it. What the dictionary misses stays as it was.

    The activation x becomes x + decode(f') - decode(f), where f = encode(x) and f' is f with the feature at
    `value`: so the dictionary's error x - decode(f) is kept, and with the feature at its own value nothing
    changes (Templeton et al. 2024). `positions` as for `adding`.

    Raises CourseError for a hook that the model doesn't have.
    """

    def clamp(activation: Float[Tensor, "batch pos d_model"]) -> Float[Tensor, "batch pos d_model"]:
        feature_acts = sae.encode(activation)
        held = feature_acts.clone()
        held[..., feature] = value
        clamped = activation + sae.decode(held) - sae.decode(feature_acts)
        return _at(activation, clamped, positions)

    with edit(model, {hook: clamp}):
        yield


def difference_of_means(
    positive: Float[Tensor, "example d_model"], negative: Float[Tensor, "other d_model"]
) -> Direction:
    """The unit vector from the mean of `negative` to that of `positive`, one row for each example.

    What else differs between the two, differs in the direction too: match them in everything else.
    """
    return class_direction(positive, negative)


def _at(
    intact: Float[Tensor, "batch pos d_model"],
    changed: Float[Tensor, "batch pos d_model"],
    positions: Positions,
) -> Float[Tensor, "batch pos d_model"]:
    """The changed activation at some positions, the intact one elsewhere."""
    if positions is None:
        return changed
    chosen = torch.zeros(intact.shape[:2], dtype=torch.bool, device=intact.device)
    if isinstance(positions, Tensor) and positions.dtype == torch.bool:
        chosen |= positions.to(chosen.device)
    else:
        chosen[:, positions] = True
    return torch.where(chosen[..., None], changed, intact)
