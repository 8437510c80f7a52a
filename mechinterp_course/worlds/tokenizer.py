"""The tokenizer of the text world: GPT-2 style byte-level BPE in which every word is one token."""

from collections.abc import Iterable
from functools import cache
from random import Random

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from mechinterp_course.worlds import text
from mechinterp_course.worlds.text import facts, lexicon

END_OF_TEXT = "<|endoftext|>"
TEXTS_OF_EACH_TASK = 3000


@cache
def world_pieces() -> tuple[str, ...]:
    """Return every piece that GPT-2 splits the world's texts into, sorted: " Mary", ".", ' "', "):".

    They are those of the lexicon, of all facts, and of some thousand texts of every task.
    """
    split = pre_tokenizers.ByteLevel(add_prefix_space=True)
    pieces = (piece for passage in _passages() for piece, _ in split.pre_tokenize_str(passage))
    return tuple(sorted({_bytes_back(piece) for piece in pieces}))


def _passages() -> Iterable[str]:
    yield " ".join((*lexicon.content_words(), *lexicon.YEARS))
    yield " ".join(word for fact in facts.facts() for word in (fact.subject, fact.value))
    for task, kind in text.TASKS.items():
        rng = Random(f"pieces {task}")
        for index in range(TEXTS_OF_EACH_TASK):
            yield kind.draw(rng, held_out=index % 2 == 1).text


def _bytes_back(piece: str) -> str:
    return decoders.ByteLevel().decode([piece])


def token_ids(tokenizer: Tokenizer, text: str) -> list[int]:
    """Return the ids of `text` and nothing else: a model's own tokenizer would put BOS before them."""
    return tokenizer.encode(text, add_special_tokens=False).ids


def train_tokenizer() -> Tokenizer:
    """Return a byte-level BPE in which every piece of the world's texts is one token.

    Each piece is shown once, so that merges which many pieces share come first and few ids are spent on
    fragments. Id 0 is `END_OF_TEXT`, which begins every text; bytes follow, so any text can be encoded. A
    space is put before the first word, so that "Mary" and " Mary" are the same token.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=1_000_000,  # no limit: merging ends when every piece is whole
        min_frequency=1,
        special_tokens=[END_OF_TEXT],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(world_pieces(), trainer)
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer
