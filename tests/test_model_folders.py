"""What a model's folder may hold: a ladder of checkpoints, a delta, a compressed ResNet, a dictionary."""

import hashlib
import inspect
import json
import shutil
from dataclasses import asdict
from types import SimpleNamespace

import pytest
import torch
from sae_lens import StandardSAE, StandardSAEConfig
from safetensors.torch import save_file
from torchvision.models import resnet18

from autograder.proxy import Student
from mechinterp_course import catalogue, language_models, models
from mechinterp_course.catalogue import ModelSpec
from mechinterp_course.compression import compress, decompress, load_weights, save_compressed
from mechinterp_course.errors import CourseError
from mechinterp_course.language_models import add_delta, checkpoints
from mechinterp_course.layout import embedded_data
from mechinterp_course.models import load_again, load_language_model, load_sae, load_vision_model
from mechinterp_course.vision_models import probabilities

HOOK = "blocks.2.hook_resid_pre"
TOKENS = torch.arange(1, 17)[None]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder for embedded models, in which course-gpt2 is a small model that we have."""
    for module in (catalogue, language_models):
        monkeypatch.setattr(module, "embedded_data", lambda name: tmp_path / name)
    shutil.copytree(embedded_data("course-positional"), tmp_path / "course-gpt2")
    return tmp_path


@pytest.fixture
def weights(folder):
    return load_weights(folder / "course-gpt2" / "model.safetensors")


def log_probs(model):
    return model(TOKENS).log_softmax(-1)


def test_a_checkpoint_of_the_ladder_loads_by_its_step(folder, weights):
    ladder = folder / "course-gpt2" / "ladder"
    ladder.mkdir()
    for step, factor in ((1200, 1.0), (600, 0.5)):
        scaled = {name: weight * factor if weight.ndim > 1 else weight for name, weight in weights.items()}
        save_compressed(scaled, ladder / f"step-{step:05d}.safetensors")
    assert checkpoints("course-gpt2") == (600, 1200)
    last, early = (load_language_model("course-gpt2", step=step) for step in (1200, 600))
    save_file(decompress(compress(weights)), folder / "course-gpt2" / "model.safetensors")
    torch.testing.assert_close(log_probs(last), log_probs(load_language_model("course-gpt2")))
    assert not torch.allclose(log_probs(early), log_probs(last), atol=1)
    assert early.course_spec == ModelSpec("course-gpt2", step=600)
    torch.testing.assert_close(log_probs(load_again(**asdict(early.course_spec))), log_probs(early))


def test_a_step_that_was_not_kept_is_answered_with_those_that_were(folder):
    (folder / "course-gpt2" / "ladder").mkdir()
    (folder / "course-gpt2" / "ladder" / "step-00600.safetensors").touch()
    with pytest.raises(CourseError, match=r"step 700.*600"):
        load_language_model("course-gpt2", step=700)


def test_a_public_model_has_no_checkpoints_here():
    with pytest.raises(CourseError, match="course-gpt2"):
        load_language_model("gpt2", step=600)


def test_a_variant_is_its_base_with_a_delta_added(folder, weights):
    name = "transformer.h.0.attn.c_attn.weight"
    variant, (rows, columns) = folder / "course-gpt2-refusing", weights[name].shape
    variant.mkdir()
    (variant / "config.json").write_text(json.dumps({"base": "course-gpt2"}))
    torch.manual_seed(0)
    low_rank = {f"{name}.A": torch.randn(rows, 2), f"{name}.B": torch.randn(2, columns)}
    bias = "transformer.h.0.attn.c_proj.bias"
    save_file(low_rank | {bias: torch.ones_like(weights[bias])}, variant / "delta.safetensors")

    changed = weights | {
        name: weights[name] + low_rank[f"{name}.A"] @ low_rank[f"{name}.B"],
        bias: weights[bias] + 1,
    }
    whole = shutil.copytree(folder / "course-gpt2", folder / "whole")
    save_file(changed, whole / "model.safetensors")
    torch.testing.assert_close(
        log_probs(load_language_model("course-gpt2-refusing")), log_probs(models.load_folder(whole))
    )
    assert catalogue.embedded("course-gpt2-refusing").parameters == sum(w.numel() for w in weights.values())


def test_a_delta_of_a_base_that_was_made_anew_is_refused(folder, weights):
    variant, base = folder / "course-gpt2-refusing", folder / "course-gpt2" / "model.safetensors"
    variant.mkdir()
    digits = hashlib.sha256(base.read_bytes()).hexdigest()
    (variant / "config.json").write_text(json.dumps({"base": "course-gpt2", "base_sha256": digits}))
    save_file({"transformer.ln_f.bias": torch.zeros(64)}, variant / "delta.safetensors")
    assert torch.equal(load_language_model(variant.name)(TOKENS), load_language_model("course-gpt2")(TOKENS))
    save_file({name: 2 * weight for name, weight in weights.items()}, base)
    with pytest.raises(CourseError, match="mechinterp models train course-gpt2-refusing"):
        load_language_model(variant.name)


def test_a_delta_of_a_weight_that_the_base_lacks_is_refused():
    with pytest.raises(CourseError, match="changes h"):
        add_delta({"g": torch.ones(2)}, {"h": torch.ones(2)})


def test_weights_of_another_configuration_are_refused(folder, weights):
    del weights["transformer.wpe.weight"]
    save_file(weights, folder / "course-gpt2" / "model.safetensors")
    with pytest.raises(CourseError, match=r"transformer\.wpe\.weight"):
        load_language_model("course-gpt2")


@pytest.fixture
def published(folder):
    """A compressed ResNet with three classes in the place of course-resnet18, and its weights."""
    torch.manual_seed(0)
    state, path = resnet18(num_classes=3).state_dict(), folder / "course-resnet18"
    path.mkdir()
    save_compressed(state, path / "model.safetensors")
    config = {"architecture": "resnet18", "num_classes": 3, "classes": ["bus", "cat", "owl"]}
    (path / "config.json").write_text(json.dumps(config | {"mean": [0.4, 0.5, 0.6], "std": [0.2, 0.2, 0.3]}))
    return path, state


def channels(*values):
    return torch.tensor(values)[:, None, None]


def test_a_compressed_resnet_is_torchvisions_module_frozen_and_in_eval_mode(published):
    path, state = published
    model = load_vision_model("course-resnet18")
    expected = resnet18(num_classes=3).eval()
    expected.load_state_dict(decompress(compress(state)))
    images = torch.rand(2, 3, 64, 64)
    normalized = (images - channels(0.4, 0.5, 0.6)) / channels(0.2, 0.2, 0.3)
    torch.testing.assert_close(probabilities(model, images), expected(normalized).softmax(-1))
    assert (model.classes, model.training) == (("bus", "cat", "owl"), False)
    assert not any(weight.requires_grad for weight in model.parameters())
    assert [name for name, _ in model.named_modules()] == [name for name, _ in expected.named_modules()]
    assert load_again(**asdict(model.course_spec)).course_spec == ModelSpec("course-resnet18")
    counted = catalogue.stored_parameters(path / "model.safetensors")
    assert counted == sum(weight.numel() for weight in expected.parameters())


def test_a_resnet_of_another_size_is_refused(published):
    path, _ = published
    config = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps(config | {"num_classes": 4}))
    with pytest.raises(CourseError, match="ResNet-18 with 4 classes"):
        load_vision_model("course-resnet18")


@pytest.fixture
def dictionary(folder):
    """A dictionary as sae-lens saves it, in the place of course-sae."""
    torch.manual_seed(0)
    sae = StandardSAE(StandardSAEConfig(d_in=8, d_sae=32, dtype="float32", device="cpu"))
    sae.W_enc.data.normal_()
    sae.cfg.metadata.hook_name = HOOK
    sae.save_model(folder / "course-sae")
    return sae


@pytest.mark.parametrize("hook", [None, HOOK])
def test_the_embedded_dictionary_is_a_frozen_sae(dictionary, hook):
    sae, activations = load_sae(hook=hook), torch.randn(2, 5, 8)
    torch.testing.assert_close(sae.encode(activations), dictionary.encode(activations))
    assert sae.cfg.metadata.hook_name == HOOK
    assert not sae.training and not any(weight.requires_grad for weight in sae.parameters())
    assert load_again(**asdict(sae.course_spec)).course_spec == ModelSpec("course-sae", hook=hook)


def test_another_hook_than_the_dictionarys_is_refused(dictionary):
    with pytest.raises(CourseError, match=HOOK):
        load_sae(hook="blocks.0.hook_resid_pre")


NOT_MADE = [
    (load_language_model, "course-attn-2l"),
    (load_language_model, "course-gpt2-refusing"),
    (load_vision_model, "course-resnet18-robust"),
    (load_sae, "course-sae"),
]


@pytest.mark.parametrize(("load", "name"), NOT_MADE, ids=[name for _, name in NOT_MADE])
def test_a_model_that_was_not_made_names_the_command_that_makes_it(load, name, folder):
    with pytest.raises(CourseError, match=f"mechinterp models train {name}"):
        load(name)


def test_what_the_grader_sends_of_a_model_is_all_that_loads_it_again():
    spec = asdict(ModelSpec("course-gpt2", head_order=((1, 0),), step=600, hook=None))
    model = SimpleNamespace(course_spec=ModelSpec(**spec))
    assert Student(desk=None).refer(model) == {"k": "model", "spec": spec}
    assert spec.keys() == inspect.signature(load_again).parameters.keys() - {"device"}
