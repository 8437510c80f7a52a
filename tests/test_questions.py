"""An answer that nobody foresaw is called again beside the reference, and what is said of it holds."""

from threading import Thread

import pytest
import torch

from mechinterp_course.checking import Draw, expect_close, expect_equal
from mechinterp_course.checking.cases import cases_of
from mechinterp_course.checking.confirmation import known_mistake
from mechinterp_course.checking.draw import seeded_generators
from mechinterp_course.checking.hook_trace import edits
from mechinterp_course.checking.inquiry import Inquiry
from mechinterp_course.checking.interventions import differences
from mechinterp_course.checking.local import LocalStudent
from mechinterp_course.checking.questions import inquire
from mechinterp_course.checking.recognition import recognise_in_all, replayed
from mechinterp_course.checking.result_questions import _is_straight
from mechinterp_course.checking.verdict import evaluate
from mechinterp_course.heads import previous_token_score
from mechinterp_course.metrics import copying_gain, loss_per_token
from mechinterp_course.models import load_language_model
from mechinterp_course.patching import ablate_head


def check_gain(student, draw):
    for length in (4, 7, 9):
        loss = draw.normal(3, 2 * length).abs()
        expect_close(student.copying_gain(loss, length), copying_gain(loss, length))


def check_loss(student, draw):
    for d_vocab in (11, 8):
        logits, tokens = draw.normal(3, 6, d_vocab), draw.tokens(3, 6, d_vocab)
        expect_close(student.loss_per_token(logits, tokens), loss_per_token(logits, tokens), dims="batch pos")


def check_previous(student, draw):
    for pattern in draw.attention_patterns(count=2):
        expect_close(student.previous_token_score(pattern), previous_token_score(pattern), dims="head")


EXERCISES = {
    "copying_gain": (copying_gain, check_gain),
    "loss_per_token": (loss_per_token, check_loss),
    "previous_token_score": (previous_token_score, check_previous),
}


def asked(name, answer, exercises=EXERCISES, seed=5):
    """What is said of an answer to one of the exercises."""
    reference, check = exercises[name]
    student, draw = LocalStudent({name: answer}), Draw(seed)
    with seeded_generators(draw.student_seed):
        assert evaluate(check, student, draw).verdict == "failed"
    cases = cases_of(name, reference, [(check, list(student.transcript), draw)])
    return inquire(Inquiry(LocalStudent({name: answer}), name, reference, cases))


def stripe(pattern, back=1):
    return pattern.diagonal(-back, 2, 3)


def losses(logits, tokens):
    return loss_per_token(logits, tokens)


SAID = [
    ("copying_gain", lambda x, n: (x[:, :n].mean() - x[:, n + 1 :].mean()).item(), "at pos=0, the first"),
    ("copying_gain", lambda x, n: -x[:, n + 1 :].mean().item(), "does not change with `loss` at pos=1"),
    ("copying_gain", lambda x, n: copying_gain(x, n) / n, "divided by the size of `length`"),
    ("copying_gain", lambda x, n: copying_gain(x, n) / 3, "0.33333 times the expected one in every call"),
    ("copying_gain", lambda x, n: copying_gain(x, n) ** 2, "only weighs and adds the entries of `loss`"),
    ("loss_per_token", lambda x, t: losses(2.5 * x, t), "`logits` is multiplied by 2.5"),
    ("loss_per_token", lambda x, t: losses(x, t).flip(1), "at another `pos` than the result's own"),
    ("loss_per_token", lambda x, t: losses(x, torch.zeros_like(t)), "does not change with `tokens`"),
    ("loss_per_token", lambda x, t: losses(x, t).cumsum(1), "also changes with `logits` at earlier `pos`"),
    ("previous_token_score", lambda p: stripe(p, 2).mean((0, 2)), "where `key` = `query` − 2"),
    ("previous_token_score", lambda p: p.tril(-1).sum(3)[..., 1:].mean((0, 2)), "`key` < `query` − 1"),
    ("previous_token_score", lambda p: stripe(p).amax(2).mean(0), "only the largest one does"),
    ("previous_token_score", lambda p: stripe(p).mean((0, 2)).softmax(0), "at another `head`"),
    ("previous_token_score", lambda p: stripe(p)[..., 1::2].mean((0, 2)), "does not change with `pattern`"),
]


@pytest.mark.parametrize(("name", "answer", "words"), SAID)
def test_it_says_which_entries_count_or_how_the_results_go_together(name, answer, words):
    assert words in asked(name, answer)


@pytest.mark.parametrize(
    "answer", [lambda x, n: None, lambda x, n: "none", lambda x, n: [x], lambda x, n: 1 / 0]
)
def test_an_answer_of_another_kind_is_passed_over_in_silence(answer):
    assert asked("copying_gain", answer) == ""


def second_gain(loss: torch.Tensor, length: int) -> float:
    """A mistake that agrees with another where `length` is 4: from the last token but one on."""
    return (loss[:, length - 2 : length].mean() - loss[:, 2 * length - 2 :].mean()).item()


