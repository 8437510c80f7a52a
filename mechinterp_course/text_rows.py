"""Rows of token ids for any model: of the course's text world, or of a text file, read as far as needed."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, islice
from itertools import count as count_from
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

import torch
from jaxtyping import Int
from torch import Tensor

from mechinterp_course.errors import CourseError
from mechinterp_course.worlds import text
from mechinterp_course.worlds.tokenizer import token_ids

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

LONGEST_PARAGRAPH = 100_000  # characters; longer ones are taken apart


@dataclass(frozen=True)
class TextRows:
    """Rows of `length` ids that `seed` settles, as many as are asked for: row n is the same whenever asked.

    Without a `file` they hold texts of every kind of the world alike, each begun by BOS. With one they hold
    its paragraphs, each begun by BOS, from the beginning again after the end; `seed` then changes nothing.
    """

    model: "TransformerBridge"
    length: int = 128
    seed: int = 0
    file: Path | None = None

    def rows(self, first: int, count: int) -> Int[Tensor, "row pos"]:
        """Return rows `first` to `first + count`; raises CourseError for a file without text."""
        return torch.tensor(list(islice(self.from_row(first), count)))

    def from_row(self, first: int) -> Iterator[list[int]]:
        """Yield rows without end, one at a time, beginning with row `first`."""
        if self.file is None:
            return map(self._of_world, count_from(first))
        return islice(self._of_file(self.file), first, None)

    @property
    def bos(self) -> int:
        """With what a text begins: BOS, or where the tokenizer has none, its end of text."""
        tokenizer = self.model.tokenizer
        found = tokenizer.eos_token_id if tokenizer.bos_token_id is None else tokenizer.bos_token_id
        if found is None:
            raise CourseError("the model's tokenizer has neither BOS nor EOS: choose another model")
        return found

    def _of_world(self, number: int) -> list[int]:
        rng, ids = Random(f"text rows {self.seed} {number}"), []
        while len(ids) < self.length:
            kind = rng.choice(tuple(text.TASKS.values()))
            ids += [self.bos, *self._ids(kind.draw(rng).text)]
        return ids[: self.length]

    def _of_file(self, file: Path) -> Iterator[list[int]]:
        ids: list[int] = []
        for paragraph in _again(file):
            ids += [self.bos, *self._ids(paragraph)]
            while len(ids) >= self.length:
                yield ids[: self.length]
                ids = ids[self.length :]

    def _ids(self, passage: str) -> list[int]:
        return token_ids(self.model.tokenizer.backend_tokenizer, passage)


def _again(file: Path) -> Iterator[str]:
    while True:
        read = paragraphs(file)
        first = next(read, None)
        if first is None:
            raise CourseError(f"{file} holds no text: give a file with at least one line")
        yield from chain([first], read)


def paragraphs(file: Path) -> Iterator[str]:
    """Yield what blank lines set apart in a text file, one at a time.

    Raises CourseError when the file can't be read, or is no UTF-8 text.
    """
    try:
        with file.open(encoding="utf-8") as lines:
            gathered: list[str] = []
            for line in lines:
                if line.strip() and sum(map(len, gathered)) < LONGEST_PARAGRAPH:
                    gathered.append(line.strip())
                elif gathered:
                    yield " ".join(gathered)
                    gathered = [line.strip()] if line.strip() else []
            if gathered:
                yield " ".join(gathered)
    except UnicodeDecodeError as error:
        raise CourseError(f"{file} is no UTF-8 text (byte {error.start}): save it as UTF-8") from error
    except OSError as error:
        raise CourseError(f"{file} can't be read: {error.strerror}") from error
