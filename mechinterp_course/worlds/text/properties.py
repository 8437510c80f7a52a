"""What is true of a text or of its tokens: the properties for which features, neurons and probes are sought.

A property is a name and a rule from a sample and its tokens to labels. Tokens are strings that spell a space
and the text, such as [" Mary", " gave", ...]. A label is None where the property says nothing, as the
sentiment of a line of code.

>>> from mechinterp_course.worlds.text import sample
>>> french = next(each for each in properties() if each.name == "French")
>>> french.labels(sample("french", seed=3), [" le", " vin", "."])
[True, True, True]
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache

from mechinterp_course.worlds.text import TASKS, chat, facts, gifts, lexicon, oddments, scenes, stories
from mechinterp_course.worlds.text.agreement import Agreement
from mechinterp_course.worlds.text.chat import Chat
from mechinterp_course.worlds.text.facts import Recall
from mechinterp_course.worlds.text.gifts import Gift
from mechinterp_course.worlds.text.lexicon import GOOD, PAST, PLURAL, PRESENT, SINGULAR, with_article
from mechinterp_course.worlds.text.patterns import Pattern
from mechinterp_course.worlds.text.sample import Sample
from mechinterp_course.worlds.text.stories import Story
from mechinterp_course.worlds.text.summaries import Summary

Label = bool | None
Tokens = Sequence[str]
SAID_AGAIN = {"repetition": 2, "quotation": 2}  # of a text's sayings, the first that only repeats


@dataclass(frozen=True)
class Property:
    """`rule` gives one label for each token. A property of the whole `text` gives all of them the same."""

    name: str
    rule: Callable[[Sample, Tokens], list[Label]]
    whole_text: bool = False

    def labels(self, sample: Sample, tokens: Tokens) -> list[Label]:
        """Return a label for each of `tokens`, which spell a space and `sample.text`."""
        return self.rule(sample, tokens)


@cache
def properties() -> tuple[Property, ...]:
    """Return every property: kinds of words and of text, what comes next, and what a whole text is about."""
    return (*_of_words(), *_of_topics(), *_of_passages(), *_of_what_comes_next(), *_of_whole_texts())


def _of_words() -> Iterable[Property]:
    """Yield kinds of words, wherever they stand."""
    nouns, verbs = (*lexicon.THINGS, *lexicon.ACTORS), lexicon.VERBS
    values = {fact.relation: set() for fact in facts.facts()}
    for fact in facts.facts():
        values[fact.relation].add(fact.value)
    kinds = {
        "woman's name": lexicon.SHE,
        "man's name": lexicon.HE,
        "name": lexicon.NAMES,
        "surname": lexicon.SURNAMES,
        "word of a country's name": {word for name in facts.countries() for word in name.split()} - {"and"},
        **{f"name of {with_article(relation)}": words for relation, words in values.items()},
        "place": lexicon.PLACES,
        "look": lexicon.LOOKS,
        "thing": {form for noun in lexicon.THINGS for form in (noun.singular, noun.plural)},
        "plural noun": {noun.plural for noun in nouns},
        "singular noun": {noun.singular for noun in nouns},
        "past verb": _past_verbs(),
        "verb in the third person": {verb.third for verb in verbs} | _of_events(1),
        "verb of giving": gifts.GIVES,
        "verb of taking": gifts.TAKES,
        "deed to somebody": gifts.DEEDS,
        "good mood": lexicon.MOODS[GOOD],
        "bad mood": lexicon.MOODS[lexicon.BAD],
        "preposition of place": lexicon.BESIDE,
        "day": lexicon.DAYS,
        "month": lexicon.MONTHS,
        "year": lexicon.YEARS,
        "season": lexicon.SEASONS,
        "verb of harm": {verb for act in chat.HOSTILE.values() for verb in act},
        "thing that can be harmed or do harm": {thing for act in chat.HARMED.values() for thing in act},
        "vague number": ("few", "some", "many"),
        "deed": oddments.DEEDS,
        "feminine French noun": oddments.FEMININE,
        "masculine French noun": oddments.MASCULINE,
        "French adjective": {form for pair in oddments.ADJECTIVES for form in pair},
    }
    yield from (Property(name, _among(words)) for name, words in kinds.items())
    numbers = {*lexicon.NUMBERS}  # in code they also stand right behind a bracket
    yield Property("number", lambda _, tokens: [token.removeprefix(" ") in numbers for token in tokens])


def _of_topics() -> Iterable[Property]:
    return (Property(f"word of the {topic.name}", _among(_words_of(topic))) for topic in lexicon.TOPICS)


def _of_passages() -> Iterable[Property]:
    """Yield kinds of passages: all of a text, a turn of a chat, what stands in quotation marks."""
    kinds = {"French": "french", "code": "code", "chronicle": "years", "pattern": "pattern"}
    for name, task in kinds.items():
        yield Property(name, lambda sample, tokens, task=task: [sample.task == task] * len(tokens))
    yield Property("variable", _variables)
    yield Property("in quotation marks", _quoted)
    yield Property("said again", _said_again)
    yield Property("name said before", _named_before)
    yield Property("user's turn", lambda sample, tokens: _turn(sample, tokens, "user"))
    yield Property("assistant's turn", lambda sample, tokens: _turn(sample, tokens, "assistant"))
    yield Property("refusal", lambda sample, tokens: _turn(sample, tokens, "refusal"))


def _of_what_comes_next() -> Iterable[Property]:
    """Yield what the model is about to say, at the token before it."""
    for relation in facts.RELATIONS:
        yield _next(with_article(relation), Recall, lambda sample, r=relation: sample.fact.relation == r)
    yield _next("a person", Gift, lambda _: True)
    yield _next("a receiver", Gift, lambda sample: sample.form in ("to", "dative", "receiver"))
    yield _next("a giver", Gift, lambda sample: sample.form in ("from", "giver"))
    yield _next("a fact", Recall, lambda _: True)
    yield _next("an item", Summary, lambda sample: sample.inverse)
    yield _next("an exact number", Summary, lambda sample: not sample.loose and not sample.inverse)
    yield _next("a vague number", Summary, lambda sample: sample.loose)
    yield _next("few", Summary, lambda sample: sample.answer == "few")
    yield _next("many", Summary, lambda sample: sample.answer == "many")
    yield _next("a year", oddments.Chronicle, lambda _: True)
    yield _next("a variable", oddments.Code, lambda _: True)
    yield _next("a French adjective", oddments.French, lambda _: True)
    yield _next("a feminine adjective", oddments.French, lambda sample: sample.feminine)
    yield _next("a masculine adjective", oddments.French, lambda sample: not sample.feminine)
    yield _next("a mood", Story, lambda _: True)
    yield _next("a good mood", Story, lambda sample: sample.sentiment == GOOD)
    yield _next("a bad mood", Story, lambda sample: sample.sentiment != GOOD)
    yield _next("an assistant's answer", Chat, lambda _: True)
    yield _next("a refusal", Chat, lambda sample: sample.harmful)
    yield _next("consent", Chat, lambda sample: not sample.harmful)
    yield _next("a verb", Agreement, lambda _: True)
    yield _next("a plural verb", Agreement, lambda sample: sample.number == PLURAL)
    yield _next("a singular verb", Agreement, lambda sample: sample.number == SINGULAR)


def _of_whole_texts() -> Iterable[Property]:
    """Yield what is true of a text from its first word to its last: its kind, and the labels of its kind."""
    for task in TASKS:
        yield Property(
            f"{task} text", lambda sample, tokens, t=task: [sample.task == t] * len(tokens), whole_text=True
        )
    for topic in lexicon.TOPICS:
        yield _whole(
            f"story of the {topic.name}", Story, lambda sample, name=topic.name: sample.topic == name
        )
    yield _whole("good sentiment", Story, lambda sample: sample.sentiment == GOOD)
    yield _whole("past tense", Story, lambda sample: sample.tense == PAST)
    yield _whole("present tense", Story, lambda sample: sample.tense == PRESENT)
    yield _whole("the hero speaks", Story, lambda sample: sample.speaker == "hero")
    yield _whole("plural subject", Agreement, lambda sample: sample.number == PLURAL)
    yield _whole("singular subject", Agreement, lambda sample: sample.number == SINGULAR)
    yield _whole("plural distractor", Agreement, lambda sample: sample.between == PLURAL)
    yield _whole("loose summary", Summary, lambda sample: sample.loose)
    yield _whole("tally", Summary, lambda sample: sample.tally)
    yield _whole("inverse summary", Summary, lambda sample: sample.inverse)
    yield _whole("harmful request", Chat, lambda sample: sample.harmful)
    yield _whole("feminine subject", oddments.French, lambda sample: sample.feminine)
    yield _whole("a third person acts", Gift, lambda sample: sample.agent not in sample.people)
    yield _whole("who is named first acts", Gift, lambda sample: sample.agent == sample.people[0])
    yield _whole("no gift but a deed", Gift, lambda sample: sample.form == "deed")


def _past_verbs() -> set[str]:
    """Return every full verb of the past, whatever kind of text it stands in."""
    listed = (gifts.GIVES, gifts.TAKES, gifts.DEEDS, lexicon.MET, scenes.TREATED, scenes.RECITED)
    return (
        {verb.past for verb in lexicon.VERBS} | {word for words in listed for word in words} | _of_events(0)
    )


def _of_events(form: int) -> set[str]:
    """Return the verbs of what happens in stories, past (0) or present (1)."""
    events = (event for kind in stories.EVENTS.values() for event in kind)
    return {event.split()[0].split("/")[form] for event in events}


def _among(words: Iterable[str]) -> Callable[[Sample, Tokens], list[Label]]:
    spelled = {f" {word}" for word in words}
    return lambda _, tokens: [token in spelled for token in tokens]


def _words_of(topic: lexicon.Topic) -> set[str]:
    nouns = {form for noun in (*topic.things, *topic.actors) for form in (noun.singular, noun.plural)}
    verbs = {form for verb in topic.verbs for form in (verb.base, verb.third, verb.past)}
    return nouns | verbs | set(topic.places) | set(topic.looks)


def _next(what: str, kind: type[Sample], true_of: Callable[[Sample], bool]) -> Property:
    """Return the property that holds at the last token of the prompt, where `true_of` the sample."""

    def rule(sample: Sample, tokens: Tokens) -> list[Label]:
        if not (isinstance(sample, kind) and true_of(sample)):
            return [False] * len(tokens)
        last = len(_cover(tokens, sample.prompt)) - 1
        return [place == last for place in range(len(tokens))]

    return Property(f"{what} comes next", rule)


def _whole(name: str, kind: type[Sample], true_of: Callable[[Sample], bool]) -> Property:
    def rule(sample: Sample, tokens: Tokens) -> list[Label]:
        return [true_of(sample) if isinstance(sample, kind) else None] * len(tokens)

    return Property(name, rule, whole_text=True)


def _cover(tokens: Tokens, start: str) -> list[str]:
    """Return the tokens that spell `start`, the beginning of the text."""
    covered, length = [], 0
    for token in tokens:
        if length > len(start):
            break
        covered.append(token)
        length += len(token)
    return covered


def _quoted(_: Sample, tokens: Tokens) -> list[Label]:
    """Label what stands between quotation marks, without the marks."""
    inside, labels = False, []
    for token in tokens:
        labels.append(inside and '"' not in token)
        inside ^= token.count('"') % 2 == 1
    return labels


def _said_again(sample: Sample, tokens: Tokens) -> list[Label]:
    """Label the words of a saying from its second time on."""
    if isinstance(sample, Pattern):
        first = len(_cover(tokens, replace(sample, length=sample.period).prompt))
        return [place >= first for place in range(len(tokens))]
    if sample.task not in SAID_AGAIN:
        return [False] * len(tokens)
    known, times, labels = [f" {word}" for word in sample.words], 0, []
    for token in tokens:
        times += token in (" said", " say")
        labels.append(times >= SAID_AGAIN[sample.task] and token in known)
    return labels


def _variables(sample: Sample, tokens: Tokens) -> list[Label]:
    """Label the variables of code, which stand behind a space or a bracket."""
    return [sample.task == "code" and token.removeprefix(" ") in oddments.VARIABLES for token in tokens]


def _named_before(_: Sample, tokens: Tokens) -> list[Label]:
    """Label the names of people that the text has named already."""
    people = {f" {name}" for name in lexicon.NAMES}
    return [token in people and token in tokens[:place] for place, token in enumerate(tokens)]


def _turn(sample: Sample, tokens: Tokens, whose: str) -> list[Label]:
    if not isinstance(sample, Chat) or (whose == "refusal" and not sample.harmful):
        return [False] * len(tokens)
    asked = len(_cover(tokens, sample.prompt.removesuffix(" Assistant:")))
    answered = len(_cover(tokens, sample.prompt))
    start, end = {"user": (0, asked), "assistant": (asked, len(tokens)), "refusal": (answered, len(tokens))}[
        whose
    ]
    return [start <= place < end for place in range(len(tokens))]
