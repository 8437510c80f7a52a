"""What the prose of ch06_sparse_autoencoders says of worlds and models is what is measured, with a margin."""

import pytest
import torch

from mechinterp_course import sae
from mechinterp_course.catalogue import embedded
from mechinterp_course.feature_matching import match_features
from mechinterp_course.figures.dictionary import load_part
from mechinterp_course.figures.directions import held_out_rows, principal_directions
from mechinterp_course.known_features import draw_known_features
from mechinterp_course.making.dictionary_recipes import PARTS, dictionary_recipe, load_untrained
from mechinterp_course.models import load_language_model
from mechinterp_course.sae_comparison import (
    KINDS,
    Kind,
    absorption,
    outcome,
    outcome_of_pca,
    passed,
    shrinkage,
    trained,
)

pytestmark = pytest.mark.book  # measured again with the chapters that say it
torch.set_num_threads(1)
SEEDS = range(5)
FAMILY = 0, (1, 2, 3)


@pytest.fixture(scope="module")
def worlds():
    return [draw_known_features(d_in=32, features=48, probability=0.05, seed=seed) for seed in SEEDS]


@pytest.fixture(scope="module")
def found(worlds):
    """The autoencoder with L1 in each world."""
    return [trained(KINDS["L1"], world, seed) for seed, world in enumerate(worlds)]


def test_known_features_are_recovered_one_to_one_in_both_directions_on_five_seeds(worlds, found):
    reached = [outcome(one, world).recovery for one, world in zip(found, worlds, strict=True)]
    assert min(each.mean_cosine for each in reached) >= 0.95
    for part in ("uniqueness", "precision", "recall"):
        assert min(getattr(each, part) for each in reached) >= 0.9, part


def test_a_frozen_random_decoder_and_principal_directions_recover_none(worlds):
    for seed, world in enumerate(worlds[:2]):
        frozen = outcome(trained(KINDS["frozen random decoder"], world, seed, steps=300), world)
        for one in (frozen, outcome_of_pca(world, 3)):
            assert one.recovery.mean_cosine < 0.5 and one.recovery.recall == 0
        assert frozen.unexplained < 0.5, "it explains most of the variance"


def test_the_best_reconstruction_has_found_nothing_and_is_not_sparse(worlds, found):
    dense = outcome(trained(KINDS["almost no L1"], worlds[0], seed=0), worlds[0])
    sparse = outcome(found[0], worlds[0])
    assert dense.unexplained < 0.01 < sparse.unexplained
    assert dense.recovery.recall == 0 and dense.l0 > 30 > 3 * sparse.l0


def test_l1_shrinks_more_than_one_feature_alone_would_and_topk_hardly_does(worlds, found):
    assert shrinkage(found[0], worlds[0]) < 1 - KINDS["L1"].l1_coefficient / 2 - 0.05
    assert shrinkage(trained(Kind(l1_coefficient=0.5), worlds[0], seed=0), worlds[0]) < 0.72
    assert shrinkage(trained(KINDS["TopK"], worlds[0], seed=0), worlds[0]) > 0.9


def test_topk_is_stuck_more_often_here(worlds, found):
    topk = [outcome(trained(KINDS["TopK"], world, seed), world) for seed, world in enumerate(worlds[:2])]
    l1 = [outcome(one, world) for one, world in zip(found, worlds[:2], strict=False)]
    assert sum(one.recovery.mean_cosine for one in topk) < sum(one.recovery.mean_cosine for one in l1) - 0.05


def test_children_absorb_their_parent_the_more_the_stronger_l1_is():
    world = draw_known_features(d_in=32, features=48, probability=0.05, families=[FAMILY], seed=0)
    measured = []
    for strength in (0.15, 1.0):
        one = trained(Kind(l1_coefficient=strength), world, seed=0)
        assert match_features(one.W_dec, world.directions)[1][0] > 0.98, "the parent's direction is found"
        measured.append(absorption(one, world, *FAMILY))
    weak, strong = measured
    assert min(weak.with_child) > 0.8 and max(strong.with_child) < 0.5 < 0.75 < strong.alone
    assert strong.child_cosines[:, 1].min() > 0.4 > weak.child_cosines[:, 1].max()


def test_what_course_sae_and_its_rivals_pass_on():
    recipe = dictionary_recipe("course-sae")
    model, untrained = load_language_model(recipe.model), load_untrained(recipe.model)
    rows, hook, folder = held_out_rows(model, 1000, 8), recipe.hook, embedded("course-sae").path
    parts = {part.folder: load_part(folder, part) for part in PARTS}
    own, frozen = (passed(model, rows, hook, one, one.encode) for one in (parts[""], parts["frozen-decoder"]))
    rival = parts["untrained-model"]
    beside = passed(untrained, rows, hook, rival, rival.encode)
    principal = principal_directions(sae.collect_activations(model, held_out_rows(model, 2000, 16), hook))
    pca = passed(model, rows, hook, lambda x: principal.project(x, 17))
    assert own.recovered > 0.98 and 15 < own.l0 < 20
    assert beside.recovered > 0.9 and 15 < beside.l0 < 25, "a high recovery shows nothing learned"
    assert frozen.recovered < 0.5 and pca.recovered < 0.75
    assert frozen.l0 < own.l0
    gap = {}
    for name, one in {"trained": model, "untrained": untrained}.items():
        mean = sae.mean_activation(one, rows, hook)
        clean, ablated = (sae.spliced_loss(one, rows, hook, put) for put in (torch.clone, mean.expand_as))
        gap[name] = ablated - clean
    assert gap["trained"] > 4 and -0.3 < gap["untrained"] < 0  # its ratio means nothing
