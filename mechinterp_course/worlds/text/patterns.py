"""Words that come back: `A B A B A` of any period, and passages said twice."""

from dataclasses import dataclass, replace
from random import Random
from typing import ClassVar

from mechinterp_course.worlds.text.lexicon import PLACES, content_words, pick
from mechinterp_course.worlds.text.sample import Sample

SHORTEST, LONGEST = 2, 7  # periods


def next_word(word: str) -> str:
    """Return the word that follows in the sorted `content_words`, and the first after the last."""
    known = content_words()
    return known[(known.index(word) + 1) % len(known)]


@dataclass(frozen=True)
class Pattern(Sample):
    """`words` said again and again, cut off after `length` words."""

    task: ClassVar[str] = "pattern"
    words: tuple[str, ...]
    length: int

    @classmethod
    def draw(cls, rng: Random, held_out: bool = False, period: int | None = None) -> "Pattern":
        """Return a pattern of which one period and two words more have been said at least."""
        period = period or rng.randint(SHORTEST, LONGEST)
        words = tuple(rng.sample(content_words(), period))
        return cls(words, rng.randint(period + 2, 3 * period + 3))

    @property
    def period(self) -> int:
        return len(self.words)

    @property
    def prompt(self) -> str:
        return " ".join(self.words[place % self.period] for place in range(self.length))

    @property
    def answer(self) -> str:
        return self.words[self.length % self.period]

    @property
    def rival(self) -> str:
        """The word that stands at the end: a model that repeats the last word says it."""
        return self.words[(self.length - 1) % self.period]

    @property
    def labels(self) -> dict[str, str]:
        return super().labels | {"period": str(self.period)}

    def counterfactual(self) -> "Pattern":
        """Stop one word earlier."""
        return replace(self, length=self.length - 1)


@dataclass(frozen=True)
class Repetition(Sample):
    """A parrot says random `words` and then says them again; the answer is the last of them."""

    task: ClassVar[str] = "repetition"
    words: tuple[str, ...]
    place: str

    @classmethod
    def draw(cls, rng: Random, held_out: bool = False) -> "Repetition":
        words = tuple(rng.choices(content_words(), k=rng.randint(4, 24)))
        return cls(words, pick(rng, PLACES))

    @property
    def prompt(self) -> str:
        saying = " ".join(self.words)
        again = " ".join(self.words[:-1])
        return f"The parrot of the {self.place} said: {saying}. Then it said: {again}"

    @property
    def answer(self) -> str:
        return self.words[-1]

    def counterfactual(self) -> "Repetition":
        """Say the next word of the world's in place of the last one."""
        return replace(self, words=(*self.words[:-1], next_word(self.words[-1])))
