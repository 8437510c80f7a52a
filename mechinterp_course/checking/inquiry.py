"""An answer to be asked what it does wrong: calls of it beside calls of the reference.

`questions.inquire` asks. What it says is true by construction: two functions were called with the same
arguments, and did this and that.
"""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from torch import Tensor, nn

from mechinterp_course.checking import probes
from mechinterp_course.checking.cases import Case

MOST_ENTRIES = 4000  # of an argument that is probed


@dataclass
class Inquiry:
    """An answer, the reference for it, and the calls that its checks make.

    `student` runs functions beside the answer, `name` is the exercise. Where it is `hurried`, only what takes
    few runs of a model is asked; where answers are judged `by_outcome`, nothing that compares them with the
    reference value by value. What was found on the way may be kept in `known`.
    """

    student: object
    name: str
    reference: Callable
    cases: Sequence[Case]
    hurried: bool = False
    by_outcome: bool = False
    known: dict[str, object] = field(default_factory=dict)

    @property
    def signature(self) -> inspect.Signature:
        """The reference's."""
        return inspect.signature(self.reference)

    @property
    def parameters(self) -> dict[str, inspect.Parameter]:
        """The reference's parameters by name."""
        return dict(self.signature.parameters)

    @property
    def answer(self) -> object:
        """The student's function, to be passed on."""
        return getattr(self.student, self.name)

    @property
    def of_a_model(self) -> bool:
        """Whether the answer is given a model."""
        given = [value for case in self.cases[:1] for value in case.values]
        return any(hasattr(value, "cfg") or isinstance(value, nn.Module) for value in given)

    @property
    def measured(self) -> list[str]:
        """The arguments that are tensors of measured numbers; none where there is a model."""
        first = self.cases[0].tensors.items() if self.cases and not self.of_a_model else ()
        return [name for name, value in first if value.is_floating_point()]

    @property
    def wrong(self) -> list[Case]:
        """The calls with a wrong result."""
        return [case for case in self.cases if case.is_wrong]

    def call(self, *calls: list[object]) -> list[object]:
        """Return what the answer gives for each list of arguments; a string for a call that raises."""
        return self.student.run(probes.results, self.answer, list(calls))

    def case_with(self, name: str) -> Case | None:
        """Return the first call whose tensor `name` is large and varied enough to tell axes apart."""
        fit = []
        for place, case in enumerate(() if self.of_a_model else self.cases):
            value = case.tensors.get(name)
            if value is not None and value.dim() and value.numel() <= MOST_ENTRIES and _is_varied(value):
                fit.append((min(value.shape) == 1, min(value.shape[-2:]) < 6, place))
        return self.cases[min(fit)[-1]] if fit else None


def _is_varied(value: Tensor) -> bool:
    return len(value.unique()) > min(value.numel() // 3, 12) and min(value.shape[-2:]) > 2


def axis_names(annotation: object) -> tuple[str, ...]:
    """Return the names of the axes in a jaxtyping annotation, without sizes; none for anything else."""
    return tuple(name.split("-")[0] for name in getattr(annotation, "dim_str", "").split())
