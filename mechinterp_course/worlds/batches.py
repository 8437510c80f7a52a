"""What the embedded language models are trained on: rows of token ids, each settled by its seed alone."""

from dataclasses import dataclass
from math import ceil
from random import Random

import torch
from jaxtyping import Int
from tokenizers import Tokenizer
from torch import Tensor

from mechinterp_course.worlds import text
from mechinterp_course.worlds.tokenizer import END_OF_TEXT
from mechinterp_course.worlds.tokens import repeated_tokens

SHORTEST, LONGEST = 2, 60
FIXED = 16  # the one length of the positional model's passages


@dataclass(frozen=True)
class Rows:
    """Token ids to train on, and the place that induction looks at from each (-1: none), if it is known."""

    tokens: Int[Tensor, "batch pos"]
    matches: Int[Tensor, "batch pos"] | None = None


def text_row(tokenizer: Tokenizer, length: int, seed: int) -> list[int]:
    """Return `length` ids of texts of the world, each text begun by BOS, the last one cut."""
    bos = tokenizer.token_to_id(END_OF_TEXT)
    row: list[int] = []
    for passage in text.corpus(seed):
        row += [bos, *tokenizer.encode(passage).ids]
        if len(row) >= length:
            return row[:length]
    raise AssertionError("the corpus has no end")


def repeat_row(tokenizer: Tokenizer, length: int, seed: int) -> list[int]:
    """Return BOS and passages of random ids of the whole vocabulary, each said again and again.

    A passage has `SHORTEST` to `LONGEST` ids. In half of the rows one passage fills the row. In the others
    passages are said twice to four times, and follow BOS, each other or a snatch of text: neither a
    passage's length nor its place can be known in advance, only its content tells how it goes on.
    """
    rng = Random(f"repeat {seed}")
    row = [tokenizer.token_to_id(END_OF_TEXT)]
    fill = rng.random() < 0.5
    while len(row) < length:
        if not fill and rng.random() < 0.5:
            row += text_row(tokenizer, rng.randint(2, 24), rng.getrandbits(48))[1:]
        size = round(SHORTEST * (LONGEST / SHORTEST) ** rng.random())  # as often 4 to 8 as 30 to 60
        passage = rng.choices(range(tokenizer.get_vocab_size()), k=size)
        row += passage * (length if fill else rng.randint(2, 4))
    return row[:length]


def guided_row(tokenizer: Tokenizer, length: int, seed: int) -> tuple[list[int], list[int]]:
    """Return a row that one passage of random ids fills, and for each id its match or -1.

    The match of an id is the place of the id that followed its last occurrence: where induction looks. In
    half of the rows up to 24 other random ids come first.
    """
    rng = Random(f"guided {seed}")
    vocabulary = range(tokenizer.get_vocab_size())
    before = rng.choice((0, rng.randint(1, 24)))
    passage = rng.choices(vocabulary, k=round(3 * (40 / 3) ** rng.random()))
    row = [tokenizer.token_to_id(END_OF_TEXT), *rng.choices(vocabulary, k=before)]
    second = len(row) + len(passage)
    row = (row + passage * length)[:length]
    return row, [place - len(passage) + 1 if place >= second else -1 for place in range(length)]


def guided_rows(tokenizer: Tokenizer, batch: int, length: int, seed: int) -> Rows:
    """Return rows of which one half is text, without matches, and the other half repeats random ids."""
    rng = Random(f"guided rows {seed}")
    repeats = [guided_row(tokenizer, length, rng.getrandbits(48)) for _ in range(batch // 2)]
    texts = [text_row(tokenizer, length, rng.getrandbits(48)) for _ in range(batch - batch // 2)]
    tokens = torch.tensor([row for row, _ in repeats] + texts)
    return Rows(tokens, torch.tensor([matches for _, matches in repeats] + [[-1] * length] * len(texts)))


def mixed_rows(tokenizer: Tokenizer, batch: int, length: int, seed: int) -> Rows:
    """Return rows of which one half is text of the world and the other half repeats random ids."""
    rng = Random(f"mixed rows {seed}")
    makers = [text_row if index % 2 else repeat_row for index in range(batch)]
    return Rows(torch.tensor([make(tokenizer, length, rng.getrandbits(48)) for make in makers]))


def positional_rows(tokenizer: Tokenizer, batch: int, length: int, seed: int) -> Rows:
    """Return rows of BOS and passages of 16 random ids said twice, one after the other, cut at `length`.

    Where each token comes back is known from its place alone, so a model need not look at content to copy.
    """
    bos, d_vocab = tokenizer.token_to_id(END_OF_TEXT), tokenizer.get_vocab_size()
    passages = repeated_tokens(d_vocab, FIXED, batch * ceil(length / (2 * FIXED)), bos, seed)[:, 1:]
    rows = passages.reshape(batch, -1)
    return Rows(torch.cat([torch.full((batch, 1), bos), rows], dim=1)[:, :length])
