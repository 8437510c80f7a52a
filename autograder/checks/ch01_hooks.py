"""Checks of solutions/ch01_hooks/chapter.py, version ae54f14bd026.

Written by `python -m mechinterp_course.authoring ch01_hooks`: edit the source instead.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from mechinterp_course import attention, directions, hooks
from mechinterp_course.checking import expect, expect_close, expect_equal, expect_raises
from mechinterp_course.checking import hook_probes as probes

MAPS, LOGITS = {"dims": "batch channel row column"}, {"dims": "batch class"}
ROWS, PATTERN = {"dims": "row feature"}, {"dims": "batch head query key"}
ALL_RAN = ["first", "twice", "twice", "last"]  # of the small network in `probes`


def expect_clean(student, draw, exercise, name, *more):
    """Pass if exceptions go through, own hooks are gone after each call, and somebody else's stay."""
    seed, function, reference = draw.seed(), getattr(student, exercise), getattr(hooks, exercise)
    raised, left = student.run(probes.on_failing, function, seed, "last", *more)
    after = student.run(probes.beside_others, function, seed, name, *more)
    expected = probes.beside_others(reference, seed, name, *more)
    expect_equal(raised, "ValueError", what="exceptions")
    expect_equal(left, 7, what="hooks after the model has raised, of which seven are somebody else's")
    expect_equal(list(after), list(expected), what="counts of hooks left and of somebody else's calls")


def expect_untouched(student, function, *arguments):
    """Pass if a call leaves the tensors that it is given as they were."""
    left = student.run(probes.arguments_after, function, *arguments)
    same = [torch.equal(a, b) for a, b in zip(left, arguments, strict=True) if isinstance(b, Tensor)]
    expect(all(same), "The call changes what it was given in place: work on copies (`clone`).")


def expect_same_cache(found, expected):
    """Pass if two dictionaries hold equal tensors under the same names."""
    expect(isinstance(found, dict), "The result is not a dictionary.")
    expect_equal(sorted(found), sorted(expected), what="names")
    for name, activation in expected.items():
        dims = ("batch", "channel", "row", "column")[: activation.dim()]
        expect_close(found[name], activation, " ".join(dims))


def a_layer(draw):
    """Joined z, its output matrix, and the number of heads, all sizes drawn."""
    batch, pos, head, d_head, d_model = draw.integer(1, 3), 4, draw.integer(2, 6), draw.integer(5, 8), 7
    return draw.normal(batch, pos, head * d_head), draw.normal(head * d_head, d_model), head


def read_activation__agrees_with_the_reference(student, draw):
    """read_activation agrees with the reference on a ResNet and a language model that you have not seen"""
    model, pixels = draw.vision_model(), draw.normal(2, 3, 32, 40)
    others = ["layer2.0.bn1", "layer3.1.bn2", "layer1.0.relu", "layer4.0.downsample.1"]
    for name in ("bn1", draw.choice(others)):
        activation = hooks.read_activation(model, name, pixels)
        expect_close(student.read_activation(model, name, pixels), activation, **MAPS)
    model, tokens = draw.language_model("course-positional"), draw.tokens(2, 7, 100)
    pattern = hooks.read_activation(model, "blocks.0.attn.hook_pattern", tokens)
    found = student.read_activation(model, "blocks.0.attn.hook_pattern", tokens)
    expect_close(found, pattern, **PATTERN)
    expect_untouched(student, student.read_activation, model, "blocks.0.attn.hook_pattern", tokens)


def read_activation__keeps_what_was_returned(student, draw):
    """in a small network the result is what the module returned the last time it ran, before it was changed in place, in one run"""
    for name in ("first", "twice", "same", "last"):
        seed = draw.seed()
        found, log = student.run(probes.on_winding, student.read_activation, seed, name)
        expect_close(found, probes.on_winding(hooks.read_activation, seed, name)[0], **ROWS)
        expect_equal(log, ALL_RAN, what="modules that ran")


def read_activation__leaves_nothing(student, draw):
    """its hook is gone after each call, also when the model raises, which is not hidden; somebody else's hooks stay"""
    expect_clean(student, draw, "read_activation", draw.choice(["twice", "first"]))


def attached__calls_inside_and_only_there(student, draw):
    """inside the block the hooks of a ResNet and a small network are called and replace outputs, outside they are not"""
    model, pixels = draw.vision_model(), draw.normal(2, 3, 32, 40)
    names = ["bn1", draw.choice(["layer2.1.bn2", "layer3.0.conv1", "layer1.0"])]
    found = student.run(probes.calls_inside, student.attached, model, names, pixels)
    expected = probes.calls_inside(hooks.attached, model, names, pixels)
    for got, logits in zip(found[:3], expected[:3], strict=True):
        expect_close(got, logits, **LOGITS)
    expect_equal(list(found[3]), list(expected[3]), what="calls")
    seed = draw.seed()
    output, calls = student.run(probes.notes_only, student.attached, seed)
    expected = probes.notes_only(hooks.attached, seed)
    expect_close(output, expected[0], **ROWS)
    expect_equal(calls, expected[1], what="calls")


