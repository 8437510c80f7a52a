"""A small world in English: people, towns, trades and geese, in sentences whose labels are true.

Everything is drawn from a seed, so a text can be made again from its seed and `VERSION` alone. The world
holds several regularities that a language model can pick up one by one: subject and verb agree across a
distractor, a gift goes to the other person, who lives and works where never changes, a mood has its reason,
names come back, and a parrot (and every list) says the same random words again.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from random import Random

from mechinterp_course.worlds import lexicon, sentences
from mechinterp_course.worlds.lexicon import Noun, Person
from mechinterp_course.worlds.sentences import SENTENCES, Sentence, pick, random_words, two_people

VERSION = "1.0"


@dataclass(frozen=True)
class Story:
    """A few sentences about a `hero` and a `friend`, and the `thing` that both care about."""

    hero: Person
    friend: Person
    thing: Noun
    sentences: tuple[Sentence, ...]

    @property
    def text(self) -> str:
        return " ".join(sentence.text for sentence in self.sentences)


@dataclass(frozen=True)
class Repetition:
    """Random `words` of the world, said `copies` times in a row."""

    words: tuple[str, ...]
    copies: int

    @property
    def text(self) -> str:
        return " ".join(self.words * self.copies)


def sentence(kind: str, seed: int) -> Sentence:
    """Return one sentence of `kind`, a key of `SENTENCES`, drawn from `seed`."""
    return SENTENCES[kind](Random(f"{VERSION} sentence {kind} {seed}"))


def story(seed: int) -> Story:
    """Return a story of five to eight sentences drawn from `seed`; hero and friend keep coming back."""
    return _story(Random(f"{VERSION} story {seed}"))


def _story(rng: Random) -> Story:
    hero, friend = two_people(rng)
    thing = pick(rng, lexicon.THINGS)
    meeting = partial(sentences.gift, people=(hero, friend), thing=thing)
    beats = [
        partial(sentences.loss, person=hero, thing=thing),
        partial(sentences.reason, person=rng.choice((hero, friend))),
        partial(sentences.count, person=friend),
        partial(sentences.custom, trade=hero.trade),
        partial(sentences.geography, town=hero.town),
        sentences.agreement,
        sentences.weather,
        sentences.parrot,
    ]
    middle = [meeting, *rng.sample(beats, rng.randint(2, 5))]
    rng.shuffle(middle)
    makers = [partial(sentences.portrait, person=hero), *middle, partial(sentences.coda, hero=hero)]
    return Story(hero, friend, thing, tuple(make(rng) for make in makers))


def notices(seed: int, count: int = 6) -> tuple[Sentence, ...]:
    """Return `count` unconnected sentences of all kinds, as on the board at the market."""
    rng = Random(f"{VERSION} notices {seed}")
    return tuple(rng.choice(tuple(SENTENCES.values()))(rng) for _ in range(count))


def repetition(seed: int) -> Repetition:
    """Return 4 to 40 random words said two to four times."""
    rng = Random(f"{VERSION} repetition {seed}")
    return Repetition(random_words(rng, rng.randint(4, 40)), rng.randint(2, 4))


def corpus(seed: int) -> Iterator[str]:
    """Yield texts without end: stories, boards of notices and, one in ten, repeated words."""
    rng = Random(f"{VERSION} corpus {seed}")
    while True:
        kind, text_seed = rng.random(), rng.getrandbits(48)
        if kind < 0.5:
            yield story(text_seed).text
        elif kind < 0.9:
            yield " ".join(notice.text for notice in notices(text_seed))
        else:
            yield repetition(text_seed).text
