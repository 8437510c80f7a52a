"""What never changes: capitals and languages of countries, professions and instruments of people."""

from dataclasses import dataclass, replace
from functools import cache
from random import Random
from typing import ClassVar

from mechinterp_course.worlds.text import lexicon
from mechinterp_course.worlds.text.lexicon import PLACES, SURNAMES, pick, words
from mechinterp_course.worlds.text.sample import Sample

_COUNTRIES = """
France Paris French, Germany Berlin German, Italy Rome Italian, Spain Madrid Spanish, Japan Tokyo
Japanese, China Beijing Chinese, Russia Moscow Russian, Egypt Cairo Arabic, Greece Athens Greek, Poland
Warsaw Polish, Sweden Stockholm Swedish, Norway Oslo Norwegian, Portugal Lisbon Portuguese, Hungary
Budapest Hungarian, Turkey Ankara Turkish, Austria Vienna German, Ireland Dublin English, Denmark
Copenhagen Danish, Finland Helsinki Finnish, Canada Ottawa English, Peru Lima Spanish, Chile Santiago
Spanish, Cuba Havana Spanish, India Delhi Hindi, Nepal Kathmandu Nepali, Thailand Bangkok Thai, Vietnam
Hanoi Vietnamese, Iran Tehran Persian, Kenya Nairobi Swahili, Ghana Accra English, Senegal Dakar French,
Iceland Reykjavik Icelandic, Romania Bucharest Romanian, Bulgaria Sofia Bulgarian, Serbia Belgrade
Serbian, Croatia Zagreb Croatian, Estonia Tallinn Estonian, Latvia Riga Latvian, Ukraine Kyiv Ukrainian,
South Korea Seoul Korean, North Macedonia Skopje Macedonian, New Zealand Wellington English, Saudi Arabia
Riyadh Arabic, Czech Republic Prague Czech, Sierra Leone Freetown English, Northern Ireland Belfast
English, Burkina Faso Ouagadougou French, Central African Republic Bangui French, Bosnia and Herzegovina
Sarajevo Bosnian
"""
PROFESSIONS = words(
    "doctor lawyer plumber carpenter dentist pilot nurse painter mason soldier barber butcher judge miner "
    "chemist printer weaver shepherd surgeon waitress"
)
INSTRUMENTS = words("piano violin flute guitar trumpet harp cello organ clarinet banjo accordion oboe")
_MIDDLE = words("Rose May Lee Jo")
PEOPLE = 48


@dataclass(frozen=True)
class Fact:
    """A triple that holds everywhere in the world; the subject has one to three words."""

    subject: str
    relation: str
    value: str


TEMPLATES = {
    "capital": (
        "The capital of {s} is",
        "{s} has a capital called",
        "In {s}, the capital is called",
        "The capital city of {s} is called",
        "Whoever travels to {s} should see the {place} in the capital,",
        "The king of {s} lives in the capital,",
        "{s} is known for its {place}, and its capital is",
        "In {month} {name} left {s} and its capital,",
        "Every {day} a train leaves the capital of {s},",
        "As every {actor} in {s} knows, the capital is",
        "{name} asked for the capital of {s}. The answer was",
        "The largest {place} of {s} is in its capital,",
        "The {actor} comes from {s} and knows its capital,",
        "{name} wrote from the capital of {s},",
        "{name} came home from the capital of {s},",
    ),
    "language": (
        "The language of {s} is",
        "In {s} people speak",
        "Most people in {s} speak",
        "The {actor} comes from {s} and speaks",
        "{name} moved to {s} and had to learn",
        "Every {place} in {s} has a sign in",
        "The newspapers of {s} are written in",
        "{name} loves {s}. There they speak",
        "A guest in {s} should be able to speak",
        "Those who work in {s} have to learn",
        "The songs that {name} heard in {s} were all in",
        "People from {s} often speak",
        "At the {place} in {s} every {actor} speaks",
        "To read a letter from {s} one must learn",
        "Whoever moves to {s} soon learns",
        "Whoever writes to people in {s} needs",
    ),
    "profession": (
        "{s} works as a",
        "{s} is a",
        "{s} works near the {place} as a",
        "By profession, {s} is a",
        "{name} went to see {s}, who is a",
        "In {month} {s} became a",
        "Everybody at the {place} knows that {s} works as a",
        "{s} comes from {country} and works as a",
        "For many years {s} has been a",
        "{name} asked {s} about the work of a",
        "The job of {s} is that of a",
        "After school {s} decided to become a",
    ),
    "instrument": (
        "{s} plays the",
        "{s} likes to play the",
        "Every {day} {s} plays the",
        "At the {place} {s} played the",
        "The instrument of {s} is the",
        "{name} heard how {s} played the",
        "In {month} {s} bought a new instrument, the",
        "{s} comes from {country} and plays the",
        "When {s} was young, a teacher brought the",
        "All evening {s} practised the",
        "{name} sang, and {s} played the",
        "The only instrument that {s} ever learned is the",
    ),
}
UNSEEN_TEMPLATES = {
    "capital": (
        "Everybody in {s} knows the capital,",
        "{name} comes from the capital of {s},",
        "The {actor} went to {s} and saw its capital,",
    ),
    "language": (
        "The {actor} asked {name} how people in {s} speak. There they speak",
        "Whoever lives in {s} should learn",
        "The language that people speak in {s} is",
    ),
    "profession": (
        "At the {place} {s} works as a",
        "{name} knows that {s} is a",
        "In {country} {s} worked as a",
    ),
    "instrument": (
        "{name} says that {s} plays the",
        "In the {place} {s} likes to play the",
        "Last {day} {name} heard that {s} plays the",
    ),
}
RELATIONS = tuple(TEMPLATES)


