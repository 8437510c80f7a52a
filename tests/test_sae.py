"""Sparse autoencoders: our class, sae-lens', the release's by its public name, and what is measured."""

import os
import subprocess
import sys

import pytest
import torch
from hub_server import Served, serve
from public_files import D_SAE, HOOK, gpt2, language_model_repository, sae_repository
from safetensors.torch import load_file

from mechinterp_course import sae as measures
from mechinterp_course import sae_formats
from mechinterp_course.errors import CourseError
from mechinterp_course.models import load_language_model, load_sae
from mechinterp_course.sae import SparseAutoencoder
from mechinterp_course.sae_lens_training import Run, train_with_sae_lens
from mechinterp_course.sae_training import (
    Schedule,
    auxiliary_loss,
    firing_statistics,
    resample_dead,
    train,
)
from mechinterp_course.sparse_activations import topk

torch.set_num_threads(1)
KINDS = {"relu": None, "topk": 3, "jumprelu": None}


@pytest.fixture(scope="module")
def model():
    return load_language_model("course-gpt2")


@pytest.fixture(scope="module")
def course_sae():
    return load_sae("course-sae")


def some_autoencoder(activation="relu", k=None, tied=False, d_in=12, d_sae=30):
    ours = SparseAutoencoder(d_in, d_sae, activation, k, tied, seed=3)
    generator = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for weight in (ours.b_enc, ours.b_dec, ours.W_dec):
            weight += 0.4 * torch.randn(weight.shape, generator=generator)
        ours.threshold.fill_(0.3)
    return ours


