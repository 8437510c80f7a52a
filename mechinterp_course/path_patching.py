"""Which way an effect takes: patch one head's output into one input of others, and hold the rest still."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, Int
from torch import Tensor

from mechinterp_course.hooks import edit
from mechinterp_course.patched_runs import without_norm_warnings
from mechinterp_course.patching import Metric, patch_head_output, z_name

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

Head = tuple[int, int]  # (layer, head)
Tokens = Int[Tensor, "batch pos"]
Logits = Float[Tensor, "batch pos d_vocab"]

DIRECT = ("heads", "mlps")


@dataclass(frozen=True)
class PathEffect:
    """What a path carries: the metric of the patched run and of the two intact ones, and what was frozen.

    `str()` says it in words, for an effect along a path means nothing without them.
    """

    value: float
    clean: float
    corrupted: float
    sender: Head
    receivers: tuple[Head, ...]
    through: str
    frozen: tuple[str, ...]
    layer_norm: str

    @property
    def share(self) -> float:
        """The effect as a part of the way from the corrupted run (0) to the clean one (1).

        Raises ValueError where both runs have the same metric.
        """
        if self.clean == self.corrupted:
            raise ValueError("the metric is the same on both intact runs: there is nothing to share")
        return (self.value - self.corrupted) / (self.clean - self.corrupted)

    def __str__(self) -> str:
        receivers = ", ".join(f"{layer}.{head}" for layer, head in self.receivers)
        between = [f"{kind} {'frozen' if kind in self.frozen else 'recomputed'}" for kind in DIRECT]
        return (
            f"{self.sender[0]}.{self.sender[1]} -> {self.through} of {receivers}: {self.share:.2f} "
            f"of the way from {self.corrupted:.3f} to {self.clean:.3f} ({', '.join(between)} on the way, "
            f"LayerNorm {self.layer_norm})"
        )


def path_patch(
    model: "TransformerBridge",
    clean: Tokens,
    corrupted: Tokens,
    metric: Metric,
    sender: Head,
    receivers: Head | Sequence[Head],
    through: str = "k",
    frozen: Collection[str] = DIRECT,
    layer_norm: str = "recomputed",
) -> PathEffect:
    """How much of the behaviour comes back when only this path is given the clean run: see `path_logits`.

    `metric` is a function of logits [batch, pos, d_vocab], such as one of `metrics`.
    """
    receivers = as_list(receivers)
    logits = path_logits(model, clean, corrupted, sender, receivers, through, frozen, layer_norm)
    with torch.no_grad():
        values = [float(metric(each)) for each in (logits, model(clean), model(corrupted))]
    kept = tuple(kind for kind in DIRECT if kind in frozen)
    return PathEffect(*values, sender, tuple(receivers), through, kept, layer_norm)


def path_logits(
    model: "TransformerBridge",
    clean: Tokens,
    corrupted: Tokens,
    sender: Head,
    receivers: Head | Sequence[Head],
    through: str = "k",
    frozen: Collection[str] = DIRECT,
    layer_norm: str = "recomputed",
) -> Logits:
    """Logits of the corrupted run where the receivers read what they would, had the sender read clean tokens.

    Two steps. First, a corrupted run with the sender's z from the clean one, in which the nodes named in
    `frozen` keep their corrupted values: it gives the receivers' new q, k or v (`through`). Then a corrupted
    run with that in place, and all else free. `frozen` says which paths are followed:

        ("heads", "mlps")   the residual stream alone, straight from sender to receiver: the direct effect
        ("heads",)          also MLPs on the way, as in Wang et al. 2022 ("Interpretability in the Wild")
        ()                  every path that ends in this input of a receiver

    `layer_norm` "frozen" holds the scales of the LayerNorms on the way as well, so that along the direct path
    the change is linear in the sender's; "recomputed" lets them follow, as the model would.

    Sender and receivers are (layer, head). Raises ValueError for another `through`, `frozen` or `layer_norm`,
    and where a receiver is not in a layer above the sender.
    """
    receivers = as_list(receivers)
    expect_path(sender, receivers, through, frozen, layer_norm)
    moved = moved_inputs(
        model, clean, corrupted, sender, {m for m, _ in receivers}, through, frozen, layer_norm
    )
    patches = {
        input_name(layer, through): _replace(new, [head for where, head in receivers if where == layer])
        for layer, new in moved.items()
    }
    with torch.no_grad(), edit(model, patches):
        return model(corrupted)


def moved_inputs(
    model: "TransformerBridge",
    clean: Tokens,
    corrupted: Tokens,
    sender: Head,
    layers: Collection[int],
    through: str,
    frozen: Collection[str] = DIRECT,
    layer_norm: str = "recomputed",
) -> dict[int, Float[Tensor, "batch pos head d_head"]]:
    """The first step of `path_logits`: the q, k or v of all heads of these layers, by layer."""
    z = z_name(sender[0])
    _, cache = model.run_with_cache(clean, names_filter=z)
    names = [input_name(layer, through) for layer in layers]
    held = _held(model, corrupted, sender, frozen, layer_norm)
    edits = {**held, z: _replace(cache[z], [sender[1]])}
    with torch.no_grad(), without_norm_warnings(), edit(model, edits):
        _, moved = model.run_with_cache(corrupted, names_filter=names)
    return {layer: moved[input_name(layer, through)] for layer in layers}


def patch_path(
    model: "TransformerBridge",
    tokens: Tokens,
    source: Tokens,
    sender: Head,
    receivers: Sequence[Head],
    into: str,
    frozen: Collection[str] = DIRECT,
) -> Logits:
    """`path_logits` from `source` into the run on `tokens`, with LayerNorm recomputed."""
    return path_logits(model, source, tokens, sender, receivers, into, frozen)


def share_of_effect(
    model: "TransformerBridge",
    tokens: Tokens,
    source: Tokens,
    sender: Head,
    receivers: Sequence[Head],
    into: str,
    metric: Metric,
    frozen: Collection[str] = DIRECT,
) -> float:
    """What part of the sender's effect on `metric` takes the path of `patch_path`.

    The whole effect is what patching the sender's z from `source` into the run on `tokens` changes, with
    nothing frozen. Shares of several paths need not add up to 1: paths can cancel, or back each other up.
    Raises ValueError where the sender has no effect to share.
    """
    intact = float(metric(model(tokens)))
    whole = intact - float(metric(patch_head_output(model, source, tokens, *sender)))
    if whole == 0:
        raise ValueError(f"patching head {sender} changes nothing: there is no effect to share")
    path = patch_path(model, tokens, source, sender, receivers, into, frozen)
    return (intact - float(metric(path))) / whole


def input_name(layer: int, through: str) -> str:
    """The hook point of a layer's q, k or v; shape [batch, pos, head, d_head]."""
    return f"blocks.{layer}.attn.hook_{through}"


