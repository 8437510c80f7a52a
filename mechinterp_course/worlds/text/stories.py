"""Short stories whose sentiment, topic, tense, number and speaker are labels that hold in every sentence."""

from dataclasses import dataclass, replace
from random import Random
from typing import ClassVar

from mechinterp_course.worlds.text.agreement import BE, opposite
from mechinterp_course.worlds.text.lexicon import (
    BAD,
    BESIDE,
    DAYS,
    GOOD,
    LOOKS,
    MOODS,
    NAMES,
    PAST,
    PLURAL,
    PRESENT,
    SINGULAR,
    TOPICS,
    Topic,
    pick,
    pick_others,
    pronoun,
)
from mechinterp_course.worlds.text.sample import Sample

EVENTS = {
    GOOD: (
        "found/finds the {thing}",
        "won/wins a prize",
        "helped/helps {friend}",
        "mended/mends the {thing}",
        "thanked/thanks the {actor}",
        "got/gets a letter from {friend}",
        "fed/feeds the {actor}",
        "kept/keeps the {thing} safe",
    ),
    BAD: (
        "lost/loses the {thing}",
        "missed/misses the train",
        "cheated/cheats {friend}",
        "broke/breaks the {thing}",
        "insulted/insults the {actor}",
        "got/gets a bill from {friend}",
        "feared/fears the {actor}",
        "let/lets the {thing} fall",
    ),
}
CAUSES = {
    GOOD: (
        "the {thing} was found",
        "the sun came out",
        "the {actor} came back",
        "the soup was good",
        "all went well",
    ),
    BAD: (
        "the {thing} was gone",
        "the rain came down",
        "the {actor} fell ill",
        "the soup was cold",
        "all went wrong",
    ),
}
REMARKS = {
    GOOD: ("What a lovely {thing}", "This is my best day", "I love the {place}", "We are lucky", "Well done"),
    BAD: ("What an ugly {thing}", "This is my worst day", "I hate the {place}", "We are lost", "How sad"),
}


@dataclass(frozen=True)
class Story(Sample):
    """Four to six sentences; all that is not a label is settled by `seed`, so a label can be changed alone.

    `speaker` is "hero" or "friend". The answer is a mood of the story's sentiment; its rival the mood of the
    other sentiment that a story of that sentiment would have.
    """

    task: ClassVar[str] = "story"
    seed: int
    topic: str
    sentiment: str
    tense: str
    number: str
    speaker: str

    @classmethod
    def draw(cls, rng: Random, held_out: bool = False) -> "Story":
        return cls(
            seed=rng.getrandbits(48),
            topic=rng.choice(TOPICS).name,
            sentiment=rng.choice((GOOD, BAD)),
            tense=rng.choice((PAST, PRESENT)),
            number=rng.choice((SINGULAR, PLURAL)),
            speaker=rng.choice(("hero", "friend")),
        )

    @property
    def sentences(self) -> tuple[str, ...]:
        """Every sentence but the last, which `prompt` begins and `answer` ends."""
        rng = Random(f"story {self.seed}")
        topic = next(topic for topic in TOPICS if topic.name == self.topic)
        hero, friend = self._people(rng)
        thing, actor = pick(rng, topic.things), pick(rng, topic.actors)
        slots = {
            "thing": thing.singular,
            "actor": actor.singular,
            "place": pick(rng, topic.places),
            "friend": friend,
        }
        middle = [
            self._scene(rng, topic),
            f"{hero} {self._tensed(self._one(rng, EVENTS).format(**slots))}.",
            self._remark(rng, hero, friend, slots),
            f"{friend} {self._tensed('was/is')} {self._one(rng, MOODS)}, because {self._cause(rng, slots)}.",
        ]
        rng.shuffle(middle)
        day = rng.choice(DAYS)
        opening = (
            f"{self._tensed(f'On {day}/Today')} {hero} {self._tensed('was/is')} at the {slots['place']}."
        )
        return (opening, *middle[: rng.randint(2, 4)])

    def _people(self, rng: Random) -> tuple[str, str]:
        hero, friend = pick_others(rng, NAMES, 2)
        return hero, friend

    def _one(self, rng: Random, choices: dict[str, tuple[str, ...]]) -> str:
        index = rng.randrange(len(choices[GOOD]))
        return choices[self.sentiment][index]

    def _tensed(self, phrase: str) -> str:
        """Resolve "found/finds the lamp" to the story's tense."""
        verb, _, rest = phrase.partition(" ") if "/" in phrase.split(" ")[0] else (phrase, "", "")
        past, present = verb.split("/")
        return f"{past if self.tense == PAST else present} {rest}".strip()

    def _scene(self, rng: Random, topic: Topic) -> str:
        actor, other = pick(rng, topic.actors), pick(rng, topic.things)
        verb, look, beside = pick(rng, topic.verbs), pick(rng, topic.looks), rng.choice(BESIDE)
        between = rng.choice((SINGULAR, PLURAL))
        subject = f"The {pick(rng, LOOKS)} {actor.form(self.number)}"
        if rng.random() < 0.6:
            subject += f" {beside} the {other.form(between)}"
        if rng.random() < 0.5:
            return f"{subject} {verb.form(self.tense, self.number)}."
        return f"{subject} {BE[self.tense, self.number]} {look}."

    def _remark(self, rng: Random, hero: str, friend: str, slots: dict[str, str]) -> str:
        remark = self._one(rng, REMARKS).format(**slots)
        speaker = hero if self.speaker == "hero" else friend
        return f'"{remark}," {self._tensed("said/says")} {speaker}.'

    def _cause(self, rng: Random, slots: dict[str, str]) -> str:
        return self._one(rng, CAUSES).format(**slots)

    @property
    def prompt(self) -> str:
        hero, _ = self._people(Random(f"story {self.seed}"))
        ending = f"So in the end {pronoun(hero)} {self._tensed('felt/feels')}"
        return " ".join((*self.sentences, ending))

    @property
    def answer(self) -> str:
        index = Random(f"ending {self.seed}").randrange(len(MOODS[GOOD]))
        return MOODS[self.sentiment][index]

    @property
    def labels(self) -> dict[str, str]:
        own = ("sentiment", "topic", "tense", "number", "speaker")
        return super().labels | {name: getattr(self, name) for name in own}

    def counterfactual(self, label: str = "sentiment") -> "Story":
        """Change one label: sentiment, tense, number, speaker or topic (to the next one)."""
        names = [topic.name for topic in TOPICS]
        other = {
            "sentiment": GOOD if self.sentiment == BAD else BAD,
            "tense": PAST if self.tense == PRESENT else PRESENT,
            "number": opposite(self.number),
            "speaker": "hero" if self.speaker == "friend" else "friend",
            "topic": names[(names.index(self.topic) + 1) % len(names)],
        }
        return replace(self, **{label: other[label]})
