"""Training a dictionary as a run that can be killed, and what a dictionary is worth beside its rivals."""

import json
import signal

import pytest
import torch
from safetensors.torch import load_file

from mechinterp_course import cli, sae_runs
from mechinterp_course.dictionary_folders import load_dictionary
from mechinterp_course.errors import CourseError
from mechinterp_course.feature_reading import activations_read
from mechinterp_course.models import load_language_model, load_sae
from mechinterp_course.sae_evaluation import PrincipalDictionary, RandomDictionary, evaluate
from mechinterp_course.sae_runs import ARCHITECTURES, ActivationStream, Plan, train
from mechinterp_course.text_rows import TextRows

HOOK = "blocks.1.hook_resid_pre"
PLAN = Plan("course-attn-2l", HOOK, d_sae=64, k=4, steps=8, batch=64, length=16)
SAID = ["--model", "course-attn-2l", "--hook", HOOK, "--d-sae", "64", "--k", "4", "--batch", "64"]


class Killed(BaseException):
    """What no run can catch."""


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(sae_runs, "CHECKPOINT_EVERY", 3)
    monkeypatch.setattr(sae_runs, "LOGGED_EVERY", 2)
    monkeypatch.setattr(sae_runs, "BUFFER", 256)


@pytest.fixture(scope="module")
def model():
    return load_language_model("course-attn-2l")


@pytest.fixture(scope="module")
def gpt2():
    return load_language_model("course-gpt2")


def weights(folder):
    return load_file(folder / "sae_weights.safetensors")


def at_step(step, act):
    def tell(measured):
        if measured.step == step:
            act()

    return tell


def kill():
    raise Killed


@pytest.mark.parametrize("step", [2, 3, 5, 8])
def test_a_killed_run_ends_as_one_that_was_not(tmp_path, step):
    with pytest.raises(Killed):
        train(PLAN, tmp_path / "killed", at_step(step, kill))
    assert not (tmp_path / "killed" / "cfg.json").exists()
    seen = []
    train(PLAN, tmp_path / "killed", lambda measured: seen.append(measured.step))
    assert seen[0] == step // 3 * 3 + 1 - 3 * (step % 3 == 0)  # killed before that step's checkpoint
    whole, again = (weights(train(PLAN, tmp_path / name)) for name in ("whole", "killed"))
    assert whole.keys() == again.keys()
    for name in whole:
        torch.testing.assert_close(again[name], whole[name], rtol=0, atol=0)
    assert not (tmp_path / "killed" / "checkpoints").exists()
    logs = [(tmp_path / name / "log.jsonl").read_text() for name in ("whole", "killed")]
    assert logs[0] == logs[1]


def test_ctrl_c_keeps_a_checkpoint_of_that_very_step(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        train(PLAN, tmp_path, at_step(5, lambda: signal.raise_signal(signal.SIGINT)))
    seen = []
    train(PLAN, tmp_path, lambda measured: seen.append(measured.step))
    assert seen == [6, 7, 8]


def test_a_finished_run_is_left_as_it_is_and_another_plan_is_refused(tmp_path):
    train(PLAN, tmp_path)
    train(PLAN, tmp_path, lambda measured: pytest.fail("trained again"))
    with pytest.raises(CourseError, match="another plan"):
        train(Plan(**vars(PLAN) | {"seed": 1}), tmp_path)


def test_a_checkpoint_of_another_plan_is_refused(tmp_path):
    with pytest.raises(Killed):
        train(PLAN, tmp_path, at_step(4, kill))
    with pytest.raises(CourseError, match="another run"):
        train(Plan(**vars(PLAN) | {"learning_rate": 0.1}), tmp_path)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_architecture_is_trained_and_opens_in_sae_lens(tmp_path, model, architecture):
    plan = Plan(**vars(PLAN) | {"architecture": architecture})
    sae = load_dictionary(str(train(plan, tmp_path / architecture)))
    activations = activations_read(model, torch.tensor([[0, 5, 9, 2]]), HOOK)
    assert sae.decode(sae.encode(activations)).shape == activations.shape
    assert (sae.cfg.metadata.hook_name, sae.cfg.metadata.model_name) == (HOOK, "course-attn-2l")


def test_training_explains_more_and_more_and_logs_it(tmp_path):
    train(Plan(**vars(PLAN) | {"steps": 60, "architecture": "topk"}), tmp_path)
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(2, 61, 2))
    assert lines[-1]["unexplained"] < 0.7 * lines[0]["unexplained"]
    assert all(0 < line["l0"] <= 4 and 0 <= line["dead"] <= 1 for line in lines)


def test_a_frozen_decoder_stays_as_it_was_drawn(tmp_path):
    short, long = (Plan(**vars(PLAN) | {"frozen_decoder": True, "steps": steps}) for steps in (1, 8))
    rows = [weights(train(plan, tmp_path / str(plan.steps)))["W_dec"] for plan in (short, long)]
    units = [row / row.norm(dim=1, keepdim=True) for row in rows]
    torch.testing.assert_close(units[0], units[1])


def test_what_a_step_sees_depends_on_plan_and_step_alone(model):
    stream, other = ActivationStream(model, PLAN), ActivationStream(model, PLAN)
    inorder = [stream.batch(step) for step in range(9)]
    for step in (8, 1, 5):
        assert torch.equal(other.batch(step), inorder[step])
    assert stream.held[1].shape[0] <= 256 and stream.batches_held == 4
    assert not torch.equal(inorder[0], inorder[4])


