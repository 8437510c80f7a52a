"""The sentences of the text world, one function per kind: each draws its words and knows its labels."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from random import Random
from typing import TypeVar

from mechinterp_course.worlds import lexicon
from mechinterp_course.worlds.lexicon import Noun, Person, Town, Trade

T = TypeVar("T")


@dataclass(frozen=True)
class Sentence:
    """One or two sentences with what is true of them.

    `kind` names the template. `number` ("singular" or "plural") and `tense` ("present" or "past") are those
    of the main subject and verb, `mood` is "good", "bad" or "neutral". `answer` is the word that what stands
    before it settles (the verb that agrees, the person who receives, the town that follows from a name).
    """

    text: str
    kind: str
    tense: str
    number: str = "singular"
    mood: str = "neutral"
    answer: str = ""


@cache
def _zipf(size: int) -> tuple[float, ...]:
    return tuple(1 / (rank + 2) for rank in range(size))


def pick(rng: Random, words: tuple[T, ...]) -> T:
    """Draw one word; a word's frequency falls with its place in the list, after Zipf."""
    return rng.choices(words, _zipf(len(words)))[0]


def pick_other(rng: Random, words: tuple[T, ...], taken: T) -> T:
    return pick(rng, tuple(word for word in words if word != taken))


def _with_article(phrase: str) -> str:
    return f"{'an' if phrase[0] in 'aeiou' else 'a'} {phrase}"


def _number(rng: Random) -> str:
    return rng.choice(("singular", "plural"))


def two_people(rng: Random) -> tuple[Person, Person]:
    first = pick(rng, lexicon.PEOPLE)
    return first, pick_other(rng, lexicon.PEOPLE, first)


def random_words(rng: Random, length: int) -> tuple[str, ...]:
    """Return `length` words of the world, each as likely as any other."""
    return tuple(rng.choices(lexicon.content_words(), k=length))


def agreement(rng: Random) -> Sentence:
    """Return a sentence whose verb agrees with its subject and not with the noun between them."""
    number, between = _number(rng), _number(rng)
    place = pick(rng, lexicon.BESIDE)
    if rng.random() < 0.5:
        subject, other = pick(rng, lexicon.ANIMALS), pick(rng, lexicon.THINGS)
        answer = pick(rng, lexicon.WORKS).present(number)
        end = rng.choice(("all day", "every night", "for no reason", f"in {pick(rng, lexicon.SEASONS)}"))
        rest = f"{answer} {end}"
    else:
        subject, other = pick(rng, lexicon.THINGS), pick(rng, lexicon.ANIMALS)
        answer = "is" if number == "singular" else "are"
        rest = f"{answer} {pick(rng, lexicon.LOOKS)}"
    text = f"The {subject.form(number)} {place} the {other.form(between)} {rest}."
    return Sentence(text, "agreement", "present", number, answer=answer)


def gift(rng: Random, people: tuple[Person, Person] | None = None, thing: Noun | None = None) -> Sentence:
    """Return a sentence in which one of two people gives something to the other; the answer receives it."""
    first, second = people or two_people(rng)
    if rng.random() < 0.5:
        first, second = second, first
    giver, receiver = (first, second) if rng.random() < 0.5 else (second, first)
    place = pick(rng, lexicon.PLACES)
    opening = rng.choice(
        (
            f"When {first.name} and {second.name} went to the {place},",
            f"After {first.name} met {second.name} at the {place},",
            f"On {pick(rng, lexicon.DAYS)} {first.name} and {second.name} walked past the {place}, and",
            f"While {first.name} and {second.name} waited near the {place},",
        )
    )
    object_ = f"the {(thing or pick(rng, lexicon.THINGS)).singular}"
    verb = rng.choice(("gave", "gave", "handed", "sold", "threw"))
    text = f"{opening} {giver.name} {verb} {object_} to {receiver.name}."
    return Sentence(text, "gift", "past", answer=receiver.name)


def portrait(rng: Random, person: Person | None = None) -> Sentence:
    """Return a sentence about a person's trade and town; both are always the same for a name."""
    person = person or pick(rng, lexicon.PEOPLE)
    trade, town = person.trade, person.town.name
    text, answer = rng.choice(
        (
            (f"{person.name} is {_with_article(trade.name)} from {town}.", town),
            (f"{person.name} lives in {town} and works in the {trade.place}.", trade.place),
            (f"{person.name} comes from {town} and never lends anyone the {trade.tool}.", trade.tool),
            (f"Everyone in {town} knows {person.name}, the {trade.name}.", trade.name),
        )
    )
    return Sentence(text, "portrait", "present", answer=answer)


def custom(rng: Random, trade: Trade | None = None) -> Sentence:
    """Return what is true of a trade: its tool and its place."""
    trade = trade or pick(rng, lexicon.TRADES)
    text, answer = rng.choice(
        (
            (f"Every {trade.name} needs {_with_article(trade.tool)}.", trade.tool),
            (f"The {trade.name} works in the {trade.place}.", trade.place),
            (f"Without {_with_article(trade.tool)} the {trade.name} only complains.", "complains"),
        )
    )
    return Sentence(text, "custom", "present", answer=answer)


