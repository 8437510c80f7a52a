"""Hooks: what is cached is what the module returned, edits act where they are put, nothing stays."""

import pytest
import torch
from torch import nn
from torch.nn import functional
from torchvision.models import resnet18

from mechinterp_course import hooks
from mechinterp_course.errors import CourseError
from mechinterp_course.models import load_language_model

POINTS = (
    *("hook_embed", "blocks.0.hook_resid_pre", "blocks.1.hook_resid_mid", "blocks.1.hook_mlp_out"),
    *(
        "blocks.0.attn.hook_pattern",
        "blocks.1.attn.hook_q",
        "blocks.1.attn.hook_z",
        "blocks.1.hook_resid_post",
    ),
)


class Twice(nn.Module):
    """Runs one layer twice and returns two tensors."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(3, 3)
        self.relu = nn.ReLU(inplace=True)
        self.pair = Pair()
        self.spare = nn.Linear(3, 3)  # never runs

    def forward(self, x):
        return self.pair(self.relu(self.linear(self.linear(x))))


class Pair(nn.Module):
    def forward(self, x):
        return x, {"negative": -x}


@pytest.fixture(scope="module")
def bridge():
    return load_language_model("course-gpt2")


@pytest.fixture(scope="module")
def resnet():
    torch.manual_seed(0)
    return resnet18(num_classes=5).eval().requires_grad_(False)


@pytest.fixture
def tokens():
    return torch.randint(0, 500, (2, 9), generator=torch.Generator().manual_seed(1))


@pytest.fixture
def images():
    return torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(2))


def attached(model):
    """How many hooks hang on a model, by torch's count and by TransformerLens'."""
    modules = list(model.modules())
    return sum(len(m._forward_hooks) + len(getattr(m, "fwd_hooks", ())) for m in modules)


def test_a_bridge_is_cached_in_the_shapes_and_values_of_run_with_cache(bridge, tokens):
    _, expected = bridge.run_with_cache(tokens)
    with hooks.cache(bridge, POINTS) as activations:
        bridge(tokens)
    assert list(activations) and set(activations) == set(POINTS)
    for name in POINTS:
        torch.testing.assert_close(activations[name], expected[name], rtol=0, atol=0)


def test_a_cached_batch_norm_is_what_it_returned_before_relu_changed_it_in_place(resnet, images):
    with hooks.cache(resnet, ["conv1", "bn1"]) as activations:
        resnet(images)
    expected = resnet.bn1(functional.conv2d(images, resnet.conv1.weight, stride=2, padding=3))
    torch.testing.assert_close(activations["bn1"], expected)
    assert (activations["bn1"] < 0).any()


def test_a_function_chooses_the_names(resnet, images):
    with hooks.cache(resnet, lambda name: name.count(".") == 0 and name.startswith("layer")) as activations:
        resnet(images)
    assert list(activations) == ["layer1", "layer2", "layer3", "layer4"]
    assert activations["layer4"].shape == (2, 512, 2, 2)


def test_the_next_run_replaces_and_the_last_of_several_outputs_stays():
    model, x, y = Twice(), torch.randn(2, 3), torch.randn(2, 3)
    with hooks.cache(model, ["linear"]) as activations:
        model(x)
        model(y)
    torch.testing.assert_close(activations["linear"], model.linear(model.linear(y)))


def test_several_returned_tensors_are_cached_as_copies():
    model = Twice()
    with hooks.cache(model, ["pair"]) as activations:
        first, rest = model(torch.randn(2, 3))
        expected = first.clone()
        first.data.zero_(), rest["negative"].data.zero_()
    kept, others = activations["pair"]
    assert torch.equal(kept, expected) and torch.equal(others["negative"], -expected)


def test_a_loss_of_a_cached_activation_reaches_the_input(resnet, images):
    images.requires_grad_()
    with hooks.cache(resnet, ["layer2"]) as activations:
        resnet(images)
    activations["layer2"][:, 7].mean().backward()
    assert images.grad.abs().sum() > 0


def test_an_edit_on_a_bridge_does_what_run_with_hooks_does(bridge, tokens):
    name = "blocks.0.attn.hook_z"

    def ablate(z, hook=None):
        z = z.clone()
        z[:, :, 3] = 0.0
        return z

    with hooks.edit(bridge, {name: ablate}):
        edited = bridge(tokens)
    expected = bridge.run_with_hooks(tokens, fwd_hooks=[(name, ablate)])
    torch.testing.assert_close(edited, expected, rtol=0, atol=0)
    assert not torch.equal(edited, bridge(tokens))


def test_changing_the_activation_in_place_changes_nothing_elsewhere(resnet, images):
    def silence(activation):
        return activation.zero_()

    before = resnet(images)
    with hooks.cache(resnet, ["relu"]) as clean:
        resnet(images)
    with hooks.edit(resnet, {"maxpool": silence}), hooks.cache(resnet, ["relu", "maxpool"]) as activations:
        assert not torch.equal(resnet(images), before)
    assert torch.equal(activations["relu"], clean["relu"]) and not activations["maxpool"].any()
    assert torch.equal(resnet(images), before)


@pytest.mark.parametrize("outer", [True, False], ids=["edit outside", "cache outside"])
def test_of_two_hooks_at_one_place_the_outer_comes_first(outer, resnet, images):
    editing, caching = hooks.edit(resnet, {"fc": torch.zeros_like}), hooks.cache(resnet, ["fc"])
    if outer:
        with editing, caching as activations:
            resnet(images)
    else:
        with caching as activations, editing:
            resnet(images)
    assert activations["fc"].any() == (not outer)


@pytest.mark.parametrize("model", ["bridge", "resnet"])
def test_no_hook_is_left_when_the_body_raises(model, request):
    model = request.getfixturevalue(model)
    name, before = hooks.names(model)[1], attached(model)
    with pytest.raises(ZeroDivisionError), hooks.cache(model, [name]), hooks.edit(model, {name: lambda x: x}):
        assert attached(model) > before
        raise ZeroDivisionError
    assert attached(model) == before


def test_only_its_own_hooks_are_taken_away(bridge, tokens):
    seen = []
    bridge.add_hook("hook_embed", lambda value, hook: seen.append(hook.name))
    try:
        with hooks.cache(bridge, ["hook_embed"]):
            pass
        bridge(tokens)
        assert seen
    finally:
        bridge.reset_hooks()


@pytest.mark.parametrize("where", ["cache", "edit"])
def test_a_name_that_is_not_there_is_answered_with_the_nearest_and_hooks_nothing(where, resnet):
    block = hooks.cache(resnet, ["conv1", "layer2.0.con1"])
    if where == "edit":
        block = hooks.edit(resnet, {"conv1": torch.relu, "layer2.0.con1": torch.relu})
    before = attached(resnet)
    with pytest.raises(CourseError, match=r"did you mean 'layer2\.0\.conv1'"), block:
        pass
    assert attached(resnet) == before


def test_asking_for_what_was_not_computed_says_so(resnet):
    with hooks.cache(resnet, ["fc"]) as activations, pytest.raises(KeyError, match="run the model inside"):
        activations["fc"]


WRONG_EDITS = {"nothing": (lambda x: None, TypeError), "another shape": (lambda x: x[:1], ValueError)}


@pytest.mark.parametrize(("function", "error"), WRONG_EDITS.values(), ids=WRONG_EDITS)
def test_an_edit_that_would_silently_do_something_else_is_refused(function, error, resnet, images):
    with pytest.raises(error, match="the edit of fc returned"), hooks.edit(resnet, {"fc": function}):
        resnet(images)


def test_one_activation_or_many_are_copies_from_one_run_and_what_did_not_run_is_left_out(resnet, images):
    resnet.unused = nn.Linear(1, 1)
    with hooks.cache(resnet, ["bn1", "layer1.0.relu"]) as expected:
        resnet(images)
    found = hooks.cache_activations(resnet, ["layer1.0.relu", "bn1", "unused"], images)
    del resnet.unused
    assert list(found) == ["bn1", "layer1.0.relu"]
    for name, activation in found.items():
        assert torch.equal(activation, expected[name])
        assert torch.equal(hooks.read_activation(resnet, name, images), activation)


def test_a_run_that_is_edited_is_the_one_inside_edit(resnet, images):
    with hooks.edit(resnet, {"maxpool": lambda a: a.mul_(2)}):
        expected = resnet(images)
    assert torch.equal(hooks.run_edited(resnet, "maxpool", images, lambda a: a.mul_(2)), expected)


def test_a_run_ends_where_it_was_asked_to_and_hides_no_other_exception(resnet, images):
    ran = []
    handle = resnet.layer2.register_forward_hook(lambda *_: ran.append(1))
    found = hooks.run_until(resnet, "layer1.0.relu", images)
    handle.remove()
    both = []
    with hooks.attached(
        resnet, {"layer1.0.relu": lambda module, inputs, output: both.append(output.clone())}
    ):
        resnet(images)
    assert not ran and len(both) == 2 and torch.equal(found, both[0])
    with pytest.raises(RuntimeError, match="ended without running"):
        hooks.run_until(Twice(), "spare", torch.zeros(1, 3))
    with pytest.raises(RuntimeError, match="expected input"):
        hooks.run_until(resnet, "fc", images[:, :2])
    assert attached(resnet) == 0


def test_hooks_at_paths_are_set_all_or_none_and_go_with_their_block(resnet):
    with pytest.raises(AttributeError), hooks.attached(resnet, {"conv1": print, "layer9": print}):
        pass
    with pytest.raises(KeyboardInterrupt), hooks.attached(resnet, {"conv1": print, "fc": print}):
        assert attached(resnet) == 2
        raise KeyboardInterrupt
    assert attached(resnet) == 0
