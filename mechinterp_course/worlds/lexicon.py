"""The words of the text world and what is true of them: who lives where, who works with what."""

from dataclasses import astuple, dataclass
from functools import cache


@dataclass(frozen=True)
class Noun:
    """A thing or an animal that can be counted."""

    singular: str
    plural: str

    def form(self, number: str) -> str:
        """Return the form for `number`, "singular" or "plural"."""
        return self.singular if number == "singular" else self.plural


@dataclass(frozen=True)
class Verb:
    """A verb without an object, in the four forms that the world uses."""

    base: str
    third: str
    past: str

    def present(self, number: str) -> str:
        """Return the present form that agrees with a third-person subject of `number`."""
        return self.third if number == "singular" else self.base


@dataclass(frozen=True)
class Trade:
    """What a person does for a living: `name`, the `tool` it takes and the `place` where it is done."""

    name: str
    tool: str
    place: str


@dataclass(frozen=True)
class Town:
    """A town on its `river`, at one `side` of the hills, known for its `ware`."""

    name: str
    river: str
    side: str
    ware: str


@dataclass(frozen=True)
class Person:
    """Somebody of the world; trade and town never change."""

    name: str
    pronoun: str
    trade: Trade
    town: Town

    @property
    def possessive(self) -> str:
        return "her" if self.pronoun == "she" else "his"


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


def _nouns(text: str) -> tuple[Noun, ...]:
    return tuple(Noun(*entry.split("/")) for entry in text.split())


def _verbs(text: str) -> tuple[Verb, ...]:
    return tuple(Verb(*entry.split("/")) for entry in text.split())


TRADES = tuple(
    Trade(*entry.split())
    for entry in (
        "baker oven bakery",
        "smith hammer forge",
        "sailor rope harbour",
        "teacher chalk school",
        "miller sack mill",
        "gardener spade garden",
        "tailor needle workshop",
        "painter brush tower",
        "doctor spoon hospital",
        "fiddler bow theatre",
        "printer ink library",
        "driver whip station",
    )
)

TOWNS = tuple(
    Town(*entry.split())
    for entry in (
        "Farrow Wend south wool",
        "Holm Isk north salt",
        "Tarn Ober west honey",
        "Brack Lune east glass",
        "Selby Wend north cheese",
        "Orlen Ober south paper",
        "Vale Isk east silk",
        "Dunmore Lune west pepper",
        "Kirk Teel north iron",
        "Marsh Teel south tea",
    )
)

_PEOPLE = (
    "Mara she baker Farrow, Otto he smith Holm, Ines she sailor Brack, Bruno he miller Tarn, "
    "Petra she doctor Selby, Hugo he fiddler Orlen, Lena she painter Vale, Felix he teacher Kirk, "
    "Nora she printer Marsh, Oscar he driver Dunmore, Ruth she smith Farrow, Ivan he baker Holm, "
    "Clara she gardener Orlen, Simon he tailor Brack, Edith she teacher Tarn, Jonas he sailor Marsh, "
    "Agnes she miller Kirk, Victor he doctor Vale, Wanda she fiddler Dunmore, Leo he painter Selby, "
    "Tilda she driver Brack, Amos he gardener Holm, Greta she tailor Farrow, Silas he printer Tarn"
)


def _person(name: str, pronoun: str, trade: str, town: str) -> Person:
    return Person(
        name,
        pronoun,
        next(candidate for candidate in TRADES if candidate.name == trade),
        next(candidate for candidate in TOWNS if candidate.name == town),
    )


PEOPLE = tuple(_person(*entry.split()) for entry in _PEOPLE.split(", "))

THINGS = _nouns(
    "lamp/lamps key/keys letter/letters hat/hats coin/coins basket/baskets map/maps cup/cups apple/apples "
    "book/books bell/bells candle/candles ladder/ladders umbrella/umbrellas drum/drums kettle/kettles "
    "clock/clocks chair/chairs boot/boots button/buttons egg/eggs pie/pies ribbon/ribbons trumpet/trumpets "
    "spade/spades needle/needles box/boxes mirror/mirrors pear/pears blanket/blankets "
    "violin/violins pencil/pencils fork/forks stamp/stamps wheel/wheels"
)
ANIMALS = _nouns(
    "goose/geese cat/cats dog/dogs goat/goats hen/hens fox/foxes horse/horses mouse/mice owl/owls "
    "pig/pigs frog/frogs parrot/parrots duck/ducks swan/swans snail/snails bear/bears"
)
PLACES = _words(
    "market mill harbour bakery school inn garden forge bridge library station tower theatre orchard "
    "church workshop hospital meadow"
)
WORKS = _verbs(
    "sleep/sleeps/slept sing/sings/sang dance/dances/danced wait/waits/waited "
    "laugh/laughs/laughed sneeze/sneezes/sneezed argue/argues/argued whistle/whistles/whistled "
    "vanish/vanishes/vanished shiver/shivers/shivered complain/complains/complained"
)
LOOKS = _words(
    "old red small green heavy round broken yellow golden dusty blue enormous crooked wet silver "
    "wooden white hollow borrowed famous"
)
TEMPERS = _words("clever lazy hungry brave noisy tired polite jealous curious suspicious")
GOOD_MOODS = _words("glad proud merry calm hopeful grateful")
BAD_MOODS = _words("sad angry worried gloomy bitter ashamed")
NUMBERS = _words("two three four five six seven eight nine ten eleven twelve")
BESIDE = _words("near behind under beside above")
SEASONS = _words("spring summer autumn winter")
WEATHERS = _words("rain snow fog wind thunder sunshine")
DAYS = _words("Monday Tuesday Wednesday Thursday Friday Saturday Sunday")


@cache
def content_words() -> tuple[str, ...]:
    """Return every word of the lexicon once, sorted: names, things, verbs in all forms; no "the", no "of"."""
    single = (PLACES, LOOKS, TEMPERS, GOOD_MOODS, BAD_MOODS, NUMBERS, BESIDE, SEASONS, WEATHERS, DAYS)
    records = (*TRADES, *TOWNS, *THINGS, *ANIMALS, *WORKS)
    words = {word for group in single for word in group}
    words |= {word for record in records for word in astuple(record)}
    return tuple(sorted(words | {person.name for person in PEOPLE}))
