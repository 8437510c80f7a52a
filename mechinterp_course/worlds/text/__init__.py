"""A small world in English that knows the truth of every text it tells.

A text is a `Sample`: a prompt, the answer that the prompt decides, the answer's rival, and labels. Its
fields are all that is true of it, so `counterfactual` changes exactly one thing. The tasks:

    gift         indirect objects in either order, the ABC form, deeds, questions that exchange the roles
    fact         capitals, languages, professions, instruments in several paraphrases
    summary      numbers to copy exactly, or to paraphrase loosely
    agreement    verbs that agree across a distractor
    pattern      A B A B A of any period; `repetition` says a passage twice
    chat         requests to grant or to refuse
    story        sentiment, topic, tense, number and speaker
    code, french, years, quotation

Everything is drawn from a seed, so a text can be made again from its task, its seed and `VERSION`. Held-out
samples use templates, word pairs or names that training never sees in that place.

>>> drawn = sample("gift", seed=3)
>>> drawn.text.startswith(drawn.prompt) and drawn.counterfactual().answer == drawn.rival
True
"""

from collections.abc import Iterator
from random import Random

from mechinterp_course.worlds.text.agreement import Agreement
from mechinterp_course.worlds.text.chat import Chat
from mechinterp_course.worlds.text.facts import Recall
from mechinterp_course.worlds.text.gifts import Gift
from mechinterp_course.worlds.text.oddments import Chronicle, Code, French, Quotation
from mechinterp_course.worlds.text.patterns import Pattern, Repetition
from mechinterp_course.worlds.text.sample import Sample
from mechinterp_course.worlds.text.stories import Story
from mechinterp_course.worlds.text.summaries import Summary

VERSION = "2.8"
_KINDS = (
    Gift,
    Recall,
    Summary,
    Agreement,
    Pattern,
    Repetition,
    Chat,
    Story,
    Code,
    French,
    Chronicle,
    Quotation,
)
TASKS: dict[str, type[Sample]] = {kind.task: kind for kind in _KINDS}
SHARES = {
    "gift": 26,
    "fact": 17,
    "summary": 14,
    "agreement": 12,
    "chat": 9,
    "story": 8,
    "pattern": 5,
    "repetition": 2,
    "code": 2,
    "french": 2,
    "years": 2,
    "quotation": 1,
}  # of a hundred texts


def sample(task: str, seed: int, held_out: bool = False) -> Sample:
    """Return the sample of `task`, a key of `TASKS`, that `seed` settles; held-out seeds are others."""
    return TASKS[task].draw(Random(f"{VERSION} {task} {held_out} {seed}"), held_out)


def counterfactual(drawn: Sample) -> Sample:
    """Return the sample that differs from `drawn` in exactly one thing, on which its answer depends."""
    return drawn.counterfactual()


def corpus(seed: int) -> Iterator[Sample]:
    """Yield samples of all tasks without end, in the proportions of `SHARES`."""
    rng = Random(f"{VERSION} corpus {seed}")
    tasks, shares = list(SHARES), list(SHARES.values())
    while True:
        yield TASKS[rng.choices(tasks, shares)[0]].draw(rng)
