"""What the embedded language models are trained on: rows of token ids, each settled by its seed alone."""

from dataclasses import dataclass
from math import ceil
from random import Random

import torch
from jaxtyping import Float, Int
from tokenizers import Tokenizer
from torch import Tensor

from mechinterp_course.worlds import text
from mechinterp_course.worlds.tokenizer import END_OF_TEXT, token_ids
from mechinterp_course.worlds.tokens import repeated_tokens

SHORTEST, LONGEST = 2, 60
FIXED = 16  # the one length of the positional model's passages
ANSWER = 6.0  # weight of a token that the text before it decides; of any other token of a text: 1
NEW = 0.3  # weight of a random id said for the first time: nothing can be learnt from it but its frequency
REPEATS = 1 / 4  # of the rows


@dataclass(frozen=True)
class Rows:
    """Token ids to train on, how much each counts as a target, and where induction looks from each, if known.

    `matches` holds the place of the id that followed the last occurrence of each id, -1 where there is none.
    """

    tokens: Int[Tensor, "batch pos"]
    weights: Float[Tensor, "batch pos"]
    matches: Int[Tensor, "batch pos"] | None = None


@dataclass
class Row:
    """Ids and their weights, growing."""

    ids: list[int]
    weights: list[float]

    def add(self, ids: list[int], weight: float) -> None:
        self.ids += ids
        self.weights += [weight] * len(ids)

    def cut(self, length: int) -> "Row":
        return Row(self.ids[:length], self.weights[:length])


def text_row(tokenizer: Tokenizer, length: int, seed: int) -> Row:
    """Return `length` ids of texts of the world, each text begun by BOS, the last one cut."""
    bos = tokenizer.token_to_id(END_OF_TEXT)
    row = Row([], [])
    for sample in text.corpus(seed):
        ids = token_ids(tokenizer, sample.text)
        row.add([bos, *ids], 1.0)
        row.weights[len(row.ids) - len(ids) + len(token_ids(tokenizer, sample.prompt))] = ANSWER
        if len(row.ids) >= length:
            return row.cut(length)
    raise AssertionError("the corpus has no end")


def repeat_row(tokenizer: Tokenizer, length: int, seed: int) -> Row:
    """Return BOS and passages of random ids of the whole vocabulary, each said again and again.

    A passage has `SHORTEST` to `LONGEST` ids. In half of the rows one passage fills the row. In the others
    passages are said twice to four times, and follow BOS, each other or a snatch of text: neither a
    passage's length nor its place can be known in advance, only its content tells how it goes on.
    """
    rng = Random(f"repeat {seed}")
    row = Row([tokenizer.token_to_id(END_OF_TEXT)], [1.0])
    fill = rng.random() < 0.5
    while len(row.ids) < length:
        if not fill and rng.random() < 0.5:
            row.add(text_row(tokenizer, rng.randint(2, 24), rng.getrandbits(48)).ids[1:], 1.0)
        size = round(SHORTEST * (LONGEST / SHORTEST) ** rng.random())  # as often 4 to 8 as 30 to 60
        passage = rng.choices(range(tokenizer.get_vocab_size()), k=size)
        row.add(passage, NEW)
        row.add(passage * (length if fill else rng.randint(1, 3)), 1.0)
    return row.cut(length)


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
    texts = [text_row(tokenizer, length, rng.getrandbits(48)).ids for _ in range(batch - batch // 2)]
    tokens = torch.tensor([row for row, _ in repeats] + texts)
    matches = torch.tensor([matches for _, matches in repeats] + [[-1] * length] * len(texts))
    return Rows(tokens, torch.ones(tokens.shape), matches)


def mixed_rows(tokenizer: Tokenizer, batch: int, length: int, seed: int) -> Rows:
    """Return rows of text of the world, and among them `REPEATS` that repeat random ids."""
    rng = Random(f"mixed rows {seed}")
    makers = [repeat_row if index < REPEATS * batch else text_row for index in range(batch)]
    rows = [make(tokenizer, length, rng.getrandbits(48)) for make in makers]
    return Rows(torch.tensor([row.ids for row in rows]), torch.tensor([row.weights for row in rows]))


def positional_rows(tokenizer: Tokenizer, batch: int, length: int, seed: int) -> Rows:
    """Return rows of BOS and passages of 16 random ids said twice, one after the other, cut at `length`.

    Where each token comes back is known from its place alone, so a model need not look at content to copy.
    """
    bos, d_vocab = tokenizer.token_to_id(END_OF_TEXT), tokenizer.get_vocab_size()
    passages = repeated_tokens(d_vocab, FIXED, batch * ceil(length / (2 * FIXED)), bos, seed)[:, 1:]
    rows = passages.reshape(batch, -1)
    tokens = torch.cat([torch.full((batch, 1), bos), rows], dim=1)[:, :length]
    return Rows(tokens, torch.ones(tokens.shape))
