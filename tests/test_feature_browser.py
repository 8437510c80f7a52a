"""The page about a dictionary: what it says agrees with what was measured, and it loads nothing."""

import json
import re
from types import SimpleNamespace

import pytest
import torch

from mechinterp_course import cli
from mechinterp_course import feature_reading as reading
from mechinterp_course.authoring.offline_pages import remote_assets
from mechinterp_course.errors import CourseError
from mechinterp_course.feature_browser import browser_data, page
from mechinterp_course.feature_survey import BINS, survey_features
from mechinterp_course.models import load_language_model, load_sae
from mechinterp_course.text_rows import TextRows, paragraphs

FEATURES = (4, 57, 100, 341)


@pytest.fixture(scope="module")
def model():
    return load_language_model("course-gpt2")


@pytest.fixture(scope="module")
def sae():
    return load_sae("course-sae")


@pytest.fixture(scope="module")
def tokens(model):
    return TextRows(model, length=40).rows(0, 40)


@pytest.fixture(scope="module")
def acts(model, sae, tokens):
    return reading.feature_activations(model, sae, tokens)


@pytest.fixture(scope="module")
def survey(model, sae, tokens):
    return survey_features(model, sae, tokens, contexts=5)


def test_a_survey_counts_as_the_activations_do(survey, acts):
    assert torch.equal(survey.fired, (acts > 0).sum((0, 1)))
    torch.testing.assert_close(survey.highest, acts.amax((0, 1)))
    assert torch.equal(survey.histogram.sum(1), survey.fired)
    assert survey.histogram.shape == (1536, BINS)


@pytest.mark.parametrize("feature", FEATURES)
def test_the_strongest_contexts_are_the_top_contexts(model, sae, tokens, survey, feature):
    top = reading.top_contexts(model, sae, tokens, feature, 5)
    found = [window.values.max().item() for window in survey.strongest[feature]]
    assert found == pytest.approx([one.value for one in top], abs=1e-4)
    for window in survey.strongest[feature]:
        assert window.values[window.place - window.start] == window.values.max()


def test_random_contexts_are_among_the_rows_where_a_feature_fires(survey, acts):
    feature = 57
    rows = [window.row for window in survey.random[feature]]
    assert len(set(rows)) == 4 and (acts[rows, :, feature].amax(1) > 0).all()
    strongest = acts[..., feature].amax(1).topk(4).indices.tolist()
    assert set(rows) != set(strongest)


@pytest.mark.parametrize("feature", FEATURES)
def test_words_and_neighbours_are_those_of_feature_reading(model, sae, survey, feature):
    words = reading.promoted_tokens(model, sae.W_dec[feature], 10)
    assert survey.raised[1][feature].tolist() == pytest.approx([value for _, value in words], abs=1e-4)
    near = reading.neighbours(sae, feature, 8)
    assert survey.nearest[1][feature].tolist() == pytest.approx([cosine for _, cosine in near], abs=1e-5)
    lowest = reading.direct_logits(model, sae.W_dec[feature]).min().item()
    assert survey.lowered[1][feature][0].item() == pytest.approx(lowest, abs=1e-4)


def test_a_dictionary_off_the_residual_stream_promotes_no_tokens(model, sae, tokens):
    off = SimpleNamespace(W_dec=torch.randn(5, 768), encode=lambda x: torch.relu(x[..., :5]))
    assert survey_features(model, off, tokens[:2], "blocks.1.mlp.hook_post").raised is None


def test_what_the_page_holds_is_what_was_measured(model, survey, tokens, acts):
    data = browser_data(model, survey, "a dictionary")
    fired, highest, bins, strongest, _, raised, _, near = data["features"][57]
    assert (fired, sum(bins)) == (int(survey.fired[57]), fired)
    row, start, length, peak, fires = strongest[0]
    words = [data["words"][number] for number in data["rows"][row]]
    original = [model.tokenizer.decode([token]) for token in tokens[survey.strongest[57][0].row].tolist()]
    assert words == original and 0 <= start < start + length <= len(words)
    assert dict(fires)[peak] == 999 and highest == pytest.approx(acts[..., 57].max().item(), rel=0.01)
    assert data["words"][raised[0]] == model.tokenizer.decode([int(survey.raised[0][57, 0])])
    assert near[0] == int(survey.nearest[0][57, 0])


def test_text_can_not_leave_its_place_in_the_page(tmp_path):
    nasty = "</script><script>alert(1)</script><!--"
    data = {"title": nasty, "words": [nasty, "/*SCRIPT*/"], "rows": [], "features": []}
    written = page(data)
    assert written.count("<script") == 2 and nasty not in written
    held = re.search(r'<script id="data" type="application/json">(.*?)</script>', written, re.DOTALL)[1]
    assert json.loads(held) == data


def test_the_command_writes_one_page_that_loads_nothing(tmp_path, capsys):
    out = tmp_path / "look.html"
    assert cli.run(["sae", "features", "--rows", "4", "--length", "32", "--out", str(out)]) == 0
    assert "1,536 features" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == [out] and remote_assets(tmp_path) == []
    assert "default-src 'none'" in out.read_text("utf-8")


BAD = {
    "no such dictionary": (["nonsense"], "no dictionary is called"),
    "a folder without one": (["."], "holds no dictionary"),
    "another hook": (["course-sae", "--hook", "blocks.1.hook_resid_pre"], "is not one of"),
    "a model of another width": (["course-sae", "--model", "course-attn-2l"], "no activation"),
    "a file that is not there": (["course-sae", "--text", "gone.txt"], "gone.txt is no file"),
    "rows longer than the model takes": (["course-sae", "--length", "4096"], "more than the 128 tokens"),
    "a folder as the page": (["course-sae", "--out", "."], "can't be written"),
}


@pytest.mark.parametrize(("arguments", "said"), BAD.values(), ids=BAD)
def test_wrong_input_is_one_line_and_status_2(arguments, said, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert cli.run(["sae", "features", *arguments]) == 2
    shown = capsys.readouterr().err
    assert said in shown and shown.count("\n") == 1


def test_rows_are_the_same_whenever_they_are_asked_for(model, tmp_path):
    world = TextRows(model, 16, seed=3)
    assert torch.equal(world.rows(0, 6)[4:], world.rows(4, 2))
    (tmp_path / "a.txt").write_text("One day.\nIt rained.\n\nThe end of it was near.\n", encoding="utf-8")
    file = TextRows(model, 8, file=tmp_path / "a.txt")
    assert torch.equal(file.rows(0, 6)[4:], file.rows(4, 2))
    assert list(paragraphs(tmp_path / "a.txt")) == ["One day. It rained.", "The end of it was near."]


FILES = {"empty": (b"\n \n", "holds no text"), "binary": (b"ab\xff\xfe", "no UTF-8")}


@pytest.mark.parametrize(("content", "said"), FILES.values(), ids=FILES)
def test_a_file_without_text_is_refused(model, tmp_path, content, said):
    (tmp_path / "a.txt").write_bytes(content)
    with pytest.raises(CourseError, match=said):
        TextRows(model, 8, file=tmp_path / "a.txt").rows(0, 1)
