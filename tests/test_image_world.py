"""The world of pictures: its truth is true of the pixels, and an edit touches one thing only."""

from functools import partial
from itertools import combinations

import numpy as np
import pytest
import torch

from mechinterp_course.errors import CourseError
from mechinterp_course.worlds import images
from mechinterp_course.worlds.images.scene import SIZE

SEEDS = range(40)

EDITS = {
    "replace_part": (lambda one, kind: images.replace_part(one, kind, "wheel" if kind != "wheel" else "ear")),
    "remove_part": images.remove_part,
    "change_texture of a part": lambda one, kind: images.change_texture(one, kind, "checks"),
}


def some_kind(sample):
    return sorted(sample.kinds)[sample.seed % 3]


def touched(before, after, what):
    """What an edit may change: the masks of what was there and of what is there now."""
    put = [kind for kind in ("wheel", "ear") if len(after.places_of(kind)) > len(before.places_of(kind))]
    return torch.stack([before.mask(what), *(after.mask(kind) for kind in put)]).any(dim=0)


@pytest.mark.parametrize("edit", EDITS.values(), ids=EDITS)
def test_an_edit_of_a_part_changes_the_part_and_no_pixel_outside_its_masks(edit):
    for before in map(images.sample, SEEDS):
        kind = some_kind(before)
        after = edit(before, kind)
        changed = (before.image != after.image).any(dim=0)
        assert changed.any()
        assert not (changed & ~touched(before, after, kind)).any()


@pytest.mark.parametrize("what", ["background", "body"])
def test_another_texture_on_background_or_body_changes_nothing_in_front_of_it(what):
    for before in map(images.sample, SEEDS):
        after = images.change_texture(before, what, "dots")
        changed = (before.image != after.image).any(dim=0)
        index = before.places_of("body")[0] if what == "body" else -1
        hidden = torch.from_numpy(before.picture.owner > index)
        solid = hidden & ~_rims(before, index)
        assert changed.any() or before.mask(what).sum() == 0
        assert not (changed & solid).any()
        assert np.array_equal(before.picture.owner, after.picture.owner)


def _rims(sample, index):
    """Pixels that layers in front of `index` cover only in part."""
    rims = torch.zeros(SIZE, SIZE, dtype=torch.bool)
    for layer in sample.scene.layers[index + 1 :]:
        covered = torch.from_numpy(layer.coverage())
        rims[layer.place.window] |= (covered > 0) & (covered < 1)
    return rims


def test_what_is_inserted_and_removed_again_leaves_the_picture_as_it_was():
    for before in map(images.sample, SEEDS):
        kind = next(kind for kind in images.KINDS if kind not in before.kinds)
        after = images.remove_part(images.insert_part(before, kind), kind)
        assert torch.equal(before.image, after.image)


def test_another_texture_keeps_outline_and_colours_of_a_part():
    before = images.sample(3)
    kind = some_kind(before)
    after = images.change_texture(before, kind, "spiral")
    for old, new in zip(before.parts, after.parts, strict=True):
        assert (old.place, old.kind, old.surface.colours) == (new.place, new.kind, new.surface.colours)
    assert torch.equal(before.mask(kind), after.mask(kind))


def test_a_cat_with_a_wing_for_its_tail_is_an_owl():
    cat = images.sample(5, "cat")
    assert images.replace_part(cat, "tail", "wing").name == "owl"
    assert images.remove_part(cat, "tail").name is None
    assert images.remove_part(cat, "tail").label == -1


@pytest.mark.parametrize(
    "edit, words",
    [
        (lambda cat: images.remove_part(cat, "wheel"), "no wheel; its parts are ear, eye, tail"),
        (lambda cat: images.replace_part(cat, "ear", "trunk"), "no part is called 'trunk'"),
        (lambda cat: images.change_texture(cat, "background", "spiral"), "no pattern of background"),
    ],
)
def test_an_impossible_edit_says_what_there_is(edit, words):
    with pytest.raises(CourseError, match=words):
        edit(images.sample(5, "cat"))


def test_the_same_seed_makes_the_same_picture_and_another_seed_another():
    again = images.batch(SEEDS).images
    assert torch.equal(images.batch(SEEDS).images, again)
    assert len({one.numpy().tobytes() for one in again}) == len(again)


