"""The words of the text world, most frequent first, each a single token with its leading space."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from random import Random
from typing import TypeVar

T = TypeVar("T")

SINGULAR, PLURAL = "singular", "plural"
PAST, PRESENT = "past", "present"
GOOD, BAD = "good", "bad"


@dataclass(frozen=True)
class Noun:
    """Something that can be counted."""

    singular: str
    plural: str

    def form(self, number: str) -> str:
        """Return the form for `number`, `SINGULAR` or `PLURAL`."""
        return self.singular if number == SINGULAR else self.plural


@dataclass(frozen=True)
class Verb:
    """A verb without an object."""

    base: str
    third: str
    past: str

    def form(self, tense: str, number: str) -> str:
        """Return the form that agrees with a third-person subject of `number`."""
        return self.past if tense == PAST else self.third if number == SINGULAR else self.base


@dataclass(frozen=True)
class Topic:
    """What a story is about: things, those who act, places, what they do and what it is like."""

    name: str
    things: tuple[Noun, ...]
    actors: tuple[Noun, ...]
    places: tuple[str, ...]
    verbs: tuple[Verb, ...]
    looks: tuple[str, ...]


def words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


def nouns(text: str) -> tuple[Noun, ...]:
    """Read "cat goose/geese": regular plurals end in s."""
    return tuple(
        Noun(*(entry.split("/") if "/" in entry else (entry, f"{entry}s"))) for entry in text.split()
    )


def verbs(text: str) -> tuple[Verb, ...]:
    """Read "wait/waited sing/sang": the third person is regular."""
    return tuple(_verb(*entry.split("/")) for entry in text.split())


def _verb(base: str, past: str) -> Verb:
    if base[-1] == "y" and base[-2] not in "aeiou":
        return Verb(base, f"{base[:-1]}ies", past)
    return Verb(base, base + ("es" if base.endswith(("ch", "sh", "ss", "zz")) else "s"), past)


def pick(rng: Random, choices: Sequence[T]) -> T:
    """Return one of `choices`, the earlier ones more often, as in Zipf's law."""
    return rng.choices(choices, [1 / (rank + 4) for rank in range(len(choices))])[0]


def pick_others(rng: Random, choices: Sequence[T], count: int, taken: Sequence[T] = ()) -> list[T]:
    """Return `count` different choices, none of them `taken`, the earlier ones more often."""
    chosen: list[T] = []
    while len(chosen) < count:
        candidate = pick(rng, choices)
        if candidate not in chosen and candidate not in taken:
            chosen.append(candidate)
    return chosen


def with_article(word: str) -> str:
    return f"{'an' if word[0] in 'aeiou' else 'a'} {word}"


SHE = words(
    "Mary Anna Clara Lucy Nora Ruth Alice Emma Grace Helen Ida Julia Kate Laura Martha Nina Olga Paula Rosa "
    "Sarah Tina Vera Wanda Zoe Amy Bella Carol Diana Ellen Fiona Greta Hannah Irene Jane Karen Linda Maya "
    "Petra Rita Sonia Tessa Edith Flora Heidi Joan Lena Mara Susan"
)
HE = words(
    "John Paul Tom Peter James Simon Victor Oscar David Henry Adam Bruno Carl Dan Eric Felix George Hugo "
    "Ivan Jack Kevin Leo Martin Noah Otto Philip Ralph Samuel Theo Walter Albert Boris Colin Dennis Edgar "
    "Frank Gary Harold Isaac Jonas Louis Max Nathan Oliver Patrick Robert Steven Tim"
)
NAMES = tuple(name for pair in zip(SHE, HE, strict=True) for name in pair)
SURNAMES = words("Stone Finch Marlow Berg Vance Holt Quill Thorn Ashby Drake Lowell Pike")


def pronoun(name: str) -> str:
    """Return "she" or "he"."""
    return "she" if name in SHE else "he"


