"""Laws of an answer beside those of the right one: told where they differ, and only then."""

import pytest
import torch
from jaxtyping import Float
from torch import Tensor

from mechinterp_course.channel_evidence import selectivity
from mechinterp_course.checking import law_questions, probes
from mechinterp_course.checking.call_questions import hooks_left
from mechinterp_course.checking.cases import Case
from mechinterp_course.checking.entry_questions import entries_that_count
from mechinterp_course.checking.hook_probes import hooks_on
from mechinterp_course.checking.inquiry import Inquiry
from mechinterp_course.checking.local import LocalStudent
from mechinterp_course.models import load_language_model


def energy(x: Float[Tensor, "row feature"]) -> Float[Tensor, " row"]:
    """The square of each row's length."""
    return x.square().sum(dim=1)


def curve(amounts: list[float]) -> Float[Tensor, " amount"]:
    """A number for each amount."""
    return torch.tensor(amounts).exp()


def spread(x: Float[Tensor, "row feature"]) -> tuple[float, float]:
    """Mean and standard deviation."""
    return x.mean().item(), x.std().item()


def facts(x: Float[Tensor, "row feature"]) -> dict[str, dict[str, float]]:
    """The same by name, one key down."""
    return {"of x": dict(zip(("mean", "deviation"), spread(x), strict=True))}


def shares(x: Float[Tensor, "row feature"]) -> Float[Tensor, " row"]:
    """Each row's part of the energy: rows do mix."""
    return energy(x) / energy(x).sum()


def switched(x: Float[Tensor, "row feature"], W: Float[Tensor, "row feature"]) -> Float[Tensor, " row"]:
    """A weight for each row, and a ReLU."""
    return (x * W).sum(dim=1).relu()


def uneven(x: Float[Tensor, "row feature"]) -> Float[Tensor, " row"]:
    """The mean of each row; that of the first moves a thousand million times as much."""
    return x.mean(dim=1) * torch.tensor([1e9] + [1.0] * (len(x) - 1), dtype=x.dtype)


def asked(question, reference, answer, *calls):
    """What a question makes of an answer to these calls."""
    names = list(Inquiry(None, "", reference, []).parameters)
    cases = [Case(dict(zip(names, c, strict=True)), reference(*c), answer(*c)) for c in calls]
    inquiry = Inquiry(LocalStudent({"answer": answer}), "answer", reference, cases)
    return " ".join(question(inquiry))


X, Y = torch.randn(2, 6, 5, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda x: x.norm(dim=1), "is doubled, the expected value is four times as large, and yours doubles"),
        (
            lambda x: x.sum(dim=1) ** 2 + x.sum(dim=1),
            "of the opposite sign, the expected value stays as it is",
        ),
        (lambda x: 3 * energy(x), ""),
        (lambda x: [1.0], ""),
        (lambda x: energy(x) / 0, ""),
    ],
)
def test_a_law_is_told_where_it_is_another(answer, words):
    said = asked(law_questions.laws, energy, answer, [X])
    assert words in said if words else not said


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (
            lambda a: curve(sorted(a)),
            "the expected result is reversed along `amount`, and yours stays as it is",
        ),
        (lambda a: 2 * curve(a), ""),
        (lambda a: curve(a).cumsum(0), ""),
    ],
)
def test_what_does_not_keep_to_the_order_is_told(answer, words):
    assert asked(law_questions.order, curve, answer, [[0.5, -1.0, 0.25]]) == (
        f"With `amounts` reversed, {words}." if words else ""
    )


@pytest.mark.parametrize(
    ("reference", "answer", "words"),
    [
        (energy, lambda x: energy(x).cumsum(0) / torch.arange(1, len(x) + 1), "With a single `row`"),
        (energy, lambda x: 2 * energy(x), ""),
        (shares, lambda x: shares(x).softmax(0), ""),
    ],
)
def test_rows_that_mix_are_told_where_they_should_not(reference, answer, words):
    said = asked(law_questions.one_alone, reference, answer, [X])
    assert words in said if words else not said


@pytest.mark.parametrize(
    ("reference", "answer", "said"),
    [
        (spread, lambda x: (x.mean().item(), 1.0), "the second value is wrong"),
        (facts, lambda x: {"of x": {**facts(x)["of x"], "mean": 0.5}}, "`mean` is wrong"),
        (spread, lambda x: (0.5, 1.0), ""),
        (spread, lambda x: 1.0, ""),
    ],
)
def test_of_several_results_the_wrong_one_is_told(reference, answer, said):
    expected = f"Of what is returned, {said}, and the rest is right." if said else ""
    assert asked(law_questions.wrong_parts, reference, answer, [X], [Y]) == expected


def test_what_a_relu_silences_in_one_of_both_hides_no_entry_that_should_not_count():
    said = asked(entries_that_count, switched, lambda x, W: (x @ W.T).sum(dim=1).relu(), [X, Y])
    assert "also changes with `W` at another `row` than the result's own" in said


def test_an_entry_of_the_result_that_moves_far_more_than_others_does_not_silence_them():
    assert asked(entries_that_count, uneven, lambda x: uneven(x) + 1, [X]) == ""
    assert "at feature=0" in asked(entries_that_count, uneven, lambda x: uneven(x * (x != x[:, :1])), [X])


def by_rank(responses, shows):
    """The AUC by ranks, where ties go to whoever comes first."""
    ranks = responses.argsort(dim=0, stable=True).argsort(dim=0) + 1.0
    having = int(shows.sum())
    return (ranks[shows].sum(dim=0) - having * (having + 1) / 2) / (having * (len(shows) - having))


def test_of_what_jumps_nothing_is_said_that_small_steps_show():
    responses = (4 * torch.randn(20, 5, generator=torch.Generator().manual_seed(2))).round() / 4
    shows = torch.arange(20) % 3 == 0
    assert not torch.allclose(by_rank(responses, shows), selectivity(responses, shows))
    assert asked(entries_that_count, selectivity, by_rank, [responses, shows]) == ""


def leaving(model, tokens: Tensor) -> Tensor:
    """Logits, and a hook stays."""
    model.blocks[0].hook_resid_pre.add_hook(lambda activation, hook: None)
    return model(tokens) + 1


def leaving_and_raising(model, tokens: Tensor) -> Tensor:
    """A hook stays, and then nothing comes back."""
    leaving(model, tokens)
    raise ValueError


def test_hooks_of_an_answer_that_raises_are_gone_for_the_next_question():
    model, tokens = load_language_model("course-attn-2l"), torch.arange(8).view(2, 4)
    model(tokens)  # the first run sets hooks of the model's own
    before = hooks_on(model)
    assert probes.hooks_left(leaving_and_raising, [model, tokens]) == 0 and hooks_on(model) == before


def test_the_hooks_that_a_model_sets_in_its_first_run_are_nobody_s():
    fresh = load_language_model("course-attn-2l")
    assert probes.hooks_left(lambda model, tokens: model(tokens), [fresh, torch.arange(8).view(2, 4)]) == 0


def test_hooks_that_stay_are_counted():
    call = [load_language_model("course-attn-2l"), torch.arange(8).view(2, 4)]
    right = lambda model, tokens: model(tokens)  # noqa: E731
    assert asked(hooks_left, right, leaving, call) == "After a call, 1 of your hooks is still on the model."
    assert asked(hooks_left, right, lambda model, tokens: model(tokens) + 1, call) == ""
