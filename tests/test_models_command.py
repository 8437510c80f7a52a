"""`mechinterp models`: what is listed, what is measured again, and what is said where a model is not here."""

import inspect
import json
import sys
from dataclasses import replace
from importlib import import_module
from types import ModuleType, SimpleNamespace

import pytest

from mechinterp_course import catalogue, cli, machine
from mechinterp_course.catalogue import EMBEDDED, PUBLIC, EmbeddedModel
from mechinterp_course.cli import model_list
from mechinterp_course.cli.model_figures import compare
from mechinterp_course.figures.figure import Figure, to_records


def figure(value, **bounds):
    return Figure("accuracy", value, about="on held-out samples", **bounds)


CARD = figure(0.97, at_least=0.95)
COMPARISONS = {
    "as the card says": (CARD, figure(0.98, at_least=0.95), True, ""),
    "below the target": (CARD, figure(0.945, at_least=0.95), False, "falls short, not what the card says"),
    "above a bound": (figure(0.03), figure(0.03, at_most=0.02), False, "falls short"),
    "other than on the card": (figure(0.99), figure(0.96), False, "not what the card says"),
    "a large number off by a hundredth": (figure(70.0), figure(70.7), True, ""),
    "a large number off by a tenth": (figure(70.0), figure(77.0), False, "not what the card says"),
    "not a number": (figure(0.97), figure(float("nan")), False, "falls short, not what the card says"),
    "a card that asks for less": (
        figure(0.9, at_least=0.5),
        figure(0.9, at_least=0.95),
        False,
        "falls short",
    ),
}


@pytest.mark.parametrize(("card", "measured", "right", "words"), COMPARISONS.values(), ids=COMPARISONS)
def test_a_figure_is_right_if_it_keeps_its_target_and_is_what_the_card_says(card, measured, right, words):
    (row,) = compare("m", [card], [measured])
    assert (row.right, row.words) == (right, words)


@pytest.mark.parametrize(("card", "measured"), [([CARD], []), ([], [CARD])], ids=["gone", "new"])
def test_a_figure_that_only_one_side_has_is_not_right(card, measured):
    (row,) = compare("m", card, measured)
    assert not row.right and None in (row.card, row.measured)


@pytest.fixture
def made(tmp_path, monkeypatch):
    """Two models of one kind, one of them made, and the module that measures it."""
    module = ModuleType("measuring_for_a_test")
    module.measure = lambda name, seed=1000: module.figures
    module.figures = [figure(0.98, at_least=0.95)]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    models = tuple(
        EmbeddedModel(name, "language", "", measured_by=module.__name__) for name in ("made", "unmade")
    )
    monkeypatch.setattr(catalogue, "EMBEDDED", models)
    monkeypatch.setattr(catalogue, "embedded_data", lambda name: tmp_path / name)
    (tmp_path / "made").mkdir()
    (tmp_path / "made" / "model.safetensors").write_bytes(b"")
    (tmp_path / "made" / "training.json").write_text(json.dumps({"figures": to_records([CARD])}))
    return SimpleNamespace(path=tmp_path / "made", module=module)


def test_check_prints_the_target_beside_card_and_measurement(made, capsys):
    assert cli.run(["models", "check", "made"]) == 0
    out = capsys.readouterr().out
    row = next(line.split() for line in out.splitlines() if line.startswith("made"))
    assert row == ["made", "accuracy", "≥", "0.95", "0.97", "0.98"]
    assert "1 of 1 figures are right" in out


@pytest.mark.parametrize("value", [0.9, 0.999], ids=["falls short", "another figure"])
def test_check_exits_with_1_if_a_figure_is_not_right(made, value, capsys):
    made.module.figures = [figure(value, at_least=0.95)]
    assert cli.run(["models", "check", "made"]) == 1
    assert "0 of 1 figures are right" in capsys.readouterr().out


