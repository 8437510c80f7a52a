# %% [markdown] after="ch05_superposition"
r"""# Sparse autoencoders

In *Superposition* a model kept more features than it has dimensions, by letting each of them be rare. If that is what real
models do, then reading their neurons one by one is hopeless, and there is something to look for: a **dictionary** of
directions, more of them than dimensions, of which each activation uses a few. A **sparse autoencoder** (SAE) learns such a
dictionary from activations alone ([Bricken et al. 2023](https://transformer-circuits.pub/2023/monosemantic-features);
[Cunningham et al. 2023](https://arxiv.org/abs/2309.08600)).

It always finds *something*. So this chapter is as much about the numbers that say whether it is the right thing:

1. **An SAE from nothing.** Encoder, decoder, loss, a constraint, and which features may be active.
2. **Its numbers.** How sparse it is, what it leaves unexplained, what has died.
3. **Known features.** Data whose features are written down: did it find them? And what did the numbers say?
4. **A real model.** What a language model loses, beside simpler things that do the same job.

You need some PyTorch and linear algebra, no chapter before this. It takes about two and a half hours. The first
cell holds helpers of the checks: run it and go on, the first surprise is right below."""

# %% tags=["given"]
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

from mechinterp_course import feature_matching, sae, sae_training, sparse_activations
from mechinterp_course.checking import expect, expect_close, expect_equal

Acts = Float[Tensor, "token d_sae"]


def tensors_in(arguments):
    """The tensors among the arguments, and in lists among them."""
    flat = [part for each in arguments for part in (each if isinstance(each, list) else [each])]
    return [each for each in flat if isinstance(each, Tensor)]


def tensors_after(function, *arguments):
    """The tensors among the arguments, as a call of `function` leaves them."""
    function(*arguments)
    return tensors_in(arguments)


def expect_untouched(student, function, *arguments):
    """Pass if a call of the student's function leaves the tensors that it is given as they were."""
    left, tensors = student.run(tensors_after, function, *arguments), tensors_in(arguments)
    same = isinstance(left, list) and len(left) == len(tensors)
    same = same and all(torch.equal(a, b) for a, b in zip(left, tensors, strict=True))
    expect(same, "The call changes what it was given in place: work on copies (`clone`).")


def expect_parts(value, count):
    """Pass if the value is a tuple (or list) of so many parts."""
    several = isinstance(value, tuple | list) and len(value) == count
    expect(several, f"The result is not a tuple of {count} parts.")


def slopes(function, inputs, *others):
    """The gradients of a number with respect to each of the inputs; zeros where none arrives."""
    leaves = [each.clone().requires_grad_() for each in inputs]
    result = function(*leaves, *others)
    if not (isinstance(result, Tensor) and result.requires_grad):
        return [torch.zeros_like(each) for each in leaves]
    found = torch.autograd.grad(result.sum(), leaves, allow_unused=True)
    return [torch.zeros_like(a) if b is None else b for a, b in zip(leaves, found, strict=True)]


# %% tags=["demo"]
from mechinterp_course import sae_comparison, sae_plots
from mechinterp_course.known_features import draw_known_features
from mechinterp_course.sae_comparison import KINDS, Kind, trained

world = draw_known_features(d_in=32, features=48, probability=0.05, seed=0)
autoencoders = {
    "autoencoder A": trained(KINDS["almost no L1"], world, seed=0),
    "autoencoder B": trained(KINDS["L1"], world, seed=0),
}
print("                variance unexplained    features found, of 48")
for name, one in autoencoders.items():
    seen = sae_comparison.outcome(one, world)
    print(f"{name:16} {seen.unexplained:12.1%} {48 * seen.recovery.recall:22.0f}")

# %% [markdown]
r"""48 directions in 32 dimensions, each active on one token in twenty; two autoencoders saw nothing but the sums. A rebuilds
them almost perfectly and has found none of the directions. B is sloppy, and has found all of them. By the usual measure of
reconstruction you would have taken A.

They differ in one number, the weight of one term of the loss. So let us build the whole thing, term by term.

## An SAE from nothing"""

# %% [markdown] exercise="encode_and_decode" minutes=10 difficulty=1 reference="sae.encode_and_decode" withhold=["encode_and_decode", "encode", "decode", "pre_activations", "activate", "forward"]
r"""## There and back

$$f = \mathrm{ReLU}\big((x - b_\mathrm{dec})\,W_\mathrm{enc} + b_\mathrm{enc}\big), \qquad \hat x = f\,W_\mathrm{dec} + b_\mathrm{dec}$$

Return `(feature_acts, reconstruction)`: how active each feature is, and the sum of the features' directions, which are the
**rows of `W_dec`**. The decoder's bias is subtracted before encoding and added after decoding: features say how an
activation differs from a typical one. `activations` may have any axes before the last: `[d_in]`, `[token, d_in]`, `[batch, pos,
d_in]`.

(*Tied*: `W_enc` is `W_dec.T`. Here they differ.)"""

# %% [markdown] tags=["hint"]
r"""`x @ W_enc` has shape `[…, d_sae]`. The order: subtract `b_dec`, multiply, add `b_enc`, then the ReLU. What the decoder gets
is what the ReLU has left."""


# %%
def encode_and_decode(
    activations: Float[Tensor, "... d_in"],
    W_enc: Float[Tensor, "d_in d_sae"],
    b_enc: Float[Tensor, " d_sae"],
    W_dec: Float[Tensor, "d_sae d_in"],
    b_dec: Float[Tensor, " d_in"],
) -> tuple[Float[Tensor, "... d_sae"], Float[Tensor, "... d_in"]]:
    """Feature activations, and the reconstruction made of them."""
    # BEGIN SOLUTION
    pre_activations = (activations - b_dec) @ W_enc + b_enc
    feature_acts = torch.clamp(pre_activations, min=0.0)
    return feature_acts, feature_acts @ W_dec + b_dec
    # END SOLUTION


# %% tags=["given"]
def some_weights(draw, d_in, d_sae):
    """W_enc, b_enc, W_dec, b_dec; biases as large as what they are added to."""
    shapes = (d_in, d_sae), (d_sae,), (d_sae, d_in), (d_in,)
    return [scale * draw.normal(*shape) for scale, shape in zip((0.5, 1, 0.5, 2), shapes, strict=True)]


# %% tags=["check"] points=2
def check_agrees_with_the_reference(student, draw):
    """activations and reconstruction agree with the reference, for one token, many, and batches of rows"""
    for axes, dims in (((), ""), ((draw.integer(4, 6),), "token "), ((2, draw.integer(3, 5)), "batch pos ")):
        d_in = draw.integer(7, 9)
        weights = some_weights(draw, d_in, draw.integer(11, 15))
        activations = 2 * draw.normal(*axes, d_in)
        result = student.encode_and_decode(activations, *weights)
        expect_parts(result, 2)
        expected = sae.encode_and_decode(activations, *weights)
        expect_close(result[0], expected[0], dims=f"{dims}d_sae")
        expect_close(result[1], expected[1], dims=f"{dims}d_in")
    expect_untouched(student, student.encode_and_decode, activations, *weights)