@cache
def facts() -> tuple[Fact, ...]:
    """Return every fact of the world, the same in every version of it: no seed enters."""
    return (*_country_facts(), *_people_facts())


def countries() -> tuple[str, ...]:
    return tuple(fact.subject for fact in facts() if fact.relation == "capital")


def people() -> tuple[str, ...]:
    """Return full names: a first name and a surname; every third has a middle name, some only one name."""
    return tuple(fact.subject for fact in facts() if fact.relation == "profession")


def _country_facts() -> list[Fact]:
    found = []
    for entry in _COUNTRIES.strip().replace("\n", " ").split(", "):
        *subject, capital, language = entry.split()
        found += [Fact(" ".join(subject), "capital", capital), Fact(" ".join(subject), "language", language)]
    return found


def _people_facts() -> list[Fact]:
    rng = Random("people of the text world")
    found = []
    for index in range(PEOPLE):
        first, surname = lexicon.NAMES[index // 2], SURNAMES[(index * 5 + index // 2) % len(SURNAMES)]
        middle = f" {_MIDDLE[index % len(_MIDDLE)]}" if index % 3 == 0 else ""
        subject = f"Old{SURNAMES[index // 8].lower()}" if index % 8 == 7 else f"{first}{middle} {surname}"
        found.append(Fact(subject, "profession", rng.choice(PROFESSIONS)))
        found.append(Fact(subject, "instrument", rng.choice(INSTRUMENTS)))
    return found


@dataclass(frozen=True)
class Recall(Sample):
    """A sentence that states `fact` by `template`, whose slots other than the subject are filled."""

    task: ClassVar[str] = "fact"
    fact: Fact
    template: str

    @classmethod
    def draw(cls, rng: Random, held_out: bool = False) -> "Recall":
        fact = rng.choice(facts())
        template = rng.choice((UNSEEN_TEMPLATES if held_out else TEMPLATES)[fact.relation])
        slots = {
            "place": pick(rng, PLACES),
            "day": rng.choice(lexicon.DAYS),
            "month": rng.choice(lexicon.MONTHS),
            "name": pick(rng, lexicon.SHE),
            "actor": pick(rng, lexicon.ACTORS).singular,
            "country": rng.choice(countries()),
        }
        return cls(fact, template.format(s="{s}", **slots))

    @property
    def prompt(self) -> str:
        return self.template.format(s=self.fact.subject)

    @property
    def answer(self) -> str:
        return self.fact.value

    @property
    def labels(self) -> dict[str, str]:
        return super().labels | {"relation": self.fact.relation, "subject": self.fact.subject}

    def counterfactual(self) -> "Recall":
        """Ask the same of the next subject with as many words and another value."""
        same = [fact for fact in facts() if fact.relation == self.fact.relation]
        start = same.index(self.fact)
        others = (same[(start + step) % len(same)] for step in range(1, len(same)))
        return replace(self, fact=next(fact for fact in others if _could_replace(self.fact, fact)))


def _could_replace(fact: Fact, other: Fact) -> bool:
    return fact.value != other.value and len(fact.subject.split()) == len(other.subject.split())