def two_dropped(loss, length):
    return (loss[:, 2:length].mean() - loss[:, length + 2 :].mean()).item()


def test_a_mistake_that_agrees_in_the_call_that_failed_and_in_no_other_is_not_named():
    student, draw = LocalStudent({"copying_gain": two_dropped}), Draw(5)
    assert evaluate(check_gain, student, draw).verdict == "failed"
    runs = [(check_gain, list(student.transcript), draw)]
    cases = cases_of("copying_gain", copying_gain, runs)
    inquiry = Inquiry(LocalStudent({"copying_gain": two_dropped}), "copying_gain", copying_gain, cases)
    assert recognise_in_all(runs, "copying_gain", {"late": second_gain}) == "late"
    assert known_mistake(inquiry, runs, [], {"late": second_gain}, replayed) is None
    assert known_mistake(inquiry, runs, [], {"late": second_gain, "two": two_dropped}, replayed) == "two"


def verdict(sizes: tuple[int, ...], threshold: float = 0.4) -> bool:
    """Whether all are even and there are enough of them."""
    return all(size % 2 == 0 for size in sizes) and sum(sizes) >= threshold * 10


def check_verdicts(student, draw):
    cases = [((2, 4), 0.4), ((2, 3, 4), 0.4), ((1, 2), 0.1), ((8,), 0.9), ((8, 2), 0.4), ((6, 1), 0.5)]
    said = [student.verdict(*case) for case in cases]
    expect_equal(said, [verdict(*case) for case in cases], what="verdicts")


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda sizes, least=0.4: any(s % 2 == 0 for s in sizes) and sum(sizes) >= least * 10, "`sizes`=("),
        (lambda sizes, least=0.4: verdict(sizes, least) or least < 0.3, "`threshold`="),
    ],
)
def test_a_wrong_verdict_is_traced_to_an_argument(answer, words):
    assert words in asked("verdict", answer, {"verdict": (verdict, check_verdicts)})


def hooked(function, point="attn.hook_z", layers=None):
    """An answer to `ablate_head` that puts what `function` makes of a head's z in its place."""

    def answer(model, tokens, layer, head, kind="zero"):
        def replace(z, hook):
            z = z.clone()
            z[:, :, head] = function(z, head)
            return z

        names = [f"blocks.{each}.{point}" for each in layers or [layer]]
        return model.run_with_hooks(tokens, fwd_hooks=[(name, replace) for name in names])

    return answer


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (
            hooked(lambda z, head: z[:, :, head].mean(1, keepdim=True)),
            "its mean over `pos`, where it should be",
        ),
        (hooked(lambda z, head: z[:, 1:, head].mean((0, 1))), "without the first entry of `pos`"),
        (hooked(lambda z, head: z[:, :, head] / 2), "0.5 times itself"),
        (hooked(lambda z, head: z[:, :, head].mean((0, 1)), "attn.hook_v"), "change `hook_v`"),
        (hooked(lambda z, head: z[:, :, head].mean((0, 1)), layers=[0, 1]), "change layer 0, 1"),
        (hooked(lambda z, head: z[:, :, head]), "leave every activation as it was"),
    ],
)
def test_it_says_what_a_hook_puts_where(answer, words):
    model, tokens = load_language_model("course-attn-2l"), torch.arange(14).view(2, 7)
    call = [model, tokens, 1, 2, "mean"]
    assert words in " ".join(differences(edits(answer, call), edits(ablate_head, call)))


def test_hooks_that_another_thread_sets_on_its_own_model_are_not_noted():
    model, others = (load_language_model("course-attn-2l") for _ in range(2))
    tokens = torch.arange(14).view(2, 7)

    def answer(*call):
        thread = Thread(target=ablate_head, args=(others, tokens, 0, 0))
        thread.start()
        thread.join()
        return ablate_head(*call)

    call = [model, tokens, 1, 2, "mean"]
    assert edits(answer, call) == edits(ablate_head, call)
    assert not any("add_hook" in vars(point) for point in model.hook_dict.values())


@pytest.mark.parametrize(
    "forged",
    [
        None,
        {},
        {"point": "x\x1b[0m", "places": [], "sizes": [], "how": ""},
        {"point": "a", "places": 3, "sizes": 1, "how": ""},
    ],
)
def test_a_trace_that_the_answer_forged_is_not_repeated(forged):
    edit = {"point": "blocks.0.attn.hook_z", "places": [[0]], "sizes": [1], "how": "zeros"}
    assert differences([forged], [edit]) == []


@pytest.mark.parametrize(
    ("results", "straight"),
    [([1.0, 2.0, 3.0], True), ([1.0, 2.0, 4.0], False), ([15, 15, 15], None), ([0.0, 0.0, 0.0], None)],
)
def test_a_result_that_did_not_move_says_nothing_about_a_weighted_sum(results, straight):
    assert _is_straight(results) is straight