def test_check_tells_a_script_all_of_it(made, capsys):
    assert cli.run(["models", "check", "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert told["absent"] == ["unmade"]
    (row,) = told["figures"]
    assert (row["card"], row["measured"], row["target"], row["right"]) == (0.97, 0.98, "≥ 0.95", True)


@pytest.mark.parametrize("named", [["unmade"], []], ids=["named", "one of all"])
def test_a_model_that_is_not_here_is_status_1(made, named, capsys):
    assert cli.run(["models", "check", *named]) == 1
    assert "`mechinterp models train unmade`" in capsys.readouterr().out


def test_a_model_without_recorded_figures_is_one_line(made, capsys):
    (made.path / "training.json").unlink()
    assert cli.run(["models", "check"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_train_calls_the_module_that_the_catalogue_names(made, tmp_path, monkeypatch, capsys):
    called = []
    made.module.train = lambda name, out, **options: called.append((name, out, options)) or out
    entry = replace(catalogue.embedded("made"), trained_by=made.module.__name__)
    monkeypatch.setattr(catalogue, "EMBEDDED", (entry,))
    arguments = ["models", "train", "made", "--out", str(tmp_path / "new"), "--seed", "3", "--steps", "7"]
    assert cli.run(arguments) == 0
    assert called == [("made", tmp_path / "new", {"seed": 3, "steps": 7})]
    assert str(tmp_path / "new" / "README.md") in capsys.readouterr().out


@pytest.mark.parametrize(
    "model", [model for model in EMBEDDED if model.weights], ids=lambda model: model.name
)
def test_every_model_that_is_here_can_be_made_and_measured_again(model):
    assert callable(import_module(model.trained_by).train)
    measure = inspect.signature(import_module(model.measured_by).measure)
    assert list(measure.parameters) == ["name", "seed"]


def test_models_are_listed_for_a_script(capsys):
    assert cli.run(["models", "list", "--json"]) == 0
    listed = {model["name"]: model for model in json.loads(capsys.readouterr().out)}
    assert listed.keys() == {model.name for model in (*EMBEDDED, *PUBLIC)}
    gpt2 = listed["course-gpt2"]
    assert (gpt2["public"], gpt2["where"], gpt2["fits"]) == ("gpt2", "embedded", True)
    record = json.loads((catalogue.embedded("course-gpt2").path / "training.json").read_text())
    assert gpt2["parameters"] == record["parameters"]
    assert gpt2["memory"] == {dtype: size * record["parameters"] for dtype, size in catalogue.BYTES.items()}


def test_the_table_names_every_model_and_says_what_it_counts(capsys):
    assert cli.run(["models", "list"]) == 0
    out = capsys.readouterr().out
    assert all(f"\n{model.name} " in out for model in (*EMBEDDED, *PUBLIC))
    assert "weights alone" in out and "124,439,808" in out and "497.8" in out


def test_a_model_that_is_not_here_is_listed_as_such(made, monkeypatch, capsys):
    unmade = replace(EMBEDDED[0], name="unmade")
    monkeypatch.setattr("mechinterp_course.cli.model_list.EMBEDDED", (unmade,))
    assert cli.run(["models", "list", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)[0]
    assert (listed["where"], listed["bytes"], listed["fits"]) == ("not here", None, None)


def test_the_list_says_where_a_public_model_is(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("mechinterp_course.hub.language_model_folder", lambda repo_id: None)
    stored = tmp_path / "hub" / "checkpoints" / model_list.RESNET18_FILE
    where = []
    for _ in range(2):
        assert cli.run(["models", "list", "--json"]) == 0
        listed = {model["name"]: model["where"] for model in json.loads(capsys.readouterr().out)}
        where.append((listed["gpt2"], listed["resnet18"]))
        stored.parent.mkdir(parents=True, exist_ok=True)
        stored.touch()
    assert where == [("on the hub", "on the net"), ("on the hub", "in the cache")]


@pytest.mark.parametrize(("free", "fits"), [(20_000_000, True), (19_999_999, False), (None, None)])
def test_a_model_fits_if_what_loading_takes_at_its_peak_does(free, fits):
    assert machine.fits(1_000_000, free) is fits


def test_memory_is_what_the_system_says_is_available_within_the_containers_limit(tmp_path, monkeypatch):
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal: 2000 kB\nMemFree: 10 kB\nMemAvailable: 1000 kB\n")
    assert machine._available(meminfo) == 1000 << 10
    (tmp_path / "memory.max").write_text("900000\n")
    (tmp_path / "memory.current").write_text("300000\n")
    assert machine._left_in_container(tmp_path) == 600_000
    (tmp_path / "memory.max").write_text("max\n")
    assert machine._left_in_container(tmp_path) is None


@pytest.mark.parametrize("name", [model.name for model in EMBEDDED if not model.weights])
def test_a_card_of_a_model_not_made_yet_names_the_command_that_makes_it(name, capsys):
    assert cli.run(["models", "card", name]) == 2
    assert f"`mechinterp models train {name}`" in capsys.readouterr().err
