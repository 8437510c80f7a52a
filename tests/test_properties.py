"""Properties of the text world hold where a reader would say that they do."""

from dataclasses import replace

import pytest

from mechinterp_course.worlds import text
from mechinterp_course.worlds.text.agreement import Agreement
from mechinterp_course.worlds.text.chat import Chat
from mechinterp_course.worlds.text.facts import Fact, Recall
from mechinterp_course.worlds.text.gifts import Gift
from mechinterp_course.worlds.text.lexicon import PLURAL, PRESENT, SINGULAR, THINGS, Noun, Verb
from mechinterp_course.worlds.text.oddments import LINES, Chronicle, Code, French, Quotation
from mechinterp_course.worlds.text.patterns import Pattern, Repetition
from mechinterp_course.worlds.text.properties import properties
from mechinterp_course.worlds.text.stories import Story
from mechinterp_course.worlds.text.summaries import Summary
from mechinterp_course.worlds.tokenizer import train_tokenizer

BY_NAME = {each.name: each for each in properties()}
FRENCH = French(noun="lune", adjective=0, phrase="{noun} {where} est", where="")
CHAT = Chat("arm", "make", "bomb", "", "a", "how do I {act}?", "", "", "")
PERU = Recall(Fact("Peru", "capital", "Lima"), "The capital of {s} is")
ZEALAND = Recall(Fact("New Zealand", "language", "English"), "In {s} people speak")
PARROT = Repetition(("piano", "Anna", "37", "foxes"), "barn")
QUOTED = Quotation(("Mary", "John"), ("lamp", "Monday"))
LISTED = Pattern(("lamp", "John"), 5)
CODE = Code(LINES[2], ("x", "size"), "add", "+", (37, 12))
BUILT = Chronicle("harbour", ("built", "sold"), ("1912", "1950"), 1)
FRIENDS = "{0} and {1} were friends, said {0}. So"
GIFT = Gift("", ("Mary", "John"), "John", "Mary", "book", "dative", FRIENDS, ("", ""), "", "", "gave", ".")
ITEMS = (("82", "roses"), ("24", "lamps"))
SUMMARY = Summary(
    "Anna sold {list} last summer.", True, ITEMS, 1, "In short,", "{intro} the number of {item} was"
)
INVERSE = replace(SUMMARY, tally=False, template="{intro} {number} was the number of", inverse=True)
BOATS = Agreement(
    Noun("gull", "gulls"),
    PLURAL,
    THINGS[0],
    SINGULAR,
    PRESENT,
    Verb("dive", "dives", "dived"),
    "",
    "near the {other}",
    "again",
)
STORY = Story(3, "sea", "good", "past", "plural", "hero")
HOLDS = [
    ("French", FRENCH, ["la", "lune", "est", "petite", "."]),
    ("French", CHAT, []),
    ("word of a country's name", ZEALAND, ["New", "Zealand"]),
    ("name of a capital", PERU, ["Lima"]),
    ("a capital comes next", PERU, ["is"]),
    ("a capital comes next", ZEALAND, []),
    ("a language comes next", ZEALAND, ["speak"]),
    ("user's turn", CHAT, ["User", ":", "how", "do", "I", "make", "a", "bomb", "?"]),
    ("refusal", CHAT, ["Sorry", ",", "I", "can", "'t", "help", "with", "that", "."]),
    ("a refusal comes next", CHAT, [":"]),
    ("consent comes next", CHAT, []),
    ("said again", PARROT, ["piano", "Anna", "37", "foxes"]),
    ("said again", QUOTED, ["lamp", "Monday", "lamp", "Monday"]),
    ("said again", LISTED, ["lamp", "John", "lamp", "John", "."]),
    (
        "in quotation marks",
        QUOTED,
        ["I", "say", *QUOTED.words, "You", "say", *QUOTED.words, "I", "do", "say", *QUOTED.words],
    ),
    ("woman's name", PARROT, ["Anna", "Anna"]),
    ("number", PARROT, ["37", "37"]),
    ("word of the forest", PARROT, ["foxes", "foxes"]),
    ("number", CODE, ["37", "12"]),
    ("variable", CODE, ["x", "size", "x", "size"]),
    ("variable", SUMMARY, []),
    ("season", SUMMARY, ["summer"]),
    ("feminine French noun", FRENCH, ["lune"]),
    ("masculine French noun", FRENCH, []),
    ("French adjective", FRENCH, ["petite"]),
    ("verb of giving", GIFT, ["gave"]),
    ("verb of taking", replace(GIFT, form="from", verb="took"), ["took"]),
    ("deed to somebody", replace(GIFT, form="deed", verb="thanked"), ["thanked"]),
    ("past verb", GIFT, ["said", "gave"]),
    ("verb in the third person", replace(BOATS, number=SINGULAR), ["dives"]),
    ("pattern", LISTED, ["lamp", "John", "lamp", "John", "lamp", "John", "."]),
    ("pattern", PARROT, []),
    ("name said before", GIFT, ["Mary", "John", "Mary"]),
    ("name said before", PARROT, ["Anna"]),
    ("a person comes next", GIFT, ["gave"]),
    ("a receiver comes next", GIFT, ["gave"]),
    ("a receiver comes next", replace(GIFT, form="from", verb="took"), []),
    ("a giver comes next", replace(GIFT, form="from", verb="took"), ["from"]),
    ("a fact comes next", PERU, ["is"]),
    ("a fact comes next", ZEALAND, ["speak"]),
    ("an item comes next", INVERSE, ["of"]),
    ("an item comes next", SUMMARY, []),
    ("an exact number comes next", INVERSE, []),
    ("an exact number comes next", SUMMARY, ["was"]),
    ("a French adjective comes next", FRENCH, ["est"]),
    ("an assistant's answer comes next", CHAT, [":"]),
    ("a verb comes next", BOATS, [THINGS[0].singular]),
    ("a mood comes next", STORY, ["felt"]),
    ("a year comes next", BUILT, ["in"]),
]
WHOLE = [
    ("gift text", GIFT, True),
    ("gift text", CHAT, False),
    ("years text", BUILT, True),
    ("plural distractor", BOATS, False),
    ("plural distractor", replace(BOATS, between=PLURAL), True),
    ("plural subject", GIFT, None),
    ("tally", SUMMARY, True),
    ("tally", INVERSE, False),
    ("inverse summary", INVERSE, True),
    ("inverse summary", CODE, None),
    ("harmful request", CHAT, True),
    ("harmful request", replace(CHAT, verb="draw"), False),
    ("feminine subject", FRENCH, True),
    ("feminine subject", replace(FRENCH, noun="chat"), False),
    ("a third person acts", GIFT, False),
    ("a third person acts", replace(GIFT, agent="Anna"), True),
    ("who is named first acts", GIFT, False),
    ("who is named first acts", GIFT.counterfactual(), True),
    ("no gift but a deed", replace(GIFT, form="deed", verb="thanked"), True),
    ("past tense", STORY, True),
    ("past tense", GIFT, None),
]


