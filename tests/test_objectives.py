"""The algebra of objectives, on activations that a hand can follow."""

import pytest
import torch
from torchvision.models import resnet18

from mechinterp_course.errors import CourseError
from mechinterp_course.layer_names import layer_name
from mechinterp_course.objectives import (
    Objective,
    Seen,
    between,
    blur,
    caricature,
    channel,
    channels,
    direction,
    diversity,
    l1,
    neuron,
    total_variation,
)

LAYER = "layer1"


@pytest.fixture
def seen():
    generator = torch.Generator().manual_seed(0)
    activation, pixels = (torch.randn(3, 5, 4, 4, generator=generator), torch.rand(3, 3, 8, 8))
    return Seen({LAYER: activation, "fc": activation[:, :, 0, 0]}, pixels, [{LAYER: activation[[1, 1, 1]]}])


def of(objective, seen):
    return objective.values(seen)


def test_a_channel_is_its_mean_over_places_and_a_logit_is_itself(seen):
    activation = seen.activations[LAYER]
    torch.testing.assert_close(of(channel(LAYER, 2), seen), activation[:, 2].mean((1, 2)))
    torch.testing.assert_close(of(channel("fc", 2), seen), activation[:, 2, 0, 0])


def test_channels_deal_one_channel_to_each_picture(seen):
    dealt = of(channels(LAYER, [4, 0, 1]), seen)
    each = [of(channel(LAYER, index), seen)[row] for row, index in enumerate([4, 0, 1])]
    torch.testing.assert_close(dealt, torch.stack(each))
    assert channels(LAYER, [4, 0, 1]).pictures == 3 and channel(LAYER, 4).pictures is None


def test_places_below_zero_may_count_less(seen):
    own = seen.activations[LAYER][:, 0]
    expected = torch.nn.functional.leaky_relu(own, 0.1).mean((1, 2))
    torch.testing.assert_close(of(channels(LAYER, [0, 0, 0], below_zero=0.1), seen), expected)


@pytest.mark.parametrize("place, expected", [((None, None), (2, 2)), ((0, 3), (0, 3)), ((1, None), (1, 2))])
def test_a_neuron_is_one_place_the_middle_unless_told(seen, place, expected):
    row, column = expected
    torch.testing.assert_close(of(neuron(LAYER, 1, *place), seen), seen.activations[LAYER][:, 1, row, column])


def test_a_direction_is_linear_and_along_one_channel_is_that_channel(seen):
    first, second = torch.eye(5)[1], torch.eye(5)[4]
    mixed = of(direction(LAYER, 2 * first - second), seen)
    torch.testing.assert_close(mixed, of(2 * channel(LAYER, 1) - channel(LAYER, 4), seen))


def test_a_cosine_power_prefers_what_lies_along_the_vector_to_what_grazes_it():
    along = torch.tensor([1.0, 0.0])[None, :, None, None]
    grazing = torch.tensor([1.0, 9.0])[None, :, None, None]
    both = Seen({LAYER: torch.cat([along, grazing])}, torch.zeros(2, 3, 8, 8))
    vector = torch.tensor([1.0, 0.0])
    equal, preferred = of(direction(LAYER, vector), both), of(direction(LAYER, vector, 2.0), both)
    assert equal[0] == equal[1] and preferred[0] == 1 and preferred[1] < 0.02


A, B = channel(LAYER, 1), l1()
LAWS = {
    "a + b is b + a": (A + B, B + A),
    "a - b is a + (-b)": (A - B, A + -B),
    "a - a is nothing": (A - A, 0 * A),
    "2 (a + b) is 2 a + 2 b": (2 * (A + B), 2 * A + B * 2),
    "a / 4 is a quarter": (A / 4, 0.25 * A),
    "- - a is a": ((-1) * -A, A),
    "sum": (sum([A, B, A]), 2 * A + B),
}


@pytest.mark.parametrize("law", LAWS)
def test_the_algebra(law, seen):
    left, right = LAWS[law]
    torch.testing.assert_close(of(left, seen), of(right, seen))


@pytest.mark.parametrize("wrong", [lambda: A * A, lambda: A + 1, lambda: A - 1, lambda: "2" * A])
def test_what_is_no_algebra_is_a_type_error(wrong):
    with pytest.raises(TypeError):
        wrong()


