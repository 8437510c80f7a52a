"""Rendering: the same seed, the same picture; a model left as it was; objectives kept apart."""

from math import pi

import pytest
import torch
from torch import nn
from torch.nn import functional
from torchvision.models import resnet18

from mechinterp_course.errors import CourseError
from mechinterp_course.feature_visualization import render, render_channels
from mechinterp_course.image_parameterizations import FourierImage, PixelImage
from mechinterp_course.image_transformations import NONE
from mechinterp_course.models import load_vision_model
from mechinterp_course.objectives import caricature, channel, channels, diversity, l1, neuron
from mechinterp_course.partial_runs import activations, reading

SMALL = {"steps": 6, "size": 32, "progress": False}


@pytest.fixture(scope="module")
def net():
    """ImageNet's layout with random weights, which some tests leave in train mode or with gradients."""
    torch.manual_seed(0)
    return resnet18()


@pytest.fixture(scope="module")
def course():
    return load_vision_model()


def hooks_of(model):
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())


def in_fp32():
    return torch.autocast("cpu", enabled=False)


def frozen_pixels(spectrum, size):
    """What `render_channels` drew when the embedded models' cards were written, word for word."""
    colours = ((0.56, 0.41, 0.18), (0.59, -0.04, -0.42), (0.57, -0.36, 0.26))
    frequency = torch.hypot(torch.fft.fftfreq(size)[:, None], torch.fft.rfftfreq(size)[None])
    scale = torch.exp(-((frequency / 0.22) ** 2)) / frequency.clamp(min=1 / size)
    plane = torch.fft.irfft2(torch.view_as_complex(spectrum) * scale, s=(size, size), norm="ortho")
    mixed = torch.einsum("ij,bjhw->bihw", torch.tensor(colours), plane)
    deviation = mixed.std(dim=(1, 2, 3), keepdim=True)
    return torch.sigmoid(mixed * (1.2 / deviation).clamp(max=1))


def frozen_jitter(pixels, generator):
    def uniform(low, high):
        return low + (high - low) * torch.rand(len(pixels), generator=generator)

    angle, scale = uniform(-10, 10) * pi / 180, uniform(0.85, 1.1)
    moved = [uniform(-6, 6) * 2 / pixels.shape[-1] for _ in range(2)]
    across = torch.stack([scale * angle.cos(), -scale * angle.sin(), moved[0]], dim=1)
    along = torch.stack([scale * angle.sin(), scale * angle.cos(), moved[1]], dim=1)
    grid = functional.affine_grid(torch.stack([across, along], dim=1), pixels.shape, align_corners=False)
    return functional.grid_sample(pixels, grid, padding_mode="reflection", align_corners=False)


