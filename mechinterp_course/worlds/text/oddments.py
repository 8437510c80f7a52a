"""Lines of code, a second language, years and quotations: kinds of text for a dictionary to find."""

from dataclasses import dataclass, replace
from random import Random
from typing import ClassVar

from mechinterp_course.worlds.text.lexicon import NAMES, PLACES, YEARS, pick, pick_others, words
from mechinterp_course.worlds.text.patterns import content_words, next_word
from mechinterp_course.worlds.text.sample import Sample

VARIABLES = words("x y z i j k n m total count index value item size width height")
FUNCTIONS = words("add scale merge reverse update area shift")
LINES = (
    "def {f}({0}, {1}): return {0} {op}",
    "{0} = {n}; {1} = {m}; print({0} {op}",
    "for {0} in range({n}): {1} = {0} * {m}; print(",
    "if {0} == {n}: {1} = {m}; {0} = {0} {op}",
    "while {0} < {n}: {0} = {0} + {m}; {1} = {1} {op}",
)


@dataclass(frozen=True)
class Code(Sample):
    """A line of code that ends with one of its two `variables`: the one that has not just been used."""

    task: ClassVar[str] = "code"
    line: str
    variables: tuple[str, str]
    function: str
    operator: str
    numbers: tuple[int, int]

    @classmethod
    def draw(cls, rng: Random, held_out: bool = False) -> "Code":
        first, second = rng.sample(VARIABLES, 2)
        numbers = rng.randint(10, 99), rng.randint(10, 99)
        return cls(rng.choice(LINES), (first, second), rng.choice(FUNCTIONS), rng.choice("+-*"), numbers)

    @property
    def prompt(self) -> str:
        n, m = self.numbers
        return self.line.format(*self.variables, f=self.function, op=self.operator, n=n, m=m)

    @property
    def answer(self) -> str:
        return self.variables[0] if self.line.startswith("while") else self.variables[1]

    @property
    def after(self) -> str:
        return ")" if "print(" in self.line else ""

    def counterfactual(self) -> "Code":
        """Exchange the two variables."""
        return replace(self, variables=self.variables[::-1])


MASCULINE = words("chat chien livre jardin cheval pain bateau soleil roi vin")
FEMININE = words("maison lune table fille porte mer robe rue voiture fleur")
ADJECTIVES = tuple(
    tuple(entry.split("/"))
    for entry in words(
        "petit/petite grand/grande vert/verte noir/noire joli/jolie lourd/lourde blanc/blanche fort/forte"
    )
)
PLACES_ABROAD = ("dans la ville", "sur le pont", "avec mon ami", "depuis hier", "", "")
PHRASES = (
    "{noun} {where} est",
    "je vois que {noun} {where} est",
    "aujourd'hui {noun} {where} est très",
    "{noun} {where} n'est pas",
)


@dataclass(frozen=True)
class French(Sample):
    """A French sentence whose last adjective agrees with the gender of `noun`."""

    task: ClassVar[str] = "french"
    noun: str
    adjective: int
    phrase: str
    where: str

    @classmethod
    def draw(cls, rng: Random, held_out: bool = False) -> "French":
        noun = rng.choice((*MASCULINE, *FEMININE))
        return cls(noun, rng.randrange(len(ADJECTIVES)), rng.choice(PHRASES), rng.choice(PLACES_ABROAD))

    @property
    def feminine(self) -> bool:
        return self.noun in FEMININE

    @property
    def prompt(self) -> str:
        phrase = self.phrase.format(noun=f"{'la' if self.feminine else 'le'} {self.noun}", where=self.where)
        return " ".join(phrase.split())

    @property
    def answer(self) -> str:
        return ADJECTIVES[self.adjective][self.feminine]

    @property
    def labels(self) -> dict[str, str]:
        return super().labels | {"gender": "feminine" if self.feminine else "masculine"}

    def counterfactual(self) -> "French":
        """Put a noun of the other gender in its place."""
        own, other = (FEMININE, MASCULINE) if self.feminine else (MASCULINE, FEMININE)
        return replace(self, noun=other[own.index(self.noun)])


DEEDS = words("built sold painted closed opened burned moved")


@dataclass(frozen=True)
class Chronicle(Sample):
    """Two things happened to a place in two `years`; the second sentence asks for the year of one."""

    task: ClassVar[str] = "years"
    place: str
    deeds: tuple[str, str]
    years: tuple[str, str]
    asked: int

    @classmethod
    def draw(cls, rng: Random, held_out: bool = False) -> "Chronicle":
        years = sorted(rng.sample(YEARS, 2))
        first, second = rng.sample(DEEDS, 2)
        return cls(pick(rng, PLACES), (first, second), (years[0], years[1]), rng.randrange(2))

    @property
    def prompt(self) -> str:
        (first, second), (early, late) = self.deeds, self.years
        told = f"The {self.place} was {first} in {early} and {second} in {late}."
        return f"{told} So it was {self.deeds[self.asked]} in"

    @property
    def answer(self) -> str:
        return self.years[self.asked]

    def counterfactual(self) -> "Chronicle":
        """Ask for the other deed."""
        return replace(self, asked=1 - self.asked)


@dataclass(frozen=True)
class Quotation(Sample):
    """Somebody says a few `words`, and somebody else quotes them; the answer is the last of them."""

    task: ClassVar[str] = "quotation"
    people: tuple[str, str]
    words: tuple[str, ...]

    @classmethod
    def draw(cls, rng: Random, held_out: bool = False) -> "Quotation":
        first, second = pick_others(rng, NAMES, 2)
        return cls((first, second), tuple(rng.choices(content_words(), k=rng.randint(2, 6))))

    @property
    def prompt(self) -> str:
        first, second = self.people
        said, again = " ".join(self.words), " ".join(self.words[:-1])
        return f'"I say {said}," said {first}. "You say {said}," answered {second}. "I do say {again}'

    @property
    def answer(self) -> str:
        return self.words[-1]

    @property
    def after(self) -> str:
        return '."'

    def counterfactual(self) -> "Quotation":
        """Say the next word of the world's in place of the last one."""
        return replace(self, words=(*self.words[:-1], next_word(self.words[-1])))