# %% tags=["check", "hidden"] points=2
def check_follows_the_decoder_bias(student, draw):
    """an activation that equals b_dec is told by b_enc alone, and moving both moves only the reconstruction"""
    W_enc, b_enc, W_dec, b_dec = weights = some_weights(draw, 5, 9)
    result = student.encode_and_decode(b_dec.expand(3, 5).clone(), *weights)
    expect_parts(result, 2)
    silent = b_enc.clamp(min=0).expand(3, 9)
    expect_close(result[0], silent, dims="token d_sae")
    expect_close(result[1], silent @ W_dec + b_dec, dims="token d_in")
    activations, shift = draw.normal(4, 5), draw.normal(5)
    moved = student.encode_and_decode(activations + shift, W_enc, b_enc, W_dec, b_dec + shift)
    expected = sae.encode_and_decode(activations, *weights)
    expect_close(moved[0], expected[0], dims="token d_sae")
    expect_close(moved[1], expected[1] + shift, dims="token d_in")


# %% [markdown]
r"""With more features than inputs, perfect reconstruction is cheap. The loss has to ask for something else as well: that few
features be active. Counting them has no gradient. The usual stand-in is the sum of their activations, the **L1 penalty**."""

# %% [markdown] exercise="sae_loss" minutes=12 difficulty=2 reference="sae_training.sae_loss"
r"""## The loss

Return, as a tensor without axes through which gradients flow, the mean over tokens of

$$\sum_{i \in \mathrm{inputs}} (\hat x_i - x_i)^2 \;+\; \lambda \sum_{j \in \mathrm{features}} f_j \,\lVert W_{\mathrm{dec},j} \rVert_2$$

The squared error is **summed** over the inputs, not averaged. And each activation counts with the **length of its decoder row**
([Conerly et al. 2024](https://transformer-circuits.pub/2024/april-update)): else the loss falls when f is halved and the row
doubled, which changes nothing that anybody cares about."""

# %% [markdown] tags=["hint"]
r"""`W_dec.norm(dim=-1)` is one number for each feature. Sum over the last axis first, average over tokens at the end.
`torch.nn.functional.mse_loss` averages over inputs too: it is `d_in` times too small."""


# %%
def sae_loss(
    activations: Float[Tensor, "token d_in"],
    reconstruction: Float[Tensor, "token d_in"],
    feature_acts: Acts,
    W_dec: Float[Tensor, "d_sae d_in"],
    l1_coefficient: float,
) -> Float[Tensor, ""]:
    """Squared error and weighted L1 penalty of a token, averaged over tokens."""
    # BEGIN SOLUTION
    squared_error = ((activations - reconstruction) ** 2).sum(dim=1)
    lengths = torch.linalg.vector_norm(W_dec, dim=1)
    return (squared_error + l1_coefficient * feature_acts @ lengths).mean()
    # END SOLUTION


# %% tags=["given"]
def some_tokens(draw, tokens, d_in, d_sae):
    """Activations, a reconstruction that is not theirs, sparse feature activations, decoder rows of any length."""
    feature_acts = (draw.normal(tokens, d_sae) - 0.5).clamp(min=0)
    return draw.normal(tokens, d_in), 2 * draw.normal(tokens, d_in), feature_acts, draw.normal(d_sae, d_in)


# %% tags=["check"] points=2
def check_agrees_with_the_reference(student, draw):
    """sae_loss agrees with the reference for any number of tokens, inputs and features, and for no penalty"""
    for strength in (0.0, 0.7, 3.0):
        case = some_tokens(draw, draw.integer(3, 6), draw.integer(7, 9), draw.integer(11, 14))
        expected = sae_training.sae_loss(*case, strength)
        expect_close(student.sae_loss(*case, strength), expected, dims="")
    expect_untouched(student, student.sae_loss, *case, strength)


# %% tags=["check", "hidden"] points=2
def check_counts_tokens_and_lengths_rightly(student, draw):
    """saying every token twice changes nothing, nor do smaller activations with longer rows; a case by hand"""
    x, y, acts, W_dec = some_tokens(draw, 5, 6, 10)
    known = sae_training.sae_loss(x, y, acts, W_dec, 0.5).item()
    twice = [each.repeat(2, 1) for each in (x, y, acts)]
    expect_close(student.sae_loss(*twice, W_dec, 0.5), known)
    factor = draw.normal(10).exp()
    expect_close(student.sae_loss(x, y, acts / factor, factor[:, None] * W_dec, 0.5), known)
    x, y = torch.zeros(2, 3), torch.tensor([[1.0, 2.0, 2.0], [0.0, 0.0, -1.0]])
    acts, W_dec = torch.tensor([[2.0, 0.0], [1.0, 3.0]]), torch.tensor([[0.0, 3.0, 4.0], [1.0, 0.0, 0.0]])
    by_hand = ((9 + 0.1 * 10) + (1 + 0.1 * 8)) / 2
    expect_close(student.sae_loss(*(each.to(draw.device) for each in (x, y, acts, W_dec)), 0.1), by_hand)


# %% tags=["check", "hidden"] points=1
def check_gradients_flow(student, draw):
    """gradients reach the reconstruction, the activations and the lengths of the decoder rows"""
    x, *rest = some_tokens(draw, 4, 6, 9)
    found = student.run(slopes, student.sae_loss, [x, *rest], 0.8)
    known = slopes(sae_training.sae_loss, [x, *rest], 0.8)
    expect_parts(found, 4)
    for actual, expected, dims in zip(
        found, known, ("token d_in", "token d_in", "token d_sae", "d_sae d_in"), strict=True
    ):
        expect_close(actual, expected, dims=dims)


# %% [markdown] exercise="constrain_decoder" minutes=12 difficulty=3 reference="sae_training.constrain_decoder"
r"""## A decoder of unit length

Many SAEs settle the question of lengths for good: each decoder row is held at length 1. After a step one divides the rows by
their lengths. But the step itself wants to lengthen them, again and again, and Adam's running averages fill with a wish that is
never granted. So before the step one takes out of the gradient what points **along** the row
([Bricken et al. 2023](https://transformer-circuits.pub/2023/monosemantic-features)).

Return `(unit, projected)`: the rows of `W_dec` at length 1, and `gradient` without, for each row, its component along that
row. The rows that come in may have any length but 0; `gradient` is that of `W_dec`, of the same shape. Both arguments
stay as they are."""

# %% [markdown] tags=["hint"]
r"""The component of g along a unit vector u is (g · u) u, one number for each row times that row. With a row that has not length
1 in the place of u, too much or too little is taken away."""


