"""A source with numbers and a summary of it: exact ones copy the number, loose ones paraphrase it."""

from dataclasses import dataclass, replace
from random import Random
from typing import ClassVar

from mechinterp_course.worlds.text.lexicon import (
    ACTORS,
    DAYS,
    MONTHS,
    NAMES,
    PLACES,
    THINGS,
    pick,
    pick_others,
)
from mechinterp_course.worlds.text.sample import Sample

ITEMS = tuple(noun.plural for noun in THINGS)
ITEMS_ELSEWHERE = ITEMS[2::4]
ITEMS_IN_SUMMARIES = tuple(item for item in ITEMS if item not in ITEMS_ELSEWHERE)
EXACT = ("Summary:", "In short,", "To be exact,", "The report says that")
LOOSE = ("Roughly,", "Somebody heard that", "As people tell it,")
SOURCES = (
    "On {day} the {actor} counted {list} in the {place}.",
    "{name} sold {list} at the {place}.",
    "The {place} had {list} in {month}.",
    "In the {place} there were {list}.",
    "{name} ordered {list} on {day}.",
    "There were {list} behind the {place}.",
    "In {month} the {actor} lost {list}.",
    "{name} found {list} near the {place}.",
)
UNSEEN_SOURCES = (
    "Near the {place} the {actor} found {list}.",
    "On {day} there were {list} at the {place}.",
    "{name} lost {list} in {month}.",
)
TALLIES = (
    "The list at the {place} said {list}.",
    "The {actor} wrote down {list}.",
    "{name} read out {list}.",
    "In {month} the {place} had {list}.",
    "On {day} {name} counted {list}.",
)
UNSEEN_TALLIES = ("On {day} the {actor} read out {list}.", "In {month} the list of {name} said {list}.")
SUMMARIES = (
    "{intro} the number of {item} was",
    "{intro} the count of {item} was",
    "{intro} the sum of all {item} was",
    "{intro} the number of the {item} was",
    "{intro} what was counted of {item} was",
)
INVERSE = (
    "{intro} {number} was the number of",
    "{intro} {number} was the count of",
    "{intro} {number} was the sum of all",
)
UNSEEN_SUMMARIES = (
    "{intro} in {month} the number of {item} was",
    "{intro} at the {place} the count of {item} was",
)


def paraphrase(number: str) -> str:
    """Return the word that a loose summary uses: few below 30, some below 60, many from there on."""
    return "few" if int(number) < 30 else "some" if int(number) < 60 else "many"


@dataclass(frozen=True)
class Summary(Sample):
    """`counts` pairs numbers and items; the summary asks for `asked`, exactly or loosely.

    A source tells "82 roses and 24 lamps"; a tally, "roses 82 and lamps 24". An `inverse` summary gives the
    number and asks for the item.
    """

    task: ClassVar[str] = "summary"
    source: str
    tally: bool
    counts: tuple[tuple[str, str], ...]
    asked: int
    intro: str
    template: str
    inverse: bool = False

    @classmethod
    def draw(
        cls,
        rng: Random,
        held_out: bool = False,
        items: tuple[str, ...] = ITEMS_IN_SUMMARIES,
        loose: bool | None = None,
    ) -> "Summary":
        """Return a summary of two or three numbers; exact in held-out samples unless told.

        Inverse ones, of which there are none among held-out samples, are about all items.
        """
        inverse = not held_out and loose is None and rng.random() < 0.3
        slots = {
            "place": pick(rng, PLACES),
            "day": rng.choice(DAYS),
            "month": rng.choice(MONTHS),
            "name": pick(rng, NAMES),
            "actor": pick(rng, ACTORS).singular,
        }
        things = pick_others(rng, ITEMS if inverse else items, rng.choice((2, 2, 3)))
        numbers = rng.sample(range(10, 100), len(things))
        loose = (not held_out and not inverse and rng.random() < 0.25) if loose is None else loose
        tally = rng.random() < 0.5
        if tally:
            source = rng.choice(UNSEEN_TALLIES if held_out else TALLIES)
        else:
            source = rng.choice(UNSEEN_SOURCES if held_out else SOURCES)
        template = rng.choice(INVERSE if inverse else UNSEEN_SUMMARIES if held_out else SUMMARIES)
        return cls(
            source=source.format(list="{list}", **slots),
            tally=tally,
            counts=tuple((str(number), thing) for number, thing in zip(numbers, things, strict=True)),
            asked=rng.randrange(len(things)),
            intro=rng.choice(LOOSE if loose else EXACT),
            template=template.format(intro="{intro}", item="{item}", number="{number}", **slots),
            inverse=inverse,
        )

    @property
    def loose(self) -> bool:
        return self.intro in LOOSE

    @property
    def prompt(self) -> str:
        *most, last = [" ".join(pair[:: -1 if self.tally else 1]) for pair in self.counts]
        source = self.source.format(list=f"{', '.join(most)} and {last}")
        number, item = self.counts[self.asked]
        return f"{source} {self.template.format(intro=self.intro, item=item, number=number)}"

    @property
    def answer(self) -> str:
        number, item = self.counts[self.asked]
        if self.inverse:
            return item
        return paraphrase(number) if self.loose else number

    @property
    def labels(self) -> dict[str, str]:
        style = "inverse" if self.inverse else "loose" if self.loose else "exact"
        return super().labels | {"style": style, "asked": str(self.asked)}

    def counterfactual(self) -> "Summary":
        """Ask for the next item instead."""
        return replace(self, asked=(self.asked + 1) % len(self.counts))
