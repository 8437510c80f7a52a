"""What the checks of the refusal case draw: activations with a planted cause, requests with two answers."""

import torch
from jaxtyping import Float
from torch import Tensor

from mechinterp_course.checking.comparison import expect

CLEAR = 0.02  # logits: how far each request stays from the border between its two answers
Rows = Float[Tensor, "example d_model"]


def two_groups(draw, positive=None, negative=None, d_model=None) -> tuple[Rows, Rows]:
    """Rows of two groups of different sizes, with correlated entries and a mean that is not zero."""
    d_model = d_model or draw.integer(4, 9)
    mixed = draw.normal(d_model, d_model) / d_model**0.5 + torch.eye(d_model)
    centre, apart = 2 * draw.normal(d_model), draw.normal(d_model)
    sizes = positive or draw.integer(14, 20), negative or draw.integer(6, 10)
    one, two = (draw.normal(size, d_model) @ mixed + centre for size in sizes)
    return one + apart, two


def planted_groups(draw) -> tuple[Rows, Rows, Float[Tensor, " d_model"], Float[Tensor, " d_model"]]:
    """Two groups that differ along `written` only, while `other` varies alike in both; the two are oblique.

    Returns (positive, negative, written, other); the lengths of both directions are 1.
    """
    d_model, pairs = draw.integer(6, 10), draw.integer(5, 8)
    written, other = (v / v.norm() for v in (draw.normal(d_model), draw.normal(d_model)))
    other = other + draw.choice([0.8, 1.2, -1.2]) * written
    other = other / other.norm()
    varied = (3 * draw.normal(pairs)).repeat(2) * torch.tensor([1.0, -1.0]).repeat_interleave(pairs)
    centre, moving = draw.normal(d_model), varied[:, None] * other
    return centre + written + moving, centre - written + moving, written, other


def reading(result, d_model) -> tuple[Tensor, float]:
    """A pair of a direction and a number, or a failed check."""
    fine = isinstance(result, list | tuple) and len(result) == 2 and isinstance(result[0], Tensor)
    fine = fine and isinstance(result[1], int | float) and not isinstance(result[1], bool)
    expect(fine, "The result is not a pair (direction, threshold) of a tensor and a float.")
    expect(result[0].shape == (d_model,), f"The direction does not have shape ({d_model},).")
    return result[0], float(result[1])


def requests(draw, model, amounts_of, early=False, count=9):
    """Arguments of a curve: (hook, direction, amounts, tokens, last, words), no request near the border.

    Rows end at places that differ, and what stands behind them is other text; `amounts_of` gives amounts.
    With `early`, what is added before the end matters, since later layers attend to it.
    """
    while True:
        layer = 0 if early else draw.integer(0, model.cfg.n_layers - 1)
        hook = f"blocks.{layer}.hook_resid_{draw.choice(['pre', 'post'])}"
        direction = 3 * draw.normal(model.cfg.d_model) / model.cfg.d_model**0.5
        tokens = draw.tokens(count, 9, model.cfg.d_vocab)
        last = torch.tensor([draw.integer(3, 7) for _ in range(count)])
        words = draw.integer(5, 1500), draw.integer(1501, 3000)
        case = hook, direction, amounts_of(), tokens, last, words
        if clear_of_the_border(model, *case):
            return case


def clear_of_the_border(model, hook, direction, amounts, tokens, last, words) -> bool:
    """Whether rounding decides nothing, and another dose, or another place to read at, gives other shares."""
    from mechinterp_course.steering import adding

    margins = []
    for amount in amounts:
        with torch.no_grad(), adding(model, hook, direction, amount):
            logits = model(tokens)
        margins.append(logits[..., words[0]] - logits[..., words[1]])
    margins = torch.stack(margins)
    own, before = (margins[:, torch.arange(len(last)), place] for place in (last, last - 1))
    shares = (own > 0).float().mean(dim=1)
    others = [(each > 0).float().mean(dim=1) for each in (before, margins[..., -1])]
    told = all(not torch.equal(each, shares) for each in others)
    varied = len(set(shares.tolist())) >= min(len(amounts), 3)
    return bool(own.abs().min() > CLEAR) and told and varied


def curve_and_after(function, model, *case):
    """What a function returns, and the logits of the model after it."""
    shares = function(model, *case)
    with torch.no_grad():
        return shares, model(case[3])