# %%
def constrain_decoder(
    W_dec: Float[Tensor, "d_sae d_in"], gradient: Float[Tensor, "d_sae d_in"]
) -> tuple[Float[Tensor, "d_sae d_in"], Float[Tensor, "d_sae d_in"]]:
    """Rows of unit length, and the gradient orthogonal to them, row by row."""
    # BEGIN SOLUTION
    lengths = W_dec.pow(2).sum(dim=1).sqrt()
    unit = W_dec / lengths[:, None]
    along = (gradient * unit).sum(dim=1)
    projected = gradient - along[:, None] * unit
    return unit, projected
    # END SOLUTION


# %% tags=["check"] points=2
def check_agrees_with_the_reference(student, draw):
    """constrain_decoder agrees with the reference, for rows of any length, and changes nothing in place"""
    for d_sae, d_in in ((draw.integer(9, 12), draw.integer(5, 8)), (4, draw.integer(6, 9))):
        W_dec, gradient = 2 * draw.normal(d_sae, d_in), draw.normal(d_sae, d_in)
        result = student.constrain_decoder(W_dec, gradient)
        expect_parts(result, 2)
        for actual, expected in zip(result, sae_training.constrain_decoder(W_dec, gradient), strict=True):
            expect_close(actual, expected, dims="d_sae d_in")
    expect_untouched(student, student.constrain_decoder, W_dec, gradient)


# %% tags=["check", "hidden"] points=3
def check_leaves_what_turns_the_rows(student, draw):
    """a gradient along the rows vanishes, one across them stays, also the second time; a case by hand"""
    W_dec = draw.normal(7, 4)
    unit = W_dec / W_dec.norm(dim=1, keepdim=True)
    across = draw.normal(7, 4)
    across -= (across * unit).sum(dim=1, keepdim=True) * unit
    for gradient, left in ((3 * W_dec, torch.zeros_like(W_dec)), (across, across), (across - W_dec, across)):
        result = student.constrain_decoder(W_dec, gradient)
        expect_parts(result, 2)
        expect_close(result[0], unit, dims="d_sae d_in")
        expect_close(result[1], left, dims="d_sae d_in")
    rows, gradient = torch.tensor([[3.0, 4.0], [0.0, -2.0]]), torch.tensor([[1.0, 0.0], [5.0, 7.0]])
    result = student.constrain_decoder(rows.to(draw.device), gradient.to(draw.device))
    expect_close(result[0].cpu(), torch.tensor([[0.6, 0.8], [0.0, -1.0]]), dims="d_sae d_in")
    expect_close(result[1].cpu(), torch.tensor([[0.64, -0.48], [5.0, 0.0]]), dims="d_sae d_in")


# %% [markdown]
r"""The L1 penalty has a price. It pulls on every active feature, also on one that is right, so that it comes out too small. How much?
In a world with known features one can ask: by what factor are the matched features smaller than the true ones, where both are
active?"""

# %% [markdown] tags=["predict"] name="shrinkage" tolerance=0.05
r"""Autoencoder B was trained with λ = 0.15, the directions have length 1, and features are active at sizes around 1. Suppose that a
token has one feature, with value 1. Which value minimizes (1 − f)² + λ f? Then guess the factor measured over all tokens."""

# %% tags=["demo"]
answer = sae_comparison.shrinkage(autoencoders["autoencoder B"], world)
for strength in (0.05, 0.15, 0.5):
    measured = sae_comparison.shrinkage(trained(Kind(l1_coefficient=strength), world, seed=0), world)
    print(
        f"λ = {strength:4}: {measured:.2f} of the true size; one feature alone: 1 − λ/2 = {1 - strength / 2:.3f}"
    )

# %% [markdown]
r"""This is **shrinkage**. It biases every activation that you will ever read off such an SAE, and it is worse than the calculation for
one feature says, because features that are not orthogonal share what there is to say. A way out is not to penalize at all, and
to say instead how many may be active."""

# %% [markdown] exercise="topk" minutes=12 difficulty=2 reference="sparse_activations.topk"
r"""## TopK and BatchTopK

Return the activations that are left of `pre_activations` when only the largest may stay:

- **TopK** (`across_batch=False`): of each token the `k` largest ([Gao et al. 2024](https://arxiv.org/abs/2406.04093));
- **BatchTopK** (`across_batch=True`): of the whole batch the (`k` × number of tokens) largest, however they fall on the tokens
  ([Bussmann et al. 2024](https://arxiv.org/abs/2412.06410)). A token with much to say may take more than k, another fewer.

All others are zero. Of those that stay, a negative one becomes zero too, so fewer than k may be active. `pre_activations` has
any axes before the last; **every** position of these is a token. Gradients flow to what stays. Values don't tie."""

# %% [markdown] tags=["hint"]
r"""`values, places = x.topk(k, dim=-1)` and `torch.zeros_like(x).scatter(-1, places, values)` put the largest back where they were.
For BatchTopK flatten everything first; the number of tokens is `x[..., 0].numel()`."""


# %%
def topk(
    pre_activations: Float[Tensor, "... d_sae"], k: int, across_batch: bool = False
) -> Float[Tensor, "... d_sae"]:
    """The k largest of each token, or of the whole batch on average, where they are positive."""
    # BEGIN SOLUTION
    rows = pre_activations.flatten(end_dim=-2)
    if across_batch:
        k, rows = k * len(rows), rows.reshape(1, -1)
    smallest = rows.topk(k, dim=-1).values[:, -1:]
    stays = (rows >= smallest) & (rows > 0)
    return torch.where(stays, rows, 0.0).view_as(pre_activations)
    # END SOLUTION


# %% tags=["check"] points=2
def check_agrees_with_the_reference(student, draw):
    """topk agrees with the reference, by token and across the batch, also in batches of rows of tokens"""
    for axes, dims in (((draw.integer(4, 7),), "token d_sae"), ((2, draw.integer(3, 5)), "batch pos d_sae")):
        values = draw.normal(*axes, draw.integer(9, 13)) + 0.3
        for across in (False, True):
            k = draw.integer(2, 3)
            expected = sparse_activations.topk(values, k, across)
            expect_close(student.topk(values, k, across), expected, dims=dims)
        expect_untouched(student, student.topk, values, k, across)


# %% tags=["check", "hidden"] points=3
def check_knows_simple_batches(student, draw):
    """negative values never stay, a loud token takes its neighbours' places, and gradients reach what stays"""
    quiet, loud = torch.tensor([0.1, -9.0, 0.2, 0.3]), torch.tensor([5.0, 7.0, -8.0, 6.0])
    shy = torch.tensor([-1.0, -2.0, 0.4, -3.0])
    values = torch.stack([quiet, loud, shy]).to(draw.device)
    by_token = torch.tensor([[0, 0, 0.2, 0.3], [0, 7.0, 0, 6.0], [0, 0, 0.4, 0]]).to(draw.device)
    together = torch.tensor([[0, 0, 0, 0], [5.0, 7.0, 0, 6.0], [0, 0, 0, 0]]).to(draw.device)
    expect_close(student.topk(values, 2), by_token, dims="token d_sae")
    expect_close(student.topk(values, 1, True), together, dims="token d_sae")
    expect_close(student.topk(-values.abs(), 2, True), 0 * values, dims="token d_sae")
    for k, across, known in ((2, False, by_token), (1, True, together)):
        found = student.run(slopes, student.topk, [values], k, across)
        expect_parts(found, 1)
        expect_close(found[0], (known > 0).float(), dims="token d_sae")


