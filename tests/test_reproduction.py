"""What GPT-2 small should give is measured on any model that is here; without weights it is one line."""

import json

import pytest
import torch
from hub_server import Served, serve
from public_files import language_model_repository
from test_hub import run_python
from transformers import GPT2Config, GPT2LMHeadModel

from mechinterp_course import cli
from mechinterp_course import hub as hub_cache
from mechinterp_course.models import load_language_model
from mechinterp_course.reproduction import CLAIMS, Subject, highest, reproduce

REPRODUCE = """
import resource, sys
from mechinterp_course.cli import run
status = run(["models", "reproduce", *sys.argv[1:]])
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr)
sys.exit(status)
"""


def random_gpt2(**size):
    """A GPT-2 small of random weights; `size` makes it smaller."""
    torch.manual_seed(0)
    return GPT2LMHeadModel(GPT2Config(bos_token_id=0, eos_token_id=0, **size))


def reproduce_from_hub(model, tmp_path):
    """(exit status, table as records, peak memory in bytes) of the command with this model behind "gpt2"."""
    repositories = {"gpt2": language_model_repository(model, tmp_path / "saved")}
    with serve(Served(repositories)) as hub:
        run = run_python(REPRODUCE, "gpt2", "--json", home=tmp_path / "home", endpoint=hub.address)
    assert run.returncode in (0, 1), run.stderr
    return run.returncode, json.loads(run.stdout), 1024 * int(run.stderr.split()[-1])


def test_random_weights_of_gpt2_s_shape_give_nothing_of_what_is_expected(tmp_path):
    model = random_gpt2(n_embd=48, n_positions=128, vocab_size=6000)
    status, rows, _ = reproduce_from_hub(model, tmp_path)
    assert status == 1 and [row["name"] for row in rows] == [claim.name for claim in CLAIMS]
    assert all(row["found"] and row["source"] for row in rows)
    assert sum(row["holds"] for row in rows) <= 1  # random scores could rank one head by luck


@pytest.mark.benchmark
def test_the_whole_shape_takes_less_than_4_gigabytes(tmp_path):
    status, rows, memory = reproduce_from_hub(random_gpt2(), tmp_path)
    print(f"peak memory {memory / 2**30:.2f} GiB")
    assert status == 1 and len(rows) == len(CLAIMS)
    assert memory < 4 * 2**30


def test_without_weights_it_is_one_line_that_names_the_embedded_model(monkeypatch, capsys):
    monkeypatch.setattr(hub_cache, "_cached", lambda *arguments: None)
    assert cli.run(["models", "reproduce", "gpt2"]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1
    assert err.startswith("mechinterp: ") and "course-gpt2" in err


def test_an_embedded_model_is_measured_too_and_what_it_does_is_found(capsys):
    assert cli.run(["models", "reproduce", "course-gpt2"]) == 1
    table = capsys.readouterr().out
    assert "0.3" in table and f"of {len(CLAIMS)} are as expected" in table


def test_the_best_heads_come_first_and_prompts_differ_in_the_third_name_only():
    assert highest(torch.tensor([[0.0, 3.0], [2.0, 1.0]]), 3) == [(0, 1), (1, 0), (1, 1)]
    (tokens, others), metric = Subject(load_language_model("course-gpt2")).prompts
    assert ((tokens != others).sum(1) == 1).all() and (metric.right != metric.wrong).all()
    assert all(
        row.tolist().count(wrong) == 2 for row, wrong in zip(tokens, metric.wrong.tolist(), strict=True)
    )
    assert all(
        row.tolist().count(right) == 1 for row, right in zip(tokens, metric.right.tolist(), strict=True)
    )


def test_a_reproduction_is_repeatable():
    model = load_language_model("course-attn-2l")
    first, second = ([found for _, found in reproduce(model, seed=3)] for _ in range(2))
    assert first == second