def expect_path(
    sender: Head, receivers: Sequence[Head], through: str, frozen: Collection[str], layer_norm: str
) -> None:
    """Raise ValueError where such a path is none."""
    if through not in ("q", "k", "v"):
        raise ValueError(f'a path goes through "q", "k" or "v", not {through!r}')
    if isinstance(frozen, str) or not set(frozen) <= set(DIRECT):
        raise ValueError(f'frozen names "heads", "mlps", both or neither, as a tuple, not {frozen!r}')
    if layer_norm not in ("frozen", "recomputed"):
        raise ValueError(f'layer_norm is "frozen" or "recomputed", not {layer_norm!r}')
    if not receivers or any(layer <= sender[0] for layer, _ in receivers):
        raise ValueError(f"receivers are in layers above {sender[0]}, not {receivers!r}")


def as_list(receivers: Head | Sequence[Head]) -> list[Head]:
    """Receivers as a list of (layer, head), one alone too."""
    alone = bool(receivers) and isinstance(receivers[0], int)
    return [tuple(receivers)] if alone else [tuple(one) for one in receivers]


def _held(
    model: "TransformerBridge", tokens: Tokens, sender: Head, frozen: Collection[str], layer_norm: str
) -> dict[str, Callable[[Tensor], Tensor]]:
    """Edits that hold what is frozen at its values on `tokens`; the heads of the sender's layer need none."""
    layers = range(sender[0] + 1, model.cfg.n_layers)
    names = [z_name(layer) for layer in layers if "heads" in frozen]
    names += [f"blocks.{layer}.hook_mlp_out" for layer in (sender[0], *layers) if "mlps" in frozen]
    if layer_norm == "frozen":
        names += [f"blocks.{layer}.ln1.hook_scale" for layer in layers]
        names += [f"blocks.{layer}.ln2.hook_scale" for layer in (sender[0], *layers)]
    names = [name for name in names if name in model.hook_dict]
    _, cache = model.run_with_cache(tokens, names_filter=names)
    return {name: lambda value, held=cache[name]: held for name in names}


def _replace(values: Float[Tensor, "batch pos head d_head"], heads: list[int]) -> Callable[[Tensor], Tensor]:
    def replace(vectors: Float[Tensor, "batch pos head d_head"]) -> Float[Tensor, "batch pos head d_head"]:
        vectors[:, :, heads] = values[:, :, heads]
        return vectors

    return replace
