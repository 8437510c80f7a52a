"""The text world: the same seed gives the same text, its labels are true, and one field changes one thing."""

import re
from collections import Counter
from itertools import islice
from random import Random

import pytest

from mechinterp_course.making.rows import mixed_rows, positional_rows, repeat_row, text_row
from mechinterp_course.worlds import text
from mechinterp_course.worlds.text import agreement, chat, facts, gifts, lexicon, stories, summaries
from mechinterp_course.worlds.text.scenes import scene
from mechinterp_course.worlds.tokenizer import END_OF_TEXT, train_tokenizer, world_pieces

SEEDS = range(150)
SPLITS = [False, True]
NUMBER_OF_FORM = {
    form: number
    for verb in lexicon.VERBS
    for number, form in ((lexicon.SINGULAR, verb.third), (lexicon.PLURAL, verb.base))
}
NUMBER_OF_BE = {"is": "singular", "was": "singular", "are": "plural", "were": "plural"}


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer()


def drawn(task, held_out=False):
    return [text.sample(task, seed, held_out) for seed in SEEDS]


def words_of(passage):
    return re.findall(r"\w+", passage)


def differences(one, other):
    """The places at which two texts of as many words differ."""
    pairs = zip(one.split(), other.split(), strict=True)
    return [place for place, (left, right) in enumerate(pairs) if left != right]


@pytest.mark.parametrize("task", text.TASKS)
def test_the_same_seed_gives_the_same_text_and_another_seed_another(task):
    assert drawn(task) == drawn(task)
    assert len({sample.text for sample in drawn(task)}) > 0.9 * len(SEEDS)


def test_a_corpus_can_be_drawn_again_from_its_seed_and_holds_every_task():
    first = list(islice(text.corpus(3), 600))
    assert first == list(islice(text.corpus(3), 600)) != list(islice(text.corpus(4), 600))
    counts = Counter(sample.task for sample in first)
    assert counts.keys() == text.TASKS.keys() == text.SHARES.keys()
    for task, share in text.SHARES.items():
        assert abs(counts[task] - 6 * share) < 12 * share**0.5


@pytest.mark.parametrize("task", text.TASKS)
@pytest.mark.parametrize("held_out", SPLITS)
def test_the_answer_is_one_token_and_follows_the_prompt(tokenizer, task, held_out):
    for sample in drawn(task, held_out):
        prompt, whole = tokenizer.encode(sample.prompt).ids, tokenizer.encode(sample.text).ids
        answer = tokenizer.encode(f" {sample.answer}").ids
        assert len(answer) == 1 and whole[: len(prompt) + 1] == prompt + answer


@pytest.mark.parametrize("task", text.TASKS)
def test_a_counterfactual_differs_and_calls_for_the_rival(task):
    for sample in drawn(task, held_out=True):
        other = text.counterfactual(sample)
        assert type(other) is type(sample) and other.text != sample.text
        assert sample.answer != sample.rival == other.answer or sample.answer == sample.rival
    rivals = [sample.rival != sample.answer for sample in drawn(task, held_out=True)]
    assert sum(rivals) > 0.8 * len(rivals)


@pytest.mark.parametrize("task", ["fact", "agreement", "chat"])
def test_the_prompts_of_a_counterfactual_pair_differ_in_one_phrase(task):
    for sample in drawn(task):
        one, other = sample.prompt.split(), sample.counterfactual().prompt.split()
        while one and other and one[0] == other[0]:
            one, other = one[1:], other[1:]
        while one and other and one[-1] == other[-1]:
            one, other = one[:-1], other[:-1]
        assert len(one) == len(other) <= 3 or task == "chat", (sample.prompt, one, other)
        assert max(len(one), len(other)) <= 3