# %% [markdown]
r"""## Its numbers

An SAE is judged by a handful of numbers. Each is easy to compute, and each has ways to be computed wrongly that look right."""

# %% [markdown] exercise="firing_statistics" minutes=10 difficulty=2 reference="sae_training.firing_statistics" withhold=["firing_statistics", "mean_l0", "feature_density", "dead_features"]
r"""## How many fire, how often, and which never

Activations come in batches, with different numbers of tokens. Return `(l0, density, dead)`, each over **all tokens of all batches**:

- `l0`, a float: how many features are active (above zero) on a token, on average;
- `density`, float32 `[d_sae]`: the share of tokens on which each feature is active;
- `dead`, bool `[d_sae]`: is it active on none of them?

Every token counts the same, whichever batch it came in. A feature that is silent in one batch may be rare, which is what
one hopes for; it takes many batches to call it dead."""

# %% [markdown] tags=["hint"]
r"""Count, for each feature, the tokens on which it fired, and add these counts up over the batches. All three numbers follow from the
counts and the number of tokens."""


# %%
def firing_statistics(batches: list[Acts]) -> tuple[float, Float[Tensor, " d_sae"], Bool[Tensor, " d_sae"]]:
    """Mean L0, density of each feature, and which features are dead."""
    # BEGIN SOLUTION
    fires = torch.cat([batch > 0 for batch in batches])
    return fires.sum(1).float().mean().item(), fires.float().mean(0), ~fires.any(0)
    # END SOLUTION


# %% tags=["given"]
def some_batches(draw, d_sae):
    """Batches of unequal size and unequal sparsity; the first feature never fires, the second in one batch only."""
    batches = []
    for number, tokens in enumerate((draw.integer(3, 6), draw.integer(20, 30), draw.integer(8, 12))):
        acts = (0.01 + draw.normal(tokens, d_sae).abs()) * (draw.normal(tokens, d_sae) > number - 0.8)
        acts[:, 0] = 0.0
        acts[:, 1] *= number == 1
        acts[-1, 1] = 0.3 if number == 1 else 0.0
        batches.append(acts)
    return batches


# %% tags=["check"] points=2
def check_agrees_with_the_reference(student, draw):
    """L0, densities and dead features agree with the reference on batches of unequal size"""
    for _ in range(2):
        batches = some_batches(draw, draw.integer(14, 18))
        result = student.firing_statistics(batches)
        expect_parts(result, 3)
        l0, density, dead = sae_training.firing_statistics(batches)
        expect_close(result[0], l0)
        expect_close(result[1], density, dims="d_sae")
        expect_close(result[2], dead, dims="d_sae")
    expect_untouched(student, student.firing_statistics, batches)


# %% tags=["check", "hidden"] points=2
def check_counts_every_token_once(student, draw):
    """cutting the same tokens into other batches changes nothing, nor does doubling activations; a case by hand"""
    batches = some_batches(draw, 12)
    l0, density, dead = sae_training.firing_statistics(batches)
    whole = torch.cat(batches)
    for other in ([whole], [whole[:1], whole[1:]], [2 * batch for batch in batches], batches[::-1]):
        result = student.firing_statistics(other)
        expect_parts(result, 3)
        expect_close(result[0], l0)
        expect_close(result[1], density, dims="d_sae")
        expect_close(result[2], dead, dims="d_sae")
    first, second = (
        torch.tensor([[1.0, 0, 0, 0.001]]),
        torch.tensor([[0, 2.0, 0, 0], [4.0, 0, 0, 0], [9.0, 9, 0, 0]]),
    )
    result = student.firing_statistics([first.to(draw.device), second.to(draw.device)])
    expect(isinstance(result[0], float), "The mean L0 is not a float.")
    expect_close(result[0], 1.5)
    expect_close(result[1].cpu(), torch.tensor([0.75, 0.5, 0.0, 0.25]), dims="d_sae")
    expect_equal(result[2].tolist(), [False, False, True, False], what="features")


# %% [markdown] exercise="fraction_of_variance_unexplained" minutes=12 difficulty=3 reference="sae.fraction_of_variance_unexplained" withhold=["fraction_of_variance_unexplained", "unexplained"]
r"""## What is left over

Return, as a float, the **fraction of variance unexplained** (FVU)

$$\frac{\sum_{t}\sum_i (\hat x_{ti} - x_{ti})^2}{\sum_{t}\sum_i (x_{ti} - \bar x_i)^2}$$

where $\bar x$ is the mean activation over all tokens, one number for each input. 0 is perfect; 1 is what one gets by always
saying the mean; a bad reconstruction exceeds 1. `activations` may have any axes before the last, and every position of these is a
token. Both sums run over tokens **and** inputs before dividing: directions of little variance count little."""

# %% [markdown] tags=["hint"]
r"""`activations.flatten(end_dim=-2)` makes `[token, d_in]` of any axes. The mean is over tokens, `mean(dim=0)`. Residual streams
have a large mean: without subtracting it, nearly everything looks explained."""


# %%
def fraction_of_variance_unexplained(
    activations: Float[Tensor, "... d_in"], reconstruction: Float[Tensor, "... d_in"]
) -> float:
    """Squared error, over squared distance from the mean activation."""
    # BEGIN SOLUTION
    tokens = activations.reshape(-1, activations.shape[-1]).double()
    error = (reconstruction.reshape(tokens.shape) - tokens).pow(2).mean()
    return (error / tokens.var(dim=0, correction=0).mean()).item()
    # END SOLUTION


# %% tags=["given"]
def some_reconstruction(draw, *shape):
    """Activations with a mean and unequal variances, and a reconstruction that is biased."""
    activations = draw.normal(*shape) * draw.normal(shape[-1]).exp() + 2 * draw.normal(shape[-1])
    return activations, 0.8 * activations + 0.3 * draw.normal(*shape) + 0.4


# %% tags=["check"] points=2
def check_agrees_with_the_reference(student, draw):
    """FVU agrees with the reference on tokens, and on batches of rows of tokens"""
    for axes in ((draw.integer(6, 9),), (draw.integer(2, 3), draw.integer(4, 5)), (draw.integer(30, 50),)):
        pair = some_reconstruction(draw, *axes, draw.integer(5, 11))
        expect_close(
            student.fraction_of_variance_unexplained(*pair), sae.fraction_of_variance_unexplained(*pair)
        )
    expect_untouched(student, student.fraction_of_variance_unexplained, *pair)