def test_pictures_are_64_pixels_of_colours_between_0_and_1():
    for make in (
        images.sample,
        images.collage,
        images.texture,
        images.shape,
        partial(images.part, kind="ear"),
    ):
        image = make(7).image
        assert image.shape == (3, 64, 64)
        assert image.dtype == torch.float32
        assert 0 <= image.min() < image.max() <= 1


def test_a_batch_holds_what_its_samples_hold():
    batch = images.batch(SEEDS)
    for row, sample in enumerate(batch.samples):
        assert torch.equal(batch.images[row], sample.image)
        assert images.NAMES[batch.labels[row]] == sample.name
        assert {
            kind for kind, there in zip(images.KINDS, batch.kinds[row], strict=True) if there
        } == sample.kinds


@pytest.mark.parametrize("name", images.NAMES)
def test_every_part_of_an_object_can_be_seen(name):
    for seed in range(12):
        sample = images.sample(seed, name)
        assert sample.kinds == set(images.CLASSES[name])
        assert min(sample.visible_share(kind) for kind in sample.kinds) >= 1 / 3


def test_classes_share_their_parts_so_that_no_part_gives_a_class_away():
    classes = [set(parts) for parts in images.CLASSES.values()]
    assert len(classes) >= 12
    assert all(sum(kind in parts for parts in classes) >= 2 for kind in images.KINDS)
    assert all(len(one & other) <= 2 for one, other in combinations(classes, 2))


def test_a_part_lies_where_its_place_says():
    for sample in map(images.collage, SEEDS):
        for index in sample.places_of("part"):
            place = sample.scene.layers[index].place
            footprint = sample.picture.footprint(index).nonzero().float() + 0.5
            reach = (footprint - torch.tensor([place.y, place.x])).norm(dim=1)
            assert reach.max() <= 1.5 * place.size + 1.5
            if place.size + 1 < min(place.x, place.y, SIZE - place.x, SIZE - place.y):
                assert (footprint.mean(dim=0) - torch.tensor([place.y, place.x])).norm() < 0.45 * place.size


@pytest.mark.parametrize("kind", ["window", "roof", "ear", "leaf"])
def test_the_pixels_of_a_part_in_two_colours_mix_these_two(kind):
    for sample in (images.collage(seed, [kind]) for seed in SEEDS):
        index = len(sample.scene.layers) - 1
        one, other = (torch.tensor(colour) for colour in sample.scene.layers[index].surface.colours[:2])
        light = torch.from_numpy(sample.scene.light.field())
        inside = torch.from_numpy(sample.picture.owner == index) & ~_rims(sample, index - 1)
        lit = (sample.image / light)[:, inside & (sample.image < 1).all(dim=0)].T
        along = (other - one) / (other - one).norm()
        away = lit - one
        assert torch.allclose(away - (away @ along)[:, None] * along, torch.zeros(3), atol=1e-4)


def test_stripes_have_the_frequency_and_the_angle_that_the_truth_says():
    for seed in SEEDS:
        sample = images.texture(seed, "stripes")
        spectrum = torch.fft.fft2(sample.image.sum(dim=0) - sample.image.sum(dim=0).mean()).abs()
        peak = np.unravel_index(int(spectrum.argmax()), spectrum.shape)
        down, right = (np.fft.fftfreq(SIZE)[place] for place in peak)
        stated = sample.background
        expected = stated.frequency * np.array([np.sin(stated.angle), np.cos(stated.angle)])
        misses = [np.hypot(*(sign * expected - [down, right])) for sign in (1, -1)]
        assert min(misses) < 1.2 / SIZE


def test_no_class_is_given_away_by_its_colours():
    """A linear probe on mean and deviation of red, green and blue stays far from what pictures allow."""
    batch = images.batch(range(1600))
    colours = torch.cat(
        [batch.images.mean(dim=(2, 3)), batch.images.std(dim=(2, 3)), torch.ones(1600, 1)], dim=1
    )
    targets = torch.nn.functional.one_hot(batch.labels, len(images.NAMES)).float()
    fit = torch.linalg.lstsq(colours[:1200], targets[:1200]).solution
    accuracy = ((colours[1200:] @ fit).argmax(dim=1) == batch.labels[1200:]).float().mean()
    assert accuracy < 0.25