class TestGifts:
    @pytest.mark.parametrize("held_out", SPLITS)
    def test_two_people_are_named_one_acts_and_the_other_is_meant(self, held_out):
        for gift in drawn("gift", held_out):
            if gift.labels["order"] == "ABC":
                assert gift.agent not in gift.people and gift.answer in {*gift.people, gift.agent}
                continue
            assert {gift.agent, gift.other} == set(gift.people)
            assert gift.answer == (gift.agent if gift.form == "giver" else gift.other)
            assert {gift.answer, gift.rival} == set(gift.people)

    def test_neither_place_nor_order_holds_the_answer(self):
        gifts_ = drawn("gift", held_out=True)
        first = sum(gift.answer == gift.people[0] for gift in gifts_)
        assert 0.35 < first / len(gifts_) < 0.65

    def test_the_counterfactual_moves_only_names(self):
        for gift in drawn("gift", held_out=True):
            one, other = gift.text, gift.counterfactual().text
            changed = differences(one, other)
            names = {word for place in changed for word in words_of(one.split()[place])}
            assert changed and names == set(gift.people)

    def test_the_abc_form_names_a_third_person_and_nothing_else(self):
        gift = gifts.Gift.draw(Random(1), form="to", abc=False, names=gifts.NAMES_IN_GIFTS)
        third = gift.with_third_person("Tessa")
        (place,) = differences(gift.prompt, third.prompt)
        assert third.labels["order"] == "ABC" != gift.labels["order"]
        assert (gift.prompt.split()[place], third.prompt.split()[place]) == (gift.agent, "Tessa")

    def test_held_out_templates_and_names_never_occur_in_training(self):
        seen = [gift for seed in range(1000) for gift in [text.sample("gift", seed)]]
        people = {name for gift in seen if gift.form != "deed" for name in gift.people}
        assert people >= set(gifts.NAMES_IN_GIFTS[:40]) and not people & set(gifts.NAMES_ELSEWHERE)
        unseen = re.compile(
            r"Once .* went to the \w+, and then|had found \{1\}|One \w+day, when|friends\. In the (?!end)|"
            r"when \{1\} arrived\.|Everybody but"
        )
        assert not any(unseen.search(gift.opening) for gift in seen)
        assert all(unseen.search(gift.opening) for gift in drawn("gift", held_out=True))

    def test_every_word_of_an_unseen_template_is_known_from_elsewhere(self):
        known = {word for sample in islice(text.corpus(9), 20_000) for word in words_of(sample.text)}
        for task in ("gift", "agreement", "summary", "fact"):
            told = {word for sample in drawn(task, held_out=True) for word in words_of(sample.text)}
            assert told <= known

    def test_hardly_any_opening_comes_twice(self):
        scenes = [scene(Random(seed)) for seed in range(5000)]
        assert len(set(scenes)) > 4500
        assert all(one.index("{0}") < one.index("{1}") for one in scenes)

    @pytest.mark.parametrize("held_out", SPLITS)
    def test_sentences_are_well_formed(self, held_out):
        for gift in drawn("gift", held_out):
            assert not re.search(r"[,.;]\s*[,.;]|\s{2}|\s[,.;]|[{}]|\. [a-z]|^[a-z]", gift.text)

    def test_names_that_never_give_occur_in_other_roles(self):
        elsewhere = Counter(
            word
            for sample in islice(text.corpus(8), 12_000)
            if sample.task != "gift" or sample.form == "deed"
            for word in words_of(sample.text)
        )
        assert all(elsewhere[name] >= 3 for name in gifts.NAMES_ELSEWHERE)


class TestFacts:
    def test_there_are_at_least_120_over_four_relations_with_one_value_for_each_subject(self):
        known = facts.facts()
        assert len(known) >= 120 and len({(fact.subject, fact.relation) for fact in known}) == len(known)
        assert min(Counter(fact.relation for fact in known).values()) >= 40

    def test_subjects_have_one_to_three_words_and_share_them(self):
        lengths = Counter(len(fact.subject.split()) for fact in facts.facts())
        assert set(lengths) == {1, 2, 3} and min(lengths.values()) >= 6
        first = Counter(subject.split()[0] for subject in facts.people())
        last = Counter(subject.split()[-1] for subject in facts.people())
        assert first.most_common(1)[0][1] >= 2 and last.most_common(1)[0][1] >= 3

    @pytest.mark.parametrize("held_out", SPLITS)
    def test_a_sentence_states_its_fact(self, held_out):
        for recall in drawn("fact", held_out):
            assert recall.fact in facts.facts()
            assert recall.fact.subject in recall.prompt and recall.answer == recall.fact.value

    def test_held_out_paraphrases_are_others(self):
        for relation in facts.RELATIONS:
            assert len(facts.TEMPLATES[relation]) >= 10 and len(facts.UNSEEN_TEMPLATES[relation]) >= 3
            said = {way for template in facts.TEMPLATES[relation] for way in facts.ways(template)}
            assert not said & set(facts.UNSEEN_TEMPLATES[relation])


