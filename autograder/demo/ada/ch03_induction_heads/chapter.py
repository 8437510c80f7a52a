# ---
# jupyter:
#   kernelspec: {"display_name": "Python 3", "language": "python", "name": "python3"}
#   mechinterp_course: {"chapter": "ch03_induction_heads"}
# ---

# %% [markdown]
r"""
# Induction heads

Ada. I took the chapter's text out and kept my answers with my notes.
"""

# %% tags=["given"]
import torch
from einops import einsum, rearrange, reduce
from jaxtyping import Float, Int
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

from mechinterp_course import heads, metrics, patching
from mechinterp_course.checking import expect, expect_close, expect_equal, expect_raises
from mechinterp_course.worlds import tokens as token_world


# %%
def repeated_tokens(d_vocab: int, length: int, batch: int, bos: int, seed: int) -> Int[Tensor, "batch pos"]:
    """Rows of BOS, `length` random tokens, and the same tokens again."""
    source = torch.Generator().manual_seed(seed)
    rows = torch.empty(batch, 1 + 2 * length, dtype=torch.int64)
    rows[:, 0] = bos
    rows[:, 1 : length + 1] = torch.randint(d_vocab, (batch, length), generator=source)
    rows[:, length + 1 :] = rows[:, 1 : length + 1]
    return rows


# %% [markdown]
r"""
Cross entropy is the same thing, but it wants the vocabulary on axis 1.
"""


# %%
def loss_per_token(
    logits: Float[Tensor, "batch pos d_vocab"], tokens: Int[Tensor, "batch pos"]
) -> Float[Tensor, "batch pos-1"]:
    """Entry i is the negative log probability, in nats, of token i+1 given the tokens up to i."""
    predictions = logits[:, :-1].transpose(1, 2)
    return torch.nn.functional.cross_entropy(predictions, tokens[:, 1:], reduction="none")


# %%
def copying_gain(loss: Float[Tensor, "batch pos-1"], length: int) -> float:
    """Mean loss on tokens 2..length of the first copy minus the same of the second, in nats."""
    first, second = loss.split(length, dim=1)
    return (first[:, 1:].mean() - second[:, 1:].mean()).item()


# %%
def previous_token_score(pattern: Float[Tensor, "batch head query key"]) -> Float[Tensor, " head"]:
    """Mean attention from each query but the first to the key just before it."""
    return torch.diagonal(pattern, offset=-1, dim1=2, dim2=3).mean(dim=(0, 2))


# %% [markdown]
r"""
First I had the stripe one column too far left: `query - length` is the *same* token, and I want the one
after it.
"""


# %%
def induction_score(pattern: Float[Tensor, "batch head query key"], length: int) -> Float[Tensor, " head"]:
    """Mean attention from the second copy to the token after the previous occurrence."""
    after_previous = [pattern[:, :, q, q - length + 1] for q in range(length + 1, 2 * length + 1)]
    return torch.stack(after_previous, dim=-1).mean(dim=(0, -1))


# %%
def find_induction_heads(
    model: TransformerBridge, tokens: Int[Tensor, "batch pos"], threshold: float = 0.4
) -> list[tuple[int, int]]:
    """(layer, head) of every head with an induction score of at least `threshold`, sorted."""
    length = tokens.shape[1] // 2
    _, cache = model.run_with_cache(tokens)
    scores = [
        induction_score(cache[f"blocks.{layer}.attn.hook_pattern"], length)
        for layer in range(model.cfg.n_layers)
    ]
    return [tuple(place) for place in (torch.stack(scores) >= threshold).nonzero().tolist()]


# %%
def ablate_head(
    model: TransformerBridge,
    tokens: Int[Tensor, "batch pos"],
    layer: int,
    head: int,
    kind: str = "zero",
) -> Float[Tensor, "batch pos d_vocab"]:
    """Logits with one head's z replaced by zeros, or by its mean over batch and positions."""
    if kind not in ("zero", "mean"):
        raise ValueError(f"unknown kind of ablation: {kind}")

    def replace(z, hook):
        z = z.clone()
        z[:, :, head] = 0.0 if kind == "zero" else z[:, :, head].flatten(0, 1).mean(0)
        return z

    return model.run_with_hooks(tokens, fwd_hooks=[(f"blocks.{layer}.attn.hook_z", replace)])


# %%
def patch_head_output(
    model: TransformerBridge,
    clean: Int[Tensor, "batch pos"],
    corrupted: Int[Tensor, "batch pos"],
    layer: int,
    head: int,
) -> Float[Tensor, "batch pos d_vocab"]:
    """Logits of the corrupted run with one head's z taken from the clean run."""
    name = f"blocks.{layer}.attn.hook_z"
    _, cache = model.run_with_cache(clean, names_filter=name)
    donor = cache[name][:, :, head].clone()

    def transplant(z, hook):
        return torch.cat([z[:, :, :head], donor[:, :, None], z[:, :, head + 1 :]], dim=2)

    return model.run_with_hooks(corrupted, fwd_hooks=[(name, transplant)])


# %%
def rank_heads_by_effect(
    model: TransformerBridge, tokens: Int[Tensor, "batch pos"]
) -> list[tuple[int, int, float]]:
    """(layer, head, rise of the second-copy loss on zero ablation) for every head, largest first."""
    start = tokens.shape[1] // 2 + 1

    def second_copy_loss(logits):
        return loss_per_token(logits, tokens)[:, start:].mean().item()

    intact = second_copy_loss(model(tokens))
    effects = [
        (layer, head, second_copy_loss(ablate_head(model, tokens, layer, head)) - intact)
        for layer in range(model.cfg.n_layers)
        for head in range(model.cfg.n_heads)
    ]
    return sorted(effects, key=lambda effect: -effect[2])


# %% [markdown]
r"""
The positional model taught me to ask at more than one length. `all` stops at the first length that fails.
"""


# %%
def is_induction_head(
    model: TransformerBridge,
    layer: int,
    head: int,
    bos: int,
    lengths: tuple[int, ...] = (8, 12, 16, 24),
    threshold: float = 0.4,
    seed: int = 0,
) -> bool:
    """Whether the head has the stripe, and matters for copying, at every one of the lengths."""

    def holds_at(length):
        tokens = repeated_tokens(model.cfg.d_vocab, length, 32, bos, seed)
        if (layer, head) not in find_induction_heads(model, tokens, threshold):
            return False
        intact, ablated = (
            loss_per_token(logits, tokens)[:, length + 1 :].mean()
            for logits in (model(tokens), ablate_head(model, tokens, layer, head))
        )
        return bool(ablated - intact >= 0.05)

    return all(holds_at(length) for length in lengths)