def test_an_objective_knows_what_it_reads_and_cannot_be_changed():
    image = torch.rand(3, 8, 8)
    objective = A - 0.1 * diversity("layer4.0") + caricature(LAYER, image) - total_variation()
    assert objective.layers == (LAYER, "layer4.0") and objective.images == [image]
    assert repr(A - 0.5 * B) == "1 * channel('layer1', 1) + -0.5 * l1(0.5)"
    with pytest.raises(AttributeError):
        objective.terms = ()
    with pytest.raises(CourseError, match="2 and 3 pictures"):
        _ = (channels(LAYER, [1, 2]) + channels(LAYER, [1, 2, 3])).pictures


def test_between_goes_from_one_objective_to_another_in_equal_steps(seen):
    first, half, second = between(A, B, 3)
    torch.testing.assert_close(of(first, seen), of(A, seen))
    torch.testing.assert_close(of(half, seen), of(0.5 * A + 0.5 * B, seen))
    torch.testing.assert_close(of(second, seen), of(B, seen))


def test_equal_pictures_are_wholly_alike_and_orthogonal_ones_not_at_all():
    one = torch.zeros(3, 2, 2, 2)
    one[0, 0], one[1, 0], one[2, 1] = 1.0, 5.0, 1.0  # the first two differ in strength only
    alike = of(diversity(LAYER), Seen({LAYER: one}, torch.zeros(3, 3, 8, 8)))
    torch.testing.assert_close(alike, torch.tensor([0.5, 0.5, 0.0]))
    assert of(diversity(LAYER), Seen({LAYER: one[:1]}, torch.zeros(1, 3, 8, 8))) == 0


def test_a_caricature_of_itself_is_one_of_twice_itself_two_and_of_another_less(seen):
    activation = seen.activations[LAYER]
    pictures = torch.stack([activation[1], 2 * activation[1], activation[0]])
    value = of(caricature(LAYER, torch.zeros(3, 8, 8)), Seen({LAYER: pictures}, seen.pixels, seen.originals))
    torch.testing.assert_close(value[:2], torch.tensor([1.0, 2.0]))
    assert value[2] < 0.5


def test_penalties_measure_the_picture_itself():
    flat, stripes = torch.full((1, 3, 8, 8), 0.25), torch.zeros(1, 3, 8, 8)
    stripes[..., ::2] = 1.0
    both = Seen({}, torch.cat([flat, stripes]))
    torch.testing.assert_close(of(total_variation(), both), torch.tensor([0.0, 1.0]))
    torch.testing.assert_close(of(l1(), both), torch.tensor([0.25, 0.5]))
    torch.testing.assert_close(of(l1(0.25), both)[0], torch.tensor(0.0))
    assert of(blur(), both)[0] < 1e-10 < 0.1 < of(blur(), both)[1]


def test_descending_the_blur_penalty_moves_a_picture_towards_its_blurred_self():
    pixels = torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(1), requires_grad=True)
    (gradient,) = torch.autograd.grad(of(blur(), Seen({}, pixels)).sum(), pixels)
    blurred = torch.nn.functional.avg_pool2d(pixels, 3, 1, 1, count_include_pad=False)
    share = (gradient / (pixels - blurred)).detach()
    torch.testing.assert_close(share, share.mean().expand_as(share), rtol=1e-3, atol=1e-5)


def test_a_channel_or_a_place_that_is_not_there_is_said_in_words(seen):
    with pytest.raises(CourseError, match="layer1 has 5 channels: there is no 5"):
        of(channel(LAYER, 5), seen)
    with pytest.raises(CourseError, match="4 rows and 4 columns"):
        of(neuron(LAYER, 0, 4, 0), seen)
    with pytest.raises(CourseError, match="5 channels, but the direction has 3"):
        of(direction(LAYER, torch.ones(3)), seen)
    assert of(Objective(), seen).tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    "spelled, name",
    [("layer3.1.conv2", "layer3.1.conv2"), ("layer3_1_conv2", "layer3.1.conv2"), ("fc", "fc")],
)
def test_layers_are_known_by_torchs_name_and_by_lucents(spelled, name):
    with torch.device("meta"):
        assert layer_name(resnet18(), spelled) == name


@pytest.mark.parametrize(
    "wrong, meant", [("layer3_1_conv3", "layer3.1.conv"), ("layer3.1.cnv2", "layer3.1.conv2")]
)
def test_an_unknown_layer_is_told_the_closest_one(wrong, meant):
    with torch.device("meta"), pytest.raises(CourseError, match=f"did you mean '{meant}"):
        layer_name(resnet18(), wrong)
