"""Verbs that agree with their subject across a distractor, whose number is another matter."""

from dataclasses import dataclass, replace
from random import Random
from typing import ClassVar

from mechinterp_course.worlds.text.lexicon import (
    ACTORS,
    BESIDE,
    COMMON_VERBS,
    DAYS,
    LOOKS,
    MET,
    MONTHS,
    NAMES,
    PAST,
    PLACES,
    PLURAL,
    PRESENT,
    SINGULAR,
    THINGS,
    VERBS,
    Noun,
    Verb,
    pick,
)
from mechinterp_course.worlds.text.sample import Sample

STARTS = (
    "",
    "",
    "",
    "Every morning ",
    "In the {place} ",
    "Near the {place} ",
    "Behind the {look} {place} ",
    "On {day} ",
    "In {month} ",
    "Today ",
    "As people say, ",
    "{name} says that ",
    "Everybody knows that ",
)
UNSEEN_STARTS = ("In the morning ", "At the {place} ", "Today, as people say, ")
LINKS = (
    "{beside} the {other}",
    "{beside} the {look} {other}",
    "with the {other}",
    "next to the {other}",
    "next to the {look} {other}",
    "of the {other}",
    "of the {look} {other}",
    "from the {other}",
    "without the {other}",
    "without the {look} {other}",
    "after the {other}",
    "after the {look} {other}",
    "and not the {other}",
    "that {met} the {other}",
    "that {past} {beside} the {other}",
    "that {past} {beside} the {look} {other}",
    "that {name} {met} {beside} the {other}",
    "that came with the {other}",
    "that went to the {look} {other}",
)
UNSEEN_LINKS = ("that once {past} {beside} the {other}", "with the {look} {other}")
BE = {(PRESENT, SINGULAR): "is", (PRESENT, PLURAL): "are", (PAST, SINGULAR): "was", (PAST, PLURAL): "were"}
ENDS = ("all day", "every night", "again", "for a long time", "near the {place}")


def opposite(number: str) -> str:
    return PLURAL if number == SINGULAR else SINGULAR


@dataclass(frozen=True)
class Agreement(Sample):
    """`The <subject> <link with distractor> <verb> …`: `number` is the subject's, `between` the distractor's.

    The verb is a full verb, or a form of be where `verb` is None.
    """

    task: ClassVar[str] = "agreement"
    subject: Noun
    number: str
    other: Noun
    between: str
    tense: str
    verb: Verb | None
    start: str
    link: str
    ending: str

    @classmethod
    def draw(cls, rng: Random, held_out: bool = False) -> "Agreement":
        slots = {
            "place": pick(rng, PLACES),
            "beside": rng.choice(BESIDE),
            "look": pick(rng, LOOKS),
            "day": rng.choice(DAYS),
            "month": rng.choice(MONTHS),
            "name": pick(rng, NAMES),
            "met": rng.choice(MET),
            "past": pick(rng, VERBS).past,
        }
        thing, actor = pick(rng, THINGS), pick(rng, ACTORS)
        lively = rng.random() < 0.5
        verb = pick(rng, COMMON_VERBS if rng.random() < 0.5 else VERBS) if lively else None
        link = rng.choice(UNSEEN_LINKS if held_out else LINKS)
        return cls(
            subject=actor if lively else thing,
            number=rng.choice((SINGULAR, PLURAL)),
            other=thing if lively else actor,
            between=rng.choice((SINGULAR, PLURAL)),
            tense=PRESENT if lively else rng.choice((PAST, PRESENT)),
            verb=verb,
            start=rng.choice(UNSEEN_STARTS if held_out else STARTS).format(**slots),
            link=link.format(other="{other}", **slots),
            ending=rng.choice(ENDS).format(**slots) if lively else slots["look"],
        )

    def _form(self, number: str) -> str:
        return self.verb.form(self.tense, number) if self.verb else BE[self.tense, number]

    @property
    def prompt(self) -> str:
        link = self.link.format(other=self.other.form(self.between))
        sentence = f"{self.start}the {self.subject.form(self.number)} {link}"
        return sentence[0].upper() + sentence[1:]

    @property
    def answer(self) -> str:
        return self._form(self.number)

    @property
    def after(self) -> str:
        return f" {self.ending}."

    @property
    def labels(self) -> dict[str, str]:
        return super().labels | {"number": self.number, "distractor": self.between, "tense": self.tense}

    def counterfactual(self) -> "Agreement":
        """Change the number of the subject, and of nothing else."""
        return replace(self, number=opposite(self.number))
