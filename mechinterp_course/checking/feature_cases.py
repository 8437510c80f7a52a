"""What the checks of features and steering draw, and what they run beside an answer."""

from contextlib import contextmanager

import torch
from torch import Tensor

from mechinterp_course import hooks
from mechinterp_course.checking.comparison import expect


def values_after(function, *arguments):
    """The tensors and lists among the arguments, as a call of `function` leaves them."""
    function(*arguments)
    return [each for each in arguments if isinstance(each, Tensor | list)]


def expect_untouched(student, function, *arguments):
    """Pass if a call of the student's function leaves what it is given as it was."""
    given = [each for each in arguments if isinstance(each, Tensor | list)]
    left = student.run(values_after, function, *arguments)
    fine = isinstance(left, list) and len(left) == len(given)
    same = fine and all(
        torch.equal(a, b) if isinstance(a, Tensor) and isinstance(b, Tensor) else a == b
        for a, b in zip(left, given, strict=True)
    )
    expect(same, "The call changes what it was given in place: work on copies (`clone`).")


class Dictionary:
    """A small sparse autoencoder, given by its weights; `encode` and `decode` as sae-lens' have them."""

    def __init__(self, W_enc, b_enc, W_dec, b_dec):
        self.W_enc, self.b_enc, self.W_dec, self.b_dec = W_enc, b_enc, W_dec, b_dec

    @property
    def made_of(self):
        """What makes it again elsewhere."""
        return self.W_enc, self.b_enc, self.W_dec, self.b_dec

    def encode(self, x):
        return ((x - self.b_dec) @ self.W_enc + self.b_enc).relu()

    def decode(self, feature_acts):
        return feature_acts @ self.W_dec + self.b_dec


def streams(context, model, hook, direction, amount, tokens):
    """The activation at a hook inside the block and after it, and the logits inside."""
    with context(model, hook, direction, amount), torch.no_grad():
        logits, cache = model.run_with_cache(tokens, names_filter=hook)
    return cache[hook], model.run_with_cache(tokens, names_filter=hook)[1][hook].detach(), logits


def next_tokens(context, model, hook, direction, amount, tokens, keep):
    """Three tokens generated inside the block, one by one or with a cache of keys and values."""
    with context(model, hook, direction, amount):
        return model.generate(
            tokens, max_new_tokens=3, do_sample=False, use_past_kv_cache=keep, verbose=False
        )


def after_an_error(context, model, hook, direction, amount, tokens):
    """What the model computes inside a hook of another's, after a block that ended by an exception."""
    with hooks.edit(model, {hook: lambda activation: 2 * activation}):
        try:
            with context(model, hook, direction, amount):
                raise KeyError("from inside the block")
        except KeyError:
            pass
        inside = model(tokens).detach()
    return inside, model(tokens).detach(), direction


def a_case(draw, layers=2):
    """A small relabelled model, one of its stream's hooks, a direction, and tokens."""
    model = draw.language_model("course-attn-2l")
    hook = f"blocks.{draw.integer(0, layers - 1)}.hook_resid_{draw.choice(['pre', 'post'])}"
    return (
        model,
        hook,
        draw.normal(model.cfg.d_model),
        draw.tokens(draw.integer(2, 3), draw.integer(5, 8), model.cfg.d_vocab),
    )


def feature_on_texts(draw, texts, pos, share=0.4):
    """Activations of a feature in sixteenths, so that some are equal; silent on some texts, loud on BOS."""
    acts = (draw.normal(texts, pos) * 4).round().abs() / 16 * (draw.normal(texts, pos).abs() < share)
    acts[draw.integer(0, texts - 1)] = 0.0
    acts[:, 0] = 9.0
    lengths = [draw.integer(2, pos) for _ in range(texts)]
    readable = torch.tensor([[0 < p < length for p in range(pos)] for length in lengths])
    return acts, readable


def pairs(result):
    """A list of pairs of whole numbers, whatever sequences and numbers it was made of."""
    fine = isinstance(result, list | tuple) and all(
        isinstance(e, list | tuple) and len(e) == 2 for e in result
    )
    expect(fine, "The result is not a list of pairs (text, position).")
    return [(int(text), int(place)) for text, place in result]


@contextmanager
def another_end(model, weight, shift):
    """The model with other weights of the last LayerNorm, and an unembedding with a mean over d_model.

    On loading, both are often folded into the unembedding, and then nothing tells whether they count.
    """
    norm = model.ln_final.original_component.weight
    kept = norm.detach().clone(), model.W_U.detach().clone()
    try:
        with torch.no_grad():
            norm.copy_(weight)
            model.W_U.add_(shift)
        yield
    finally:
        with torch.no_grad():
            norm.copy_(kept[0])
            model.W_U.copy_(kept[1])


def said_at_another_end(function, model, weight, shift, *directions):
    """What a function says of directions in the model with another end."""
    with another_end(model, weight, shift):
        return [function(model, direction).detach() for direction in directions]


def through_the_end(model, direction):
    """What the model's own last LayerNorm and unembedding make of a large direction, brought to scale 1."""
    large = 1000 * direction[None, None]
    added = model.unembed(model.ln_final(large)) - model.unembed(model.ln_final(0 * large))
    return (added[0, 0] * (large - large.mean()).square().mean().sqrt() / 1000).detach()


