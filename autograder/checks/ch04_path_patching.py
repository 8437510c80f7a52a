"""Checks of solutions/ch04_path_patching/chapter.py, version b7ee619a0ed3.

Written by `python -m mechinterp_course.authoring ch04_path_patching`: edit the source instead.
"""

from functools import partial

import torch
from einops import einsum
from jaxtyping import Float, Int
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

from mechinterp_course import circuits, heads, lens, metrics, patching, path_patching
from mechinterp_course.checking import expect, expect_close, expect_raises
from mechinterp_course.metrics import logit_difference
from mechinterp_course.minimal_pairs import two_pairs

Tokens = Int[Tensor, "batch pos"]
Logits = Float[Tensor, "batch pos d_vocab"]
Words = Int[Tensor, " batch"]
Head = tuple[int, int]  # (layer, head)
LOGITS = {"dims": "batch pos d_vocab"}  # how results are compared: by these axes, up to rounding
BY_HEAD = {"dims": "batch layer head", "atol": 2e-4}
BY_PLACE = {"dims": "layer pos"}
BY_PAIR = {"dims": "layer head later_layer later_head", "atol": 1e-5}


def replace_heads(name: str, values: Tensor, chosen: list[int]) -> tuple:
    """A hook for the place `name` that gives the chosen heads these values; axes [batch, pos, head, d_head]."""

    def replace(current, hook):
        current = current.clone()
        current[:, :, chosen] = values[:, :, chosen]
        return current

    return name, replace


def hold(cache, names: list[str]) -> list[tuple]:
    """Hooks that keep each of these activations at its value in the cache, whatever happens before it."""
    return [(name, lambda current, hook, held=cache[name]: held) for name in names]


def prompts(draw, model, batch=3, longest=3):
    """Clean and corrupted rows and their right and wrong words, with a gap of 1 to `longest` words."""
    start, gap = model.tokenizer.bos_token_id, draw.integer(1, longest)
    rows = two_pairs(model.cfg.d_vocab, batch, start, draw.seed(), gap)
    return tuple(each.to(model.cfg.device) for each in rows)


def left_behind(function, model, *arguments):
    """Calls `function(model, *arguments)`; returns the tensors among the arguments, and the model's logits, after it."""
    function(model, *arguments)
    return [each for each in arguments if isinstance(each, Tensor)], model(arguments[0])


def expect_nothing_left(student, function, model, *arguments):
    """Pass if a call leaves its tensors as they were, and the model to compute what it did before."""
    before = [each.clone() for each in arguments if isinstance(each, Tensor)]
    intact = model(arguments[0]).clone()
    after, logits = student.run(left_behind, function, model, *arguments)
    for known, each in zip(before, after, strict=True):
        expect_close(each, known, dims="batch pos" if known.dim() == 2 else "batch")
    expect_close(logits, intact, **LOGITS)


def a_path(draw, model, above=1):
    """Prompts, the head of layer 0 that looks back most, and all heads but one of the layer `above`."""
    clean, corrupted, _, _ = prompts(draw, model)
    _, cache = model.run_with_cache(clean, names_filter="blocks.0.attn.hook_pattern")
    score = heads.previous_token_score(cache["blocks.0.attn.hook_pattern"])
    left_out = draw.integer(0, model.cfg.n_heads - 1)
    receivers = [(above, head) for head in range(model.cfg.n_heads) if head != left_out]
    return clean, corrupted, (0, score.argmax().item()), receivers


def with_known_weights(function, model, places, into):
    """Calls `function(model, into)` on a model in which two heads read and write known directions of the stream.

    `places` says for six matrices at which direction their d_head ones begin: the sender's W_V and W_O, the
    receiver's W_Q, W_K, W_V and W_O. The sender is head 0 of layer 0, the receiver head 1 of layer 1. The
    weights are put back.
    """
    first, second = model.blocks[0].attn, model.blocks[1].attn
    weights = [first.W_V[0], first.W_O[0], second.W_Q[1], second.W_K[1], second.W_V[1], second.W_O[1]]
    kept, size = [each.clone() for each in weights], model.cfg.d_head
    try:
        for weight, place in zip(weights, places, strict=True):
            ones = torch.eye(model.cfg.d_model, device=weight.device)[place : place + size]
            weight.copy_(ones if weight.shape == ones.shape else ones.T)
        return function(model, into)
    finally:
        for weight, before in zip(weights, kept, strict=True):
            weight.copy_(before)


def head_logit_attribution__agrees_with_the_reference(student, draw):
    """head_logit_attribution agrees with the reference on prompts you have not seen, in a relabelled model"""
    model = draw.language_model("course-attn-2l")
    for batch in (draw.integer(2, 5), 1):
        tokens, _, right, wrong = prompts(draw, model, batch)
        expected = lens.head_logit_attribution(model, tokens, right, wrong)
        expect_close(student.head_logit_attribution(model, tokens, right, wrong), expected, **BY_HEAD)
    expect_nothing_left(student, student.head_logit_attribution, model, tokens, right, wrong)


