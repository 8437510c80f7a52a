"""The tokenizer of the text world: GPT-2 style byte-level BPE in which every word is one token."""

from itertools import islice

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from mechinterp_course.worlds import lexicon, text

END_OF_TEXT = "<|endoftext|>"


def world_words(texts: int = 3000) -> tuple[str, ...]:
    """Return every word that the world uses, sorted: the lexicon's, and those seen in `texts` texts."""
    words = set(lexicon.content_words())
    for passage in islice(text.corpus(0), texts):
        words.update(word.strip(".,:") for word in passage.split())
    return tuple(sorted(words))


def train_tokenizer() -> Tokenizer:
    """Return a byte-level BPE in which every word of the world, with its leading space, is one token.

    Each word is shown once, so that merges which many words share come first and few ids are spent on
    fragments. Id 0 is `END_OF_TEXT`, which begins every text; bytes follow, so any text can be encoded. A
    space is put before the first word, so that "Mara" and " Mara" are the same token.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=1_000_000,  # no limit: merging ends when every word is whole
        min_frequency=1,
        special_tokens=[END_OF_TEXT],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([" ".join(world_words())], trainer)
    return tokenizer