# %% tags=["check", "hidden"] points=3
def check_knows_simple_reconstructions(student, draw):
    """itself gives 0, the mean 1, moving both by a vector changes nothing; a bias counts; a case by hand"""
    activations, guess = some_reconstruction(draw, 3, 4, 6)
    mean = activations.mean(dim=(0, 1))
    nothing_lost = student.fraction_of_variance_unexplained(activations, activations)
    expect(isinstance(nothing_lost, float), "The result is not a float.")
    expect_close(nothing_lost, 0.0)
    expect_close(student.fraction_of_variance_unexplained(activations, mean.expand(3, 4, 6).clone()), 1.0)
    known = sae.fraction_of_variance_unexplained(activations, guess)
    shift = 2 * draw.normal(6)
    moved = student.fraction_of_variance_unexplained(activations + shift, guess + shift)
    expect_close(moved, known)
    offset = sae.fraction_of_variance_unexplained(activations, activations + 0.5)
    expect_close(student.fraction_of_variance_unexplained(activations, activations + 0.5), offset)
    x = torch.tensor(
        [[1.0, 10.0], [3.0, 10.0], [1.0, 12.0], [3.0, 12.0]]
    )  # 8 of squared distance from (2, 11)
    y = x + torch.tensor([[1.0, 0.0], [0.0, 0.0], [0.0, -1.0], [0.0, 0.0]])
    expect_close(student.fraction_of_variance_unexplained(x.to(draw.device), y.to(draw.device)), 0.25)


# %% [markdown]
r"""## Known features

None of these numbers says whether the features are the right ones. Where the truth is known, one can ask directly: compare each
decoder row with each true direction, by their cosine."""

# %% [markdown] exercise="match_features" minutes=15 difficulty=3 reference="feature_matching.match_features" withhold=["match_features", "recovery", "uniqueness"]
r"""## Who found whom

Match found directions with true ones, **one to one**, so that the sum of the cosines of matched pairs is as large as can be. Return
`(partner, cosine)`, both of shape `[true]`:

- `partner`, int64: the index of the found direction matched to each true one, or **−1** if there are fewer found than true ones and
  this one is left over;
- `cosine`, float32: their cosine; 0 where the partner is −1.

Rows of both may have any length but 0. The sign counts: activations are never negative, so a direction and its opposite are two
features. Taking for each true direction the nearest one is not a matching, since one vague direction can be the nearest of many.
Nor is taking the best pair, then the best of the rest: it may spend on one what two needed."""

# %% [markdown] tags=["hint"]
r"""`scipy.optimize.linear_sum_assignment(table, maximize=True)` returns the rows and columns of the best assignment of a matrix, as
NumPy arrays. Without `maximize` it looks for the worst."""


# %%
def match_features(
    found: Float[Tensor, "found d_in"], truth: Float[Tensor, "true d_in"]
) -> tuple[Int[Tensor, " true"], Float[Tensor, " true"]]:
    """For each true direction, the found one matched to it, and their cosine."""
    # BEGIN SOLUTION
    from scipy.optimize import linear_sum_assignment

    unit_found = found / found.norm(dim=1, keepdim=True)
    unit_truth = truth / truth.norm(dim=1, keepdim=True)
    table = unit_truth @ unit_found.T
    partner = torch.full((len(truth),), -1, device=truth.device)
    cosine = torch.zeros(len(truth), device=truth.device)
    for true, other in zip(*linear_sum_assignment(-table.detach().cpu().numpy()), strict=True):
        partner[true], cosine[true] = int(other), table[true, other]
    return partner, cosine
    # END SOLUTION


# %% tags=["given"]
def tempting_directions(draw, count, d_in):
    """True directions, and found ones of any length, in any order, for which neither the nearest nor a greedy choice is best."""
    truth = torch.linalg.qr(draw.normal(d_in, count).cpu())[0].T.to(draw.device)
    found = truth + 0.3 * draw.normal(count, d_in) / d_in**0.5
    found[0], found[1] = truth[0] + 0.8 * truth[1], 0.7 * truth[0] - 0.9 * truth[1]
    found[2] = 0.8 * truth[2] - 1.1 * truth[3]
    order = draw.normal(count).argsort()
    return (found * draw.normal(count).exp()[:, None])[order], 3 * truth * draw.normal(count).exp()[:, None]


# %% tags=["check"] points=3
def check_agrees_with_the_reference(student, draw):
    """partners and cosines agree with the reference, also where found and true directions are not equally many"""
    count = draw.integer(6, 7)
    found, truth = tempting_directions(draw, count, 8)
    extra = draw.normal(2, 8)
    for some, others in (
        (found, truth),
        (torch.cat([extra, found]), truth),
        (found, torch.cat([extra, truth])),
    ):
        result = student.match_features(some, others)
        expect_parts(result, 2)
        partner, cosine = feature_matching.match_features(some, others)
        expect_close(result[0], partner, dims="true")
        expect_close(result[1], cosine, dims="true")
    expect_untouched(student, student.match_features, found, truth)


# %% tags=["check", "hidden"] points=3
def check_finds_planted_partners(student, draw):
    """a shuffle is undone whatever the lengths, opposites are strangers, and a case by hand"""
    truth = draw.normal(6, 12)
    order = draw.normal(6).argsort()
    result = student.match_features((truth * draw.normal(6).exp()[:, None])[order], truth)
    expect_parts(result, 2)
    expect_close(result[0], order.argsort(), dims="true")
    expect_close(result[1], torch.ones_like(truth[:, 0]), dims="true")
    axes = torch.eye(3)
    found = torch.tensor([[0.0, -5.0, 0.0], [0.0, 0.6, 0.8], [0.0, 8.0, 6.0]])  # the last two are near both
    result = student.match_features(found.to(draw.device), axes.to(draw.device))
    expect_equal(result[0].tolist(), [0, 2, 1], what="partners")
    expect_close(result[1].cpu(), torch.tensor([0.0, 0.8, 0.8]), dims="true")
    result = student.match_features(found[1:2].to(draw.device), axes.to(draw.device))
    expect_equal(result[0].tolist(), [-1, -1, 0], what="partners")
    expect_close(result[1].cpu(), torch.tensor([0.0, 0.0, 0.8]), dims="true")


# %% [markdown] exercise="recover_features" minutes=30 difficulty=4 needs=["encode_and_decode", "sae_loss", "constrain_decoder", "topk"] reference="sae_training.recover_features" withhold=["recover_features", "train"]
r"""## Train one

Now put it together. `activations` are sums of a few of some unknown directions of length 1, of which each is active on about
one token in fifteen, with values around 1; a bias is added to all. Train a sparse autoencoder of `d_sae` features, as many as
there are directions, and return its **decoder rows**, `[d_sae, d_in]`.

You are graded by outcome, on directions you have not seen: matched one to one, the mean cosine must be at least 0.75, and 40 % of the
directions must have a partner with a cosine of 0.9 or more. Good training ends above 0.95; a bad draw of the first weights can cost
some of that. Random rows, principal directions and reconstruction without sparsity end near 0.5, and have no partner at 0.9. The
same `seed` must give the same answer. How you train is up to you: L1, TopK, BatchTopK, tied or
not. A call has ten seconds; 400 steps on 256 tokens of those sizes take about one."""