def frozen_render(model, layer, chosen, steps, seed, size=64):
    generator = torch.Generator().manual_seed(seed)
    spectrum = 0.01 * torch.randn(len(chosen), 3, size, size // 2 + 1, 2, generator=generator)
    spectrum.requires_grad_()
    optimizer = torch.optim.Adam([spectrum], lr=0.05)
    mean, std = (torch.tensor(values)[:, None, None] for values in (model.mean, model.std))
    before_relu = []
    hook = model.get_submodule(layer)[-1].relu.register_forward_pre_hook(
        lambda _, inputs: before_relu.append(inputs[0].clone())
    )
    for _ in range(steps):
        model((frozen_jitter(frozen_pixels(spectrum, size), generator) - mean) / std)
        optimizer.zero_grad()
        excitement = functional.leaky_relu(before_relu[-1].float(), 0.1).mean(dim=(2, 3))
        (-excitement[torch.arange(len(chosen)), chosen].sum()).backward()
        optimizer.step()
    hook.remove()
    return frozen_pixels(spectrum.detach(), size)


def test_the_pictures_that_the_cards_measured_stay_bit_for_bit(course, monkeypatch):
    monkeypatch.setattr("mechinterp_course.partial_runs.fast_products", in_fp32)
    ours = render_channels(course, "layer3", [5, 200], steps=4, seed=3)
    assert torch.equal(ours, frozen_render(course, "layer3", [5, 200], steps=4, seed=3))


def test_a_render_climbs_and_stays_in_range(course):
    made = render(course, channel("layer2", 3), steps=24, batch=2, progress=False)
    assert made.pictures.shape == (2, 3, 64, 64) and made.record.shape == (24, 2)
    assert (made.record[-4:].mean(0) > made.record[:4].mean(0) + 0.5).all()
    assert made.pictures.min() >= 0 and made.pictures.max() <= 1
    lower = render(course, -channel("layer2.0.conv2", 3), steps=24, progress=False)
    assert lower.record[-1] > lower.record[0]


def test_the_same_seed_renders_the_same_picture_and_another_seed_another(net):
    first, again, other = (render(net, channel("layer2", 3), seed=seed, **SMALL) for seed in (1, 1, 2))
    torch.testing.assert_close(first.pictures, again.pictures, rtol=0, atol=1e-4)
    torch.testing.assert_close(first.record, again.record, rtol=0, atol=1e-4)
    assert (first.pictures - other.pictures).abs().max() > 0.05


def test_the_global_seed_is_neither_used_nor_moved(net):
    before = torch.get_rng_state()
    first = render(net, channel("layer1", 0), **SMALL).pictures
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(5)
    torch.testing.assert_close(render(net, channel("layer1", 0), **SMALL).pictures, first, rtol=0, atol=1e-4)


def test_a_model_is_left_as_it_was():
    torch.manual_seed(0)
    model = resnet18(num_classes=4).train()
    model.layer2.eval()
    modes = [module.training for module in model.modules()]
    weights = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    render(model, channel("layer2", 3) - 0.1 * diversity("layer1"), batch=2, **SMALL)
    assert [module.training for module in model.modules()] == modes
    assert hooks_of(model) == 0
    assert all(weight.grad is None and weight.requires_grad for weight in model.parameters())
    assert all(torch.equal(tensor, weights[name]) for name, tensor in model.state_dict().items())


class Breaks(nn.Module):
    def __init__(self, exception):
        super().__init__()
        self.exception, self.calls = exception, 0

    def forward(self, x):
        self.calls += 1
        if self.calls > 3:  # one to find the deepest layer, two steps
            raise self.exception
        return x


def breaking(exception):
    model = nn.Sequential(nn.Conv2d(3, 4, 3), Breaks(exception), nn.Conv2d(4, 4, 3))
    return model.train()


def test_no_hook_is_left_when_the_model_raises():
    model = breaking(ZeroDivisionError())
    with pytest.raises(ZeroDivisionError):
        render(model, channel("2", 1), **SMALL)
    assert hooks_of(model) == 0 and model.training and model[2].training


def test_ctrl_c_returns_what_is_done(capsys):
    model = breaking(KeyboardInterrupt())
    made = render(model, channel("2", 1), **SMALL, keep=(0, 1, 6))
    assert made.interrupted and made.steps == 2 and made.record.shape == (2, 1)
    two = render(breaking(KeyboardInterrupt()), channel("2", 1), **SMALL | {"steps": 2})
    assert not two.interrupted and made.pictures.shape == two.pictures.shape
    assert list(made.frames) == [0, 1]
    assert hooks_of(model) == 0 and "2 of 6 steps" in capsys.readouterr().err


def test_frames_are_those_of_shorter_climbs(net):
    long = render(net, channel("layer1", 3), **SMALL, keep=(0, 4, 6))
    assert list(long.frames) == [0, 4, 6]
    for steps in (0, 4):
        short = render(net, channel("layer1", 3), **SMALL | {"steps": steps})
        torch.testing.assert_close(long.frames[steps], short.pictures, rtol=0, atol=1e-4)
    assert torch.equal(long.frames[6], long.pictures)


def test_nothing_above_the_deepest_layer_runs_but_for_one_picture_once():
    ran = []
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3))
    model[2].register_forward_pre_hook(lambda _, inputs: ran.append(len(inputs[0])))
    render(model, channels("0", [1, 2, 3]), **SMALL)
    assert ran == [1]


def test_several_objectives_are_one_batch_and_see_only_their_own_pictures(net):
    """A picture is made as if the others of the batch were any others."""
    mixed = [channel("layer1", 3), channels("layer2", [4, 5]), -l1()]
    made = render(net, mixed, **SMALL, batch=2, transformations=NONE)
    assert made.pictures.shape[0] == 2 + 2 + 2
    dealt = render(net, channels("layer1", [3, 3, 4, 5, 0, 0]), **SMALL, transformations=NONE)
    torch.testing.assert_close(made.pictures[:2], dealt.pictures[:2], rtol=0, atol=1e-3)
    assert (made.pictures[4:] - 0.5).abs().mean() < (made.pictures[:4] - 0.5).abs().mean()


def test_diversity_stays_within_one_objective(net):
    alone = [channel("layer1", 3) - diversity("layer1"), channel("layer1", 4) - diversity("layer1")]
    plain = [channel("layer1", 3), channel("layer1", 4)]
    first, second = (render(net, objectives, **SMALL) for objectives in (alone, plain))
    torch.testing.assert_close(first.pictures, second.pictures, rtol=0, atol=1e-4)


