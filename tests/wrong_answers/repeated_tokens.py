"""Wrong answers to `repeated_tokens`, written from its statement and stub alone (see README.md)."""

import numpy as np
import torch
from einops import repeat


def repeated_tokens__bos_last(d_vocab, length, batch, bos, seed):
    """BOS stands at the end of each row instead of at its beginning.
    axis: BOS, position
    """
    generator = torch.Generator().manual_seed(seed)
    copy = torch.randint(d_vocab, (batch, length), generator=generator)
    return torch.cat([copy, copy, torch.full((batch, 1), bos)], dim=1)


def repeated_tokens__no_bos(d_vocab, length, batch, bos, seed):
    """The row has no BOS, so it is one token short.
    axis: BOS
    """
    generator = torch.Generator().manual_seed(seed)
    copy = torch.randint(0, d_vocab, size=(batch, length), generator=generator)
    return torch.cat((copy, copy), dim=-1)


def repeated_tokens__bos_before_each_copy(d_vocab, length, batch, bos, seed):
    """BOS stands before the second copy as well.
    axis: BOS, second copy
    """
    generator = torch.Generator()
    generator.manual_seed(seed)
    copy = torch.randint(d_vocab, (batch, length), generator=generator)
    with_bos = torch.nn.functional.pad(copy, (1, 0), value=bos)
    return torch.cat([with_bos, with_bos], dim=1)


def repeated_tokens__second_copy_drawn_anew(d_vocab, length, batch, bos, seed):
    """The second half is drawn again instead of repeating the first.
    axis: second copy
    """
    generator = torch.Generator().manual_seed(seed)
    rows = torch.full((batch, 1 + 2 * length), bos)
    rows[:, 1 : length + 1] = torch.randint(d_vocab, (batch, length), generator=generator)
    rows[:, length + 1 :] = torch.randint(d_vocab, (batch, length), generator=generator)
    return rows


def repeated_tokens__one_row_for_the_batch(d_vocab, length, batch, bos, seed):
    """One row is drawn and shown in every row of the batch.
    axis: batch, same in every row
    """
    generator = torch.Generator().manual_seed(seed)
    copy = torch.randint(d_vocab, (length,), generator=generator)
    row = torch.cat([torch.tensor([bos]), copy, copy])
    return repeat(row, "pos -> batch pos", batch=batch)


def repeated_tokens__highest_id_left_out(d_vocab, length, batch, bos, seed):
    """The student takes the upper end to be included and subtracts one, so the last id is never drawn.
    axis: vocabulary, last id
    """
    generator = torch.Generator().manual_seed(seed)
    copy = torch.randint(0, d_vocab - 1, (batch, length), generator=generator)
    return torch.cat([torch.full((batch, 1), bos), copy, copy], dim=1)


def repeated_tokens__id_zero_left_out(d_vocab, length, batch, bos, seed):
    """The ids start at 1, so id 0 is never drawn.
    axis: vocabulary, id 0
    """
    generator = torch.Generator().manual_seed(seed)
    start = torch.ones(batch, 1, dtype=torch.int64) * bos
    copy = torch.randint(1, d_vocab, (batch, length), generator=generator)
    return torch.hstack([start, copy, copy])


def repeated_tokens__global_seed(d_vocab, length, batch, bos, seed):
    """The global generator is seeded and used.
    axis: global random state
    """
    torch.manual_seed(seed)
    copy = torch.randint(d_vocab, (batch, length))
    return torch.cat([torch.full((batch, 1), bos), copy, copy], dim=1)


def repeated_tokens__seed_ignored(d_vocab, length, batch, bos, seed):
    """A generator is made and never seeded, so every call draws the tokens of one default seed.
    axis: seed
    """
    generator = torch.Generator()
    copy = torch.randint(d_vocab, (batch, length), generator=generator)
    return torch.cat([torch.full((batch, 1), bos), copy, copy], dim=1)


def repeated_tokens__floats(d_vocab, length, batch, bos, seed):
    """The tokens are written into a tensor of floats.
    axis: dtype, int64
    """
    generator = torch.Generator().manual_seed(seed)
    rows = torch.zeros(batch, 2 * length + 1)
    rows[:, 0] = bos
    for i in range(length):
        drawn = torch.randint(d_vocab, (batch,), generator=generator)
        rows[:, 1 + i] = drawn
        rows[:, 1 + length + i] = drawn
    return rows


def repeated_tokens__int32(d_vocab, length, batch, bos, seed):
    """The ids are stored as int32 to save memory.
    axis: dtype, int64
    """
    generator = torch.Generator().manual_seed(seed)
    copy = torch.randint(d_vocab, (batch, length), generator=generator, dtype=torch.int32)
    start = torch.full((batch, 1), bos, dtype=torch.int32)
    return torch.cat([start, copy, copy], dim=1)


def repeated_tokens__each_token_twice(d_vocab, length, batch, bos, seed):
    """Each token follows itself at once, instead of the line following itself.
    axis: order, second copy
    """
    generator = torch.Generator().manual_seed(seed)
    copy = torch.randint(d_vocab, (batch, length), generator=generator)
    return torch.cat([torch.full((batch, 1), bos), copy.repeat_interleave(2, dim=1)], dim=1)


def repeated_tokens__second_copy_reversed(d_vocab, length, batch, bos, seed):
    """The second copy runs backwards.
    axis: order, second copy
    """
    generator = torch.Generator().manual_seed(seed)
    copy = torch.randint(d_vocab, (batch, length), generator=generator)
    return torch.cat([torch.full((batch, 1), bos), copy, copy.flip(1)], dim=1)


def repeated_tokens__without_replacement(d_vocab, length, batch, bos, seed):
    """The tokens of a row are the first of a permutation, so none occurs twice in a copy.
    axis: independent, without replacement
    """
    generator = torch.Generator().manual_seed(seed)
    rows = []
    for _ in range(batch):
        copy = torch.randperm(d_vocab, generator=generator)[:length].tolist()
        rows.append([bos, *copy, *copy])
    return torch.tensor(rows)


def repeated_tokens__length_counts_bos(d_vocab, length, batch, bos, seed):
    """BOS is taken for the first of the `length` tokens, so each copy holds one token too few.
    axis: length, BOS
    """
    rng = torch.Generator().manual_seed(seed)
    copy = torch.randint(d_vocab, (batch, length - 1), generator=rng)
    return torch.cat([torch.full((batch, 1), bos), copy, copy], dim=1)


def repeated_tokens__repeated_along_the_batch(d_vocab, length, batch, bos, seed):
    """The repetition goes down the rows instead of along them.
    axis: batch, position
    """
    generator = torch.Generator().manual_seed(seed)
    copy = torch.randint(d_vocab, (batch, length), generator=generator)
    copies = copy.repeat(2, 1)
    return torch.cat([torch.full((2 * batch, 1), bos), copies], dim=1)


def repeated_tokens__bos_zero(d_vocab, length, batch, bos, seed):
    """The first token is 0 whatever `bos` says.
    axis: BOS
    """
    generator = torch.Generator().manual_seed(seed)
    copy = torch.randint(d_vocab, (batch, length), generator=generator)
    start = copy.new_zeros(batch, 1)
    return torch.cat([start, copy, copy], dim=1)


def repeated_tokens__numpy_seeded_globally(d_vocab, length, batch, bos, seed):
    """The seed goes to numpy, while torch's global generator draws the tokens.
    axis: seed, global random state
    """
    np.random.seed(seed)
    copy = torch.randint(d_vocab, (batch, length))
    return torch.cat([torch.full((batch, 1), bos), copy, copy], dim=1)
