"""The text world: the same seed gives the same text, its labels are true, its words are single tokens."""

import re
from itertools import islice

import pytest

from mechinterp_course.worlds import lexicon, sentences, text
from mechinterp_course.worlds.batches import mixed_rows, positional_rows, repeat_row, text_row
from mechinterp_course.worlds.tokenizer import END_OF_TEXT, train_tokenizer, world_words

SEEDS = range(60)
VERB_FORMS = {verb.base: "plural" for verb in lexicon.WORKS} | {
    verb.third: "singular" for verb in lexicon.WORKS
}
BE = {"is": "singular", "are": "plural"}


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer()


def drawn(kind):
    return [text.sentence(kind, seed) for seed in SEEDS]


@pytest.mark.parametrize("make", [text.story, text.notices, text.repetition])
def test_the_same_seed_gives_the_same_text_and_another_seed_another(make):
    assert make(7) == make(7)
    assert len({make(seed) for seed in SEEDS}) == len(SEEDS)


def test_a_corpus_can_be_drawn_again_from_its_seed():
    assert list(islice(text.corpus(3), 50)) == list(islice(text.corpus(3), 50))
    assert next(text.corpus(3)) != next(text.corpus(4))


@pytest.mark.parametrize("kind", sentences.SENTENCES)
def test_every_sentence_is_of_its_kind_ends_in_a_full_stop_and_holds_its_answer(kind):
    for sentence in drawn(kind):
        assert sentence.kind == kind
        assert sentence.text.endswith(".")
        assert sentence.answer in re.findall(r"\w+", sentence.text)
        assert sentence.tense in ("present", "past") and sentence.mood in ("good", "bad", "neutral")


def test_the_verb_agrees_with_the_subject_and_not_with_the_noun_between():
    plurals = {noun.plural for noun in (*lexicon.THINGS, *lexicon.ANIMALS)}
    disagreeing = 0
    for sentence in drawn("agreement"):
        _, subject, _, _, between, verb, *_ = sentence.text.rstrip(".").split()
        assert sentence.number == ("plural" if subject in plurals else "singular")
        assert sentence.number == (VERB_FORMS | BE)[verb] and sentence.answer == verb
        disagreeing += (subject in plurals) != (between in plurals)
    assert len(SEEDS) / 4 < disagreeing < 3 * len(SEEDS) / 4


def test_a_gift_goes_to_the_other_of_two_people_whoever_was_named_first():
    receiver_first = 0
    for sentence in drawn("gift"):
        names = [word for word in re.findall(r"\w+", sentence.text) if word in PEOPLE]
        first, second, giver, receiver = names
        assert {giver, receiver} == {first, second} and giver != receiver
        assert sentence.answer == receiver and sentence.text.endswith(f"to {receiver}.")
        receiver_first += receiver == first
    assert len(SEEDS) / 4 < receiver_first < 3 * len(SEEDS) / 4


PEOPLE = {person.name: person for person in lexicon.PEOPLE}


def test_a_portrait_tells_the_one_town_and_trade_of_its_person():
    for sentence in drawn("portrait"):
        words = set(re.findall(r"\w+", sentence.text))
        (person,) = [PEOPLE[word] for word in words if word in PEOPLE]
        assert words & {town.name for town in lexicon.TOWNS} == {person.town.name}
        assert words & {person.trade.name, person.trade.tool, person.trade.place}


def test_what_is_said_of_a_town_is_in_the_gazetteer():
    for sentence in drawn("geography"):
        words = set(re.findall(r"\w+", sentence.text))
        (town,) = [town for town in lexicon.TOWNS if town.name in words]
        assert {town.river, town.side} <= words or town.ware in words


def test_a_pronoun_agrees_with_the_name_and_the_mood_with_its_reason():
    for sentence in drawn("loss"):
        person = PEOPLE[sentence.text.split()[0]]
        assert f" {person.possessive} " in sentence.text and sentence.answer == person.pronoun
    for sentence in drawn("reason"):
        words = re.findall(r"\w+", sentence.text)
        assert (words[2] in lexicon.GOOD_MOODS) == (sentence.mood == "good")
        assert (words[2] in lexicon.BAD_MOODS) == (sentence.mood == "bad")
        assert bool({"found", "home", "warm", "returned"} & set(words[3:])) == (sentence.mood == "good")


def test_the_parrot_says_the_same_again():
    for sentence in drawn("parrot"):
        _, first, second = re.split(r"said: ", sentence.text)
        assert first.split(".")[0] == second.rstrip(".")


def test_hero_and_friend_keep_coming_back():
    for seed in SEEDS:
        story = text.story(seed)
        assert story.text.count(story.hero.name) >= 3 and story.text.count(story.friend.name) >= 2
        assert 5 <= len(story.sentences) <= 8


def test_every_word_is_one_token_with_its_leading_space(tokenizer):
    fresh = {word.strip(".,:") for passage in islice(text.corpus(12345), 2000) for word in passage.split()}
    for word in fresh | set(world_words()):
        assert len(tokenizer.encode(f" {word}").ids) == 1, word
    assert tokenizer.get_vocab_size() <= 1200


def test_any_text_survives_the_tokenizer(tokenizer):
    for passage in ("Mara lost 1,024 unseen xylophones — naïve, no?\n", text.story(0).text):
        assert tokenizer.decode(tokenizer.encode(passage).ids) == f" {passage}"


def test_a_training_row_is_settled_by_its_seed_and_has_its_length(tokenizer):
    bos = tokenizer.token_to_id(END_OF_TEXT)
    for make in (text_row, repeat_row):
        row = make(tokenizer, 96, seed=5)
        assert row == make(tokenizer, 96, seed=5) != make(tokenizer, 96, seed=6)
        assert len(row) == 96 and row[0] == bos
    assert mixed_rows(tokenizer, 8, 64, seed=1).tokens.shape == (8, 64)


def test_repeats_draw_on_the_whole_vocabulary(tokenizer):
    ids = {token for seed in range(400) for token in repeat_row(tokenizer, 128, seed)}
    assert len(ids) > 0.95 * tokenizer.get_vocab_size()


def test_the_positional_rows_say_sixteen_ids_twice(tokenizer):
    rows = positional_rows(tokenizer, 4, 128, seed=0).tokens
    assert rows.shape == (4, 128)
    for start in (1, 33, 65):
        assert (rows[:, start : start + 16] == rows[:, start + 16 : start + 32]).all()
