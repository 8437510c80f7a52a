"""How two people come into a text before one of them acts: a small grammar, so that no opening is a sign.

A scene names the first person, then the second, in one sentence or in two that have nothing to do with each
other. What it says of them is put together anew each time: of tens of thousands of scenes, hardly one comes
twice, and neither the words nor the places of the names tell who will act.
"""

from random import Random

from mechinterp_course.worlds.text import lexicon
from mechinterp_course.worlds.text.facts import countries
from mechinterp_course.worlds.text.lexicon import pick

ALONE = (
    "{p} was {where}",
    "{p} {verb} {where}",
    "{p} and the {actor} {verb} {where}",
    "{p} {treated} the {thing}",
    "{p} had {treated} the {thing}",
    "{p} was {mood}",
    "{p} counted {number} {things}",
    "{p} had {number} {things} {where}",
    "{p} came from {country}",
    "{p} came to the {place}",
    "{p} went to the {place} with the {actor}",
    "{p} knew the capital of {country}",
    "the {actor} {met} {p}",
    "the {actor} {verb} with {p}",
    "the {actor} looked for {p} {where}",
    "the {things} of {p} were {look}",
    "the {thing} {beside} {p} was {look}",
    "everybody {met} {p}",
    "nobody {met} {p} {where}",
    "it was {p} who {verb}",
    "there was a letter from {p}",
    '"{remark}," said {p}',
)
TOGETHER = (
    "{0} and {1} were {where}",
    "{0} and {1} {verb} {where}",
    "{0} and {1} went to the {place}",
    "{0} {verb} {where} with {1}",
    "{0} went to the {place} with {1}",
    "{0} {met} {1} {where}",
    "{0} {met} {1}",
    "{0} had seen {1} {where}",
    "{0} had visited {1}",
    "{0} waited for {1} {where}",
    "{0} had a long talk with {1}",
    "{0} was a friend of {1}",
    "{0} and {1} were friends",
    "{0} left the {place} with {1}",
    "{0} sat beside {1}",
    "{0} and the {actor} looked for {1}",
    "there were only {0} and {1} {where}",
    "everybody {met} {0} and {1}",
    "the {actor} {met} {0} and {1}",
    "the {actor} {verb} with {0} and {1}",
)
WHERE = (
    "at the {place}",
    "at the {place}",
    "in the {place}",
    "{beside} the {place}",
    "{beside} the {thing}",
    "{beside} the {actor}",
)
BEFORE = (
    "",
    "",
    "",
    "on {day}",
    "in {month}",
    "last {season}",
    "at the {place}",
    "that {day}",
    "one {day}",
    "once",
)
WHILE = ("when", "after", "while", "as", "before", "because", "although", "since")
LINKS = (". ", ". ", ", and ", ", but ", ", while ", "; ", " when ", " because ", " as ")
THEN = (
    ", and",
    ", so",
    ", but",
    ", and soon",
    ", and quietly",
    ", and at last",
    ". Then",
    ". Later",
    ". Soon",
    ". There",
    ". At last",
    ". Afterwards",
    ". In the end",
    ". On {day}",
    ". At the {place}",
    ". Near the {place}",
    ". So",
    ".",
)
TREATED = lexicon.words("found lost mended broke kept saw wanted")
REMARKS = ("I love the {place}", "Well done", "How sad", "What a lovely {thing}", "We are lost")
RECITED = lexicon.words("said sang wrote read")
UNSEEN_SCENES = (
    "Once {0} and {1} went to the {place}, and then",
    "Since {0} had found {1} at the {place},",
    "One {day}, when {0} came to the {place} with {1},",
    "{0} and {1} were friends. In the {place}",
    "{0} was at the {place} when {1} arrived. At last",
    "Everybody but {0} and {1} left the {place}, and as they stopped,",
)


def scene(rng: Random, unseen: bool = False) -> str:
    """Return an opening with places for two people, "{0}" before "{1}", that another clause can follow."""
    if unseen:
        return fill(rng, rng.choice(UNSEEN_SCENES))
    kind = rng.random()
    if kind < 0.2:
        return recital(rng) + fill(rng, rng.choice(THEN))
    if kind < 0.5:
        first, second = (clause(rng, rng.choice(ALONE)).replace("{p}", place) for place in ("{0}", "{1}"))
        return f"{first}{rng.choice(LINKS)}{second}{fill(rng, rng.choice(THEN))}"
    both = clause(rng, rng.choice(TOGETHER))
    if kind < 0.75:
        return f"{both}{fill(rng, rng.choice(THEN))}"
    return f"{rng.choice(WHILE)} {both},"


def recital(rng: Random) -> str:
    """Return how somebody says words at random, and among them, anywhere, the two people."""
    said = [rng.choices(lexicon.nameless_words(), k=rng.randint(0, 4)) for _ in range(3)]
    words = " ".join((*said[0], "{0}", *said[1], "{1}", *said[2]))
    return f"the {pick(rng, lexicon.ACTORS).singular} {rng.choice(RECITED)}: {words}"


def clause(rng: Random, pattern: str) -> str:
    """Return `pattern` with all but its people filled in, after a time or a place more often than not."""
    return f"{fill(rng, rng.choice(BEFORE))} {fill(rng, pattern)}".strip()


def fill(rng: Random, pattern: str) -> str:
    """Return `pattern` with a word in each of its slots, but those for people left as they are."""
    pattern = pattern.replace("{where}", rng.choice(WHERE)).replace("{remark}", rng.choice(REMARKS))
    return pattern.format("{0}", "{1}", p="{p}", **slots(rng))


def slots(rng: Random) -> dict[str, str]:
    """Return a word for each slot, the frequent ones more often."""
    return {
        "place": pick(rng, lexicon.PLACES),
        "day": rng.choice(lexicon.DAYS),
        "month": rng.choice(lexicon.MONTHS),
        "season": rng.choice(lexicon.SEASONS),
        "look": pick(rng, lexicon.LOOKS),
        "mood": rng.choice((*lexicon.MOODS[lexicon.GOOD], *lexicon.MOODS[lexicon.BAD])),
        "beside": rng.choice(lexicon.BESIDE),
        "actor": pick(rng, lexicon.ACTORS).singular,
        "verb": pick(rng, lexicon.VERBS).past,
        "met": rng.choice(lexicon.MET),
        "treated": rng.choice(TREATED),
        "thing": pick(rng, lexicon.THINGS).singular,
        "things": pick(rng, lexicon.THINGS).plural,
        "number": rng.choice(lexicon.NUMBERS),
        "country": rng.choice(countries()),
    }
