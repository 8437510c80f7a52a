"""What the prose of ch04_path_patching says about the embedded models is what they do, with some margin."""

import pytest
import torch

from mechinterp_course.circuits import composition_scores
from mechinterp_course.heads import previous_token_score
from mechinterp_course.lens import component_logit_attribution, head_logit_attribution, logit_lens
from mechinterp_course.metrics import KLDivergence, LogitDifference, Probability
from mechinterp_course.models import load_language_model
from mechinterp_course.patching import patch_head_input, patch_head_output, patch_once, patch_residual
from mechinterp_course.path_patching import path_logits

pytestmark = pytest.mark.book  # measured again with the chapters that say it
NAMES = ("course-gpt2", "course-attn-2l")
MLPS_FREE = ("heads",)
AT_A, AT_B, AT_C, AT_D, CONTROL = 1, 2, 6, 7, 10


class Case:
    """A model on the chapter's two texts: BOS A B … C D … A, and the same with A and C exchanged."""

    def __init__(self, name: str):
        self.model = load_language_model(name)
        generator = torch.Generator().manual_seed(1)
        drawn = torch.stack(
            [torch.randperm(self.model.cfg.d_vocab, generator=generator)[:12] for _ in range(16)]
        )
        a, self.right, c, self.wrong, last, other, *rest = drawn.T
        bos = torch.full_like(a, self.model.tokenizer.bos_token_id)
        self.clean = torch.stack([bos, a, self.right, *rest[:3], c, self.wrong, *rest[3:5], last, a], 1)
        self.corrupted = torch.stack([bos, c, self.right, *rest[:3], a, self.wrong, *rest[3:5], other, a], 1)
        self.metric = LogitDifference(self.right, self.wrong)
        self.texts = self.model, self.clean, self.corrupted
        self.attribution = head_logit_attribution(self.model, self.clean, self.right, self.wrong).mean(0)
        self.readers = [
            tuple(place) for place in (self.attribution > 0.1 * self.attribution.max()).nonzero().tolist()
        ]
        _, cache = self.model.run_with_cache(self.clean)
        layers = range(self.model.cfg.n_layers)
        scores = torch.stack([previous_token_score(cache["pattern", layer]) for layer in layers])
        self.writer = divmod(scores.argmax().item(), self.model.cfg.n_heads)

    def share(self, logits, metric=None):
        """0 for the corrupted run, 1 for the clean one."""
        measure = metric or self.metric
        good, bad = (measure(self.model(rows)).item() for rows in (self.clean, self.corrupted))
        return (measure(logits).item() - bad) / (good - bad)

    def mended(self, sender, through, frozen):
        return self.share(path_logits(*self.texts, sender, self.readers, through, frozen))

    def cut(self, through, frozen):
        model, clean, corrupted = self.texts
        return 1 - self.share(
            path_logits(model, corrupted, clean, self.writer, self.readers, through, frozen)
        )


@pytest.fixture(scope="module")
def cases():
    return {name: Case(name) for name in NAMES}


@pytest.fixture(scope="module")
def case(cases):
    return cases["course-gpt2"]


def test_the_model_says_the_right_word_in_both_texts(case):
    said = [case.model(rows)[:, -1].argmax(-1) for rows in (case.clean, case.corrupted)]
    assert (said[0] == case.right).float().mean() > 0.9 and (said[1] == case.wrong).float().mean() > 0.9


def test_the_film_shows_two_steps_and_an_empty_control(case):
    film = patch_residual(*case.texts, case.right, case.wrong)
    for layer, places in enumerate([(AT_A, AT_C), (AT_B, AT_D), (AT_B, AT_D), (-1,)]):
        assert min(film[layer, list(places)]) > 0.25
        assert film[layer, list(places)].sum() > 0.6
    assert film[1:, AT_A].abs().max() < 0.1 and film[:, CONTROL].abs().max() < 0.1
    assert film[3, [AT_B, AT_D]].abs().max() < 0.1 and film[0, -1].abs() < 1e-4


def test_moving_two_vectors_of_words_that_are_the_same_changes_the_answer(case):
    _, cache = case.model.run_with_cache(case.clean)

    def move(resid_pre, hook):
        resid_pre[:, [AT_B, AT_D]] = cache[hook.name][:, [AT_B, AT_D]]

    said = case.model.run_with_hooks(case.corrupted, fwd_hooks=[("blocks.2.hook_resid_pre", move)])
    assert (said[:, -1].argmax(-1) == case.right).float().mean() > 0.9


