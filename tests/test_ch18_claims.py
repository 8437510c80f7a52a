"""What the prose of ch18_dictionary_variants says is what is measured, with a margin."""

import pytest
import torch

from mechinterp_course import known_families, revival, sae, transcoders
from mechinterp_course.dictionary_variants import split_features
from mechinterp_course.feature_matching import match_features, recovery
from mechinterp_course.figures.directions import held_out_rows
from mechinterp_course.known_features import draw_known_features
from mechinterp_course.making.dictionary_recipes import dictionary_recipe, rows_of
from mechinterp_course.models import load_language_model
from mechinterp_course.sae_comparison import KINDS, outcome, trained
from mechinterp_course.sae_lens_training import Run, train_with_sae_lens
from mechinterp_course.sae_training import Schedule, train

pytestmark = pytest.mark.book  # measured again with the chapters that say it
torch.set_num_threads(1)


@pytest.fixture(scope="module")
def world():
    return draw_known_features(d_in=32, features=48, probability=0.05, seed=0)


def test_what_batchtopk_says_of_a_token_depends_on_its_company(world):
    one, there = trained(KINDS["BatchTopK"], world, seed=0), (world.feature_acts > 0).sum(dim=1)
    counts = []
    for others in (
        world.activations[:0],
        world.activations[there <= 1][:63],
        world.activations[there >= 5][:63],
    ):
        together = (torch.cat([token[None], others]) for token in world.activations[:6])
        counts.append([(one.encode(rows)[0] > 0).sum().item() for rows in together])
    alone, quiet, loud = counts
    assert alone == [3] * 6 and sum(quiet) > 1.5 * sum(alone) > 2 * sum(loud)
    assert (alone[1], quiet[1], loud[1]) == (3, 1, 0)


def test_a_narrow_bandwidth_leaves_thresholds_where_they_began_and_nearly_all_features_on(world):
    found = {}
    for bandwidth in (2.0, 0.00005):
        settings = {"l0_coefficient": 1.0, "jumprelu_bandwidth": bandwidth, "jumprelu_init_threshold": 0.1}
        one = train_with_sae_lens(world.activations, "jumprelu", 48, Run(300, 512, 1e-2), **settings)
        found[bandwidth] = outcome(one, world)
    wide, narrow = found.values()
    assert narrow.l0 > 25 and wide.l0 < 2.4 < narrow.l0
    assert narrow.unexplained < wide.unexplained / 3
    assert narrow.recovery.mean_cosine < 0.6 and wide.recovery.mean_cosine > 0.94


def test_revival_mends_topk_and_patience_does_not():
    """In one world; five are in tests/benchmarks/test_revival.py."""
    found = revival.compare_revivals([1], ("TopK", "twice as long", "resampling", "auxiliary loss"))
    cosine = {name: runs[0].recovery.mean_cosine for name, runs in found.items()}
    assert abs(cosine["twice as long"] - cosine["TopK"]) < 0.015
    assert min(cosine["resampling"], cosine["auxiliary loss"]) > cosine["TopK"] + 0.01, cosine
    dead = {name: runs[0].dead for name, runs in found.items()}
    assert dead["auxiliary loss"] < dead["resampling"] and dead["TopK"] >= 4, dead
    missed = round(48 * (1 - found["TopK"][0].recovery.recall))
    assert missed > dead["TopK"], "not all that is missed is missed for want of a living feature"


def test_fewer_dead_is_not_more_found(world):
    dead, cosine = {}, {}
    for revive in (None, "resample", "auxiliary"):
        one = sae.SparseAutoencoder(32, 96, "topk", k=3, seed=3)
        with torch.no_grad():
            one.b_enc[:72] = -1.0
        train(one, world.activations, Schedule(700, learning_rate=0.005, revive=revive, window=50))
        with torch.no_grad():
            dead[revive] = sae.dead_features(one.encode(world.activations)).sum().item()
            cosine[revive] = recovery(one.W_dec, world.directions).mean_cosine
    assert dead["auxiliary"] < dead["resample"] - 10 < dead[None]
    assert cosine["resample"] > cosine["auxiliary"] > cosine[None] + 0.05


