"""What a feature responds to and what it says, on sae-lens' classes and plain ones alike."""

import pytest
import torch

from mechinterp_course import feature_reading as reading
from mechinterp_course.errors import CourseError
from mechinterp_course.figures.directions import activations_at, held_out_rows
from mechinterp_course.models import load_language_model, load_sae

HOOK = "blocks.3.hook_resid_pre"


class Plain:
    """The least that is asked of a dictionary: nothing of sae-lens, and no word of where it reads."""

    def __init__(self, d_in: int, d_sae: int):
        self.W_dec = torch.randn(d_sae, d_in, generator=torch.Generator().manual_seed(0))

    def encode(self, x):
        return torch.relu(x @ self.W_dec.T)

    def decode(self, feature_acts):
        return feature_acts @ self.W_dec


@pytest.fixture(scope="module")
def model():
    return load_language_model("course-gpt2")


@pytest.fixture(scope="module")
def sae():
    return load_sae("course-sae")


@pytest.fixture(scope="module")
def tokens(model):
    return held_out_rows(model, seed=5, rows=20)[:, :32]


def test_feature_activations_are_the_encoded_stream(model, sae, tokens):
    expected = sae.encode(activations_at(model, tokens, HOOK))
    found = reading.feature_activations(model, sae, tokens)
    torch.testing.assert_close(found, expected)
    assert found.shape == (20, 32, 1536)


def test_a_plain_dictionary_is_read_at_the_hook_it_is_given(model, tokens):
    plain = Plain(model.cfg.d_model, 7)
    expected = plain.encode(activations_at(model, tokens, "blocks.1.hook_resid_post"))
    found = reading.feature_activations(model, plain, tokens, "blocks.1.hook_resid_post")
    torch.testing.assert_close(found, expected)


def test_a_dictionary_that_does_not_say_where_it_reads_is_refused(model, tokens):
    with pytest.raises(CourseError, match="give hook"):
        reading.feature_activations(model, Plain(192, 7), tokens)


def test_a_hook_that_the_model_has_not_is_refused(model, sae, tokens):
    with pytest.raises(CourseError, match="no activation"):
        reading.feature_activations(model, sae, tokens, "blocks.9.hook_resid_pre")


def test_streaming_holds_few_rows_at_a_time(model, sae, tokens):
    parts = list(reading.stream_features(model, sae, tokens, together=8))
    assert [(first, len(part)) for first, part in parts] == [(0, 8), (8, 8), (16, 4)]


def test_the_layers_above_the_hook_do_not_run(model, tokens):
    def fail(activation, hook):
        raise AssertionError("ran too far")

    with model.hooks(fwd_hooks=[("blocks.2.hook_attn_out", fail)]):
        reading.activations_read(model, tokens, "blocks.1.hook_resid_pre")


def test_top_contexts_are_the_rows_of_the_largest_activations(model, sae, tokens):
    acts = reading.feature_activations(model, sae, tokens)
    feature = int((acts.amax(1) > 0).sum(0).argmax())
    found = reading.top_contexts(model, sae, tokens, feature, count=5)
    best = acts[..., feature].amax(1)
    assert [one.value for one in found] == pytest.approx(best.sort(descending=True).values[:5].tolist())
    for one in found:
        assert one.value == one.activations[one.position] == max(one.activations)
        assert one.token_ids == tuple(tokens[one.row].tolist())
        assert one.activations == pytest.approx(acts[one.row, :, feature].tolist())
    assert len({one.row for one in found}) == 5


def test_rows_on_which_a_feature_is_silent_are_no_context(model, sae, tokens):
    acts = reading.feature_activations(model, sae, tokens)
    fires = (acts.amax(1) > 0).sum(0)
    silent, rare = int((fires == 0).nonzero()[0]), int((fires == 2).nonzero()[0])
    assert reading.top_contexts(model, sae, tokens, silent, count=5) == []
    assert len(reading.top_contexts(model, sae, tokens, rare, count=5)) == 2


def test_of_equal_contexts_the_earlier_row_comes_first(model, sae, tokens):
    twice = tokens[:2].repeat(20, 1)
    feature = int(reading.feature_activations(model, sae, tokens[:1]).amax((0, 1)).argmax())
    rows = [one.row for one in reading.top_contexts(model, sae, twice, feature, count=4) if one.row % 2 == 0]
    assert rows == sorted(rows) and rows[0] == 0


def test_promoted_tokens_are_those_whose_logits_a_step_along_the_direction_raises(model, sae):
    direction = sae.W_dec[31]
    stream = torch.zeros(model.cfg.d_model)
    stream[::2], stream[1::2] = 1, -1  # LayerNorm's scale is 1 here, whatever tiny step is added
    step = 1e-3
    moved = model.unembed(model.ln_final((stream + step * direction)[None, None]))
    still = model.unembed(model.ln_final(stream[None, None]))
    along = (direction - direction.mean()) @ stream / len(stream)  # what the step does to that scale
    norm = model.ln_final.original_component.weight
    rescaled = (stream * along) * norm @ model.W_U
    expected = (moved - still)[0, 0] / step + rescaled
    torch.testing.assert_close(reading.direct_logits(model, direction), expected, atol=2e-2, rtol=1e-2)
    found = reading.promoted_tokens(model, direction, 5)
    best = reading.direct_logits(model, direction).topk(5)
    assert [value for _, value in found] == pytest.approx(best.values.tolist())
    assert [word for word, _ in found] == [model.tokenizer.decode([i]) for i in best.indices.tolist()]


def test_neighbours_are_by_cosine_without_the_feature_itself(sae):
    found = reading.neighbours(sae, 4, 6)
    cosines = torch.cosine_similarity(sae.W_dec, sae.W_dec[4:5])
    cosines[4] = -2
    assert [value for _, value in found] == pytest.approx(cosines.topk(6).values.tolist(), abs=1e-5)
    assert 4 not in [feature for feature, _ in found]


def test_neighbours_do_not_depend_on_the_length_of_decoder_rows():
    plain = Plain(8, 5)
    before = reading.neighbours(plain, 0, 10)
    plain.W_dec = plain.W_dec * torch.tensor([3.0, 0.1, 7.0, 1.0, 2.0])[:, None]
    after = reading.neighbours(plain, 0, 10)
    assert [feature for feature, _ in after] == [feature for feature, _ in before] and len(after) == 4
