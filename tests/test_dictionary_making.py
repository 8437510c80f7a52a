"""Dictionaries are made anew from a seed, go on where they were stopped, and are judged by what is true."""

import json
import signal
from hashlib import sha256
from itertools import islice

import pytest
import torch
from sae_lens import SAE

from mechinterp_course.catalogue import embedded
from mechinterp_course.errors import CourseError
from mechinterp_course.figures import detection, directions
from mechinterp_course.figures import dictionary as figures
from mechinterp_course.figures.detection import Labelled
from mechinterp_course.language_models import load_folder
from mechinterp_course.making import dictionary, dictionary_folder
from mechinterp_course.making.dictionary_recipes import (
    PARTS,
    DictionaryRecipe,
    Part,
    activations,
    dictionary_recipe,
    even_row,
    rows_of,
)
from mechinterp_course.making.model_folder import write_model
from mechinterp_course.making.recipes import Recipe, untrained_model
from mechinterp_course.making.rows import mixed_rows
from mechinterp_course.models import load_language_model, load_sae, model_card
from mechinterp_course.worlds.text.properties import properties
from mechinterp_course.worlds.tokenizer import train_tokenizer

HOOK = "blocks.1.hook_resid_pre"
SMALL = DictionaryRecipe(hook=HOOK, widths=(16, 64), k=4.0, rows=8, length=32, batch=64, warmup=2)
STEPS = 4
MADE = {"text": "0", "model_sha256": "0"}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """Two small layers that know nothing, with the tokenizer of the world."""
    folder, tokenizer = tmp_path_factory.mktemp("small"), train_tokenizer()
    network = untrained_model(Recipe(2, 24, 2, steps=1, rows=mixed_rows), tokenizer, seed=3)
    write_model(network, tokenizer, folder)
    return load_folder(folder)


@pytest.fixture(scope="module")
def seen(model):
    return activations(model, SMALL, seed=5, rows=SMALL.rows)


@pytest.fixture
def small(monkeypatch, model):
    """`train` makes dictionaries of the small model, and leaves the figures out."""
    monkeypatch.setattr(dictionary, "dictionary_recipe", lambda name: SMALL)
    monkeypatch.setattr(dictionary, "load_language_model", lambda name: model)
    monkeypatch.setattr(dictionary, "load_untrained", lambda name: model)
    monkeypatch.setattr(dictionary, "SURVEY", (Part(f"{dictionary.SCRATCH}/0", hook=HOOK),))
    monkeypatch.setattr(
        dictionary, "made_from", lambda recipe, seed, steps: MADE | {"seed": seed, "steps": steps}
    )
    monkeypatch.setattr(dictionary, "write_figures", lambda name, out, made: None)


@pytest.fixture
def measured(monkeypatch, model):
    """What is measured is measured on little, of the small model."""
    monkeypatch.setattr(figures, "dictionary_recipe", lambda name: SMALL)
    monkeypatch.setattr(figures, "load_language_model", lambda name: model)
    monkeypatch.setattr(figures, "load_untrained", lambda name: model)
    monkeypatch.setattr(figures, "SURVEY", (Part(f"{dictionary.SCRATCH}/0", hook=HOOK),))
    for name, count in {"ROWS": 2, "ROWS_FOR_RARE": 4, "TEXTS": 48}.items():
        monkeypatch.setattr(figures, name, count)


def weights_of(folder):
    return {
        (part.folder, name): weight
        for part in PARTS
        for name, weight in SAE.load_from_disk(folder / part.folder).state_dict().items()
    }


def test_a_run_that_was_interrupted_goes_on_to_the_same_weights(small, tmp_path):
    whole = dictionary.train("course-sae", tmp_path / "whole", steps=STEPS)

    def press_ctrl_c(step, unexplained):
        if step == STEPS + 2:  # in the middle of the second dictionary
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        dictionary.train("course-sae", tmp_path / "broken", steps=STEPS, on_step=press_ctrl_c)
    left = []
    dictionary.train(
        "course-sae", tmp_path / "broken", steps=STEPS, on_step=lambda step, unexplained: left.append(step)
    )
    assert left == list(range(STEPS + 3, (len(PARTS) + 1) * STEPS + 1))
    expected, found = weights_of(whole), weights_of(tmp_path / "broken")
    assert expected.keys() == found.keys()
    assert all(torch.equal(expected[key], found[key]) for key in expected)
    assert {path.name for path in whole.iterdir() if path.is_dir()} == {part.folder for part in PARTS[1:]}