def geography(rng: Random, town: Town | None = None) -> Sentence:
    """Return what is true of a town: its river, its side of the hills, its ware."""
    town = town or pick(rng, lexicon.TOWNS)
    text, number, answer = rng.choice(
        (
            (f"{town.name} lies on the {town.river}, {town.side} of the hills.", "singular", town.side),
            (f"The people of {town.name} sell {town.ware}.", "plural", town.ware),
            (f"The best {town.ware} comes from {town.name}.", "singular", town.name),
        )
    )
    return Sentence(text, "geography", "present", number, answer=answer)


def count(rng: Random, person: Person | None = None) -> Sentence:
    """Return a sentence that comes back to the first of two counted things."""
    person = person or pick(rng, lexicon.PEOPLE)
    thing = pick(rng, lexicon.THINGS)
    other = pick_other(rng, lexicon.THINGS, thing)
    number = pick(rng, lexicon.NUMBERS)
    text = (
        f"{person.name} bought {number} {thing.plural} and {pick_other(rng, lexicon.NUMBERS, number)} "
        f"{other.plural}, then lost everything but the {number} {thing.plural}."
    )
    return Sentence(text, "count", "past", answer=thing.plural)


def reason(rng: Random, person: Person | None = None) -> Sentence:
    """Return a person's mood and the reason for it, which agree in sentiment."""
    person = person or pick(rng, lexicon.PEOPLE)
    mood = rng.choice(("good", "bad"))
    word = pick(rng, lexicon.GOOD_MOODS if mood == "good" else lexicon.BAD_MOODS)
    thing, animal = pick(rng, lexicon.THINGS).singular, pick(rng, lexicon.ANIMALS).singular
    causes = {
        "good": (
            f"the {thing} was found again",
            f"the {animal} came home",
            "the bread was warm",
            "the sunshine had returned",
        ),
        "bad": (
            f"the {thing} was gone",
            f"the {animal} had eaten the {thing}",
            "the soup was cold",
            "the rain would not stop",
        ),
    }
    answer = rng.choice(causes[mood])
    return Sentence(
        f"{person.name} was {word}, because {answer}.", "reason", "past", mood=mood, answer=answer.split()[-1]
    )


def loss(rng: Random, person: Person | None = None, thing: Noun | None = None) -> Sentence:
    """Return a sentence whose pronouns agree with the person's name."""
    person = person or pick(rng, lexicon.PEOPLE)
    thing = thing or pick(rng, lexicon.THINGS)
    verb = rng.choice(("lost", "dropped", "forgot", "hid"))
    look, place = pick(rng, lexicon.LOOKS), pick(rng, lexicon.PLACES)
    culprit = f"{pick(rng, lexicon.TEMPERS)} {pick(rng, lexicon.ANIMALS).singular}"
    text = (
        f"{person.name} {verb} {person.possessive} {look} {thing.singular} near the {place}, "
        f"and {person.pronoun} blamed the {culprit}."
    )
    return Sentence(text, "loss", "past", mood="bad", answer=person.pronoun)


def parrot(rng: Random) -> Sentence:
    """Return a parrot's random words, said twice; the answer is the last of them."""
    words = random_words(rng, rng.randint(3, 9))
    saying = " ".join(words)
    place = pick(rng, lexicon.PLACES)
    text = f"The parrot of the {place} said: {saying}. Then it said: {saying}."
    return Sentence(text, "parrot", "past", answer=words[-1])


def weather(rng: Random) -> Sentence:
    """Return a remark about the weather, in the present or the past."""
    season, kind, day = pick(rng, lexicon.SEASONS), pick(rng, lexicon.WEATHERS), pick(rng, lexicon.DAYS)
    animals = pick(rng, lexicon.ANIMALS).plural
    verb = pick(rng, lexicon.WORKS)
    if rng.random() < 0.5:
        text = f"In {season} there is always {kind}, and the {animals} {verb.base}."
        return Sentence(text, "weather", "present", answer=verb.base)
    text = f"Last {day} there was {kind}, so the {animals} {verb.past}."
    return Sentence(text, "weather", "past", answer=verb.past)


def coda(rng: Random, hero: Person | None = None) -> Sentence:
    """Return a line that could end a story."""
    hero = hero or pick(rng, lexicon.PEOPLE)
    animal = pick(rng, lexicon.ANIMALS).singular
    thing = pick(rng, lexicon.THINGS).singular
    dream = f"{pick(rng, lexicon.NUMBERS)} geese"
    text, answer = rng.choice(
        (
            (f"Nobody asked the {animal}.", animal),
            (f"The {animal} {pick(rng, lexicon.WORKS).past}, and {hero.name} said nothing.", "nothing"),
            (f"That night {hero.name} dreamed of {dream}.", "geese"),
            (f"And so {hero.name} went home to {hero.town.name}.", hero.town.name),
            (f"{hero.name} still has the {thing}, but {hero.pronoun} never explains.", "explains"),
        )
    )
    return Sentence(text, "coda", "present" if "still" in text else "past", answer=answer)


SENTENCES: dict[str, Callable[..., Sentence]] = {
    make.__name__: make
    for make in (agreement, gift, portrait, custom, geography, count, reason, loss, parrot, weather, coda)
}
