"""Words on which a search for a text that refutes the period detector has to be thorough."""

import torch

SETS = 16  # of words, tried at a time where few will do
CLEARLY = 0.03  # of probability, from where the verdict would change


def refutable_words(draw, model, period, count):
    """Different words, `count` of them, of which some text of this period clearly breaks the claim."""
    return _first(draw, model, period, count, 2, lambda breaks, stands: breaks.flatten(1).any(dim=1))


def hard_words(draw, model, period, left_out):
    """Different words, `period` of them, that refute nothing in a search that leaves some texts out.

    The texts are those that have one word twice in each round and end with it. `left_out` is "turns": it is
    always the first word that comes twice; or "ends": a text ends with the first of its two places only. Some
    text that is left out breaks the claim, and no other does.
    """

    def hard(breaks, stands):
        searched = stands[..., 0] if left_out == "turns" else stands[:, :, 0]
        return searched.flatten(1).all(dim=1) & breaks.flatten(1).any(dim=1)

    return _first(draw, model, period, period, SETS, hard)


def _first(draw, model, period, count, sets, wanted):
    """The first drawn words that are wanted, by which texts clearly break the claim and which clearly don't.

    Both are [set, gap, end, turn]. A text after which the right word is least likely breaks it, too, so that
    whoever looks for the least likely finds one: the right word may be unlikely, and likelier than any other.
    """
    while True:
        order = torch.randperm(model.cfg.d_vocab, generator=torch.Generator().manual_seed(draw.seed()))
        words = order[: sets * count].reshape(sets, count).to(model.cfg.device)
        outcomes = [
            _outcomes(model, words, period, gap, period * 3 + end)
            for gap in range(1, period)
            for end in (1, gap + 1)
        ]
        right, other = (
            torch.stack(each, dim=1).unflatten(1, (-1, 2)) for each in zip(*outcomes, strict=True)
        )
        breaks = (right < 0.5 - CLEARLY) & (right < other - CLEARLY)
        stands = (right > 0.5 + CLEARLY) | (right > other + CLEARLY)
        least = right <= right.flatten(1).amin(dim=1)[:, None, None, None] + CLEARLY
        fit = wanted(breaks, stands) & (breaks | ~least).flatten(1).all(dim=1)
        if fit.any():
            return words[fit][0]


@torch.no_grad()
def _outcomes(model, words, period, gap, length):
    """Probabilities after texts of a length, [set, turn]: of the right word, and of the likeliest other."""
    sets, turns = words.shape
    cycles = torch.stack([words.roll(turn, dims=1)[:, :period] for turn in range(turns)], dim=1)
    cycles[..., gap] = cycles[..., 0]
    texts = cycles[..., torch.arange(length + 1) % period].flatten(end_dim=1)
    start = torch.full_like(texts[:, :1], model.tokenizer.bos_token_id)
    chances = model(torch.cat([start, texts[:, :-1]], dim=1))[:, -1].softmax(dim=-1)
    right = chances.gather(1, texts[:, -1:])
    other = chances.scatter(1, texts[:, -1:], 0.0).amax(dim=1, keepdim=True)
    return right.reshape(sets, turns), other.reshape(sets, turns)