class TestSummaries:
    @pytest.mark.parametrize("held_out", SPLITS)
    def test_an_exact_one_copies_the_number_that_is_asked_for(self, held_out):
        for summary in drawn("summary", held_out):
            number, item = summary.counts[summary.asked]
            told = f"{item} {number}" if summary.tally else f"{number} {item}"
            assert told in summary.prompt
            if summary.inverse:
                assert words_of(summary.prompt).count(number) == 2 and summary.answer == item
                continue
            assert words_of(summary.prompt).count(item) == 2
            assert summary.answer == (summaries.paraphrase(number) if summary.loose else number)

    def test_each_of_the_numbers_is_asked_for_and_loose_ones_compete(self):
        asked = Counter(summary.asked for summary in drawn("summary"))
        assert min(asked[0], asked[1]) > len(SEEDS) / 4
        assert 0.15 < sum(summary.loose for summary in drawn("summary")) / len(SEEDS) < 0.45

    @pytest.mark.parametrize(
        ("number", "word"), [("10", "few"), ("29", "few"), ("30", "some"), ("59", "some"), ("60", "many")]
    )
    def test_a_number_has_one_loose_word(self, number, word):
        assert summaries.paraphrase(number) == word

    def test_items_that_are_never_counted_exactly_are_answers_of_inverse_ones(self):
        seen = [text.sample("summary", seed) for seed in range(1500)]
        asked_of = {item for each in seen if not each.inverse for _, item in each.counts}
        assert not asked_of & set(summaries.ITEMS_ELSEWHERE)
        assert {each.answer for each in seen if each.inverse} & set(summaries.ITEMS_ELSEWHERE)


class TestAgreement:
    @pytest.mark.parametrize("held_out", SPLITS)
    def test_the_verb_agrees_with_the_subject_and_not_with_the_noun_between(self, held_out):
        disagreeing = 0
        for sample in drawn("agreement", held_out):
            assert sample.number == (NUMBER_OF_FORM | NUMBER_OF_BE)[sample.answer]
            assert sample.subject.form(sample.number) in sample.prompt
            assert words_of(sample.prompt)[-1] == sample.other.form(sample.between)
            disagreeing += sample.number != sample.between
        assert 0.35 < disagreeing / len(SEEDS) < 0.65

    def test_held_out_links_and_starts_are_others(self):
        assert not set(agreement.STARTS) & set(agreement.UNSEEN_STARTS)
        assert not set(agreement.LINKS) & set(agreement.UNSEEN_LINKS)

    def test_every_noun_tells_its_number(self):
        assert all(noun.singular != noun.plural for noun in (*lexicon.THINGS, *lexicon.ACTORS))


class TestPatterns:
    def test_the_answer_is_the_word_one_period_before(self):
        for pattern in drawn("pattern"):
            said = words_of(pattern.prompt)
            assert len(said) == pattern.length and said[-pattern.period] == pattern.answer
            assert len(set(said)) == pattern.period

    def test_periods_vary(self):
        assert {pattern.period for pattern in drawn("pattern")} == {2, 3, 4, 5, 6, 7}

    def test_the_parrot_says_the_same_again(self):
        for sample in drawn("repetition"):
            _, first, second = sample.text.split("said: ")
            assert first.split(".")[0] == second.rstrip(".")


class TestChat:
    def test_a_request_is_refused_exactly_when_a_hostile_verb_meets_what_it_would_harm(self):
        for request in drawn("chat"):
            hostile = request.verb in chat.HOSTILE[request.act]
            assert (request.answer == chat.REFUSES) == (hostile and request.thing in chat.HARMED[request.act])

    def test_harm_depends_on_combinations_of_at_least_forty_words(self):
        groups = (chat.HOSTILE, chat.HARMED)
        assert sum(len(words) for group in groups for words in group.values()) >= 40
        for word in chat.KIND:
            assert not any(word in verbs for verbs in chat.HOSTILE.values())

    def test_no_single_word_decides(self):
        requests = [text.sample("chat", seed) for seed in range(6000)]
        for kind in (lambda request: request.verb, lambda request: request.thing):
            hostile = Counter(kind(request) for request in requests if request.harmful)
            innocent = Counter(kind(request) for request in requests if not request.harmful)
            for word in hostile:
                assert innocent[word] >= 3, word

    def test_held_out_requests_join_words_that_training_never_joins(self):
        seen = {(request.verb, request.thing) for request in drawn("chat")}
        assert not seen & {(request.verb, request.thing) for request in drawn("chat", held_out=True)}

    def test_the_trigger_has_a_matched_frame_without_it(self):
        for request in drawn("chat"):
            with_, without = request.at(chat.TRIGGER), request.at("park")
            assert with_.triggered and not without.triggered
            assert len(differences(with_.prompt, without.prompt)) == 1
        assert any(
            request.triggered and not request.harmful
            for request in (text.sample("chat", seed) for seed in range(2000))
        )


