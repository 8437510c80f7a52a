"""An answer that is right but for one small thing is told which, if that fits in every check."""

import pytest
import torch

from mechinterp_course.checking import Draw, expect_close
from mechinterp_course.checking.hook_slips import Altered, Seen, Swapped, Written
from mechinterp_course.checking.local import LocalStudent
from mechinterp_course.checking.slips import measures, recognise_slip, slips_of_library, with_sentence
from mechinterp_course.checking.verdict import Diagnosis, evaluate
from mechinterp_course.heads import previous_token_score
from mechinterp_course.metrics import copying_gain, loss_per_token
from mechinterp_course.models import load_language_model
from mechinterp_course.patching import ablate_head


def check_gain(student, draw):
    """copying_gain agrees with the reference"""
    loss = draw.normal(3, 14).abs()
    expect_close(student.copying_gain(loss, 7), copying_gain(loss, 7))


def check_loss(student, draw):
    """loss_per_token agrees with the reference"""
    logits, tokens = draw.normal(3, 6, 11), draw.tokens(3, 6, 11)
    expect_close(student.loss_per_token(logits, tokens), loss_per_token(logits, tokens), dims="batch pos")


def check_previous(student, draw):
    """previous_token_score agrees with the reference"""
    for pattern in draw.attention_patterns(count=2):
        expect_close(student.previous_token_score(pattern), previous_token_score(pattern), dims="head")


def stripe(pattern, offset=-1):
    return pattern.diagonal(offset, 2, 3)


def picked(log_probs, tokens):
    return -log_probs.gather(-1, tokens[:, 1:, None])[..., 0]


REFERENCES = {
    "copying_gain": ("metrics.copying_gain", check_gain),
    "loss_per_token": ("metrics.loss_per_token", check_loss),
    "previous_token_score": ("heads.previous_token_score", check_previous),
}
# (exercise, what is done instead, words of the sentence)
SLIPS = [
    (
        "copying_gain",
        lambda loss, n: (loss[0, 1:n].mean() - loss[0, n + 1 :].mean()).item(),
        "first entry of `batch`",
    ),
    (
        "copying_gain",
        lambda loss, n: (loss[:, 1:n].median() - loss[:, n + 1 :].median()).item(),
        "the median",
    ),
    ("copying_gain", lambda loss, n: (loss[:, 1:n].mean() - loss[:, n:].mean()).item(), "begins one earlier"),
    ("loss_per_token", lambda x, t: picked(x[:, :-1].softmax(-1).log_softmax(-1), t), "`logits` first goes"),
    ("loss_per_token", lambda x, t: picked(x[:, :-1].log_softmax(1), t), "the softmax runs over the axis 1"),
    ("previous_token_score", lambda p: stripe(p).mean(-1).amax(0), "largest value stands in for the mean"),
    ("previous_token_score", lambda p: stripe(p)[..., :-1].mean((0, -1)), "last entry is left out"),
    ("previous_token_score", lambda p: stripe(p.roll(-1, 3)).mean((0, -1)), "along `key`"),
    ("previous_token_score", lambda p: stripe(p).mean((1, 2)), "`batch` and `head` of `pattern` are swapped"),
]


def slip_of(exercise, answer, passed=()):
    reference, check = REFERENCES[exercise]
    student, draw = LocalStudent({exercise: answer}), Draw(5)
    assert evaluate(check, student, draw).verdict == "failed"
    failed = [(check, student.transcript, draw)]
    return recognise_slip(failed, passed, exercise, slips_of_library(reference))


@pytest.mark.parametrize(("exercise", "answer", "words"), SLIPS)
def test_a_slip_is_told(exercise, answer, words):
    assert words in slip_of(exercise, answer).sentence


@pytest.mark.parametrize(
    ("exercise", "answer"),
    [
        ("copying_gain", lambda loss, n: (loss[:, 1:n].mean() ** 2).item()),
        ("copying_gain", lambda loss, n: 0.0),
        ("previous_token_score", lambda p: torch.zeros(p.shape[1])),
        ("previous_token_score", lambda p: stripe(p).std(-1).mean(0)),
        ("loss_per_token", lambda x, t: 1 / 0),
    ],
)
def test_no_slip_is_claimed_of_another_mistake(exercise, answer):
    assert slip_of(exercise, answer) is None


def test_a_slip_that_fails_a_check_which_the_answer_passes_is_not_claimed():
    def one_row(loss, length):
        return (loss[0, 1:length].mean() - loss[0, length + 1 :].mean()).item()

    passed = [(check_gain, [], Draw(6))]
    assert slip_of("copying_gain", one_row, passed) is None


def test_the_sentence_stands_before_the_message():
    slip = slips_of_library("metrics.copying_gain")["length_plus_one"]
    assert (
        with_sentence(Diagnosis("wrong_value", "It differs."), slip.sentence).message
        == f"{slip.sentence} It differs."
    )


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (0.5, True),
        (1.0, False),
        (True, False),
        ([1, 0.25], True),
        (torch.zeros(3), False),
        (float("nan"), False),
    ],
)
def test_only_measured_numbers_are_evidence(value, told):
    assert measures(value) is told


@pytest.mark.parametrize(
    ("alteration", "replaced"),
    [
        (Swapped("pos", "head"), (slice(None), 2)),
        (Swapped("head", "d_head"), (..., 2)),
        (Seen(slice(1, None)), (slice(None), slice(1, None), 2)),
        (Written(slice(-1, None)), (slice(None), slice(-1, None), 2)),
    ],
)
def test_a_hook_that_sees_an_altered_activation_replaces_what_the_slip_says(alteration, replaced):
    model, tokens = load_language_model("course-gpt2"), torch.arange(14).view(2, 7)

    def zero(z, hook):
        z = z.clone()
        z[replaced] = 0
        return z

    expected = model.run_with_hooks(tokens, fwd_hooks=[("blocks.1.attn.hook_z", zero)])
    assert torch.allclose(ablate_head(Altered(model, alteration), tokens, 1, 2), expected, atol=1e-5)
