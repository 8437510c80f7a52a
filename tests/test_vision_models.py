"""The embedded vision models do what their cards say, on pictures of other seeds; their making resumes."""

import json
from dataclasses import replace

import pytest
import torch

from mechinterp_course import catalogue
from mechinterp_course.errors import CourseError
from mechinterp_course.feature_visualization import render_channels
from mechinterp_course.figures import channels, polysemantic, selectivity, vision
from mechinterp_course.figures.figure import from_records
from mechinterp_course.figures.judge import FACTORS, load_judge, named, named_beside_others
from mechinterp_course.making import vision as making
from mechinterp_course.making.adversary import worst_nearby
from mechinterp_course.making.vision_heads import COLOURS, HUES, SURFACES, Votes, colour_index, truth_of
from mechinterp_course.making.vision_recipes import Adversary
from mechinterp_course.vision_models import load_vision_model
from mechinterp_course.worlds import images

MODELS = ("course-resnet18", "course-resnet18-robust")
SEED = 7
SMALL = vision.Extent(accuracy=64, labelled=128, edits=32, steps=64, attacked=128)


@pytest.fixture(scope="module", params=MODELS)
def model(request):
    return load_vision_model(request.param)


@pytest.fixture(scope="module")
def judge():
    return load_judge(catalogue.embedded("course-resnet18").path)


def value(figures, name):
    return next(figure.value for figure in figures if figure.name == name)


def test_new_objects_are_named_right(model):
    start = selectivity.held_out(SEED, 0)
    batch = images.batch(range(start, start + 200))
    assert vision.accuracy(model, batch.images, batch) >= 0.95


@pytest.mark.book
def test_the_robust_sibling_withstands_what_fools_the_other():
    plain, robust = (
        value(vision.accuracy_figures(load_vision_model(name), SEED, SMALL, None), "accuracy under attack")
        for name in MODELS
    )
    assert robust >= plain + 0.05


@pytest.mark.parametrize("name", MODELS)
def test_the_card_holds_the_measured_figures_and_all_of_them_hold(name):
    folder = catalogue.embedded(name).path
    record = json.loads((folder / "training.json").read_text(encoding="utf-8"))
    card = (folder / "README.md").read_text(encoding="utf-8")
    for figure in from_records(record["figures"]):
        assert figure.holds, figure
        assert f"| {figure.name} | {figure.value:.4g} |" in card


@pytest.mark.parametrize("name", MODELS)
def test_the_weights_take_at_most_twelve_megabytes(name):
    files = catalogue.embedded(name).path.iterdir()
    assert sum(file.stat().st_size for file in files) <= 12e6


@pytest.mark.book
def test_most_channels_drawn_show_what_they_answer_to(model, judge):
    figures = channels.channel_figures(model, judge, SEED, labelled=128, steps=64)
    assert value(figures, "selective channels") >= 22
    assert value(figures, "recognised channels") >= 20
    assert value(figures, "recognised by chance") <= value(figures, "recognised channels") / 2
    assert value(figures, "silent channels") <= 2


@pytest.mark.book
def test_edits_prove_a_channel_of_layer4_polysemantic(model):
    effects = {figure.name: figure.value for figure in vision.polysemantic_figures(model, SEED, SMALL)}
    for part in ("first part", "second part"):
        assert max(effects[f"{part} removed"], effects[f"{part} replaced by control"]) <= -0.4
    assert abs(effects["control removed"]) <= 0.3


def test_a_channel_for_two_parts_is_found_among_channels_for_one_and_for_all():
    effects = torch.zeros(3, len(images.KINDS))
    effects[0, images.KINDS.index("wheel")] = -2.0
    effects[1, [images.KINDS.index("wheel"), images.KINDS.index("roof")]] = -1.0
    effects[2] = -1.5
    channel, trio = polysemantic.candidates(effects)[0]
    assert channel == 1
    assert set(trio[:2]) == {"wheel", "roof"}
    assert polysemantic.testable(trio)


def test_an_untrained_network_has_hardly_a_channel_for_parts():
    pictures = selectivity.labelled_parts(selectivity.held_out(SEED, 1), 8)
    (response,) = selectivity.responses(channels.untrained(load_vision_model()), pictures.pixels, "layer4")
    assert (selectivity.share_at_top(response, pictures.shows).amax(dim=1) > 0.75).float().mean() < 0.05


def test_the_judge_names_parts_and_textures_it_has_never_seen(judge):
    for labelled in (selectivity.labelled_parts, selectivity.labelled_textures):
        pictures = labelled(selectivity.held_out(SEED, 5), 8)
        truths = [FACTORS[index] for index in pictures.shows.int().argmax(dim=1)]
        right = [
            truth in names[:2] for truth, names in zip(truths, named(judge, pictures.pixels), strict=True)
        ]
        assert sum(right) / len(right) >= 0.8


def test_the_judge_takes_off_what_all_pictures_have_in_common():
    def grain(pixels):
        return torch.tensor([[9.0, 0.0, 1.0], [9.0, 1.0, 0.0]])

    assert [names[0] for names in named(grain, None)] == [FACTORS[0]] * 2
    assert [names[0] for names in named_beside_others(grain, None)] == [FACTORS[2], FACTORS[1]]


