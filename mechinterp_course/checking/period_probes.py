"""Words on which a search for a text that refutes the period detector has to be thorough."""

import torch

SETS = 16  # of words, tried at a time
CLEARLY = 0.03  # of probability, from where the verdict would change


def hard_words(draw, model, period, left_out):
    """Different words, `period` of them, that refute nothing in a search that leaves some texts out.

    The texts are those that have one word twice in each round and end with it. `left_out` is "turns": it is
    always the first word that comes twice; or "ends": a text ends with the first of its two places only. Some
    text that is left out breaks the claim, and no other does.
    """
    while True:
        order = torch.randperm(model.cfg.d_vocab, generator=torch.Generator().manual_seed(draw.seed()))
        words = order[: SETS * period].reshape(SETS, period).to(model.cfg.device)
        breaks, stands = zip(
            *(
                _outcomes(model, words, gap, period * 3 + end)
                for gap in range(1, period)
                for end in (1, gap + 1)
            ),
            strict=True,
        )
        breaks, stands = (torch.stack(each, dim=1).unflatten(1, (-1, 2)) for each in (breaks, stands))
        searched = stands[..., 0] if left_out == "turns" else stands[:, :, 0]
        hard = searched.flatten(1).all(dim=1) & breaks.flatten(1).any(dim=1)
        if hard.any():
            return words[hard][0]


@torch.no_grad()
def _outcomes(model, words, gap, length):
    """Whether texts of a length clearly break the claim, and whether they clearly don't: [set, turn] each."""
    sets, period = words.shape
    cycles = torch.stack([words.roll(turn, dims=1) for turn in range(period)], dim=1)
    cycles[..., gap] = cycles[..., 0]
    texts = cycles[..., torch.arange(length + 1) % period].flatten(end_dim=1)
    start = torch.full_like(texts[:, :1], model.tokenizer.bos_token_id)
    chances = model(torch.cat([start, texts[:, :-1]], dim=1))[:, -1].softmax(dim=-1)
    right = chances.gather(1, texts[:, -1:])
    other = chances.scatter(1, texts[:, -1:], 0.0).amax(dim=1, keepdim=True)
    breaks = (right < 0.5 - CLEARLY) & (right < other - CLEARLY)
    stands = (right > 0.5 + CLEARLY) | (right > other + CLEARLY)
    return breaks.reshape(sets, period), stands.reshape(sets, period)