def test_diversity_makes_pictures_differ(course):
    def alike(weight):
        made = render(
            course, channel("layer3", 5) - weight * diversity("layer2"), batch=3, **SMALL | {"steps": 16}
        )
        gram = activations(course, made.pictures, ["layer2"])["layer2"].flatten(2)
        flat = functional.normalize((gram @ gram.mT).flatten(1), dim=1)
        return (flat @ flat.T).triu(1).sum()

    assert alike(30.0) < alike(0.0) - 0.1


def test_a_caricature_compares_with_the_image_moved_alike(net):
    """The image itself as a picture would score 1 at every step, however it is moved."""

    class Itself:
        def start(self, count, generator):
            return torch.zeros(count)

        def pixels(self, parameters):
            return image + 0 * parameters[:, None, None, None]

    image = torch.rand(3, 32, 32, generator=torch.Generator().manual_seed(0))
    made = render(net, caricature("layer2", image), **SMALL, image=Itself(), batch=2)
    torch.testing.assert_close(made.record, torch.ones(6, 2), rtol=0, atol=1e-4)


class CallsRelu(nn.Module):
    def forward(self, x):
        return x.relu()


@pytest.mark.parametrize("relu", [nn.ReLU(inplace=True), nn.ReLU(), CallsRelu()], ids=str)
def test_a_silent_channel_can_be_woken(relu):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 1, 3), relu)
    with torch.no_grad():
        model[0].bias.fill_(-0.5)
    made = render(model, channel("1", 0), steps=60, size=16, progress=False)
    assert made.record[0] == 0 and made.record[-1] > 0


@pytest.mark.parametrize(
    "layer", ["layer1", "layer1.0", "layer1.0.relu", "conv1", "bn1", "relu", "layer2.0.bn1"]
)
def test_what_is_read_is_what_the_layer_returned(net, layer, monkeypatch):
    """Exactly in fp32; nearly where the processor multiplies bf16 and we let it."""
    pixels = torch.rand(2, 3, 32, 32)
    kept = []
    net.eval()
    hook = net.get_submodule(layer).register_forward_hook(lambda *args: kept.append(args[2].clone()))
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    net((pixels - mean[:, None, None]) / std[:, None, None])
    hook.remove()
    with reading(net, [layer, "layer2.0"]) as read:
        assert (read(pixels)[layer] - kept[-1]).abs().max() < 0.03 * kept[-1].abs().max()
        monkeypatch.setattr("mechinterp_course.partial_runs.fast_products", in_fp32)
        torch.testing.assert_close(read(pixels)[layer], kept[-1])
        torch.testing.assert_close(read(pixels.clone().requires_grad_())[layer], kept[-1])


@pytest.mark.parametrize("size", [64, 96])
def test_a_layer_below_one_that_does_not_fit_can_be_rendered(size):
    model = nn.Sequential(nn.Conv2d(3, 4, 3, 2), nn.Flatten(), nn.Linear(7, 2))
    made = render(model, channel("0", 1), steps=2, size=size, progress=False)
    assert made.pictures.shape[-1] == size
    with pytest.raises(RuntimeError):
        render(model, channel("2", 1), steps=2, size=size, progress=False)


def test_what_is_not_there_is_said_in_words(net):
    with pytest.raises(CourseError, match=r"did you mean 'layer3.1.conv2'"):
        render(net, channel("layer3.1.convv2", 0), **SMALL)
    with pytest.raises(CourseError, match="there is no 64"):
        render(net, channel("layer1", 64), **SMALL)
    assert hooks_of(net) == 0


def test_lucents_spelling_renders_the_same_picture(net):
    ours, theirs = (
        render(net, channel(layer, 3), **SMALL).pictures for layer in ("layer1.0.conv1", "layer1_0_conv1")
    )
    assert torch.equal(ours, theirs)


def test_pixels_can_be_optimized_and_no_bar_is_drawn_without_a_terminal(net, capfd):
    made = render(net, neuron("layer1", 3), steps=3, image=PixelImage(40), progress=True)
    assert made.pictures.shape == (1, 3, 40, 40)
    assert capfd.readouterr().err == ""


def test_torchvisions_resnet18_renders_at_224_pixels(net):
    made = render(net, channels("layer3.1.conv2", [17, 3]), steps=2, size=224, progress=False)
    assert made.pictures.shape == (2, 3, 224, 224) and made.record.shape == (2, 2)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_renders_what_the_cpu_does(net):
    here = render(net, channel("layer2", 3), **SMALL, image=FourierImage(32))
    there = render(net.cuda(), channel("layer2", 3), **SMALL, image=FourierImage(32))
    net.cpu()
    torch.testing.assert_close(there.pictures.cpu(), here.pictures, rtol=0, atol=0.02)
