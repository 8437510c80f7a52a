"""Whether a feature means what it seems to: its strongest contexts, and a blind test of their coherence."""

from collections.abc import Sequence
from random import Random

from jaxtyping import Bool, Float
from torch import Tensor

BlindItem = tuple[list[int], int]
"""Texts, by number, of which one does not belong, and the place of that one among them, from 0."""


def strongest_contexts(
    feature_acts: Float[Tensor, "text pos"], readable: Bool[Tensor, "text pos"], count: int
) -> list[tuple[int, int]]:
    """Return (text, position) where a feature fires most, strongest first: one a text, at most `count`.

    Only readable positions count: not BOS, not what fills a row up. Texts on which it does not fire there are
    left out. Of equal activations in one text the earlier counts; of such texts the earlier comes first.
    """
    seen = feature_acts.masked_fill(~readable, 0.0)
    values, places = seen.max(dim=1)
    order = values.sort(descending=True, stable=True).indices.tolist()
    return [(text, int(places[text])) for text in order if values[text] > 0][:count]


def intruder_items(
    feature_acts: Float[Tensor, "text pos"],
    lengths: Sequence[int],
    items: int,
    seed: int,
    count: int = 10,
) -> list[BlindItem]:
    """Return blind items of four of a feature's `count` strongest texts and one intruder of matched length.

    `lengths` are the texts' numbers of tokens, beginning at position 0. The intruder is a text on which the
    feature never fires, drawn from the five of those whose lengths are nearest to the members' mean (of equal
    distances the earlier text). Members, intruder and the intruder's place come from `seed`.

    After Chang et al. 2009, "Reading tea leaves". Raises ValueError where fewer than four texts make the
    feature fire or none leaves it silent.
    """
    strongest = [
        max(own[:length].tolist(), default=0.0) for own, length in zip(feature_acts, lengths, strict=True)
    ]
    firing = sorted((n for n, value in enumerate(strongest) if value > 0), key=lambda n: (-strongest[n], n))
    silent = [n for n, value in enumerate(strongest) if value <= 0]
    if len(firing) < 4 or not silent:
        raise ValueError("a blind item needs four texts that make the feature fire and one that doesn't")
    source = Random(seed)
    return [_blind_item(source, firing[:count], silent, lengths) for _ in range(items)]


def _blind_item(source: Random, members: list[int], silent: list[int], lengths: Sequence[int]) -> BlindItem:
    drawn = source.sample(members, 4)
    mean = sum(lengths[n] for n in drawn) / 4
    intruder = source.choice(sorted(silent, key=lambda n: (abs(lengths[n] - mean), n))[:5])
    place = source.randrange(5)
    return [*drawn[:place], intruder, *drawn[place:]], place


def dull_answers(items: Sequence[BlindItem], words: Sequence[set[int]]) -> list[int]:
    """Return what a judge without any knowledge calls the intruder: the text that shares fewest words.

    `words` are each text's words. If this judge does well, single words explain what the feature tells.
    """
    answers = []
    for texts, _ in items:
        bags = [words[text] for text in texts]
        shared = [sum(len(one & two) for two in bags if two is not one) for one in bags]
        answers.append(shared.index(min(shared)))
    return answers