# %% [markdown] tags=["hint"]
r"""Start: decoder rows random and of unit length, the encoder their transpose, `b_enc` zero, `b_dec` the mean activation. Then
`torch.optim.Adam` with a learning rate of 0.02, falling to zero over the last third of 400 steps, on 256 tokens drawn at random
in each; λ = 0.2 in your `sae_loss`; the gradient of `W_dec` projected before each step, its rows made unit after it."""

# %% [markdown] tags=["hint"]
r"""`W_dec.grad = constrain_decoder(W_dec, W_dec.grad)[1]` before `optimizer.step()`, and after it, under `torch.no_grad()`,
`W_dec.copy_(constrain_decoder(W_dec, W_dec.grad)[0])`. If it finds nothing, print λ · L1 beside the squared error: without
sparsity any directions will do."""


# %%
def recover_features(
    activations: Float[Tensor, "token d_in"], d_sae: int, seed: int
) -> Float[Tensor, "d_sae d_in"]:
    """Decoder rows of a sparse autoencoder trained on these activations."""
    # BEGIN SOLUTION
    steps, rate, strength = 400, 0.02, 0.2
    generator = torch.Generator().manual_seed(seed)
    start = torch.nn.functional.normalize(
        torch.randn(d_sae, activations.shape[1], generator=generator), dim=1
    )
    W_dec, W_enc = start.clone().requires_grad_(), start.T.clone().requires_grad_()
    b_enc, b_dec = torch.zeros(d_sae, requires_grad=True), activations.mean(dim=0).requires_grad_()
    optimizer = torch.optim.Adam([W_enc, b_enc, W_dec, b_dec], lr=rate)
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = rate * min(1.0, 3 * (steps - step) / steps)
        x = activations[torch.randint(len(activations), (256,), generator=generator)]
        feature_acts = ((x - b_dec) @ W_enc + b_enc).relu()
        error = (feature_acts @ W_dec + b_dec - x).square().sum(dim=1)
        loss = (error + strength * feature_acts.sum(dim=1)).mean()
        optimizer.zero_grad()
        loss.backward()
        with torch.no_grad():
            W_dec.grad -= (W_dec.grad * W_dec).sum(dim=1, keepdim=True) * W_dec
            optimizer.step()
            W_dec /= W_dec.norm(dim=1, keepdim=True)
    return W_dec.detach()
    # END SOLUTION


# %% tags=["given"]
def some_world(draw, d_in, features):
    """(activations, directions): a few of the directions on each token, at sizes around 1, and a bias."""
    directions = torch.nn.functional.normalize(draw.normal(features, d_in), dim=1)
    sizes = (1 + 0.3 * draw.normal(4000, features)).clamp(min=0.1)
    acts = sizes * (draw.normal(4000, features) > 1.5)
    return acts @ directions + draw.normal(d_in), directions


def expect_found(rows, directions):
    """Pass if the rows, matched one to one with the directions, are near enough to them."""
    expect(
        isinstance(rows, Tensor) and rows.shape == directions.shape,
        "The result has not the shape [d_sae, d_in].",
    )
    expect(rows.is_floating_point() and bool(rows.isfinite().all()), "The result is not all finite floats.")
    reached = feature_matching.recovery(rows.to(directions.dtype), directions)
    short = f"The mean matched cosine is {reached.mean_cosine:.2f}, not at least 0.75."
    expect(reached.mean_cosine >= 0.75, short)
    few = f"{reached.recall:.0%} of the directions have a partner with a cosine of 0.9 or more, not 40 %."
    expect(reached.recall >= 0.4, few)


# %% tags=["check"] points=3
def check_finds_what_is_there(student, draw):
    """it finds the directions of a world you have not seen, and the same seed gives the same rows"""
    activations, directions = some_world(draw, 16, 22)
    seed = draw.seed()
    rows = student.recover_features(activations, 22, seed)
    expect_found(rows, directions)
    again = student.recover_features(activations, 22, seed)
    expect(
        isinstance(again, Tensor) and torch.equal(again, rows),
        "The same seed gave other rows the second time.",
    )


# %% tags=["check", "hidden"] points=3
def check_finds_it_elsewhere(student, draw):
    """so it does in another world, of another size and with a larger bias, which it leaves as it was"""
    activations, directions = some_world(draw, 20, 26)
    case = activations + 2 * draw.normal(20), 26, draw.seed()
    expect_found(student.recover_features(*case), directions)
    expect_untouched(student, student.recover_features, *case)


# %% tags=["demo"]
_, cosine = match_features(recover_features(world.activations, 48, seed=0), world.directions)
print(
    f"yours, in the first world: mean matched cosine {cosine.mean():.3f}; {(cosine >= 0.9).sum()} of 48 found"
)

# %% [markdown] tags=["predict"] name="random_dictionary" choices=["below 0.2", "from 0.2 to 0.5", "above 0.5"]
r"""Now five worlds of 48 directions in 32 dimensions, and five kinds of autoencoder, all with 48 features. One has a **frozen random
decoder**: only its encoder and biases learn. Beside them stand the principal directions. What mean matched cosine does the
frozen random decoder reach?"""

# %% tags=["demo"]
outcomes = sae_comparison.compare_on_known_features(range(5))
print(sae_comparison.table(outcomes))
random_cosine = sae_comparison.mean_over_seeds(
    outcomes["frozen random decoder"], lambda run: run.recovery.mean_cosine
)
answer = ["below 0.2", "from 0.2 to 0.5", "above 0.5"][(random_cosine > 0.2) + (random_cosine > 0.5)]
sae_plots.plot_recovery(outcomes)

# %% [markdown]
r"""*Precision* here is the share of found directions with a partner at a cosine of 0.9, *recall* the share of true ones, *uniqueness*
how many different true directions are nearest to some found one. In the figure, left is well rebuilt and up is found: the dots
farthest to the left lie lowest of all whose decoder learned. Read the table by columns:

- **Cosine has a chance level**, and it is not 0: with many directions to choose from, random ones come near something.
- **Unexplained variance does not order the kinds.** The best reconstruction is by the one that found nothing; the frozen random
  decoder explains most of the variance ([2602.14111](https://arxiv.org/abs/2602.14111) makes this point for language models).
- **TopK hardly shrinks what it finds (below), and pays elsewhere.** Here, in this short training, it ended more often than L1
  with two features on one direction, and so with directions that nobody has (see *uniqueness* and *recall*). Another learning
  rate may change that; *Choosing a dictionary* tries.
- **L0 is not the truth either.** On average 2.4 directions are active. The L1 autoencoder has the directions and lets more of
  them fire.

So what does each number hide? First the sizes, for L1 and TopK. Then **absorption** ([Chanin et al.
2024](https://arxiv.org/abs/2409.14507)): direction 0 is a *parent*, active on a fifth of the tokens, and on some of these one
of three *children* is active too. A child implies its parent. Sparsity is cheapest when the child's feature says both, and the
parent's is silent."""