def test_the_share_at_the_top_counts_the_pictures_that_excite_a_channel_most():
    response = torch.tensor([[4.0, 1.0], [3.0, 2.0], [2.0, 3.0], [1.0, 4.0]])
    shows = torch.tensor([[True, False], [True, False], [False, False], [False, True]])
    assert selectivity.share_at_top(response, shows, part=0.5).tolist() == [[1.0, 0.0], [0.0, 0.5]]


def test_groups_without_meaning_explain_nothing_and_groups_that_decide_everything():
    generator = torch.Generator().manual_seed(0)
    group = torch.arange(4).repeat(50)
    noise = torch.randn(200, 64, generator=generator)
    assert abs(selectivity.variance_explained(noise, group).mean()) < 0.02
    assert selectivity.variance_explained(noise * 1e-3 + group[:, None], group).min() > 0.99


def test_parts_that_look_alike_are_not_called_unrelated():
    assert polysemantic.unrelated("wheel", "roof")
    assert not polysemantic.unrelated("wheel", "eye")


def test_an_attack_stays_within_its_radius_and_its_range_and_raises_the_loss():
    torch.manual_seed(0)
    pixels = images.batch(range(8)).images
    slope = torch.randn_like(pixels)
    moved = worst_nearby(pixels, lambda x: (x * slope).sum(), radius=2.0, steps=3)
    assert (moved - pixels).flatten(1).norm(dim=1).max() <= 2.0 + 1e-4
    assert moved.min() >= 0 and moved.max() <= 1
    assert ((moved - pixels) * slope).sum(dim=(1, 2, 3)).min() > 0


def test_the_heads_are_told_what_the_pixels_show():
    samples = [images.texture(3, "dots"), images.sample(5, "cat")]
    truth = truth_of(samples)
    assert truth.labels.tolist() == [-1, images.NAMES.index("cat")]
    assert truth.surfaces[0, SURFACES.index("dots")].eq(1).all()
    assert torch.allclose(truth.surfaces.sum(dim=1), torch.ones(2, 8, 8))
    assert torch.allclose(truth.colours.sum(dim=1), torch.ones(2, 8, 8))
    shown = truth.surfaces[1].sum(dim=(1, 2)) > 0
    assert {"nested", "iris", "bands"} <= {name for name, there in zip(SURFACES, shown, strict=True) if there}


def test_of_ten_channels_eight_are_dealt_one_surface_one_is_dealt_two_and_one_none():
    votes = Votes(200, SURFACES, seed=0)
    assert votes.dealt.sum(dim=0).long().bincount().tolist() == [20, 160, 20]


def test_a_channel_that_answers_to_what_it_was_dealt_pays_least():
    votes = Votes(20, SURFACES, seed=0)
    surfaces = torch.eye(len(SURFACES))[:, :, None, None]
    right = torch.einsum("sc,bshw->bchw", votes.dealt, surfaces)
    assert (
        votes.loss(9 * right, surfaces)
        < votes.loss(0 * right, surfaces)
        < votes.loss(9 - 9 * right, surfaces)
    )


@pytest.mark.parametrize(
    "colour, index",
    [((1, 0, 0), 0), ((0, 1, 0), HUES // 3), ((0.1, 0.1, 0.1), HUES), ((0.9, 0.9, 0.9), COLOURS - 1)],
)
def test_a_colour_has_the_index_of_its_hue_or_of_dark_and_light(colour, index):
    assert colour_index(torch.tensor(colour)[None, :, None, None].float()).item() == index


def test_the_same_seed_renders_the_same_picture_and_one_that_excites_its_channel():
    net = load_vision_model()
    one, again = (render_channels(net, "layer3", [3, 5], steps=12, seed=1) for _ in range(2))
    assert torch.equal(one, again)
    start = render_channels(net, "layer3", [3, 5], steps=0, seed=1)
    after, before = (
        selectivity.responses(net, pixels, "layer3")[0][:, [3, 5]].diagonal() for pixels in (one, start)
    )
    assert (after > before).all()


@pytest.mark.parametrize("adversary", [None, Adversary(radius=1.0, steps=1)], ids=["plain", "robust"])
def test_a_run_that_was_interrupted_ends_in_the_weights_of_one_that_was_not(adversary, tmp_path):
    recipe = replace(
        making.recipe_of("course-resnet18"), objects=2, collages=1, textures=1, adversary=adversary
    )
    whole, first, second = (making.new_run(recipe, seed=0) for _ in range(3))
    losses = list(making.continue_run(whole, recipe, seed=0, steps=2))
    making.train_step(first, recipe, seed=0, steps=2)
    making.save_checkpoint(first, tmp_path, "this")
    making.load_checkpoint(second, tmp_path, "this")
    rest = list(making.continue_run(second, recipe, seed=0, steps=2))
    assert rest == pytest.approx(losses[1:], abs=1e-3)
    for name, tensor in whole.tensors().items():
        assert torch.allclose(tensor.float(), second.tensors()[name].float(), atol=1e-3), name
    with pytest.raises(CourseError, match="belongs to another run"):
        making.load_checkpoint(second, tmp_path, "that")


def test_an_unknown_model_is_told_which_there_are(tmp_path):
    with pytest.raises(CourseError, match="course-resnet18-robust"):
        making.train("resnet50", tmp_path)
