"""The induction circuit of an embedded model in numbers: who looks where, and what ablation does."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import torch
from einops import reduce
from jaxtyping import Float, Int
from torch import Tensor

from mechinterp_course import heads, metrics, patching
from mechinterp_course.making.rows import text_row
from mechinterp_course.worlds.tokens import repeated_tokens

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

Head = tuple[int, int]
HELD_OUT = 2**50  # training draws its seeds below 2**48
ROWS = 32
LENGTHS = {"course-positional": (16, 8, 12, 24, 40)}  # the first is the one that heads are judged at
LENGTHS |= dict.fromkeys(("course-gpt2", "course-gpt2-refusing", "course-attn-2l"), (30, 20, 40))


def second_copy(model: "TransformerBridge", length: int, seed: int) -> dict[str, float]:
    """Return the losses, in nats, on the first and the second copy of random tokens, without their first."""
    tokens = random_tokens(model, length, seed)
    loss = metrics.loss_per_token(model(tokens), tokens)
    second = patching.second_copy_loss(model(tokens), tokens)
    return {"first": round(second + metrics.copying_gain(loss, length), 3), "second": round(second, 3)}


def head_scores(model: "TransformerBridge", tokens: Int[Tensor, "batch pos"]) -> dict[str, list[list[float]]]:
    """Return previous-token, duplicate-token and induction scores, each as a list of layers of heads."""
    length = (tokens.shape[1] - 1) // 2
    _, cache = model.run_with_cache(tokens, names_filter=lambda name: name.endswith("hook_pattern"))
    patterns = [cache[heads.pattern_name(layer)] for layer in range(model.cfg.n_layers)]
    return {
        "previous_token": [_rounded(heads.previous_token_score(pattern)) for pattern in patterns],
        "duplicate_token": [_rounded(heads.duplicate_token_score(pattern, length)) for pattern in patterns],
        "induction": [_rounded(heads.induction_score(pattern, length)) for pattern in patterns],
    }


def ablation_hooks(chosen: Iterable[Head], kind: str) -> list[tuple[str, object]]:
    """Return hooks that put zero, or the mean over batch and positions, in place of several heads' z."""

    def hook_for(head: int) -> object:
        def ablate(z: Float[Tensor, "batch pos head d_head"], hook: object) -> Tensor:
            z = z.clone()
            z[:, :, head] = 0.0 if kind == "zero" else reduce(z[:, :, head], "batch pos d -> d", "mean")
            return z

        return ablate

    return [(patching.z_name(layer), hook_for(head)) for layer, head in chosen]


def ablation(model: "TransformerBridge", tokens: Int[Tensor, "batch pos"], chosen: Sequence[Head]) -> dict:
    """Return what ablating `chosen` heads together does, for each kind of ablation.

    `loss` is the second-copy loss in nats; `induction` the induction scores of all heads.
    """
    effects = {}
    for kind in ("zero", "mean"):
        with model.hooks(fwd_hooks=ablation_hooks(chosen, kind)):
            loss = patching.second_copy_loss(model(tokens), tokens)
            effects[kind] = {"loss": round(loss, 3), "induction": head_scores(model, tokens)["induction"]}
    return effects


def denoising(model: "TransformerBridge", clean: Int[Tensor, "batch pos"], chosen: Sequence[Head]) -> dict:
    """Return the second-copy loss in nats with another first copy, and with one clean head patched in."""
    length = (clean.shape[1] - 1) // 2
    corrupted = clean.clone()
    corrupted[:, 1 : length + 1] = clean.roll(1, dims=0)[:, 1 : length + 1]
    restored = {
        _label(head): round(
            patching.second_copy_loss(patching.patch_head_output(model, clean, corrupted, *head), clean), 3
        )
        for head in chosen
    }
    return {"corrupted": round(patching.second_copy_loss(model(corrupted), clean), 3), "patched": restored}


def text_loss(model: "TransformerBridge", rows: int = ROWS) -> float:
    """Return the mean loss, in nats per token, on texts of the world that training has not seen."""
    tokenizer = model.tokenizer.backend_tokenizer
    ids = [text_row(tokenizer, model.cfg.n_ctx, HELD_OUT + row).ids for row in range(rows)]
    tokens = torch.tensor(ids)
    return round(metrics.loss_per_token(model(tokens), tokens).mean().item(), 3)


def measure(model: "TransformerBridge", lengths: Sequence[int], seed: int = 1000) -> dict:
    """Return the figures of an embedded model at several lengths; its heads are judged at the first.

    Ablated one by one are the head with the highest previous-token score and those with an induction score
    of at least 0.4; the induction heads are also ablated together.
    """
    tokens = random_tokens(model, lengths[0], seed)
    scores = head_scores(model, tokens)
    induction = heads.find_induction_heads(model, tokens)
    previous = _best(scores["previous_token"])
    singles = dict.fromkeys([previous, *induction])
    return {
        "measured": f"{ROWS} rows of repeated_tokens over the whole vocabulary, seed {seed} plus the length",
        "second_copy": {str(length): second_copy(model, length, seed) for length in lengths},
        "scores_at_length": lengths[0],
        "scores": scores,
        "previous_token_head": list(previous),
        "induction_heads": [list(head) for head in induction],
        "ablated": {
            **{_label(head): ablation(model, tokens, [head]) for head in singles},
            "all induction heads": ablation(model, tokens, induction),
        },
        "denoised": denoising(model, tokens, list(singles)),
        "held_out_text_loss": text_loss(model),
    }


def random_tokens(model: "TransformerBridge", length: int, seed: int) -> Int[Tensor, "batch pos"]:
    return repeated_tokens(model.cfg.d_vocab, length, ROWS, model.tokenizer.bos_token_id, seed + length)


def _best(scores: list[list[float]]) -> Head:
    cells = [(layer, head) for layer, row in enumerate(scores) for head in range(len(row))]
    return max(cells, key=lambda cell: scores[cell[0]][cell[1]])


def _label(head: Head) -> str:
    return f"{head[0]}.{head[1]}"


def _rounded(values: Float[Tensor, " head"]) -> list[float]:
    return [round(value, 3) for value in values.tolist()]