# %% tags=["demo"]
for name in ("L1", "TopK", "BatchTopK"):
    size = sae_comparison.shrinkage(trained(KINDS[name], world, seed=0), world)
    print(f"{name:9}: matched over true size {size:.2f}")
family = 0, (1, 2, 3)
kin = draw_known_features(d_in=32, features=48, probability=0.05, families=[family], seed=0)
print("\n          the parent's feature fires, where it is    its cosine with    variance")
print("             alone          with child 1, 2, 3           the parent    unexplained")
for strength in (0.15, 0.5, 1.0):
    one = trained(Kind(l1_coefficient=strength), kin, seed=0)
    found = sae_comparison.absorption(one, kin, *family)
    partner, cosine = match_features(one.W_dec, kin.directions)
    children = "  ".join(f"{share:.2f}" for share in found.with_child)
    left = sae_comparison.outcome(one, kin).unexplained
    print(f"λ = {strength:4} {found.alone:9.2f} {children:>29} {cosine[0]:16.2f} {left:14.3f}")
names = ["parent", "child 1", "child 2", "child 3"]
table = feature_matching.cosines(one.W_dec[partner[:4]], kin.directions[:4])
sae_plots.plot_cosines(table, [f"found for {name}" for name in names], names)

# %% [markdown]
r"""With much L1 the parent's feature, whose *direction* is perfect, misses more than half of the tokens that have a child, and each
child's feature has taken the parent's direction into its own. By its top contexts the parent's feature is what it seems to be. It is
the tokens on which it is *silent* that tell, and one does not look at these.

And features die: *Choosing a dictionary* revives them, in two ways, and looks at absorption in more families and kinds.

## A real model

In a language model the directions are not written down. What is left is indirect: what does the *model* lose when it has to run on
the reconstruction?"""

# %% [markdown] exercise="loss_recovered" minutes=15 difficulty=3 reference="sae.loss_recovered" withhold=["loss_recovered", "cross_entropy_recovered", "spliced_loss", "recovered", "loss_through", "mean_activation", "recovered_by_pca"]
r"""## What the model loses

FVU counts every direction by its variance. The model may count otherwise: a direction of little variance may carry the next word. So
let the model run on the reconstruction, and see what its predictions lose. Return the **cross-entropy recovered**

$$\frac{L_\mathrm{ablated} - L_\mathrm{spliced}}{L_\mathrm{ablated} - L_\mathrm{clean}}$$

where each L is the model's mean loss per predicted token, in nats, and

- *spliced*: the activation at `hook` is replaced by `reconstruct(activation)`, at **every** position, BOS included;
- *ablated*: it is replaced by the **mean activation** over all positions of all rows of `tokens`;
- *clean*: nothing is replaced.

1 means that nothing was lost, 0 that one might as well know nothing of the text: where the ablation costs something at all.
`hook` is any activation of the residual stream, such as `"blocks.3.hook_resid_pre"`, of shape `[batch, pos, d_model]`;
`reconstruct` is a function from such a tensor to another of its shape. No hook may stay on the model. Return a float."""

# %% [markdown] tags=["hint"]
r"""`model.run_with_hooks(tokens, fwd_hooks=[(hook, function)])` calls `function(activation, hook)` and goes on with what it returns.
The loss of token i + 1 is read from the logits at position i: `logits[:, :-1].log_softmax(-1)` and `tokens[:, 1:]`."""


# %%
def loss_recovered(
    model: TransformerBridge, tokens: Int[Tensor, "batch pos"], hook: str, reconstruct
) -> float:
    """The share of the loss between a mean ablation and the intact model that a reconstruction wins back."""

    # BEGIN SOLUTION
    def loss(replace):
        with torch.no_grad(), model.hooks(fwd_hooks=[(hook, lambda activation, hook: replace(activation))]):
            log_probs = model(tokens)[:, :-1].log_softmax(dim=-1)
        return -log_probs.gather(-1, tokens[:, 1:, None]).mean().item()

    with torch.no_grad():
        _, cache = model.run_with_cache(tokens, names_filter=hook)
    mean = cache[hook].flatten(end_dim=1).mean(dim=0)
    ablated = loss(lambda activation: mean.expand_as(activation))
    return (ablated - loss(reconstruct)) / (ablated - loss(lambda activation: activation))
    # END SOLUTION


# %% tags=["given"]
def as_it_is(activation):
    """A reconstruction that loses nothing."""
    return activation.clone()


def half_of_it(activation):
    """The first half of the inputs; zeros in the place of the others."""
    kept = torch.arange(activation.shape[-1], device=activation.device) < activation.shape[-1] // 2
    return activation * kept


def nothing_but_the_mean(activation):
    """The mean over all positions of all rows, everywhere."""
    return activation.mean(dim=(0, 1)).expand_as(activation).clone()


def some_text(draw, model, rows):
    """BOS and eight tokens said twice, in each row: a model that copies has something to lose."""
    start = torch.full((rows, 1), model.tokenizer.bos_token_id, device=draw.device)
    return torch.cat([start, draw.tokens(rows, 8, model.cfg.d_vocab).repeat(1, 2)], dim=1)


def hooks_left(function, model, *arguments):
    """How many hook points of the model carry more hooks after a call of the function than before."""
    points = list(model.hook_dict.values())
    before = [len(point.fwd_hooks) for point in points]
    function(model, *arguments)
    return sum(len(point.fwd_hooks) > count for point, count in zip(points, before, strict=True))


# %% tags=["check"] points=3
def check_agrees_with_the_reference(student, draw):
    """loss_recovered agrees with the reference at any layer, for coarse reconstructions, and leaves no hook"""
    model = draw.language_model("course-attn-2l")
    tokens = some_text(draw, model, 3)
    for hook, reconstruct in (
        ("blocks.0.hook_resid_pre", half_of_it),
        ("blocks.1.hook_resid_pre", half_of_it),
        ("blocks.1.hook_resid_post", half_of_it),
    ):
        expected = sae.loss_recovered(model, tokens, hook, reconstruct)
        found = student.loss_recovered(model, tokens, hook, reconstruct)
        expect(isinstance(found, float), "The result is not a float.")
        expect_close(found, expected)
    expect_untouched(student, student.loss_recovered, model, tokens, hook, half_of_it)
    left = student.run(hooks_left, student.loss_recovered, model, tokens, hook, half_of_it)
    expect(left == 0, f"After the call {left} hook points of the model have a hook more than before.")


# %% tags=["check", "hidden"] points=3
def check_knows_its_ends(student, draw):
    """losing nothing gives 1, the mean gives 0, and in a deeper model it agrees with the reference"""
    model = draw.language_model()
    tokens = some_text(draw, model, 2)
    hook = f"blocks.{draw.integer(1, 3)}.hook_resid_pre"
    for reconstruct, expected in ((as_it_is, 1.0), (nothing_but_the_mean, 0.0)):
        expect_close(student.loss_recovered(model, tokens, hook, reconstruct), expected)
    expected = sae.loss_recovered(model, tokens, hook, half_of_it)
    expect_close(student.loss_recovered(model, tokens, hook, half_of_it), expected)