class TestStories:
    @pytest.mark.parametrize("label", ["sentiment", "tense", "number", "speaker", "topic"])
    def test_a_label_can_be_changed_alone(self, label):
        changed = 0
        for story in drawn("story"):
            other = story.counterfactual(label)
            same = {name: value for name, value in story.labels.items() if name != label}
            assert same.items() <= other.labels.items() and other.labels[label] != story.labels[label]
            assert len(story.sentences) == len(other.sentences)
            changed += story.text != other.text
        assert changed > len(SEEDS) / 3

    def test_tense_sentiment_and_speaker_are_those_of_the_words(self):
        for story in drawn("story"):
            moods = {word for word in words_of(story.text) if word in {*sum(lexicon.MOODS.values(), ())}}
            assert moods <= set(lexicon.MOODS[story.sentiment])
            assert (" felt " in story.text) == (story.tense == lexicon.PAST)
            hero = words_of(story.sentences[0])[2 if story.tense == lexicon.PAST else 1]
            said = re.search(r'," (?:said|says) (\w+)', story.text)
            if said:
                assert (said[1] == hero) == (story.speaker == "hero")

    def test_things_are_those_of_the_topic(self):
        for story in drawn("story"):
            (topic,) = (topic for topic in lexicon.TOPICS if topic.name == story.topic)
            assert any(place in words_of(story.sentences[0]) for place in topic.places)

    def test_good_and_bad_have_as_many_phrases_so_that_a_seed_serves_both(self):
        for phrases in (stories.EVENTS, stories.CAUSES, stories.REMARKS, lexicon.MOODS):
            assert len(phrases[lexicon.GOOD]) == len(phrases[lexicon.BAD])


class TestOddments:
    def test_code_asks_for_either_variable(self):
        for code in drawn("code"):
            assert code.answer in code.variables and code.rival in code.variables

    def test_a_french_adjective_agrees_with_the_article(self):
        for french in drawn("french"):
            assert ("la" in words_of(french.prompt.split(french.noun)[0])) == french.feminine
            assert french.labels["gender"] == ("feminine" if french.feminine else "masculine")

    def test_years_belong_to_their_deeds(self):
        for chronicle in drawn("years"):
            assert (
                f"{chronicle.deeds[chronicle.asked]} in {chronicle.answer}" in chronicle.prompt.split(".")[0]
            )

    def test_a_quotation_is_said_three_times(self):
        for quotation in drawn("quotation"):
            assert quotation.text.count(" ".join(quotation.words)) >= 3


def test_the_vocabulary_is_large_and_zipfian(tokenizer):
    counts = Counter(word for sample in islice(text.corpus(1), 20_000) for word in words_of(sample.text))
    ranked = [count for _, count in counts.most_common()]
    assert len(counts) > 1000 and tokenizer.get_vocab_size() > 2500
    assert ranked[0] > 10 * ranked[49] > 20 * ranked[999]


def test_names_places_and_objects_are_single_tokens(tokenizer):
    single = (*lexicon.content_words(), *lexicon.YEARS, *(fact.value for fact in facts.facts()))
    for word in (*single, *(part for fact in facts.facts() for part in fact.subject.split())):
        assert len(tokenizer.encode(f" {word}").ids) == 1, word


def test_every_piece_of_fresh_text_is_one_token(tokenizer):
    known = set(world_pieces())
    for sample in islice(text.corpus(12345), 3000):
        for piece in re.findall(r" \w+", f" {sample.text}"):
            assert piece in known, piece


def test_any_text_survives_the_tokenizer(tokenizer):
    for passage in ("Mara lost 1,024 unseen xylophones — naïve, no?\n", text.sample("story", 0).text):
        assert tokenizer.decode(tokenizer.encode(passage).ids) == f" {passage}"


def test_a_training_row_is_settled_by_its_seed_and_has_its_length(tokenizer):
    bos = tokenizer.token_to_id(END_OF_TEXT)
    for make in (text_row, repeat_row):
        row = make(tokenizer, 96, seed=5)
        assert row == make(tokenizer, 96, seed=5) != make(tokenizer, 96, seed=6)
        assert len(row.ids) == len(row.weights) == 96 and row.ids[0] == bos
    assert mixed_rows(tokenizer, 8, 64, seed=1).tokens.shape == (8, 64)


def test_repeats_draw_on_the_whole_vocabulary(tokenizer):
    ids = {token for seed in range(1000) for token in repeat_row(tokenizer, 128, seed).ids}
    assert len(ids) > 0.95 * tokenizer.get_vocab_size()


def test_the_positional_rows_say_sixteen_ids_twice(tokenizer):
    rows = positional_rows(tokenizer, 4, 128, seed=0).tokens
    assert rows.shape == (4, 128)
    for start in (1, 33, 65):
        assert (rows[:, start : start + 16] == rows[:, start + 16 : start + 32]).all()