def test_record_and_card_put_every_rival_beside_the_dictionary(small, measured, monkeypatch, tmp_path):
    monkeypatch.setattr(dictionary, "write_figures", dictionary_folder.write_figures)
    dictionary.train("course-sae", tmp_path, steps=STEPS)
    record = json.loads((tmp_path / "training.json").read_text())
    values = {figure["name"]: figure["value"] for figure in record["figures"]}
    rank = round(values["active features (L0)"])
    assert values["principal directions: numbers kept (L0)"] == rank
    rivals = {*figures.UNSUPERVISED, figures.PROBES, figures.WORDS, figures.OWN}
    assert all(set(each["f1"]) == rivals for each in record["properties"])
    assert len(record["properties"]) == len(properties())
    assert [each["hook"] for each in record["hooks"]] == [HOOK, HOOK]
    card = (tmp_path / "README.md").read_text()
    assert all(f"| {name} |" in card for name in values)


def test_a_checkpoint_of_another_run_is_refused(small, tmp_path):
    def press_ctrl_c(step, unexplained):
        signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        dictionary.train("course-sae", tmp_path, steps=STEPS, on_step=press_ctrl_c)
    with pytest.raises(CourseError, match=r"another run .*seed=0"):
        dictionary.train("course-sae", tmp_path, seed=1, steps=STEPS)


def test_a_checkpoint_that_was_cut_off_is_passed_over(seen, tmp_path):
    trainer = dictionary.new_trainer(seen, SMALL, PARTS[0], 0, STEPS)
    list(islice(dictionary.continue_training(trainer, seen, SMALL, 0, STEPS), 1))
    kept = dictionary.Checkpoints(tmp_path, "mine")
    kept.save(trainer)
    (tmp_path / "step-000003").mkdir()
    other = dictionary.new_trainer(seen, SMALL, PARTS[0], 0, STEPS)
    kept.load(other)
    assert other.n_training_steps == 1
    assert torch.equal(other.sae.W_dec, trainer.sae.W_dec)


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.folder or "itself")
def test_only_a_frozen_decoder_stays_as_it_was_drawn(seen, part):
    trainer = dictionary.new_trainer(seen, SMALL, part, 0, STEPS)
    encoder, decoder = trainer.sae.W_enc.clone(), trainer.sae.W_dec.clone()
    assert len(list(dictionary.continue_training(trainer, seen, SMALL, 0, STEPS))) == STEPS
    assert not torch.equal(trainer.sae.W_enc, encoder)
    assert torch.equal(trainer.sae.W_dec, decoder) == part.frozen_decoder


def test_what_is_written_reads_raw_activations_as_the_trained_one_reads_scaled_ones(seen, tmp_path):
    trainer = dictionary.new_trainer(seen, SMALL, PARTS[0], 0, STEPS)
    list(dictionary.continue_training(trainer, seen, SMALL, 0, STEPS))
    raw = seen.float()
    scale = trainer.activation_scaler.scaling_factor
    trained, codes = trainer.sae, trainer.sae.encode_with_hidden_pre(raw * scale)[1]
    threshold = trained.topk_threshold.item()
    expected = trained.decode(torch.where(codes > max(threshold, 0), codes, 0)) / scale
    dictionary.write_dictionary(trainer, tmp_path)
    written = SAE.load_from_disk(tmp_path, dtype="float32")
    far = ((written(raw) - expected).norm(dim=-1) > 0.02 * raw.norm(dim=-1)).float().mean()
    assert far < 0.05  # a value at the threshold may fall on its other side in fp16
    assert written.cfg.metadata.hook_name == HOOK
    assert (tmp_path / "sae_weights.safetensors").stat().st_size < 2.5 * raw.shape[1] * 64 * 2 + 2000


def test_rows_are_settled_by_their_seed_and_hold_repeats_and_rare_kinds_of_text(model):
    tokenizer, recipe = model.tokenizer.backend_tokenizer, DictionaryRecipe(length=64)
    rows = rows_of(tokenizer, recipe, seed=7, rows=48)
    assert rows.shape == (48, 64)
    assert torch.equal(rows, rows_of(tokenizer, recipe, seed=7, rows=48))
    assert not torch.equal(rows, rows_of(tokenizer, recipe, seed=8, rows=48))
    even = "".join(tokenizer.decode(even_row(tokenizer, 64, seed)) for seed in range(40))
    assert min(even.count(rare) for rare in ("The parrot of", " print", " est", " answered")) >= 3


def test_an_unknown_dictionary_has_no_recipe():
    with pytest.raises(CourseError, match="course-sae"):
        dictionary_recipe("course-sea")


def test_principal_directions_restore_what_lies_in_a_plane():
    generator = torch.Generator().manual_seed(0)
    plane = torch.randn(2, 10, generator=generator)
    points = torch.randn(50, 2, generator=generator) @ plane + torch.arange(10.0)
    principal = directions.principal_directions(points)
    torch.testing.assert_close(principal.project(points, rank=2), points)
    assert (principal.project(points, rank=1) - points).norm() > 1
    torch.testing.assert_close(principal.directions @ principal.directions.T, torch.eye(10))


