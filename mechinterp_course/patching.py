"""What is causal: replace one head's output in a running model, and see what changes."""

from typing import TYPE_CHECKING

from einops import reduce
from jaxtyping import Float, Int
from torch import Tensor

from mechinterp_course.metrics import loss_per_token

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge


def ablate_head(
    model: "TransformerBridge",
    tokens: Int[Tensor, "batch pos"],
    layer: int,
    head: int,
    kind: str = "zero",
) -> Float[Tensor, "batch pos d_vocab"]:
    """Logits of the model on `tokens` with one head's output z (`hook_z`, before W_O) replaced by a constant.

    kind="zero" puts zeros in its place; kind="mean" puts the head's own mean over batch and positions of
    these tokens there. Any other kind raises ValueError. No hook is left behind.
    """
    if kind not in ("zero", "mean"):
        raise ValueError(f'kind is "zero" or "mean", not {kind!r}')

    def ablate(
        z: Float[Tensor, "batch pos head d_head"], hook: object
    ) -> Float[Tensor, "batch pos head d_head"]:
        z = z.clone()
        z[:, :, head] = 0.0 if kind == "zero" else reduce(z[:, :, head], "batch pos d_head -> d_head", "mean")
        return z

    with model.hooks(fwd_hooks=[(z_name(layer), ablate)]):
        return model(tokens)


def patch_head_output(
    model: "TransformerBridge",
    clean: Int[Tensor, "batch pos"],
    corrupted: Int[Tensor, "batch pos"],
    layer: int,
    head: int,
) -> Float[Tensor, "batch pos d_vocab"]:
    """Logits of the corrupted run with one head's z replaced by the z that it has in the clean run.

    With the arguments in this order it is denoising: can this head alone restore the behaviour? Swap `clean`
    and `corrupted` for noising: does spoiling this head alone destroy it? The two answer different questions
    (Heimersheim & Nanda 2024, "How to use and interpret activation patching").
    """
    _, cache = model.run_with_cache(clean, names_filter=z_name(layer))
    clean_z = cache[z_name(layer)]

    def patch(
        z: Float[Tensor, "batch pos head d_head"], hook: object
    ) -> Float[Tensor, "batch pos head d_head"]:
        z = z.clone()
        z[:, :, head] = clean_z[:, :, head]
        return z

    with model.hooks(fwd_hooks=[(z_name(layer), patch)]):
        return model(corrupted)


def rank_heads_by_effect(
    model: "TransformerBridge", tokens: Int[Tensor, "batch pos"]
) -> list[tuple[int, int, float]]:
    """(layer, head, effect) for every head of the model, largest effect first; tokens from `repeated_tokens`.

    The effect of a head is the rise, in nats, of the mean loss over tokens 2..length of the second copy when
    the head is zero-ablated. It is negative for a head whose removal helps.
    """
    intact = second_copy_loss(model(tokens), tokens)
    effects = [
        (layer, head, second_copy_loss(ablate_head(model, tokens, layer, head), tokens) - intact)
        for layer in range(model.cfg.n_layers)
        for head in range(model.cfg.n_heads)
    ]
    return sorted(effects, key=lambda row: row[2], reverse=True)


def second_copy_loss(logits: Float[Tensor, "batch pos d_vocab"], tokens: Int[Tensor, "batch pos"]) -> float:
    """Mean loss, in nats, over tokens 2..length of the second copy of `repeated_tokens`."""
    length = (tokens.shape[1] - 1) // 2
    return loss_per_token(logits, tokens)[:, length + 1 : 2 * length].mean().item()


def z_name(layer: int) -> str:
    """The hook point of a layer's z, what each head has read before W_O; shape [batch, pos, head, d_head]."""
    return f"blocks.{layer}.attn.hook_z"