# %% tags=["demo"]
from mechinterp_course.catalogue import embedded
from mechinterp_course.figures.dictionary import load_part
from mechinterp_course.figures.directions import held_out_rows, principal_directions
from mechinterp_course.making import dictionary_recipes
from mechinterp_course.models import load_language_model
from mechinterp_course.sae_lens_training import Run, train_with_sae_lens

recipe = dictionary_recipes.dictionary_recipe("course-sae")
course_model = load_language_model(recipe.model)
seen = dictionary_recipes.activations(
    course_model, recipe, seed=0, rows=320
)  # 40,960 tokens of the text world
trained_here = {
    name: train_with_sae_lens(seen, name, d_sae=512, run=Run(steps), **settings)
    for name, steps, settings in (
        ("batchtopk", 200, {}),
        ("matryoshka", 100, {}),
        ("jumprelu", 100, {"l0_coefficient": 2.0}),
    )
}

# %% [markdown] tags=["predict"] name="untrained_recovered" choices=["below 0.3", "from 0.3 to 0.9", "above 0.9"]
r"""These three were just trained by sae-lens, on the residual stream of `course-gpt2`: BatchTopK, nested dictionaries
(**Matryoshka**, [Bussmann et al. 2025](https://arxiv.org/abs/2503.17547)) and **JumpReLU**, which learns a threshold for each
feature ([Rajamanoharan et al. 2024](https://arxiv.org/abs/2407.14435)). Beside them: `course-sae`, trained longer, its two
rivals, and principal directions. One rival is an SAE of the **same model before its training**, whose losses are those of the
untrained model. How much cross-entropy does that one recover?"""

# %% tags=["demo"]
rows = held_out_rows(course_model, 1000, 12)
folder = embedded("course-sae").path
parts = {part.folder: load_part(folder, part) for part in dictionary_recipes.PARTS}
untrained = dictionary_recipes.load_untrained(recipe.model)
principal = principal_directions(
    sae.collect_activations(course_model, held_out_rows(course_model, 2000, 24), recipe.hook)
)
untrained_sae = parts.pop("untrained-model")
reconstructions = {f"sae-lens, {name}, here": one for name, one in trained_here.items()}
reconstructions |= {"course-sae": parts[""], "frozen random decoder": parts["frozen-decoder"]}
print(f"{'':37} L0    unexplained     recovered")
for name, one in reconstructions.items():
    print(f"{name:34}", sae_comparison.passed(course_model, rows, recipe.hook, one, one.encode))
kept = sae_comparison.passed(course_model, rows, recipe.hook, lambda x: principal.project(x, 17))
print(f"{'17 principal directions':34}", kept)
kept = sae_comparison.passed(untrained, rows, recipe.hook, untrained_sae, untrained_sae.encode)
print(f"{'SAE of the untrained model':34}", kept)
answer = ["below 0.3", "from 0.3 to 0.9", "above 0.9"][(kept.recovered > 0.3) + (kept.recovered > 0.9)]
own = loss_recovered(course_model, rows, recipe.hook, lambda x: parts[""].decode(parts[""].encode(x)))
print(f"\ncourse-sae, by your loss_recovered: {own:.3f}")
for name, model in {"trained model": course_model, "untrained model": untrained}.items():
    mean = sae.mean_activation(model, rows, recipe.hook)
    clean = sae.spliced_loss(model, rows, recipe.hook, torch.clone)
    ablated = sae.spliced_loss(model, rows, recipe.hook, mean.expand_as)
    print(f"{name:15}: clean {clean:.3f}, ablated {ablated:.3f}; between them {ablated - clean:.3f} nats")

# %% [markdown]
r"""Three lines are there to be distrusted.

- **JumpReLU** has by far the best numbers, and is not sparse: hundreds of its 512 features are active on each token. It was stopped
  while its thresholds were still near zero. Whoever reports reconstruction without L0 can report anything.
- **The untrained model** gets a number near 1, or above it, at an L0 like the others, and the number means nothing: between its
  clean and its ablated loss lies an eighth of a nat, and ablating does it *good*; in the trained model it is 5.4 nats. Never
  read this ratio without its denominator. And it asks whether the model notices, not whether there was anything to find
  ([2501.17727](https://arxiv.org/abs/2501.17727)).
- **The frozen random decoder and as many principal directions** say what `course-sae` adds: that much cannot be had from
  *random* directions (this decoder uses fewer numbers a token, see L0), nor from those of most variance.

A **transcoder**, which reads what goes into an MLP and writes what comes out, is in *Choosing a dictionary* too.

## What you may claim now

| claim | what you have | what would overturn it |
|---|---|---|
| an SAE can find directions in superposition | mean matched cosine above 0.95 in five worlds, against chance and PCA | worlds with correlated or dense directions |
| reconstruction does not show that it did | the best reconstruction found nothing | - |
| L1 makes activations too small | measured against the truth, at three strengths | - |
| a feature with the right direction may be silent where it should speak | absorption, at three strengths | a world without families |
| `course-sae` keeps what the model uses, with 17 numbers a token | cross-entropy recovered, beside PCA, a random decoder and an untrained model | another text |

And what not. None of the numbers of the last table says that its features are the model's. The world's directions were nearly
orthogonal, independent and all alike; a model's need not be. Each dictionary was given as many features as there are, and a λ
or a k that suits them; with a wrong width features split or merge. What a single feature of `course-sae` means, and whether the
model uses it, is the subject of *Features and steering*."""

# %% [markdown] tags=["rubric"] name="beautiful_numbers"
r"""## In your own words

A report says: "Our SAE on layer 12 explains 99.2 % of variance and recovers 99.8 % of cross-entropy with 8 % dead features. We
conclude that it has found the model's features." In at most 200 words: what follows, what does not, and what would you ask for?

Levels:

- 0: accepts the conclusion, or rejects it without a reason that could be tested.
- 1: asks for L0.
- 2: as 1, and names baselines with what each rules out: principal directions of equal rank, a frozen random decoder, an
  untrained model.
- 3: as 2, and says that reconstruction and loss can be perfect with wrong directions; asks for evidence of single features
  (held-out detection, recall and not only top contexts, interventions), and for shrinkage or absorption to be checked."""

# %% [markdown] tags=["interview"] name="which_sae"
r""""We have two SAEs of the same width on the same layer: L0 20 with 12 % of variance unexplained, and L0 60 with 4 %. Which one
would you use?"

A strong answer: for what; points at different L0 are not comparable, so compare curves of FVU and loss against L0; measure both
against baselines at their own L0; test the task at hand (detecting a known property on held-out text, precision *and* recall;
steering) with probes as rivals; look for absorption and splitting; say that a lower L0 than the data have forces merging, and a
higher one splitting or noise; prefer the one whose features survive another seed."""