def some_activations(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("activation", KINDS)
def test_an_sae_of_ours_opens_in_sae_lens_and_computes_the_same(activation, tied, tmp_path):
    from sae_lens import SAE

    ours = some_autoencoder(activation, KINDS[activation], tied)
    theirs = SAE.load_from_disk(sae_formats.save(ours, tmp_path, hook="blocks.1.hook_resid_pre"))
    activations = some_activations(5, 7, 12)
    torch.testing.assert_close(theirs.encode(activations), ours.encode(activations), rtol=0, atol=1e-5)
    torch.testing.assert_close(theirs(activations), ours(activations), rtol=0, atol=1e-5)
    assert theirs.cfg.metadata.hook_name == "blocks.1.hook_resid_pre"
    assert (ours.encode(activations) > 0).any()


@pytest.mark.parametrize("centred", [True, False])
@pytest.mark.parametrize("name", ["Standard", "TopK", "JumpReLU"])
def test_an_sae_of_sae_lens_opens_in_ours_and_computes_the_same(name, centred, tmp_path):
    import sae_lens

    extra = {"k": 4} if name == "TopK" else {}
    config = getattr(sae_lens, f"{name}SAEConfig")(d_in=12, d_sae=30, apply_b_dec_to_input=centred, **extra)
    theirs = getattr(sae_lens, f"{name}SAE")(config)
    with torch.no_grad():
        for number, weight in enumerate(theirs.parameters()):
            weight.copy_(0.5 * some_activations(*weight.shape, seed=number))
    theirs.save_model(tmp_path)
    ours = sae_formats.load(tmp_path)
    activations = some_activations(5, 7, 12)
    torch.testing.assert_close(ours.encode(activations), theirs.encode(activations), rtol=0, atol=1e-5)
    torch.testing.assert_close(ours(activations), theirs(activations), rtol=0, atol=1e-5)


def test_the_embedded_dictionary_opens_in_ours(course_sae):
    ours, activations = sae_formats.from_sae_lens(course_sae), 3 * some_activations(20, 192)
    torch.testing.assert_close(ours.encode(activations), course_sae.encode(activations), rtol=0, atol=1e-5)
    torch.testing.assert_close(ours(activations), course_sae(activations), rtol=0, atol=1e-5)


def test_what_depends_on_the_batch_becomes_thresholds_before_it_is_saved(tmp_path):
    ours, activations = some_autoencoder("batchtopk", 3), some_activations(50, 12)
    with pytest.raises(CourseError, match="with_threshold"):
        sae_formats.save(ours, tmp_path)
    fixed = sae_formats.with_threshold(ours, activations)
    torch.testing.assert_close(fixed.encode(activations), ours.encode(activations))
    torch.testing.assert_close(
        sae_formats.load(sae_formats.save(fixed, tmp_path))(activations), fixed(activations)
    )


def test_an_architecture_that_ours_cannot_compute_is_refused():
    from sae_lens import GatedSAE, GatedSAEConfig

    with pytest.raises(CourseError, match="gated"):
        sae_formats.from_sae_lens(GatedSAE(GatedSAEConfig(d_in=4, d_sae=8)))


MEASURE = """
import sys, torch
from safetensors.torch import save_file
from mechinterp_course import sae as measures, sae_formats
from mechinterp_course.models import load_language_model, load_sae
torch.set_num_threads(1)
model, sae = load_language_model("gpt2"), load_sae("gpt2-small-res-jb", hook=sys.argv[1])
ours = sae_formats.from_sae_lens(sae)
tokens = torch.arange(16).reshape(2, 8)
activations = measures.collect_activations(model, tokens, sys.argv[1])
with torch.no_grad():
    found = {}
    for name, one in {"theirs": sae, "ours": ours}.items():
        acts, lost = one.encode(activations), one(activations)
        found[f"{name} acts"], found[f"{name} reconstruction"] = acts, lost
        found[f"{name} numbers"] = torch.tensor([
            measures.mean_l0(acts), measures.fraction_of_variance_unexplained(activations, lost),
            measures.cross_entropy_recovered(model, one, tokens, sys.argv[1]),
            measures.feature_density(acts).sum().item(), measures.dead_features(acts).sum().item(),
        ])
save_file({name: value.contiguous() for name, value in found.items()}, sys.argv[2])
"""


def test_the_release_loads_by_its_public_name_and_is_measured_like_ours(tmp_path):
    repositories = {
        "gpt2": language_model_repository(gpt2(), tmp_path / "gpt2"),
        "jbloom/GPT2-Small-SAEs-Reformatted": sae_repository(),
    }
    with serve(Served(repositories)) as hub:
        environment = os.environ | {
            "HF_ENDPOINT": hub.address,
            "HF_HOME": str(tmp_path / "home"),
            "HF_HUB_OFFLINE": "0",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "NO_PROXY": "127.0.0.1,localhost",
        }
        command = [sys.executable, "-c", MEASURE, HOOK, str(tmp_path / "out")]
        run = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    found = load_file(tmp_path / "out")
    for what in ("acts", "reconstruction", "numbers"):
        torch.testing.assert_close(found[f"ours {what}"], found[f"theirs {what}"], rtol=1e-5, atol=1e-5)
    l0, _, _, densities, _ = found["theirs numbers"].tolist()
    assert found["theirs acts"].shape == (2, 8, D_SAE) and 0 < l0 < D_SAE
    assert densities == pytest.approx(l0, rel=1e-5)


def test_the_embedded_dictionary_is_measured_as_its_card_says(model, course_sae):
    from mechinterp_course.figures.directions import held_out_rows

    hook = course_sae.cfg.metadata.hook_name
    tokens = held_out_rows(model, 1000, 16)
    activations = measures.collect_activations(model, tokens, hook)
    acts = course_sae.encode(activations)
    assert measures.mean_l0(acts) == pytest.approx(17.7, abs=1)
    lost = measures.fraction_of_variance_unexplained(activations, course_sae.decode(acts))
    assert lost == pytest.approx(0.0856, abs=0.01)
    recovered = {
        kind: measures.cross_entropy_recovered(model, course_sae, tokens, hook, kind)
        for kind in ("mean", "zero")
    }
    assert 0.98 < recovered["mean"] < recovered["zero"] < 1
    assert not any(point.fwd_hooks for point in model.hook_dict.values())


def test_l0_density_and_dead_features_of_a_case_by_hand():
    acts = torch.tensor([[[1.0, 0, 0, 0.1], [0, 2, 0, 0]], [[3, 0, 0, 0], [4, 5, 0, 0]]])
    assert measures.mean_l0(acts) == 1.5
    assert measures.feature_density(acts).tolist() == [0.75, 0.5, 0, 0.25]
    assert measures.dead_features(acts).tolist() == [False, False, True, False]
    l0, density, dead = firing_statistics([acts[0], acts[1]])
    assert (l0, density.tolist(), dead.tolist()) == (1.5, [0.75, 0.5, 0, 0.25], [False, False, True, False])


@pytest.mark.parametrize(
    ("reconstruct", "expected"), [(lambda x: x, 0.0), (lambda x: x.mean(0).expand_as(x), 1.0)]
)
def test_the_ends_of_fvu(reconstruct, expected):
    activations = some_activations(40, 6) * torch.arange(1, 7) + 9
    found = measures.fraction_of_variance_unexplained(activations, reconstruct(activations))
    assert found == pytest.approx(expected, abs=1e-6)


def test_batchtopk_agrees_with_sae_lens():
    from sae_lens.saes.batchtopk_sae import BatchTopK

    values = some_activations(6, 5, 20)
    torch.testing.assert_close(topk(values, 3, across_batch=True), BatchTopK(3)(values))


def test_the_auxiliary_loss_agrees_with_sae_lens_and_gives_the_error_no_gradient():
    from sae_lens.saes.topk_sae import calculate_topk_aux_acts

    ours, activations = some_autoencoder(), some_activations(9, 12)
    dead = torch.arange(30) % 3 == 0
    pre_activations = ours.pre_activations(activations)
    error = (activations - ours(activations)).detach().requires_grad_()
    loss = auxiliary_loss(error, pre_activations, dead, ours.W_dec, k_aux=4)
    acts = calculate_topk_aux_acts(4, pre_activations, dead)
    torch.testing.assert_close(loss, (acts @ ours.W_dec - error).square().sum(-1).mean())
    loss.backward()
    assert (
        error.grad is None
        and ours.W_dec.grad[~dead].abs().max() == 0
        and ours.W_dec.grad[dead].abs().max() > 0
    )
    assert auxiliary_loss(error, pre_activations, dead & False, ours.W_dec, 4) == 0


def test_resampling_points_dead_features_at_tokens_and_leaves_the_others():
    ours, activations = some_autoencoder(), some_activations(40, 12)
    dead = torch.arange(30) < 5
    before = {name: value.clone() for name, value in ours.state_dict().items()}
    optimizer = torch.optim.Adam(ours.parameters())
    resample_dead(ours, activations, dead, torch.Generator().manual_seed(0), optimizer)
    towards = torch.nn.functional.normalize(activations - ours.b_dec, dim=1)
    assert (ours.W_dec[:5] @ towards.T).amax(1).min().item() == pytest.approx(1, abs=1e-5)
    norms = ours.W_enc.norm(dim=0)
    torch.testing.assert_close(norms[:5], (0.2 * norms[5:].mean()).expand(5))
    assert ours.b_enc[:5].abs().max() == 0
    assert torch.equal(ours.W_dec[5:], before["W_dec"][5:]) and torch.equal(
        ours.b_enc[5:], before["b_enc"][5:]
    )


def test_training_keeps_decoder_rows_at_unit_norm_and_depends_on_its_seed_alone():
    activations = some_activations(300, 8)
    runs = [
        train(SparseAutoencoder(8, 12, seed=1), activations, Schedule(steps=30, l1_coefficient=0.1, seed=2))
        for _ in range(2)
    ]
    torch.testing.assert_close(runs[0].W_dec.norm(dim=1), torch.ones(12))
    assert torch.equal(runs[0].W_dec, runs[1].W_dec)
    frozen = train(SparseAutoencoder(8, 12, seed=1), activations, Schedule(steps=30), frozen_decoder=True)
    assert torch.equal(frozen.W_dec, SparseAutoencoder(8, 12, seed=1).W_dec)


@pytest.mark.parametrize("wrong", [{"activation": "gelu"}, {"activation": "topk"}, {"k": 3}])
def test_an_autoencoder_of_no_known_kind_is_refused(wrong):
    with pytest.raises(ValueError, match=r"not one of|needs a k|takes no k"):
        SparseAutoencoder(4, 8, **wrong)


def test_sae_lens_progress_bars_are_left_out(monkeypatch):
    """In a notebook they are widgets, whose scripts a page would load from elsewhere."""
    from sae_lens.training import activation_scaler, sae_trainer

    for module in (activation_scaler, sae_trainer):
        monkeypatch.setattr(module, "tqdm", lambda *args, **kwargs: pytest.fail("a bar"))
    activations = torch.randn(300, 6, generator=torch.Generator().manual_seed(0))
    sae = train_with_sae_lens(activations, "topk", 12, Run(steps=3, batch=32), k=2)
    assert sae.encode(activations).shape == (300, 12)