TOPICS = (
    Topic(
        "sea",
        nouns("boat rope net anchor sail shell oar lantern barrel compass/compasses"),
        nouns("sailor captain fisherman/fishermen gull diver crab"),
        words("harbour beach ship island lighthouse"),
        verbs("sail/sailed swim/swam dive/dived drift/drifted row/rowed"),
        words("salty wet deep stormy calm"),
    ),
    Topic(
        "farm",
        nouns("egg fence cart bucket wheel sack ladder plough saddle pumpkin"),
        nouns("farmer goose/geese horse goat hen cow"),
        words("farm barn field meadow stable"),
        verbs("dig/dug harvest/harvested graze/grazed plant/planted gallop/galloped"),
        words("muddy heavy golden fat ripe"),
    ),
    Topic(
        "kitchen",
        nouns("cake pie spoon pot knife/knives plate cup apple kettle onion"),
        nouns("cook baker waiter guest maid butler"),
        words("kitchen bakery restaurant cellar pantry"),
        verbs("cook/cooked bake/baked taste/tasted stir/stirred wash/washed"),
        words("sweet hot fresh cold burnt"),
    ),
    Topic(
        "music",
        nouns("drum bell song ticket microphone curtain chair costume poster mirror"),
        nouns("singer dancer musician actor drummer fiddler"),
        words("theatre hall stage studio opera"),
        verbs("sing/sang dance/danced whistle/whistled rehearse/rehearsed bow/bowed"),
        words("loud famous soft bright solemn"),
    ),
    Topic(
        "school",
        nouns("book pencil letter map desk lamp bag stamp notebook ruler"),
        nouns("teacher pupil student scholar librarian poet"),
        words("school library classroom office museum"),
        verbs("read/read write/wrote study/studied learn/learned count/counted"),
        words("clever quiet strict simple curious"),
    ),
    Topic(
        "city",
        nouns("car coin key hat umbrella suitcase bicycle window clock newspaper"),
        nouns("driver tailor banker thief/thieves policeman/policemen tourist"),
        words("station market street bank hotel"),
        verbs("drive/drove hurry/hurried shop/shopped march/marched argue/argued"),
        words("busy modern crowded expensive noisy"),
    ),
    Topic(
        "forest",
        nouns("tree stone leaf/leaves tent trail arrow basket mushroom feather nest"),
        nouns("hunter fox/foxes bear owl wolf/wolves squirrel"),
        words("forest cave river valley cabin"),
        verbs("climb/climbed hunt/hunted hide/hid growl/growled wander/wandered"),
        words("dark wild green hollow mossy"),
    ),
    Topic(
        "garden",
        nouns("flower rose bench/benches hose spade pear seed bush/bushes fountain statue"),
        nouns("gardener bee bird rabbit butterfly/butterflies snail"),
        words("garden park orchard greenhouse yard"),
        verbs("bloom/bloomed grow/grew rest/rested buzz/buzzed weed/weeded"),
        words("pretty fragrant sunny tiny tall"),
    ),
)
_EVERYWHERE = verbs(
    "wait/waited sleep/slept laugh/laughed work/worked stop/stopped run/ran shout/shouted smile/smiled "
    "sit/sat vanish/vanished complain/complained arrive/arrived"
)
VERBS = (*_EVERYWHERE, *(verb for topic in TOPICS for verb in topic.verbs))
COMMON_VERBS = _EVERYWHERE
THINGS = tuple(noun for group in zip(*(topic.things for topic in TOPICS), strict=True) for noun in group)
ACTORS = tuple(noun for group in zip(*(topic.actors for topic in TOPICS), strict=True) for noun in group)
PLACES = tuple(place for group in zip(*(topic.places for topic in TOPICS), strict=True) for place in group)
LOOKS = (
    *words("old red small new blue big white black round broken yellow dusty silver wooden strange empty"),
    *(look for group in zip(*(topic.looks for topic in TOPICS), strict=True) for look in group),
)
MOODS = {
    GOOD: words("happy glad proud cheerful hopeful grateful delighted merry"),
    BAD: words("sad angry afraid worried bitter ashamed gloomy jealous"),
}
MET = words("met saw found visited heard knew feared liked")
BESIDE = words("near behind beside under above opposite")
DAYS = words("Monday Tuesday Wednesday Thursday Friday Saturday Sunday")
MONTHS = words("January February March April May June July August September October November December")
SEASONS = words("summer winter spring autumn")
WEATHERS = words("rain snow fog wind thunder sunshine hail frost")
NUMBERS = tuple(str(number) for number in range(10, 100))
YEARS = tuple(str(year) for year in range(1900, 2000))
COUNTS = words("two three four five six seven eight nine")


@cache
def content_words() -> tuple[str, ...]:
    """Return the words that random passages draw from: names, nouns, places, looks, moods, verbs, numbers."""
    forms = {form for noun in (*THINGS, *ACTORS) for form in (noun.singular, noun.plural)}
    forms |= {form for verb in VERBS for form in (verb.base, verb.third, verb.past)}
    single = (
        NAMES,
        SURNAMES,
        PLACES,
        LOOKS,
        *MOODS.values(),
        BESIDE,
        DAYS,
        MONTHS,
        SEASONS,
        WEATHERS,
        NUMBERS,
    )
    return tuple(sorted(forms | {word for group in (*single, COUNTS) for word in group}))


@cache
def nameless_words() -> tuple[str, ...]:
    """Return the words that random passages draw from, but for the names of people."""
    people = {*NAMES, *SURNAMES}
    return tuple(word for word in content_words() if word not in people)