def attached__removes_its_own_hooks_when_the_body_raises(student, draw):
    """an exception goes through the block, its hooks are gone after it, and hooks of others stay"""
    for error in ("ValueError", "KeyboardInterrupt"):
        raised, message, left = student.run(probes.after_a_failure, student.attached, draw.seed(), error)
        expect_equal([raised, message], [error, "in the block"], what="exceptions")
        expect(
            left == 2, f"Hooks on the model after the block: {left}. Two of somebody else's should be left."
        )


def attached__nests_and_refuses_wrong_paths(student, draw):
    """blocks nest on one module, and where one path is wrong an exception is raised and no hook is left"""
    outer, inner = student.run(probes.nested, student.attached, draw.seed())
    expect_equal([outer, inner], [2, 1], what="calls of the outer and the inner hook")
    raised, left = student.run(probes.with_a_wrong_path, student.attached, draw.seed())
    expect(raised is True, "A path that the model doesn't have raised nothing.")
    expect(left == 0, f"After a block with a wrong path {left} hooks are left on the model.")


def cache_activations__agrees_with_the_reference(student, draw):
    """cache_activations agrees with the reference for several layers of a ResNet that you have not seen"""
    model, pixels = draw.vision_model(), draw.normal(2, 3, 32, 40)
    names = [draw.choice(["fc", "avgpool"]), "bn1", draw.choice(["layer2.0.bn1", "layer3.1.bn2"]), "conv1"]
    expected = hooks.cache_activations(model, names, pixels)
    expect_same_cache(student.cache_activations(model, names, pixels), expected)
    expect_untouched(student, student.cache_activations, model, ["conv1"], pixels)


def cache_activations__takes_one_run(student, draw):
    """the model runs once for all names, each gets what its module returned last, and a module that did not run is left out"""
    for names in (["last", "twice", "first"], ["same", "spare", "twice"], ["spare"], []):
        seed = draw.seed()
        found, log = student.run(probes.on_winding, student.cache_activations, seed, names)
        expect_same_cache(found, probes.on_winding(hooks.cache_activations, seed, names)[0])
        expect_equal(log, ALL_RAN, what="modules that ran")


def cache_activations__leaves_nothing(student, draw):
    """its hooks are gone after each call, also when the model raises, which is not hidden; somebody else's hooks stay"""
    seed, names = draw.seed(), ["twice", "first"]
    raised, left = student.run(probes.on_failing, student.cache_activations, seed, names)
    after = student.run(probes.beside_others, student.cache_activations, seed, names)
    expect_equal([raised, left], ["ValueError", 7], what="exceptions, and hooks left (seven are not yours)")
    expected = probes.beside_others(hooks.cache_activations, seed, names)
    expect_equal(list(after), list(expected), what="counts of hooks left and of somebody else's calls")


def run_until__agrees_with_the_reference(student, draw):
    """run_until agrees with the reference on a ResNet that you have not seen"""
    model, pixels = draw.vision_model(), draw.normal(2, 3, 32, 40)
    for name in ("layer1.0.bn1", draw.choice(["bn1", "layer1.0.relu", "layer2.0.downsample.0"])):
        expected = hooks.run_until(model, name, pixels)
        expect_close(student.run_until(model, name, pixels), expected, **MAPS)
    expect_untouched(student, student.run_until, model, "bn1", pixels)


def run_until__stops_there(student, draw):
    """nothing runs after the module has run for the first time, even where the rest of the model would fail"""
    seed, ran = draw.seed(), {"first": 1, "twice": 2, "same": 1, "last": 4}
    runs = {name: student.run(probes.on_winding, student.run_until, seed, name) for name in ran}
    for name, (found, log) in runs.items():
        expect_close(found, probes.on_winding(hooks.run_until, seed, name)[0], **ROWS)
        expect_equal(log, ALL_RAN[: ran[name]], what="modules that ran")
    raised, left = student.run(probes.on_failing, student.run_until, draw.seed(), "twice")
    expect_equal([raised, left], ["nothing", 7], what="exceptions, and hooks left (seven are not yours)")


