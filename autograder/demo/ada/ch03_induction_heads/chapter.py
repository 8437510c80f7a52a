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
