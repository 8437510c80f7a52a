# ---
# jupyter:
#   kernelspec: {"display_name": "Python 3", "language": "python", "name": "python3"}
#   mechinterp_course: {"chapter": "ch19_what_a_head_does"}
# ---

# %% [markdown]
r"""
# What a head does

Ada. My answers again, without the text.
"""

# %% tags=["given"]
import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

from mechinterp_course.checking import expect, expect_close, expect_equal, expect_raises
from mechinterp_course.heads import find_induction_heads, induction_score
from mechinterp_course.metrics import copying_gain, loss_per_token
from mechinterp_course.worlds.tokens import repeated_tokens


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
The lead decides whether the claim is true; the loss only has to be made to hear it.
"""


# %%
def refute_redundancy(
    model: TransformerBridge,
    tokens: Int[Tensor, "batch pos"],
    answers: Int[Tensor, " batch"],
    layer: int,
    head: int,
) -> list[tuple[int, int]] | None:
    """The company in which the head's silence costs loss, or None if the head is redundant."""

    def measure(silenced):
        hooks = []
        for at, number in silenced:

            def silence(z, hook, number=number):
                z[:, :, number] = 0
                return z

            hooks.append((f"blocks.{at}.attn.hook_z", silence))
        logits = model.run_with_hooks(tokens, fwd_hooks=hooks)[:, -1]
        right = logits.gather(1, answers[:, None])[:, 0]
        return (logits.logsumexp(1) - right).mean().item(), (right - logits.mean(1)).mean().item()

    target, intact = (layer, head), measure([])
    if intact[1] - measure([target])[1] < 0.75:
        return None
    others = [(at, number) for at in range(model.cfg.n_layers) for number in range(model.cfg.n_heads)]
    others.remove(target)
    for company in [[], *([one] for one in others), *([one, two] for one in others for two in others)]:
        loss, lead = measure(company)
        if lead >= intact[1] / 2 and measure([*company, target])[0] - loss >= 1:
            return company
    return None


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