def run_until__hides_no_other_exception(student, draw):
    """what the model raises before it gets there goes through, and a module that never runs is a RuntimeError"""
    raised, left = student.run(probes.on_failing, student.run_until, draw.seed(), "last")
    expect_equal([raised, left], ["ValueError", 7], what="exceptions, and hooks left (seven are not yours)")
    raised = student.run(probes.on_refusing, student.run_until, draw.seed(), "last")
    expect_equal([raised], [probes.REFUSED], what="messages of a RuntimeError that the model raises itself")
    spare = probes.on_winding, student.run_until, draw.seed(), "spare"
    expect_raises("RuntimeError", lambda: student.run(*spare), "A module that never runs has no activation.")


def run_edited__agrees_with_the_reference(student, draw):
    """run_edited agrees with the reference on a ResNet and a language model that you have not seen, and leaves them as they were"""
    model, pixels = draw.vision_model(), draw.normal(3, 3, 32, 40)
    name = draw.choice(["layer1", "layer2.0.bn2", "maxpool"])
    case = model, name, pixels, draw.choice([probes.silenced_in_place, probes.turned])
    expect_close(student.run_edited(*case), hooks.run_edited(*case), **LOGITS)
    after = student.run(probes.logits_after, student.run_edited, *case)
    expect_close(after, model(pixels), **LOGITS)
    model, tokens = draw.language_model("course-positional"), draw.tokens(3, 6, 100)
    case = model, "blocks.0.attn.hook_pattern", tokens, probes.turned
    expect_close(student.run_edited(*case), hooks.run_edited(*case), "batch pos d_vocab")
    expect_untouched(student, student.run_edited, *case)


def run_edited__edits_copies_each_time(student, draw):
    """the edit acts each time the module runs, and on nothing else, even if it works in place on a tensor that is shared"""
    for name in ("first", "twice", "same", "last"):
        for edit in (probes.silenced_in_place, probes.turned):
            seed = draw.seed()
            found, log = student.run(probes.on_winding, student.run_edited, seed, name, edit)
            expect_close(found, probes.on_winding(hooks.run_edited, seed, name, edit)[0], **ROWS)
            expect_equal(log, ALL_RAN, what="modules that ran")


def run_edited__leaves_nothing(student, draw):
    """its hook is gone after each call, also when the model raises, which is not hidden; somebody else's hooks stay"""
    expect_clean(student, draw, "run_edited", draw.choice(["twice", "same"]), probes.turned)


def head_outputs__agrees_with_the_reference(student, draw):
    """head_outputs agrees with the reference for layers of several sizes, square ones too"""
    for _ in range(3):
        z, W_O, n_heads = a_layer(draw)
        expected = attention.head_outputs(z, W_O, n_heads)
        expect_close(student.head_outputs(z, W_O, n_heads), expected, "batch pos head d_model")
    z, W_O = draw.normal(2, 5, 24).double(), draw.normal(24, 24).double()
    expected = attention.head_outputs(z, W_O, 4)
    expect_close(student.head_outputs(z, W_O, 4), expected, "batch pos head d_model")
    expect_untouched(student, student.head_outputs, z, W_O, 4)


def head_outputs__sums_to_the_layer(student, draw):
    """the sum over heads is z @ W_O, and a head whose stretch of z is zero writes nothing"""
    z, W_O, n_heads = a_layer(draw)
    silent, d_head = draw.integer(0, n_heads - 1), z.shape[-1] // n_heads
    z[:, :, silent * d_head : (silent + 1) * d_head] = 0
    found = student.head_outputs(z, W_O, n_heads)
    fits = isinstance(found, Tensor) and found.shape == (len(z), 4, n_heads, 7)
    expect(fits, "The result is not a tensor [batch, pos, head, d_model].")
    expect_close(found.sum(dim=2), z @ W_O, "batch pos d_model")
    expect_close(found[:, :, silent], torch.zeros_like(found[:, :, 0]), "batch pos d_model")
    loud = found.abs().sum(dim=(0, 1, 3)) > 0
    expect_equal(int(loud.sum()), n_heads - 1, what="heads that write something")


def attention_pattern__agrees_with_the_reference(student, draw):
    """attention_pattern agrees with the reference on queries and keys of several sizes"""
    for dtype in (torch.float32, torch.float64, torch.float32):
        shape = draw.integer(1, 2), draw.integer(5, 8), draw.integer(3, 4), draw.integer(9, 16)
        q, k = draw.normal(*shape).to(dtype), draw.normal(*shape).to(dtype)
        expected = attention.attention_pattern(q, k)
        expect_close(student.attention_pattern(q, k), expected, "batch head query key")
    expect_untouched(student, student.attention_pattern, q, k)