def head_logit_attribution__adds_up(student, draw):
    """with what embedding, MLPs and biases add, the heads' shares make up each row's logit difference"""
    model = draw.language_model()
    tokens, _, right, wrong = prompts(draw, model)
    shares = student.head_logit_attribution(model, tokens, right, wrong)
    logits, cache = model.run_with_cache(tokens)
    layers = range(model.cfg.n_layers)
    rest = cache["blocks.0.hook_resid_pre"] + sum(cache[f"blocks.{layer}.hook_mlp_out"] for layer in layers)
    rest = (rest[:, -1] + sum(block.attn.b_O for block in model.blocks)) / cache["ln_final.hook_scale"][:, -1]
    rest = logit_difference((rest @ model.W_U + model.b_U)[:, None], right, wrong)
    whole = isinstance(shares, Tensor) and shares.dim() == 3
    expect(whole, "The result has not the axes [batch, layer, head].")
    said = logit_difference(logits, right, wrong) - rest
    expect_close(shares.flatten(1).sum(1), said, dims="batch", atol=2e-4)
    expect_close(student.head_logit_attribution(model, tokens, wrong, right), -shares, **BY_HEAD)


def patch_residual__agrees_with_the_reference(student, draw):
    """patch_residual agrees with the reference on prompts you have not seen, and leaves no hook behind"""
    model = draw.language_model("course-attn-2l")
    cases = [prompts(draw, model, batch, longest=2) for batch in (1, 2)]
    expected = [patching.patch_residual(model, *texts) for texts in cases]
    for texts in cases:
        expect_close(student.patch_residual(model, *texts), expected.pop(0), **BY_PLACE)
    expect_nothing_left(student, student.patch_residual, model, *texts)


def patch_residual__knows_where_a_single_difference_is(student, draw):
    """where the texts differ at one place, only this place of layer 0 restores anything, and all; and what comes before it, nothing"""
    model = draw.language_model("course-attn-2l")
    clean, _, right, wrong = prompts(draw, model, batch=2, longest=1)
    place = draw.choice([1, clean.shape[1] - 1])
    corrupted = clean.clone()
    corrupted[:, place] = wrong
    expected = patching.patch_residual(model, clean, corrupted, right, wrong)
    shares = student.patch_residual(model, clean, corrupted, right, wrong)
    expect_close(shares, expected, **BY_PLACE)
    known = torch.zeros(clean.shape[1])
    known[place] = 1.0
    expect_close(shares[0], known, dims="pos")
    expect_close(shares[:, :place], torch.zeros(model.cfg.n_layers, place), **BY_PLACE)


def patch_head_input__agrees_with_the_reference(student, draw):
    """patch_head_input agrees with the reference for each part of heads in every layer of a relabelled model"""
    model = draw.language_model("course-attn-2l")
    cases, last = [], model.cfg.n_heads - 1
    for layer in (0, 1):
        texts = prompts(draw, model)[:2]
        cases += [(*texts, layer, draw.integer(0, last), part) for part in ("k", "q", "v", "pattern")]
    expected = [patching.patch_head_input(model, *case) for case in cases]
    for case in cases:
        expect_close(student.patch_head_input(model, *case), expected.pop(0), **LOGITS)


def patch_head_input__refuses_what_is_no_input(student, draw):
    """a part that is no input of a head, such as "z", raises ValueError"""
    model = draw.language_model("course-attn-2l")
    clean, corrupted, _, _ = prompts(draw, model)
    for part in ("z", draw.choice(["Q", "resid_pre", "result", ""])):
        refused = f"part={part!r} should be refused."
        call = partial(student.patch_head_input, model, clean, corrupted, 1, 0, part)
        expect_raises("ValueError", call, refused)


def patch_head_input__obeys_its_limits(student, draw):
    """a run patched from itself stays as it is, no logit changes before the texts differ, and no hook is left"""
    model = draw.language_model("course-attn-2l")
    clean, _, _, _ = prompts(draw, model)
    split, layer = clean.shape[1] - 3, draw.integer(0, 1)
    corrupted = clean.clone()
    corrupted[:, split:] = draw.tokens(len(clean), 3, model.cfg.d_vocab)
    intact, part = model(corrupted), draw.choice(["k", "v", "pattern"])
    expected = patching.patch_head_input(model, clean, corrupted, layer, 0, part)
    logits = student.patch_head_input(model, clean, corrupted, layer, 0, part)
    expect_close(logits[:, :split], intact[:, :split], **LOGITS)
    expect_close(logits, expected, **LOGITS)
    expect_close(student.patch_head_input(model, corrupted, corrupted, layer, 0, part), intact, **LOGITS)
    expect_nothing_left(student, student.patch_head_input, model, clean, corrupted, layer, 0, part)


