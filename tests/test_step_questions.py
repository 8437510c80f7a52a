"""Where a wrong answer leaves the way of the reference: the line that is told is the line where it does."""

import pytest
import torch

from mechinterp_course.checking import Draw, expect_close, step_trace
from mechinterp_course.checking.cases import cases_of
from mechinterp_course.checking.draw import seeded_generators
from mechinterp_course.checking.inquiry import Inquiry
from mechinterp_course.checking.local import LocalStudent
from mechinterp_course.checking.step_questions import lines, parting
from mechinterp_course.checking.verdict import evaluate
from mechinterp_course.superposition import toy_loss
from mechinterp_course.superposition_geometry import feature_dimensionality


def check_loss(student, draw):
    for batch, features in ((5, 3), (7, 4)):
        output, wanted = draw.normal(batch, 2, features), draw.normal(batch, 2, features)
        importance = draw.normal(features).abs()
        expect_close(
            student.toy_loss(output, wanted, importance),
            toy_loss(output, wanted, importance),
            dims="instance",
        )


def check_dimensionality(student, draw):
    for count in (4, 5):
        W = draw.normal(2, count, 3)
        expect_close(student.feature_dimensionality(W), feature_dimensionality(W), dims="instance feature")


CHECKS = {
    "toy_loss": (toy_loss, check_loss),
    "feature_dimensionality": (feature_dimensionality, check_dimensionality),
}


def asked(answer, name="toy_loss", student=None, seed=5):
    """What is said of a wrong answer."""
    reference, check = CHECKS[name]
    first, draw = LocalStudent({name: answer}), Draw(seed)
    with seeded_generators(draw.student_seed):
        assert evaluate(check, first, draw).verdict == "failed"
    cases = cases_of(name, reference, [(check, list(first.transcript), draw)])
    return lines(Inquiry(student or LocalStudent({name: answer}), name, reference, cases))


def rooted(output, features, importance):
    squares = (output - features) ** 2
    weighted = squares * importance
    return weighted.sum(-1).mean(0).sqrt()


def absolute(output, features, importance):
    error = output - features

    def size(values):
        return values.abs()

    return (size(error) * importance).sum(-1).mean(0)


def in_a_helper(output, features, importance):
    return (halved(output, features) * importance).sum(-1).mean(0)


def halved(output, features):
    squares = (output - features).square()
    return squares / 2


def one_by_one(output, features, importance):
    squares = (output - features).square() * importance
    return torch.stack([each.sum(-1).median() for each in squares.unbind(1)])


def with_numbers(output, features, importance):
    share = importance.sum().item()
    return ((output - features).square() * importance / share).sum(-1).mean(0)