def attention_pattern__knows_simple_patterns(student, draw):
    """equal scores are shared among the keys seen, one match outweighs each other key by exp(√d_head), scores of any size leave a distribution"""
    pos, d_head = draw.integer(4, 7), draw.choice([4, 9, 16])
    even = torch.ones(pos, pos).tril() / torch.arange(1.0, pos + 1)[:, None]
    flat = student.attention_pattern(torch.zeros(1, pos, 2, d_head), draw.normal(1, pos, 2, d_head))
    expect_close(flat, even.expand(1, 2, pos, pos), "batch head query key")
    q, k = torch.ones(1, pos, 1, d_head), torch.zeros(1, pos, 1, d_head)
    k[:, 1] = 1  # the second key matches every query: its score is d_head / √d_head
    odds = torch.ones(pos, pos).tril()
    odds[1:, 1] = torch.tensor(d_head**0.5).exp()
    expected = (odds / odds.sum(dim=1, keepdim=True))[None, None]
    expect_close(student.attention_pattern(q, k), expected, "batch head query key")
    certain = (k.squeeze() == 1).all(dim=1).float().expand(pos, pos).clone()
    certain[0] = torch.eye(pos)[0]
    expect_close(student.attention_pattern(1000 * q, k), certain[None, None], "batch head query key")
    low = student.attention_pattern(-1e10 * q, torch.ones_like(q))  # below what stands in for minus infinity
    expect_close(low, even[None, None], "batch head query key")


def attention_pattern__equals_a_models_own(student, draw):
    """from the queries and keys of a language model it gives the pattern that the model itself used"""
    model, tokens = draw.language_model("course-attn-2l"), draw.tokens(2, 7, 900)
    paths = [f"blocks.1.attn.{part}" for part in ("hook_q", "hook_k", "hook_pattern")]
    activations = hooks.cache_activations(model, paths, tokens)
    q, k = (activations[path].unflatten(-1, (model.cfg.n_heads, -1)) for path in paths[:2])
    found = student.attention_pattern(q, k)
    expect_close(found, activations[paths[2]], "batch head query key")


def class_direction__agrees_with_the_reference(student, draw):
    """class_direction agrees with the reference on classes of different sizes and spreads"""
    for _ in range(3):
        feature, shift = draw.integer(3, 9), draw.normal(1)
        positive = 2 * draw.normal(draw.integer(2, 6), feature) + shift
        negative = draw.normal(draw.integer(7, 12), feature) - 3
        expected = directions.class_direction(positive, negative)
        expect_close(student.class_direction(positive, negative), expected, "feature")
    expect_untouched(student, student.class_direction, positive, negative)


def class_direction__obeys_its_laws(student, draw):
    """known means give a known direction, exchanging the classes turns it round, and shifts, scales and repeated rows leave it"""
    known = student.class_direction(torch.tensor([[4.0, 4.0], [2.0, 6.0]]), torch.tensor([[0.0, 1.0]]))
    expect_close(known, torch.tensor([0.6, 0.8]), "feature")
    positive, negative = draw.normal(4, 6) + 1, draw.normal(7, 6)
    direction = directions.class_direction(positive, negative)
    expect_close(student.class_direction(negative, positive), -direction, "feature")
    shifted = student.class_direction(3 * positive + 5, 3 * negative + 5)
    expect_close(shifted, direction, "feature")
    repeated = student.class_direction(torch.cat([positive] * 3), negative)
    expect_close(repeated, direction, "feature")


def remove_direction__agrees_with_the_reference(student, draw):
    """remove_direction agrees with the reference along any axis, for directions of any length"""
    for axis, shape in ((1, (2, 5, 3, 4)), (-1, (3, 4, 6)), (0, (4, 2)), (1, (4, 4, 4)), (0, (4, 4, 4))):
        activation, direction = draw.normal(*shape), draw.integer(2, 9) / 3 * draw.normal(shape[axis])
        expected = directions.remove_direction(activation, direction, axis)
        found, dims = (
            student.remove_direction(activation, direction, axis),
            ["batch", "channel", "row", "column"],
        )
        expect_close(found, expected, " ".join(dims[: len(shape)]), atol=1e-5)
    expect_untouched(student, student.remove_direction, activation, direction, axis)


def remove_direction__obeys_its_laws(student, draw):
    """nothing along it is left, twice is once, what is orthogonal stays, and neither length nor sign of the direction matters"""
    activation, direction = draw.normal(3, 6, 2, 4), 5 * draw.normal(6)
    dims = "batch channel row column"
    once = student.remove_direction(activation, direction, 1)
    expect_close(once, directions.remove_direction(activation, direction, 1), dims)
    expect_close(student.remove_direction(once, direction, 1), once, dims)
    expect_close(student.remove_direction(activation, direction / -20, 1), once, dims)
    hand = student.remove_direction(torch.tensor([[5.0, 10.0], [4.0, -3.0]]), torch.tensor([6.0, 8.0]), -1)
    expect_close(hand, torch.tensor([[-1.6, 1.2], [4.0, -3.0]]), "row feature")