def test_the_last_place_knows_nothing_before_layer_two_and_nearly_everything_after_it(case):
    lens = [case.metric.of(logits[:, None]).mean().item() for logits in logit_lens(case.model, case.clean)]
    assert max(map(abs, lens[:3])) < 0.15 * lens[-1] and lens[3] > 0.7 * lens[-1]


def test_the_previous_token_head_says_nothing_and_the_last_mlp_more_than_any_head(case):
    parts = component_logit_attribution(case.model, case.clean, case.right, case.wrong)
    whole = case.metric(case.model(case.clean)).item()
    assert case.attribution[case.writer].abs() < 0.01 * whole
    assert len(case.readers) == 2 and {layer for layer, _ in case.readers} == {2}
    assert parts["mlp 3"].mean() > case.attribution.max()


def test_by_probability_one_note_is_worth_nothing_and_the_other_everything(case):
    model, clean, corrupted = case.texts
    probability, divergence = Probability(case.right), KLDivergence(model(clean))
    at_d = patch_once(model, clean, corrupted, "resid_pre", 2, position=AT_D)
    at_b = patch_once(model, corrupted, clean, "resid_pre", 2, position=AT_B)
    assert case.share(at_d, probability) < 0.1 < 0.25 < case.share(at_d)
    assert 1 - case.share(at_b, probability) > 0.9 > 0.85 > 1 - case.share(at_b)
    assert abs(case.share(at_d, divergence) - case.share(at_d)) < 0.25


def test_the_keys_carry_what_the_pattern_and_the_whole_head_carry(case):
    for place in case.readers:
        parts = {
            part: case.share(patch_head_input(*case.texts, *place, part))
            for part in ("q", "k", "v", "pattern")
        }
        whole = case.share(patch_head_output(*case.texts, *place))
        assert parts["k"] == pytest.approx(whole, abs=0.08) == parts["pattern"]
        assert abs(parts["q"]) < 0.12 and abs(parts["v"]) < 0.1 < 0.25 < whole


def test_without_mlps_one_arrow_into_the_keys_is_nearly_the_whole_effect(cases):
    case = cases["course-attn-2l"]
    both = ("heads", "mlps")
    assert case.mended(case.writer, "k", both) > 0.8 and case.cut("k", both) > 0.8
    for through in "qv":
        assert abs(case.mended(case.writer, through, both)) < 0.1 and abs(case.cut(through, both)) < 0.1
    others = [(0, head) for head in range(4) if (0, head) != case.writer]
    assert max(abs(case.mended(place, "k", both)) for place in others) < 0.1


def test_with_mlps_the_arrow_is_hardly_direct(case):
    assert case.mended(case.writer, "k", ("heads", "mlps")) < 0.25
    assert case.mended(case.writer, "k", MLPS_FREE) > 0.8 < case.mended(case.writer, "k", ())
    assert max(abs(case.mended(case.writer, through, MLPS_FREE)) for through in "qv") < 0.1


def test_the_arrow_runs_through_the_first_mlp_alone(case):
    def arrives(free):
        _, clean = case.model.run_with_cache(case.clean)
        _, held = case.model.run_with_cache(case.corrupted)

        def speak(z, hook):
            z[:, :, case.writer[1]] = clean[hook.name][:, :, case.writer[1]]

        names = [f"blocks.{layer}.attn.hook_z" for layer in (1, 2, 3)]
        names += [f"blocks.{layer}.hook_mlp_out" for layer in range(4) if layer not in free]
        hooks = [
            ("blocks.0.attn.hook_z", speak),
            *((name, lambda _, hook: held[hook.name]) for name in names),
        ]
        with case.model.hooks(fwd_hooks=hooks):
            _, arrived = case.model.run_with_cache(case.corrupted)

        def read(keys, hook):
            chosen = [head for _, head in case.readers]
            keys[:, :, chosen] = arrived[hook.name][:, :, chosen]

        hook = ("blocks.2.attn.hook_k", read)
        return case.share(case.model.run_with_hooks(case.corrupted, fwd_hooks=[hook]))

    assert case.writer[0] == 0 and arrives((0,)) > 0.75 and arrives((1,)) < 0.3


def test_weights_point_at_the_writer_without_mlps_and_at_an_idle_head_with_them(cases):
    for name, right in zip(NAMES, (False, True), strict=True):
        case = cases[name]
        scores = torch.stack([composition_scores(case.model, "k")[:, :, *place] for place in case.readers])
        first = divmod(scores.mean(0).argmax().item(), case.model.cfg.n_heads)
        assert (first == case.writer) == right
        assert right or abs(case.mended(first, "k", MLPS_FREE)) < 0.1