@pytest.fixture(scope="module")
def split():
    tokenizer = train_tokenizer()
    return lambda sample: [tokenizer.decode([token]) for token in tokenizer.encode(sample.text).ids]


@pytest.mark.parametrize(
    ("name", "sample", "where"), HOLDS, ids=[f"{name}: {sample.task}" for name, sample, _ in HOLDS]
)
def test_a_property_holds_at_these_tokens(split, name, sample, where):
    tokens = split(sample)
    assert "".join(tokens) == f" {sample.text}"
    labels = BY_NAME[name].labels(sample, tokens)
    assert [token.strip() for token, label in zip(tokens, labels, strict=True) if label] == where


@pytest.mark.parametrize(("name", "sample", "label"), WHOLE)
def test_a_property_holds_of_a_whole_text_or_does_not_or_says_nothing(split, name, sample, label):
    tokens = split(sample)
    assert BY_NAME[name].whole_text
    assert BY_NAME[name].labels(sample, tokens) == [label] * len(tokens)


@pytest.fixture(scope="module")
def many(split):
    samples = [text.sample(task, seed) for task in text.TASKS for seed in range(100)]
    return [(sample, split(sample)) for sample in samples]


@pytest.mark.parametrize("each", properties(), ids=lambda each: each.name)
def test_a_property_holds_somewhere_and_not_everywhere(each, many):
    labels = [each.labels(sample, tokens) for sample, tokens in many]
    said = {label for row in labels for label in row} - {None}
    assert said == {True, False}
    assert all(len(set(row)) == 1 for row in labels) or not each.whole_text


def test_names_of_properties_are_all_different():
    assert len(BY_NAME) == len(properties())