def seen_from_the_other_side(output, features, importance):
    squares = (features.permute(1, 2, 0) - output.permute(1, 2, 0)).square()
    return torch.einsum("ifb,f->ib", squares, importance).amax(-1)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (rooted, "In line 4 of `toy_loss` (`sqrt`) values"),
        (absolute, "In line 5 of `toy_loss` (`abs`) values"),
        (in_a_helper, "In line 3 of `halved` (`/`) values"),
        (one_by_one, "In line 3 of `toy_loss` (`sum`, `unbind`) values"),
        (with_numbers, "In line 2 of `toy_loss` (`sum`) values"),
        (seen_from_the_other_side, "In line 3 of `toy_loss` (`amax`) values"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_the_line_is_told_in_which_something_new_is_made_of_what_is_known(answer, words):
    (said,) = asked(answer)
    assert said.startswith(words)
    assert said.endswith(
        "The mistake is there or further on, or in what was chosen to go in, or in its order."
    )


NOTEBOOK = """
def interference(W):
    unit = W / W.norm(dim=-1, keepdim=True).clamp(min=1e-12)
    heard = (unit @ W.mT).square() * 3
    return (heard.sum(-1) - heard.diagonal(dim1=-2, dim2=-1)) / 3

def feature_dimensionality(W):
    return W.square().sum(-1) / (1 + interference(W))
"""


def test_what_an_earlier_exercise_returns_may_go_in():
    """Its own lines are not blamed, though they go another way than the library's."""
    names = {}
    exec(NOTEBOOK, names)
    (said,) = asked(names["feature_dimensionality"], "feature_dimensionality")
    assert said.startswith(
        "In line 2 of `feature_dimensionality` (`+`) values are made with `interference` that"
    )


def another_way_throughout(output, features, importance):
    larger = output.exp()
    smaller = features.exp()
    weight = importance.sqrt()
    weighted = output * importance
    return ((larger.log2() + smaller.log2()) * weight + weighted).sum(-1).mean(0)


def only_in_another_order(output, features, importance):
    return toy_loss(output, features, importance).flip(0)


def by_numbers(output, features, importance):
    each = ((output - features).square() * importance).sum(-1).mean(0)
    most = max(value.item() for value in output[0, 0])
    return each * (most + 3)


def from_elsewhere(output, features, importance):
    return ELSEWHERE[: output.shape[1]]


ELSEWHERE = torch.tensor([0.3, 0.7, 0.9])


@pytest.mark.parametrize(
    "answer", [another_way_throughout, only_in_another_order, by_numbers, from_elsewhere]
)
def test_nothing_is_said_where_no_line_is_to_blame(answer):
    assert asked(answer) == []


class Forger:
    """A student whose answer forges what is traced."""

    def __init__(self, forged):
        self.forged, self.toy_loss = forged, rooted

    def run(self, function, *arguments):
        return self.forged


STEP = {"function": "", "line": 1, "name": "sum", "takes": [], "makes": [0]}
VALUES = torch.zeros(1, step_trace.COLUMNS)


@pytest.mark.parametrize(
    "forged",
    [
        "nothing",
        ([STEP], torch.zeros(3)),
        ([STEP | {"makes": [7]}], VALUES),
        ([STEP | {"name": "<script>alert(1)"}], VALUES),
        ([STEP | {"line": "1"}], VALUES),
        ([{"line": 1}], VALUES),
        ([STEP] * 5000, VALUES),
        ([STEP], VALUES.expand(30_000, -1)),
    ],
)
def test_a_forged_trace_is_not_believed(forged):
    with pytest.raises((TypeError, ValueError, KeyError)):
        asked(rooted, student=Forger(forged))


def test_a_forged_trace_with_countless_ways_through_takes_no_time():
    """Each of sixty lines moves twice what the one before made: two to the sixtieth ways lead to the last."""
    moved = [
        STEP | {"line": row, "name": "cat", "takes": [row, row], "makes": [row + 1]} for row in range(60)
    ]
    made, told = STEP | {"takes": [60], "makes": [61]}, STEP | {"takes": [61], "makes": []}
    values = torch.arange(62.0)[:, None] + torch.arange(step_trace.COLUMNS)
    assert len(parting([*moved, made, told], values, torch.arange(62) == 0)) == 61


def test_a_value_is_known_in_any_order_and_no_other_for_it():
    values = torch.randn(3, 4, generator=torch.Generator().manual_seed(0))
    own = step_trace.print_of(values)
    for other in (values.T, values.flatten().flip(0), values.double()):
        torch.testing.assert_close(step_trace.print_of(other), own)
    changed = values.clone()
    changed[0, 0] += 0.1
    for other in (values * 1.01, values.abs(), -values, changed, values[:, :3]):
        assert (step_trace.print_of(other) - own).abs().max() > 1e-3
    masked = values.masked_fill(values > 1, -torch.inf)
    assert step_trace.print_of(masked).isfinite().all()
    waves = torch.fft.rfft2(values)
    torch.testing.assert_close(step_trace.print_of(waves.flip(0)), step_trace.print_of(waves))
    assert (step_trace.print_of(waves.real) - step_trace.print_of(waves)).abs().max() > 1e-3
    assert step_trace.print_of(torch.zeros(0)).shape == step_trace.print_of(0.5).shape == own.shape


def test_tracing_changes_neither_the_result_nor_the_arguments():
    given = [torch.rand(4, 2, 3), torch.rand(4, 2, 3), torch.rand(3)]
    before = [each.clone() for each in given]
    steps, values = step_trace.steps(rooted, given)
    assert all(map(torch.equal, given, before))
    (row,) = steps[-1]["takes"]
    torch.testing.assert_close(values[row], step_trace.print_of(rooted(*given)))
    assert [step["name"] for step in steps[:-1]] == ["sub", "pow", "mul", "sum", "mean", "sqrt"]