def test_nothing_in_the_way_recovers_all_and_the_mean_recovers_nothing(model):
    rows = directions.held_out_rows(model, seed=1, rows=4)
    mean = directions.activations_at(model, rows, HOOK).mean(dim=(0, 1))
    through = directions.recovered(model, rows, HOOK, mean, lambda activations: activations)
    assert through.of_mean == through.of_zero == 1.0
    flat = directions.recovered(model, rows, HOOK, mean, lambda activations: mean.expand_as(activations))
    assert flat.of_mean == 0.0 and flat.spliced == flat.mean_ablated


def test_held_out_rows_of_different_seeds_share_no_row(model):
    first, second = (directions.held_out_rows(model, seed, rows=8) for seed in (1, 2))
    assert not (first[:, None] == second[None]).all(dim=-1).any()


def labelled(labels, first_half):
    labels = torch.tensor(labels).T
    return Labelled(labels, torch.ones_like(labels), torch.tensor(first_half))


def test_detectors_are_chosen_on_one_half_and_judged_on_the_other():
    truth = labelled([[True, False] * 4], [True] * 4 + [False] * 4)
    lucky = [5.0, 0.0, 5.0, 0.0, 0.0, 5.0, 0.0, 5.0]  # right on the first half, wrong on the second
    honest = [5.0, 1.0, 4.0, 4.5, 5.0, 1.0, 5.0, 1.0]
    found = detection._best(torch.tensor([lucky, honest]).T, truth)
    assert found.detector.item() == 0 and found.chosen_at.item() == 1.0 and found.f1.item() == 0.0


def test_every_score_but_the_lowest_is_tried_as_a_threshold():
    truth = labelled([[True, True, False, False, True, False]], [True] * 6)
    threshold, f1 = truth.best_threshold(torch.tensor([5.0, 3.0, 3.0, 1.0, 0.0, 0.0]))
    assert threshold.item() == 3.0  # at the equal scores, one of them wrong
    assert f1.item() == pytest.approx(2 * 2 / (3 + 3))


def test_a_detector_that_always_says_the_same_finds_nothing():
    truth = labelled([[True, False, True]], [True] * 3)
    threshold, f1 = truth.best_threshold(torch.ones(3))
    assert threshold.item() == torch.inf and f1.item() == 0.0


@pytest.mark.parametrize(
    ("fires", "f1"),
    [
        ([True, True, False, False], 1.0),
        ([True, True, True, True], 2 * 2 / (4 + 2)),
        ([True, False, False, False], 2 * 1 / (1 + 2)),
        ([False, False, True, True], 0.0),
        ([False, False, False, False], 0.0),
    ],
)
def test_f1_counts_hits_against_alarms_and_cases(fires, f1):
    truth = labelled([[True, True, False, False]], [True] * 4)
    assert truth.f1(torch.tensor(fires)[:, None]).item() == pytest.approx(f1)


def test_where_a_property_says_nothing_no_detector_is_wrong():
    labels = torch.tensor([[True], [False], [False]])
    truth = Labelled(labels, torch.tensor([[True], [True], [False]]), torch.ones(3, dtype=torch.bool))
    assert truth.f1(torch.tensor([[True], [False], [True]])).item() == 1.0


SHIPPED = embedded("course-sae")
if_shipped = pytest.mark.skipif(SHIPPED.weights is None, reason="course-sae has not been made yet")


@if_shipped
def test_the_embedded_dictionary_reads_the_language_model_that_is_embedded_now():
    record = json.loads((SHIPPED.path / "training.json").read_text())
    assert record["model_sha256"] == sha256(embedded("course-gpt2").weights.read_bytes()).hexdigest()


@if_shipped
def test_the_embedded_dictionary_and_its_rivals_take_at_most_six_megabytes():
    assert sum(file.stat().st_size for file in SHIPPED.path.rglob("*") if file.is_file()) <= 6e6


@if_shipped
def test_the_embedded_dictionary_passes_unseen_text_on_with_few_features():
    gpt2, sae = load_language_model("course-gpt2"), load_sae("course-sae")
    assert sae.cfg.d_sae >= 8 * gpt2.cfg.d_model
    hook = sae.cfg.metadata.hook_name
    rows = directions.held_out_rows(gpt2, seed=77, rows=8)
    activations = directions.activations_at(gpt2, rows, hook)
    assert (sae.encode(activations) > 0).sum(-1).float().mean() <= 25
    passed = directions.recovered(gpt2, rows, hook, activations.mean(dim=(0, 1)), sae)
    assert passed.of_mean >= 0.95


@if_shipped
def test_the_card_of_the_embedded_dictionary_tells_every_figure():
    record, card = (json.loads((SHIPPED.path / "training.json").read_text()), model_card("course-sae"))
    assert all(f"| {figure['name']} |" in card for figure in record["figures"])
    assert all(f"| {each['property']} | {each['feature']} |" in card for each in record["properties"])