def path_logits__follows_the_direct_path(student, draw):
    """with heads and MLPs frozen, path_logits agrees with the reference for q, k and v, in two relabelled models"""
    small, large = draw.language_model("course-attn-2l"), draw.language_model()
    cases = [(small, *a_path(draw, small), through) for through in "kqv"]
    cases.append((large, *a_path(draw, large, above=2), "k"))
    expected = [path_patching.path_logits(*case) for case in cases]
    for case in cases:
        expect_close(student.path_logits(*case), expected.pop(0), **LOGITS, atol=3e-5)


def path_logits__refuses_what_is_no_path(student, draw):
    """another input than q, k or v, another thing to freeze, or a receiver that is not above the sender raises ValueError"""
    model = draw.language_model("course-attn-2l")
    clean, corrupted, _, _ = prompts(draw, model)
    layer, word = draw.integer(0, 1), draw.choice(["z", "pattern", "K"])
    cases = [
        ((0, 1), [(1, 0)], word, ("heads",)),
        ((0, 1), [(1, 0)], "k", ("heads", draw.choice(["mlp", "layer_norm"]))),
        ((layer, 1), [(1, 2), (layer, 0)] if layer == 0 else [(1, 0)], "k", ("heads", "mlps")),
    ]
    for case in cases:
        told = dict(zip(("sender", "receivers", "through", "frozen"), case, strict=True))
        refused = f"{told} should be refused."
        expect_raises("ValueError", partial(student.path_logits, model, clean, corrupted, *case), refused)


def path_logits__freezes_what_it_is_told_to(student, draw):
    """with MLPs free, with heads free, or with all free, path_logits agrees with the reference"""
    model = draw.language_model()
    clean, corrupted, sender, receivers = a_path(draw, model, above=2)
    receivers = [*receivers, (3, draw.integer(0, 5))]
    inputs = (("heads",), "k"), (("mlps",), draw.choice(["k", "v"])), ((), "k"), (("heads",), "q")
    cases = [(model, clean, corrupted, sender, receivers, through, frozen) for frozen, through in inputs]
    expected = [path_patching.path_logits(*case) for case in cases]
    for case in cases:
        expect_close(student.path_logits(*case), expected.pop(0), **LOGITS)


def path_logits__obeys_its_limits(student, draw):
    """from a later layer, for a run patched from itself, and before the texts differ, it does what it should; no hook is left"""
    model = draw.language_model()
    clean, _, _, _ = prompts(draw, model)
    split = clean.shape[1] - 3
    corrupted = clean.clone()
    corrupted[:, split:] = draw.tokens(len(clean), 3, model.cfg.d_vocab)
    sender, receivers = (1, draw.integer(0, 5)), [(3, 0), (2, 1), (2, 4), (3, 5)]
    through = draw.choice(["q", "k"])
    intact = model(corrupted)
    expected = path_patching.path_logits(model, clean, corrupted, sender, receivers, through)
    logits = student.path_logits(model, clean, corrupted, sender, receivers, through)
    expect_close(logits[:, :split], intact[:, :split], **LOGITS)
    expect_close(logits, expected, **LOGITS)
    same = student.path_logits(model, corrupted, corrupted, sender, receivers, through)
    expect_close(same, intact, **LOGITS)
    expect_nothing_left(student, student.path_logits, model, clean, corrupted, sender, receivers)


def composition_scores__agrees_with_the_reference(student, draw):
    """composition_scores agrees with the reference for q, k and v in relabelled models of two and of four layers"""
    for name in ("course-attn-2l", "course-gpt2"):
        model = draw.language_model(name)
        for into in ("q", "k", "v"):
            scores = student.composition_scores(model, into)
            expect_close(scores, circuits.composition_scores(model, into), **BY_PAIR)


def composition_scores__counts_the_directions_that_two_heads_share(student, draw):
    """a head that reads s of the d directions that another writes scores √s / d, by the input that reads them and no other"""
    model = draw.language_model("course-attn-2l")
    size, shared = model.cfg.d_head, {into: draw.integer(4, 28) for into in "kv"}
    before = [size - shared["k"], size - shared["v"]]
    starts = [draw.integer(0, 60), 0, 2 * size + 20, *before, draw.integer(0, 60)]
    shared["q"] = 0
    for into in draw.choice(["kvq", "vqk", "qkv"]):
        scores = student.run(with_known_weights, student.composition_scores, model, starts, into)
        expect(isinstance(scores, Tensor) and scores.dim() == 4, "The result has not four axes.")
        expect_close(scores[0, 0, 1, 1], torch.tensor(shared[into] ** 0.5 / size), dims="", atol=1e-5)


def composition_scores__refuses_other_inputs(student, draw):
    """`into` is "q", "k" or "v"; anything else raises ValueError"""
    model, into = draw.language_model("course-attn-2l"), draw.choice(["o", "K", "qk", "z", ""])
    refused = f"into={into!r} should be refused."
    expect_raises("ValueError", lambda: student.composition_scores(model, into), refused)
