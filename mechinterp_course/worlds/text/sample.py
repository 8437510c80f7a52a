"""What every piece of the text world is: a prompt, the word that follows, and all that is true of it."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from random import Random
from typing import ClassVar, Self


@dataclass(frozen=True)
class Sample(ABC):
    """A text whose fields are its truth: change one field, and one thing in the text changes.

    `prompt` ends just before `answer`, the word that what stands before decides; `rival` is the word that
    the `counterfactual` calls for in its place ("" where nothing decides between words). The whole `text` is
    the prompt, a space, the answer, and `after`.
    """

    task: ClassVar[str]

    @classmethod
    @abstractmethod
    def draw(cls, rng: Random, held_out: bool = False) -> Self:
        """Return a sample; `held_out` ones use templates, pairs and names that training never sees there."""

    @property
    @abstractmethod
    def prompt(self) -> str: ...

    @property
    @abstractmethod
    def answer(self) -> str: ...

    @abstractmethod
    def counterfactual(self) -> Self:
        """Return the sample that differs in exactly one thing, on which the answer depends."""

    @property
    def after(self) -> str:
        return "."

    @property
    def rival(self) -> str:
        return self.counterfactual().answer

    @property
    def labels(self) -> dict[str, str]:
        """What is true of the text, by name."""
        return {"task": self.task}

    @property
    def text(self) -> str:
        return f"{self.prompt} {self.answer}{self.after}"
