"""Somebody gives something to somebody: indirect objects, in either order, with distractors and questions.

Who stands first, who gives, whether a third person gives, whether the verb gives or takes, what is said in
passing and who is asked for are all independent, so that no place in the sentence holds the answer.
"""

import re
from dataclasses import dataclass, replace
from random import Random
from typing import ClassVar

from mechinterp_course.worlds.text import lexicon
from mechinterp_course.worlds.text.lexicon import NAMES, THINGS, pick, pick_others
from mechinterp_course.worlds.text.sample import Sample
from mechinterp_course.worlds.text.scenes import fill, scene

NAMES_ELSEWHERE = NAMES[6::8] + NAMES[7::8]  # of each sex, and as often frequent as rare
NAMES_IN_GIFTS = tuple(name for name in NAMES if name not in NAMES_ELSEWHERE)

ASIDES = (
    "it was {look} there, and",
    "the {actor} saw that",
    "just as the {actor} came in,",
    "without a word",
    "to the surprise of the {actor},",
    "as {third} had said,",
    "because {third} was not there,",
    "everybody saw that",
)
UNSEEN_ASIDES = ("while the {actor} waited,", "and {third} had said that")
MODIFIERS = (
    ", the {actor},",
    ", who {verb} all day,",
    " from {country}",
    ", a friend of {friend},",
    " with the {look} {thing}",
    ", who was {look},",
)
MANNERS = ("quickly", "quietly", "soon", "at last", "kindly", "once more")
FORMS = ("to", "to", "dative", "dative", "from", "giver", "receiver", "deed", "deed")
CASTS = (
    (NAMES_IN_GIFTS, ""),
    (lexicon.SURNAMES, ""),
    (tuple(actor.singular for actor in lexicon.ACTORS), "the "),
)
GIVES = ("gave", "handed", "sold", "passed", "lent", "offered", "sent", "showed")
TAKES = ("took", "bought", "borrowed", "got")
DEEDS = ("thanked", "helped", "followed", "insulted", "cheated", "missed")
AFTERS = (".", " at once.", " again.", " on {day}.", " with a smile.", ", and the {actor} left.")


@dataclass(frozen=True)
class Gift(Sample):
    """`people` in order of mention, each after `article`; `agent` acts upon `thing`, `other` is the other.

    In the ABC form the `agent` is neither of them, and either could be the answer. `form` "to" ends as
    "gave the book to Mary", "dative" as "gave Mary the book" and "from" as "bought the book from Mary".
    "giver" and "receiver" first tell all and then ask: they exchange the roles. A "deed" is no gift: "thanked
    Mary". `opening` is a scene of the two; `modifiers` follow their names there, `manner` the agent's.
    """

    task: ClassVar[str] = "gift"
    article: str
    people: tuple[str, str]
    agent: str
    other: str
    thing: str
    form: str
    opening: str
    modifiers: tuple[str, str]
    aside: str
    manner: str
    verb: str
    ending: str

    @classmethod
    def draw(
        cls,
        rng: Random,
        held_out: bool = False,
        names: tuple[str, ...] | None = None,
        unseen: bool | None = None,
        form: str | None = None,
        abc: bool | None = None,
    ) -> "Gift":
        """Return a gift among `names`; templates are `unseen` ones in a held-out sample unless told.

        Without `names`, a held-out sample is about people who give in training too; one of training may also
        be about surnames, or about "the farmer" and "the cook". Deeds are done by people of every name.
        """
        unseen = held_out if unseen is None else unseen
        form = form or rng.choice(FORMS)
        article = ""
        if names is None:
            names, article = (NAMES_IN_GIFTS, "") if held_out else rng.choices(CASTS, (8, 1, 1))[0]
            names = NAMES if form == "deed" and not article else names
        first, second, third, fourth, fifth, sixth = pick_others(rng, names, 6)
        agent, other = rng.sample((first, second), 2)
        if abc if abc is not None else not held_out and rng.random() < 0.1:
            agent = fourth
        opening = scene(rng, unseen)
        aside = rng.choice(UNSEEN_ASIDES if unseen else ASIDES) if rng.random() < 0.3 else ""
        return cls(
            article=article,
            people=(first, second),
            agent=agent,
            other=other,
            thing=pick(rng, THINGS).singular,
            form=form,
            opening=opening,
            modifiers=tuple(_modifier(rng, article + friend) for friend in (fifth, sixth)),
            aside="" if opening.endswith(".") else fill(rng, aside.replace("{third}", third)),
            manner=rng.choice(MANNERS) if rng.random() < 0.2 else "",
            verb=rng.choice(TAKES if form == "from" else DEEDS if form == "deed" else GIVES),
            ending=fill(rng, rng.choice(AFTERS)),
        )

    @property
    def prompt(self) -> str:
        named = (self.article + name + said for name, said in zip(self.people, self.modifiers, strict=True))
        opening = re.sub(r",([,.;])", r"\1", self.opening.format(*named))
        act = f"{self.aside} {self.article}{self.agent} {self.manner} {self.verb}"
        told = " ".join(f"{opening} {act} {self._until_answer} {self.article}".split())
        return re.sub(r"(^|\. )([a-z])", lambda start: start[1] + start[2].upper(), told)

    @property
    def _until_answer(self) -> str:
        """What stands between the verb and the answer."""
        if self.form in ("dative", "deed"):
            return ""
        if self.form in ("to", "from"):
            return f"the {self.thing} {self.form}"
        question = "came from" if self.form == "giver" else "went to"
        return f"the {self.thing} to {self.article}{self.other}. So the {self.thing} {question}"

    @property
    def answer(self) -> str:
        return self.agent if self.form == "giver" else self.other

    @property
    def after(self) -> str:
        return f" the {self.thing}{self.ending}" if self.form == "dative" else self.ending

    @property
    def rival(self) -> str:
        """The name that would be right if the two had exchanged their roles."""
        if self.form == "giver":
            return self.other
        return self.agent if self.agent in self.people else next(p for p in self.people if p != self.other)

    @property
    def labels(self) -> dict[str, str]:
        abc = self.agent not in self.people
        order = "ABC" if abc else "ABBA" if self.agent == self.people[1] else "BABA"
        return super().labels | {"form": self.form, "order": order, "agent": self.agent, "other": self.other}

    def counterfactual(self) -> "Gift":
        """Exchange who acts: of the two people, the other one (in the ABC form, who receives)."""
        if self.agent not in self.people:
            return replace(self, other=self.rival)
        return replace(self, agent=self.other, other=self.agent)

    def with_third_person(self, name: str) -> "Gift":
        """Return the ABC counterfactual: `name`, who was not mentioned, acts instead."""
        return replace(self, agent=name)


def _modifier(rng: Random, friend: str) -> str:
    """Return nothing, more often than not, or what is said of a person in passing."""
    if rng.random() < 0.7:
        return ""
    return fill(rng, rng.choice(MODIFIERS).replace("{friend}", friend))