def an_end(draw, model):
    """Weights for the last LayerNorm between 0.5 and 1.5, and a small shift of each column of W_U."""
    return draw.normal(model.cfg.d_model).sigmoid() + 0.5, draw.normal(model.cfg.d_vocab) / 8


def blind_case(draw, texts=40, pos=20):
    """Activations that fire on some half of the texts, differently strong, and in filling on others."""
    lengths = [draw.integer(6, pos) for _ in range(texts)]
    strength = torch.tensor([float(draw.integer(0, 1) * draw.integer(1, 10**6)) for _ in range(texts)])
    strength[:14] = torch.arange(1.0, 15.0) * 1e6
    strength[20:32] = 0
    acts = torch.zeros(texts, pos)
    for n, length in enumerate(lengths):
        acts[n, draw.integer(0, length - 1)] = strength[n]
        acts[n, length:] = 1e9
    return acts, lengths, strength


def items_of(result, number):
    """The items as pairs of a list and a place, or a failed check."""
    fine = isinstance(result, list | tuple) and len(result) == number
    fine = fine and all(isinstance(e, list | tuple) and len(e) == 2 and len(e[0]) == 5 for e in result)
    expect(fine, f"The result is not a list of {number} pairs (five texts, place).")
    items = [([int(n) for n in texts], int(place)) for texts, place in result]
    expect(all(0 <= place < 5 for _, place in items), "A place lies outside 0 … 4.")
    return items


def nearest_silent(members, lengths, strength):
    """The five silent texts nearest in length to the mean of the members."""
    mean = sum(lengths[n] for n in members) / 4
    return sorted((n for n in range(len(lengths)) if strength[n] == 0), key=lambda n: abs(lengths[n] - mean))[
        :5
    ]


def weights_of(draw, d_model, d_sae=40, scale=1.0):
    """Encoder, its bias, decoder and its bias of a dictionary that is far from right; its ends differ."""
    W_enc, W_dec = draw.normal(d_model, d_sae) / 8, draw.normal(d_sae, d_model) / 8
    return [W_enc * scale, draw.normal(d_sae) / 2, W_dec, draw.normal(d_model) / 3]


def attributed(function, model, weights, hook, tokens, metric):
    """What a function finds with a dictionary of these weights; and the parameters' gradients, counted.

    The parameters ask for gradients meanwhile, as those of a model that is being trained do.
    """
    asked = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    model.requires_grad_(True)
    try:
        per_feature, error = function(model, Dictionary(*weights), hook, tokens, metric)
        left = sum(parameter.grad is not None for parameter, _ in asked)
    finally:
        for parameter, before in asked:
            parameter.requires_grad_(before)
            parameter.grad = None
    return per_feature.detach(), float(error), left, tokens


def last_words(logits):
    """A metric: at the last position, logit 7 minus logit 11, summed over prompts."""
    return (logits[:, -1, 7] - logits[:, -1, 11]).sum()


def everywhere(logits):
    """A metric that reads all positions and isn't linear."""
    return logits.log_softmax(-1)[..., 17].mean()


def patched(function, model, weights, hook, tokens, other, feature):
    """The logits that a function returns with a dictionary of these weights, and the intact ones after it."""
    logits = function(model, Dictionary(*weights), hook, tokens, other, feature)
    with torch.no_grad():
        return logits.detach(), model(tokens), other


def minimal_rows(draw, d_vocab, batch, pos):
    """Rows of random tokens, and the same with one token of each changed, at places that differ."""
    tokens = draw.tokens(batch, pos, d_vocab)
    others, places = tokens.clone(), []
    for row in range(batch):
        place = draw.integer(1 + row % 2, pos - 3)
        others[row, place] = (tokens[row, place] + draw.integer(1, d_vocab - 1)) % d_vocab
        places.append(place)
    return tokens, others, places


def dose_case(draw, doses=9):
    """Doses in a drawn order, curves that stay clear of the bounds by half a percent, and an intact model.

    It refuses some requests or nearly all: bounds that are not shares can be met in the second case.
    """
    false, true = (draw.choice([draw.integer(40, 70), draw.integer(96, 100)]) / 100 for _ in range(2))
    intact = (false, true, draw.integer(15, 40) / 10)
    steps = sorted(range(1, doses + 1), key=lambda _: draw.seed())
    sign = draw.choice([1.0, -1.0])
    scale = draw.choice([0.5, 3.0])
    false, true, loss = (
        torch.tensor([float(draw.choice(options)) for _ in steps])
        for options in (
            [0.02, 0.1, 0.19, 0.21, 0.35, 0.9],
            [0.8, 0.89, 0.91, 0.95, 1.0],
            [0.99, 1.0, 1.01, 1.019, 1.021, 1.04],
        )
    )
    near = steps.index(draw.integer(4, 6))  # so that some dose is good more often than not
    false[near], true[near], loss[near] = 0.1, 0.95, 1.01
    return torch.tensor(steps) * sign * scale, false * intact[0], true * intact[1], loss * intact[2], intact


def as_dose(value):
    """A number or None; anything else fails."""
    fine = value is None or isinstance(value, int | float)
    expect(fine, "The result is neither a number nor None.")
    return None if value is None else float(value)