def test_nesting_lessens_absorption_at_the_price_of_reconstruction():
    seen, found = known_families.family_world(1), []
    for kind, settings in (("batchtopk", {}), ("matryoshka", {"matryoshka_widths": [8, 48]})):
        one = train_with_sae_lens(seen.activations, kind, 48, Run(300, 512, 1e-2, 1), k=2, **settings)
        cosine = match_features(one.W_dec, seen.directions)[1]
        assert min(cosine[parent].item() for parent, _ in known_families.FAMILIES) > 0.88
        found.append(known_families.in_families(one, seen))
    plain, nested = found
    assert plain.absorbed > 0.5 and nested.absorbed < plain.absorbed / 3
    assert nested.unexplained > plain.unexplained and abs(nested.l0 - plain.l0) < 0.25


def test_parents_are_told_best_by_a_narrow_dictionary_and_children_by_a_wide_one():
    found = known_families.across_widths((12, 24, 48, 96), seeds=(0, 1))
    parents, children = (
        {w: getattr(each, kind) for w, each in found.items()} for kind in ("parents", "children")
    )
    assert parents[24] > parents[12] + 0.02 and parents[24] > parents[48] + 0.15
    assert parents[48] > parents[96] + 0.08
    assert children[24] < 0.5 and 0.75 < children[48] < children[96]
    assert found[48].unexplained < 0.4 * found[24].unexplained
    assert found[96].alive < 0.6 * 96


def test_what_comes_apart_is_a_family_or_strangers_and_cosines_tell_most_of_them():
    world = known_families.family_world(1)
    narrow, wide = (known_families.of_width(world, width, seed=1) for width in (24, 48))
    found = known_families.splits(world, narrow, wide)
    family, strangers = ([s.cosine for s in found if s.is_family is kind] for kind in (True, False))
    assert (len(family), len(strangers)) == (3, 5)
    assert sorted(family)[1] > 0.45 and max(strangers) < 0.35 and min(family) < max(strangers)
    odd = min((s for s in found if s.is_family), key=lambda s: s.cosine)
    assert min(f1 for _, f1 in odd.pieces) < 0.1
    acts = wide.encode(world.activations)
    shuffled = acts[torch.randperm(len(acts), generator=torch.Generator().manual_seed(0))]
    own, by_chance = (
        split_features(narrow.encode(world.activations), each, known_families.INSIDE)[0].sum().item()
        for each in (acts, shuffled)
    )
    assert own > 25 and by_chance < 3


def test_a_transcoder_beats_an_affine_map_and_a_frozen_decoder_does_not():
    model, recipe = load_language_model("course-gpt2"), dictionary_recipe("course-sae")
    tokens = rows_of(model.tokenizer.backend_tokenizer, recipe, seed=0, rows=80)
    reads, writes = transcoders.mlp_activations(model, tokens, 2)
    rows = held_out_rows(model, 1000, 6)
    stand_ins = {
        "transcoder": transcoders.train_transcoder(reads, writes, 512, Run(90)),
        "frozen": transcoders.train_transcoder(reads, writes, 512, Run(30), frozen_decoder=True),
        "affine": transcoders.best_affine(reads, writes),
        "rank": transcoders.best_affine(reads, writes, rank=16),
        "zero": torch.zeros_like,
    }
    recovered = {
        name: transcoders.transcoder_recovered(model, rows, 2, one) for name, one in stand_ins.items()
    }
    assert recovered["transcoder"] > recovered["affine"] + 0.08 > 0.6, recovered
    assert recovered["affine"] > recovered["frozen"] + 0.1 and recovered["affine"] > recovered["rank"] + 0.1
    assert recovered["zero"] < 0.02
    reads, writes = transcoders.mlp_activations(model, tokens[:40], 0)
    nearly_all = transcoders.transcoder_recovered(model, rows, 0, transcoders.best_affine(reads, writes))
    assert nearly_all > 0.95, "at layer 0 an affine map does as well"