def test_a_run_reads_a_text_file(tmp_path):
    (tmp_path / "a.txt").write_text("The teacher sat in the garden.\n" * 9, encoding="utf-8")
    plan = Plan(**vars(PLAN) | {"text": str(tmp_path / "a.txt"), "steps": 2})
    assert (train(plan, tmp_path / "out") / "cfg.json").is_file()
    (tmp_path / "a.txt").write_text("Another text.\n", encoding="utf-8")
    with pytest.raises(CourseError, match="another plan"):
        train(plan, tmp_path / "out")


BAD = {
    "no such architecture": (["--architecture", "magic"], "topk, batchtopk"),
    "no such hook": (["--hook", "blocks.7.hook_resid_pre"], "has no 'blocks.7"),
    "a hook of another shape": (["--hook", "blocks.0.attn.hook_pattern"], "a dictionary reads"),
    "as many active as there are": (["--k", "64"], "smaller than d_sae"),
    "rows too long": (["--length", "4096"], "longer than"),
    "tokens and steps": (["--tokens", "100", "--steps", "2"], "give one"),
    "no text": (["--text", "gone.txt"], "is no file"),
    "an empty text": (["--text", "empty.txt"], "holds no text"),
    "a file as folder": (["--out", "empty.txt"], "is a file"),
    "a dictionary as model": (["--model", "course-sae"], "is no language model"),
    "no such device": (["--device", "abacus"], "choose cpu, cuda"),
}


@pytest.mark.parametrize(("arguments", "words"), BAD.values(), ids=BAD)
def test_wrong_input_is_one_line_and_status_2(tmp_path, monkeypatch, capsys, arguments, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty.txt").touch()
    assert cli.run(["sae", "train", *SAID, "--length", "16", "--steps", "2", *arguments]) == 2
    shown = capsys.readouterr().err
    assert words in shown and shown.count("\n") == 1


def test_the_commands_train_and_measure(tmp_path, capsys):
    out = str(tmp_path / "mine")
    assert cli.run(["sae", "train", *SAID, "--length", "16", "--tokens", "512", "--out", out]) == 0
    capsys.readouterr()
    assert cli.run(["sae", "eval", out, "--rows", "4", "--length", "16", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    names = [one["name"] for one in shown["qualities"]]
    assert names == ["dictionary", "principal directions", "random decoder, untrained"]
    assert shown["tokens"] == 64 and all(one["l0"] > 0 for one in shown["qualities"])


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a CUDA device")
@pytest.mark.parametrize("command", ["train", "eval", "features"])
def test_without_a_gpu_each_command_says_so(tmp_path, monkeypatch, capsys, command):
    monkeypatch.chdir(tmp_path)
    assert cli.run(["sae", command, "--device", "cuda"]) == 2
    assert "no CUDA device here; use --device cpu" in capsys.readouterr().err


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_trains_and_measures_what_the_cpu_does(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    found = {}
    for device in ("cpu", "cuda"):
        where, out = ["--device", device], device
        assert cli.run(["sae", "train", *SAID, "--length", "16", "--steps", "4", "--out", out, *where]) == 0
        assert cli.run(["sae", "features", out, "--rows", "4", "--length", "16", *where]) == 0
        capsys.readouterr()
        assert cli.run(["sae", "eval", out, "--rows", "4", "--length", "16", "--json", *where]) == 0
        found[device] = json.loads(capsys.readouterr().out)["qualities"]
    for here, there in zip(found["cpu"], found["cuda"], strict=True):
        assert there["recovered"] == pytest.approx(here["recovered"], abs=0.02)


def test_the_course_s_dictionary_beats_its_rivals(gpt2):
    rows = TextRows(gpt2, length=64, seed=1000)
    own, principal, random = evaluate(gpt2, load_sae("course-sae"), rows.rows(0, 16), rows.rows(16, 32))
    assert own.recovered > 0.95 and own.unexplained < 0.12 and 15 < own.l0 < 25
    assert principal.l0 == round(own.l0) == random.l0
    assert own.recovered > random.recovered > 0 and own.recovered > principal.recovered > 0
    assert own.unexplained < min(principal.unexplained, random.unexplained)


class Perfect:
    """A dictionary that passes everything on."""

    def __init__(self, d_in):
        self.W_dec = torch.eye(d_in)

    def encode(self, x):
        return x

    def decode(self, feature_acts):
        return feature_acts


def test_a_perfect_dictionary_loses_nothing(model):
    tokens = TextRows(model, 16).rows(0, 4)
    own = next(iter(evaluate(model, Perfect(model.cfg.d_model), tokens, tokens, HOOK)))
    assert own.unexplained == pytest.approx(0, abs=1e-9) and own.recovered == pytest.approx(1)
    assert own.silent == 0 and own.l0 == model.cfg.d_model


def test_rivals_reconstruct_as_they_say():
    from mechinterp_course.figures.directions import principal_directions

    x = torch.randn(300, 12, generator=torch.Generator().manual_seed(0)) * torch.arange(1, 13) + 3
    whole = PrincipalDictionary(principal_directions(x), 12)
    torch.testing.assert_close(whole.decode(whole.encode(x)), x, atol=1e-4, rtol=1e-4)
    random = RandomDictionary(x.mean(0), d_sae=40, k=5)
    acts = random.encode(x[None])
    assert acts.shape == (1, 300, 40) and ((acts != 0).sum(-1) == 5).all()
    error = x - random.decode(acts)[0]
    chosen = random.W_dec[acts[0, 7] != 0]
    torch.testing.assert_close(
        chosen @ error[7], torch.zeros(5), atol=0.02, rtol=0
    )  # nothing left along them
