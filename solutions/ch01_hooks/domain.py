"""Arguments over all that each statement allows: other models, modules, shapes and edits than the checks draw.

`mechinterp certify` draws 1,000 of these to see whether a change to a solution that no check notices changes
anything at all. `<exercise>(draw)` returns the positional arguments of one call. A context manager is tried
by `<exercise>__trial(student, draw)`, in blocks that nest, fail, and name what is not there.
"""

from mechinterp_course import hooks
from mechinterp_course.checking import expect, expect_close, expect_equal
from mechinterp_course.checking import hook_probes as probes


def read_activation(draw):
    model, names, inputs = _a_run(draw)
    return model, draw.choice(names), inputs


def attached__trial(student, draw):
    for _ in range(4):
        model, names, inputs = _a_run(draw)
        case = model, names[: draw.integer(1, 3)], inputs
        found = student.run(probes.calls_inside, student.attached, *case)
        expected = probes.calls_inside(hooks.attached, *case)
        for got, output in zip(found[:3], expected[:3], strict=True):
            expect_close(got.flatten(1), output.flatten(1), dims="batch feature", atol=1e-4)
        expect_equal(list(found[3]), list(expected[3]), what="calls")
    for error in ("ValueError", "KeyboardInterrupt"):
        found = student.run(probes.after_a_failure, student.attached, draw.seed(), error)
        expect_equal(list(found), [error, "in the block", 2], what="exceptions, and hooks left")
    output, calls = student.run(probes.notes_only, student.attached, draw.seed())
    expect_equal(calls, ["first", "twice", "twice", "last"], what="calls")
    expect(list(student.run(probes.nested, student.attached, draw.seed())) == [2, 1], "Blocks don't nest.")
    found = student.run(probes.with_a_wrong_path, student.attached, draw.seed())
    expect_equal(list(found), [True, 0], what="an exception for a wrong path, and hooks left")


def cache_activations(draw):
    model, names, inputs = _a_run(draw)
    first = draw.integer(0, len(names) - 1)
    return model, names[first : first + draw.integer(0, 4)], inputs


def run_until(draw):
    return read_activation(draw)


def run_edited(draw):
    return *read_activation(draw), draw.choice([probes.silenced_in_place, probes.turned])


def _a_run(draw):
    """A model, paths of some of its modules in a drawn order, and an input for it."""
    if draw.integer(1, 4) == 1:
        model = draw.language_model("course-positional")
        names = [
            "attn.hook_pattern",
            "attn.hook_q",
            "attn.hook_z",
            "attn.o",
            "hook_resid_post",
            "hook_resid_pre",
        ]
        names = [f"blocks.0.{name}" for name in names]
        inputs = draw.tokens(draw.integer(1, 3), draw.integer(2, 8), model.cfg.d_vocab)
    else:
        model = draw.vision_model(draw.choice(["course-resnet18", "course-resnet18-robust"]))
        names = ["conv1", "bn1", "relu", "maxpool", "layer1.0.bn1", "layer1.1.relu", "layer2.0.bn2", "layer2"]
        names += ["layer2.0.downsample.1", "layer3.1.bn1", "layer4.0.conv2", "layer4", "avgpool", "fc"]
        inputs = draw.normal(draw.integer(1, 2), 3, draw.integer(16, 33), draw.integer(16, 33))
    return model, sorted(names, key=lambda _: draw.seed()), inputs
