# %% [markdown] after="ch13_circuit_evidence"
r"""# Superposition

Neurons of language models answer to several unrelated things at once. One explanation is *superposition*: a network has
more features to keep than dimensions to keep them in, and stores them along directions that are not orthogonal. The
price is interference. It is bearable when features are rare, so that two of them seldom meet.

This chapter builds the smallest networks that do this, the ReLU output models of
[Elhage et al. 2022](https://transformer-circuits.pub/2022/toy_model/index.html), and takes them apart completely:

1. **The model**: output, loss and data of many toy models side by side, and how to train them.
2. **Figures**: antipodal pairs, pentagons, and numbers that tell what part of a dimension a feature has.
3. **Phases**: when is a feature left out, when does it get a dimension, when does it share one? With formulas.
4. **Neurons**: when an axis of the hidden layer means something, and how six neurons compute any number of absolute values.

You need PyTorch, and no other chapter. It takes about two and a half hours. Everything trains on one core, in seconds."""

# %% tags=["given"]
import math

import torch
from jaxtyping import Float
from torch import Tensor

from mechinterp_course import (
    superposition,
    superposition_geometry,
    superposition_neurons,
    superposition_phases,
)
from mechinterp_course.checking import expect, expect_close, expect_equal, expect_raises, toy_models

Features = Float[Tensor, "batch instance feature"]
Weights = Float[Tensor, "instance feature hidden"]
PerFeature = Float[Tensor, "instance feature"]
ANSWERS = {"dims": "batch instance feature", "atol": 1e-5}  # results are compared by axes, up to rounding
BY_INSTANCE = {"dims": "instance", "atol": 1e-5}
BY_FEATURE = {"dims": "instance feature", "atol": 1e-5}

# %% tags=["demo"]
from mechinterp_course.superposition_geometry import describe, figures
from mechinterp_course.superposition_plots import (
    plot_dimensionality,
    plot_directions,
    plot_over_probability,
    plot_phase_diagram,
    plot_weights,
)

IMPORTANCE = 0.9 ** torch.arange(5.0)  # feature 0 matters most


def five_in_two(probability, seed=0, instances=5):
    """Models of five features in two dimensions, trained side by side, each feature present with a probability."""
    chance = torch.full((instances, 5), probability)
    return superposition.train_models(chance, IMPORTANCE.expand(instances, 5), 2, seed)


def drawn(models):
    """Every model's features as arrows in its two dimensions."""
    return plot_directions(models.W, [describe(figures(W)) for W in models.W], IMPORTANCE)


drawn(five_in_two(1.0))

# %% [markdown]
r"""Five numbers go in, two numbers are all that the model keeps, and from these it has to say what the five were. Each panel is one
training from another start: an arrow for each feature says how it is written into the two dimensions. Here all five
features are present in every example. Most models do the obvious. They keep the two features that matter most, numbers 0 and 1,
in directions at right angles, and drop the others (gray dots near the middle).

Now make features rare: each is present in one example of twenty, on its own, and is 0 in the others."""

# %% [markdown] tags=["predict"] name="five_features_two_dimensions" choices=["2", "3", "4", "5"]
r"""How many of the five features will most of the models keep, with an arrow of about the length of the circle's radius?"""

# %% tags=["demo"]
rare = five_in_two(0.05)
kept = (rare.W.norm(dim=-1) > 0.5).sum(-1)
print("features kept by each model:", kept.tolist())
answer = str(kept.mode().values.item())
drawn(rare)

# %% [markdown]
r"""All five live in two dimensions, as a pentagon. Nobody told the model of pentagons. No two of the arrows are at right angles, so
no feature can be read without hearing a little of the others; the model has decided that this is worth it, because the
others are so seldom there. The bias and the ReLU at the end cut off what little is heard.

So counting dimensions does not count features. How the model does it, when it pays, and what it means for somebody who looks at
single neurons, is the rest of the chapter.

## The model

A model has one matrix W [feature, hidden] and a bias b [feature]. Features x are written into the hidden dimensions, h = x W, and
read out by the same directions: x' = ReLU(h Wᵀ + b). We train many such models at once. So every tensor has an axis of
*instances*: models that differ in their seed, or in how rare or important features are, and never touch each other."""

# %% [markdown] exercise="toy_output" minutes=8 difficulty=1 reference="superposition.toy_output" withhold=["toy_output", "output"]
r"""## Out and back

Return **ReLU(x W Wᵀ + b)** for every example and instance. `features` has axes [batch, instance, feature], `W` [instance, feature,
hidden], `b` [instance, feature]; the result has the axes of `features`. The hidden layer has no ReLU. Each instance uses its
own W and b, on its own features."""

# %% [markdown] tags=["hint"]
r"""Two products of matrices, each with the instance as an axis that both factors keep: `einsum` says this in one line each."""

# %% [markdown] tags=["hint"]
r"""`torch.einsum("bif,ifh->bih", features, W)` is the hidden layer. On the way back h is summed over. The bias is [instance,
feature] and broadcasts over the batch as it is; add it before the ReLU."""


# %%
def toy_output(features: Features, W: Weights, b: PerFeature) -> Features:
    """What each toy model makes of its features: ReLU(x W Wᵀ + b)."""
    # BEGIN SOLUTION
    hidden = (features[:, :, :, None] * W).sum(dim=2)
    back = (hidden[:, :, None, :] * W).sum(dim=3)
    biased = back + b
    return torch.where(biased > 0, biased, torch.zeros_like(biased))
    # END SOLUTION


# %% tags=["check"] points=2
def check_agrees_with_the_reference(student, draw):
    """toy_output agrees with the reference for several numbers of examples, instances, features and dimensions"""
    for _ in range(3):
        case = toy_models.features(draw), *toy_models.weights(draw)
        features, W, b = toy_models.matching(draw, *case)
        expect_close(student.toy_output(features, W, b), superposition.toy_output(features, W, b), **ANSWERS)


# %% tags=["check", "hidden"] points=2
def check_an_antipodal_pair_by_hand(student, draw):
    """two opposite features in one dimension come back as by hand: each alone exactly, both together as their difference"""
    first, second, bias = (0.2 + 0.6 * draw.normal(3).sigmoid()).tolist()
    x = torch.tensor([[first, 0.0], [0.0, second], [first, first / 2], [0.0, 0.0]], device=draw.device)
    features = torch.stack([x, x, 2 * x], dim=1)
    W = torch.tensor([[[1.0], [-1.0]], [[1.0], [0.0]], [[0.0], [-2.0]]], device=draw.device)
    b = torch.tensor([[0.0, 0.0], [0.0, bias], [-bias, -bias]], device=draw.device)
    pair = torch.stack([(x[:, 0] - x[:, 1]).relu(), (x[:, 1] - x[:, 0]).relu()], dim=1)
    alone = torch.stack([x[:, 0], torch.full_like(x[:, 0], bias)], dim=1)
    double = torch.stack([0 * x[:, 0], (8 * x[:, 1] - bias).relu()], dim=1)
    expect_close(student.toy_output(features, W, b), torch.stack([pair, alone, double], dim=1), **ANSWERS)


# %% tags=["check", "hidden"] points=1
def check_instances_are_apart_and_the_hidden_layer_has_no_axes(student, draw):
    """an instance alone gives what it gives among others, turning the hidden dimensions changes nothing, nor does a call its arguments"""
    features, W, b = toy_models.matching(draw, toy_models.features(draw), *toy_models.weights(draw))
    found = student.toy_output(features, W, b)
    toy_models.expect_like(found, features)
    alone = student.toy_output(features[:, 1:2], W[1:2], b[1:2])
    expect_close(alone, found[:, 1:2], **ANSWERS)
    turn = torch.linalg.qr(draw.normal(W.shape[-1], W.shape[-1])).Q
    expect_close(student.toy_output(features, W @ turn, b), found, dims="batch instance feature", atol=1e-4)
    toy_models.expect_untouched(student, student.toy_output, features, W, b)


# %% [markdown] exercise="toy_loss" minutes=6 difficulty=1 reference="superposition.toy_loss" withhold=["toy_loss"]
r"""## What an error costs

Return one loss for each instance: the **mean over the batch** of the **sum over features** of importance · (output − feature)².
`importance` is [instance, feature].

Sum and mean matter here. The sum says that a model with more features has more to lose; the mean that a larger batch is the same
task. And instances must not be averaged: each has a loss of its own."""

# %% [markdown] tags=["hint"]
r"""Weigh the squares, not the errors: the importance stands outside of the square."""

# %% [markdown] tags=["hint"]
r"""The errors are [batch, instance, feature], and `importance` broadcasts over the first axis. Then `.sum(dim=-1).mean(dim=0)`."""


# %%
def toy_loss(output: Features, features: Features, importance: PerFeature) -> Float[Tensor, " instance"]:
    """The importance-weighted squared error of each instance."""
    # BEGIN SOLUTION
    squares = (output - features) ** 2
    weighted = squares * importance
    return weighted.sum(dim=2).mean(dim=0)
    # END SOLUTION


# %% tags=["check"] points=2
def check_agrees_with_the_reference(student, draw):
    """toy_loss agrees with the reference for drawn outputs, features and importances"""
    for _ in range(3):
        case = toy_models.outcome(draw)
        expect_close(student.toy_loss(*case), superposition.toy_loss(*case), **BY_INSTANCE)


# %% tags=["check", "hidden"] points=2
def check_known_cases_and_laws(student, draw):
    """a case by hand; the batch twice over costs the same, more features cost more, and an instance alone what it costs among others"""
    features = torch.zeros(2, 2, 3, device=draw.device)
    output = torch.tensor([[[1.0, 0, 0], [0, 2.0, 0]], [[0, 0, 3.0], [0, 0, -1.0]]], device=draw.device)
    importance = torch.tensor([[1.0, 9.0, 0.5], [7.0, 3.0, 2.0]], device=draw.device)
    expect_close(
        student.toy_loss(output, features, importance), output.new_tensor([2.75, 7.0]), **BY_INSTANCE
    )
    output, features, importance = toy_models.outcome(draw)
    cost = student.toy_loss(output, features, importance)
    toy_models.expect_like(cost, importance[:, 0])
    twice = student.toy_loss(output.repeat(2, 1, 1), features.repeat(2, 1, 1), importance)
    expect_close(twice, cost, **BY_INSTANCE)
    wider = [each.repeat(*[1] * (each.dim() - 1), 2) for each in (output, features, importance)]
    expect_close(student.toy_loss(*wider), 2 * cost, **BY_INSTANCE)
    expect_close(student.toy_loss(output[:, 1:], features[:, 1:], importance[1:]), cost[1:], **BY_INSTANCE)


# %% [markdown] exercise="sparse_features" minutes=15 difficulty=3 reference="superposition.sparse_features" withhold=["sparse_features", "features_from"]
r"""## Data with rare features

Return `batch` examples, [batch, instance, feature]. A feature is **present** with its `probability` [instance, feature]; then
its value is uniform in [0, 1], and else it is 0. Every example, instance and feature is drawn anew.

`pairs` says how features 0 and 1, 2 and 3, … go together (their number is even unless `pairs` is "independent"):

- "independent": not at all.
- "correlated": both of a pair are present or neither is, with the probability of the first (that of the second is ignored).
  Their *values* remain independent.
- "anticorrelated": never both, and each is present with its own probability. (You may rely on it that the two of a pair add up
  to 1 at most.)

Different pairs are independent always. The same `seed` gives the same features, another one others. Papers say *sparsity* for
1 − probability; the argument is the probability that a feature is there."""

# %% [markdown] tags=["hint"]
r"""Draw presence and value separately. With `generator = torch.Generator().manual_seed(seed)`,
`torch.rand(batch, instances, features, generator=generator) < probability` is the first."""

# %% [markdown] tags=["hint"]
r"""For anticorrelated features let both look at *one* uniform number: the first is present when it is below p₀, the second when it is
above 1 − p₁. (Striking out the second where both came up leaves it too rare.)"""


# %%
def sparse_features(probability: PerFeature, batch: int, seed: int, pairs: str = "independent") -> Features:
    """Features that are mostly absent, alone or in pairs."""
    # BEGIN SOLUTION
    generator = torch.Generator(probability.device).manual_seed(seed)
    chances = probability.expand(batch, -1, -1)
    value = torch.rand(chances.shape, generator=generator, device=probability.device)
    present = torch.bernoulli(chances, generator=generator)
    if pairs == "correlated":
        present[..., 1::2] = present[..., ::2]
    if pairs == "anticorrelated":
        left = (chances[..., 1::2] / (1 - chances[..., ::2])).nan_to_num()
        present[..., 1::2] = torch.bernoulli(left, generator=generator) * (1 - present[..., ::2])
    return present * value
    # END SOLUTION


# %% tags=["check"] points=2
def check_each_feature_is_present_at_its_own_rate(student, draw):
    """each feature of each instance is present with its own probability, and then uniform in [0, 1]"""
    probability = toy_models.probabilities(draw, instances=3, features=5)
    found = student.sparse_features(probability, 3000, draw.seed())
    toy_models.expect_rates(found, probability)
    toy_models.expect_uniform(found)


# %% tags=["check", "hidden"] points=2
def check_pairs_are_present_together_or_never(student, draw):
    """correlated features come together, each with a value of its own; anticorrelated ones never do, and each at its own rate"""
    probability = toy_models.probabilities(draw, instances=3, features=4)
    for kind in ("correlated", "anticorrelated"):
        found = student.sparse_features(probability, 3000, draw.seed(), kind)
        toy_models.expect_pairs(found, probability, kind)
        sure = torch.tensor([[1.0, 0.0, 0.0, 1.0]], device=draw.device)
        found = student.sparse_features(sure, 9, draw.seed(), kind)
        known = sure.new_tensor([[1.0, 1, 0, 0]]) if kind == "correlated" else sure
        expect_close((found != 0).float(), known.expand(9, 1, 4), dims="batch instance feature")


# %% tags=["check", "hidden"] points=2
def check_nothing_else_goes_together(student, draw):
    """examples, instances and features that are no pair are independent, and the seed decides all"""
    probability = toy_models.probabilities(draw, instances=3, features=4)
    for kind in ("independent", "correlated", "anticorrelated"):
        seed = draw.seed()
        found = student.sparse_features(probability, 3000, seed, kind)
        toy_models.expect_independent(found, kind)
        again = student.sparse_features(probability, 3000, seed, kind)
        expect(torch.equal(again, found), "The same seed gives different features.")
    other = student.sparse_features(probability, 3000, seed + 1, kind)
    expect(not torch.equal(other, found), "Different seeds give the same features.")
    toy_models.expect_untouched(student, student.sparse_features, probability, 5, seed, kind)


# %% [markdown] exercise="train_toy" minutes=15 difficulty=3 needs=["toy_output", "toy_loss", "sparse_features"] reference="superposition.train_toy" withhold=["train_toy", "train_models", "training"]
r"""## Train them

Return `(W, b)` after `steps` steps of training: [instance, feature, hidden] and [instance, feature], without gradients attached.
`probability` and `importance` are [instance, feature]; features are independent. Choose the optimizer, its rate and the size of
a batch (up to 512) yourself. What counts is the loss of each instance on features that your training has not seen: with rare
features, at most 1.25 times that of the best pentagon. The checks train up to sixty instances of five features in two
dimensions for 300 or 350 steps.

Training is chance: of five seeds, one may end in a worse figure. So the checks ask for *half* of the instances or more, never for
all. But the same `seed` must give the same models, and another seed others."""

# %% [markdown] tags=["hint"]
r"""Adam with a learning rate of 0.05 that falls to 0, and batches of 256, fresh ones in each step. A W of small normal numbers is a
fair start; a W of zeros is not: its gradient is zero too."""

# %% [markdown] tags=["hint"]
r"""Losses of different instances may be *summed* before `backward()`: the derivative of the sum, by an instance's weights, is that of
its own loss. Batches need seeds of their own: `seed * steps + step`, say."""


# %%
def train_toy(
    probability: PerFeature, importance: PerFeature, hidden: int, seed: int, steps: int = 300
) -> tuple[Weights, PerFeature]:
    """W and b of toy models, trained side by side."""
    # BEGIN SOLUTION
    generator, rate = torch.Generator(probability.device).manual_seed(seed), 0.05
    start = torch.randn(*probability.shape, hidden, generator=generator, device=probability.device)
    W = (0.5 * start).requires_grad_()
    b = torch.zeros_like(probability).requires_grad_()
    optimizer = torch.optim.Adam([W, b])
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = rate * (1 - step / steps)
        features = sparse_features(probability, 200, seed * steps + step)
        loss = toy_loss(toy_output(features, W, b), features, importance)
        optimizer.zero_grad()
        loss.sum().backward()
        optimizer.step()
    return W.detach(), b.detach()
    # END SOLUTION


# %% tags=["check"] points=2
def check_reaches_a_pentagon_s_loss(student, draw):
    """of sixty instances with rare features at least half lose no more than 1.25 times what the best pentagon loses"""
    probability, importance = (torch.full((60, 5), each, device=draw.device) for each in (0.08, 1.0))
    found = student.train_toy(probability, importance, 2, draw.seed(), 300)
    losses = toy_models.loss_of(found, probability, importance, 2)
    ratios = losses / toy_models.pentagon_loss(probability, importance)
    good = (ratios <= 1.25).sum().item()
    shown = ", ".join(f"{ratio:.2f}" for ratio in ratios.quantile(torch.linspace(0, 1, 5)).tolist())
    expect(
        good >= 30,
        f"On new data {good} of 60 do. Least, quartiles and most of loss over pentagon's: {shown}.",
    )


# %% tags=["check", "hidden"] points=2
def check_every_instance_gets_its_own_task(student, draw):
    """dense features that matter keep a dimension each, whichever they are, beside instances with rare features"""
    probability, importance = torch.full((7, 5), 0.08), torch.ones(7, 5)
    for instance, two in enumerate(([0, 3], [1, 4], [2, 4])):
        probability[instance], importance[instance] = 0.95, 0.03
        importance[instance, two] = 1.0
    probability, importance = probability.to(draw.device), importance.to(draw.device)
    found = student.train_toy(probability, importance, 2, draw.seed(), 350)
    losses = toy_models.loss_of(found, probability, importance, 2)
    dedicated = (importance[:3].sum(1) - 2) * (0.95 / 3 - 0.95**2 / 4)
    good = (losses[:3] <= 2.5 * dedicated).sum().item()
    expect(good >= 2, f"Only {good} of 3 instances keep the two features that matter, with dense features.")
    rare = losses[3:] <= 1.6 * toy_models.pentagon_loss(probability[3:], importance[3:])
    expect(bool(rare.any()), "Beside instances with dense features, none with rare ones reaches its loss.")


# %% tags=["check", "hidden"] points=1
def check_depends_on_the_seed_and_the_steps(student, draw):
    """the same seed gives the same weights, another seed others, one step is not enough, and nothing that was given is changed"""
    case = torch.full((3, 4), 0.3, device=draw.device), torch.ones(3, 4, device=draw.device), 2
    seed = draw.seed()
    first, again, other = (student.train_toy(*case, each, 3) for each in (seed, seed, seed + 1))
    toy_models.expect_trained(first, 3, 4, 2)
    for one, two, dims in zip(again, first, ("instance feature hidden", "instance feature"), strict=True):
        expect_close(one, two, dims=dims)
    moved = (other[0] - first[0]).abs().max() > 0.01
    expect(bool(moved), "Another seed gives the same weights.")
    probability, importance = (torch.full((6, 5), each, device=draw.device) for each in (0.08, 1.0))
    losses = toy_models.loss_of(
        student.train_toy(probability, importance, 2, seed, 1), probability, importance, 2
    )
    good = (losses <= 1.25 * toy_models.pentagon_loss(probability, importance)).sum().item()
    expect(good < 3, "After a single step the models are trained: `steps` is not used.")
    toy_models.expect_untouched(student, student.train_toy, *case, seed, 1)


# %% [markdown]
r"""Now ask how much of this is luck. Ten models, ten seeds, features still rarer: one example of a hundred. Nothing else differs."""

# %% tags=["demo"]
rarest = superposition.train_models(torch.full((10, 5), 0.01), torch.ones(10, 5), 2, seed=0)
lost = superposition.loss_on_new_data(rarest, torch.full((10, 5), 0.01), torch.ones(10, 5), seed=0)
shapes = [describe(figures(W)) for W in rarest.W]
plot_directions(
    rarest.W, [f"{name}\n{loss / lost.min():.1f}" for name, loss in zip(shapes, lost.tolist(), strict=True)]
)

# %% [markdown]
r"""Below each name, its loss over the least of all ten. Nearly all are pentagons. One has two *digons* (antipodal pairs), has left a
feature out, and pays three times as much. It has found a figure from which no small step leads to a better one. From one
model you would have said "two dimensions hold five features" or "four", with equal confidence. So everything in this
chapter is said of several seeds.

## Figures

How large is a feature's part of a dimension? Take the direction of feature i, Ŵ_i = W_i / |W_i|. Reading along it, one hears
feature i with strength |W_i|, and every other feature j with strength Ŵ_i · W_j."""

# %% [markdown] exercise="interference" minutes=6 difficulty=2 reference="superposition_geometry.interference" withhold=["interference"]
r"""## Interference

Return for each feature of each instance **Σ_{j ≠ i} (Ŵ_i · W_j)²**: how much of the other features lies along its direction. Only
the direction of feature i is scaled to norm 1; the others count with their norms. A feature with norm 0 has no direction and
gets 0."""

# %% [markdown] tags=["hint"]
r"""`unit @ W.mT` is [instance, feature, feature], if `unit` holds the directions: row i, column j. What stands on its diagonal?"""

# %% [markdown] tags=["hint"]
r"""For the norms, `W.norm(dim=-1, keepdim=True).clamp(min=1e-12)`: with that, a row of zeros remains one, and nothing is divided
by 0. Square, sum over j, and take the diagonal's squares off."""


# %%
def interference(W: Weights) -> PerFeature:
    """How much of the other features lies along each feature's direction."""
    # BEGIN SOLUTION
    unit = W / W.norm(dim=2, keepdim=True).clamp(min=1e-12)
    heard = torch.einsum("ifh,igh->ifg", unit, W) ** 2
    others = 1 - torch.eye(W.shape[1], device=W.device)
    return (heard * others).sum(dim=2)
    # END SOLUTION


# %% tags=["check"] points=2
def check_agrees_with_the_reference(student, draw):
    """interference agrees with the reference on drawn weights, in more and in fewer dimensions than features"""
    for _ in range(3):
        W = toy_models.any_weights(draw)
        expect_close(student.interference(W), superposition_geometry.interference(W), **BY_FEATURE)


# %% tags=["check", "hidden"] points=2
def check_known_figures(student, draw):
    """orthogonal features hear nothing, half of a pair hears the other's square; a silent feature is heard by none and hears none"""
    size, other = (1 + draw.normal(2).square()).tolist()
    W = draw.normal(1, 1, 1) * torch.zeros(3, 4, 2, device=draw.device)
    W[0, 0, 0], W[0, 1, 1] = size, other
    W[1, 0, 0], W[1, 1, 0], W[1, 2, 1] = size, -other, 3.0
    W[2] = torch.tensor([[size, 0], [0, size], [other, other], [0, 0]])
    known = torch.zeros(3, 4)
    known[1, 0], known[1, 1] = other**2, size**2
    known[2] = torch.tensor([other**2, other**2, size**2, 0.0])
    expect_close(student.interference(W), known.to(W), dims="instance feature", atol=1e-4)
    toy_models.expect_untouched(student, student.interference, W)


# %% [markdown] exercise="feature_dimensionality" minutes=8 difficulty=2 reference="superposition_geometry.feature_dimensionality" withhold=["feature_dimensionality", "capacity"]
r"""## The part of a dimension that is its own

The **dimensionality** of a feature is its own square over the sum of all squares along its direction, itself included:

$$D_i = \frac{|W_i|^2}{\sum_j (\hat W_i \cdot W_j)^2}$$

Return it for each feature of each instance; 0 for a feature with norm 0. It is 1 for a feature with a dimension to itself. Before
you write it: what is it for half of an antipodal pair of equal norms? ([Scherlis et al. 2022](https://arxiv.org/abs/2210.01892)
call it capacity.)"""

# %% [markdown] tags=["hint"]
r"""The sum runs over j = i too. What is (Ŵ_i · W_i)²?"""

# %% [markdown] tags=["hint"]
r"""Where the numerator is 0 the denominator is 0 as well: keep it from 0 by a number much smaller than any square that matters (1e-24,
say; weights may be as small as 1e-4)."""


# %%
def feature_dimensionality(W: Weights) -> PerFeature:
    """What part of a dimension each feature has to itself."""
    # BEGIN SOLUTION
    gram = W @ W.mT
    own = gram.diagonal(dim1=1, dim2=2)
    shared = (gram**2).sum(dim=2)
    return own**2 / shared.clamp(min=1e-30)
    # END SOLUTION


# %% tags=["check"] points=2
def check_agrees_with_the_reference(student, draw):
    """feature_dimensionality agrees with the reference on drawn weights, in more and in fewer dimensions than features"""
    for _ in range(3):
        W = toy_models.any_weights(draw)
        expect_close(
            student.feature_dimensionality(W), superposition_geometry.feature_dimensionality(W), **BY_FEATURE
        )


# %% tags=["check", "hidden"] points=2
def check_known_figures(student, draw):
    """in a pair 1/2, a triangle 2/3, a pentagon 2/5, a tetrahedron 3/4, alone 1 and without norm 0, turned and scaled in any way"""
    for W, known in toy_models.known_figures(draw):
        expect_close(student.feature_dimensionality(W), known, **BY_FEATURE)


# %% tags=["check", "hidden"] points=1
def check_norms_count(student, draw):
    """a long feature takes from a short one that shares its direction; sizes as a whole don't matter, and an instance counts alone"""
    long = draw.choice([2.0, 3.0, 4.0])
    W = torch.tensor([[[long], [-1.0], [0.0]], [[1.0], [1.0], [1.0]]], device=draw.device)
    share = long**2 / (long**2 + 1)
    known = torch.tensor([[share, 1 - share, 0.0], [1 / 3] * 3], device=draw.device)
    expect_close(student.feature_dimensionality(W), known, **BY_FEATURE)
    expect_close(student.feature_dimensionality(1e-3 * W[:1]), known[:1], **BY_FEATURE)
    toy_models.expect_untouched(student, student.feature_dimensionality, W)


# %% [markdown] tags=["predict"] name="forty_features_ten_dimensions" choices=["it stays near 1 as long as features are kept", "it falls smoothly", "it falls in steps, with a long rest at 1/2"]
r"""Forty features of equal importance, ten dimensions. From left to right features become rarer. How will the dimensionality of the
features that are kept change?"""

# %% tags=["demo"]
sweep = torch.logspace(math.log10(0.7), -2, 18)
forty = superposition.train_models(sweep[:, None].expand(-1, 40).contiguous(), torch.ones(18, 40), 10, seed=0)
part = feature_dimensionality(forty.W)
kept = forty.W.norm(dim=-1) > 0.5
mean = torch.stack([one[has].mean() for one, has in zip(part, kept, strict=True)])
resting = ((mean > 0.47) & (mean < 0.53)).sum().item()
print("features kept:       ", kept.sum(-1).tolist())
print("dimensions used:     ", [round(value) for value in part.sum(-1).tolist()])
print("dimensions a feature:", [round(value, 2) for value in mean.tolist()])
answer = "it falls in steps, with a long rest at 1/2" if resting >= 3 else "it falls smoothly"
plot_dimensionality(forty.W, sweep)

# %% [markdown]
r"""A dot is a feature. While features are common, ten to twenty are kept, and the others lie at 0. Then the kept ones come to rest at
*exactly* 1/2, from about 0.55 down to 0.33: ten antipodal pairs, nothing else. Rarer still, they give way to closer
figures, until all forty are kept with a quarter of a dimension each. Dimensionalities always add up to ten: all the
capacity there is gets used, from dense to sparse. What sparsity changes is among how many it is shared.

(Numbers like 1/2 and 2/5 are a sign of regular figures in *these* models, whose features are independent and equally important.
Nobody has shown that features of language models sit in pentagons.)

Features that overlap form a figure. Which ones belong together can be read from W."""

# %% [markdown] exercise="feature_groups" minutes=12 difficulty=3 reference="superposition_geometry.feature_groups" withhold=["feature_groups", "figures"]
r"""## Who shares with whom

For one model W [feature, hidden], return a list of `(features, dimensions)`: the figures that its features form.

- A feature counts if its norm is at least `least`.
- Two of them are neighbours if the absolute value of the *cosine* between them is above `threshold`. Features belong to one
  figure if a chain of neighbours leads from one to the other.
- `features` is the sorted list of a figure's features; the figures are ordered by their first feature.
- `dimensions` says how many dimensions the figure spans: how many singular values of its rows of W are above `threshold` times the
  largest of them. (The same `threshold` serves for cosines and for singular values.)

So a pentagon is `([0, 1, 2, 3, 4], 2)`, and a feature on its own `([7], 1)`. (Five in two dimensions: 2/5 for each.)"""

# %% [markdown] tags=["hint"]
r"""Begin with a feature that has no figure yet. Add all its neighbours, then theirs, until nothing is added."""

# %% [markdown] tags=["hint"]
r"""Or the other way round: go through the features, and let each one melt the figures in which it has a neighbour into one, itself
included. `torch.linalg.svdvals(W[group])` gives the singular values."""


# %%
def feature_groups(
    W: Float[Tensor, "feature hidden"], least: float = 0.5, threshold: float = 0.15
) -> list[tuple[list[int], int]]:
    """The figures of one model: features that overlap, and the dimensions that they span."""
    # BEGIN SOLUTION
    norms = W.norm(dim=1)
    unit = W / norms.clamp(min=1e-12)[:, None]
    near = ((unit @ unit.T).abs() > threshold).tolist()
    groups = []
    for feature in range(len(W)):
        if norms[feature] < least:
            continue
        met = [group for group in groups if any(near[feature][other] for other in group)]
        apart = [group for group in groups if group not in met]
        groups = [*apart, sorted(sum(met, [feature]))]
    found = []
    for group in sorted(groups):
        values = torch.linalg.svdvals(W[group])
        found.append((group, (values > threshold * values[0]).sum().item()))
    return found
    # END SOLUTION


# %% tags=["check"] points=2
def check_agrees_with_the_reference(student, draw):
    """feature_groups agrees with the reference on mixed figures, in models that you have not seen"""
    for _ in range(4):
        W, _ = toy_models.mixed_figures(draw)
        expect_equal(student.feature_groups(W), superposition_geometry.feature_groups(W), "figures")


# %% tags=["check", "hidden"] points=2
def check_finds_planted_figures(student, draw):
    """pairs, triangles, pentagons and tetrahedra are found under any order of features, any rotation, and a little noise"""
    for _ in range(4):
        W, known = toy_models.mixed_figures(draw)
        expect_equal(student.feature_groups(W), known, "figures")
    toy_models.expect_untouched(student, student.feature_groups, W)


# %% tags=["check", "hidden"] points=1
def check_chains_cosines_and_thresholds(student, draw):
    """a chain of neighbours is one figure, long or short features overlap alike, and both thresholds are used"""
    angle = 2 * math.pi * torch.tensor([0.0, 0.2, 0.4, 0.5]) / 2
    fan = torch.stack([angle.cos(), angle.sin()], dim=1).to(draw.device)
    order = draw.normal(4).argsort().to(draw.device)
    expect_equal(student.feature_groups(fan[order], 0.5, 0.7), [([0, 1, 2, 3], 1)], "figures")
    place = order.argsort().tolist()
    apart = sorted([[place[0]], [place[1]], sorted([place[2], place[3]])])
    expect_equal(student.feature_groups(fan[order], 0.5, 0.9), [(group, 1) for group in apart], "figures")
    links = torch.eye(8)[:7] + torch.eye(8)[1:]  # seven features, of which each meets only the next
    chain = links[draw.normal(7).argsort()].to(draw.device)
    expect_equal(student.feature_groups(chain, 0.5, 0.4), [(list(range(7)), 5)], "figures")
    W = torch.tensor(
        [[0.5, 0.0, 0.0], [0.0, 8.0, 0.0], [0.0, -0.4, 0.0], [0.0, 1.0, 0.0]], device=draw.device
    )
    expect_equal(student.feature_groups(W, 0.5, 0.15), [([0], 1), ([1, 3], 1)], "figures")
    expect_equal(student.feature_groups(W, 0.3, 0.15), [([0], 1), ([1, 2, 3], 1)], "figures")
    expect_equal(student.feature_groups(W, 9.0, 0.15), [], "figures")
    W = torch.tensor(
        [[8.0, 0.0, 0.0], [0.8, 8.0, 0.0], [0.0, 0.0, 0.3], [0.0, 0.0, -0.3]], device=draw.device
    )
    expect_equal(student.feature_groups(W, 0.2, 0.15), [([0], 1), ([1], 1), ([2, 3], 1)], "figures")


# %% [markdown]
r"""## What goes together

Features of the world are not independent. Wheels come with cars; a word is in French or in German. Four features in two dimensions
again, in two pairs: (0, 1) and (2, 3). There is room for two digons. Who will share one with whom?"""

# %% [markdown] tags=["predict"] name="who_becomes_antipodal" choices=["features that come together", "features that never come together", "it makes no difference"]
r"""An antipodal pair stores two features in one dimension, one on each side. Which features will be put opposite to each other more often
than independent ones?"""

# %% tags=["demo"]
PAIRED = torch.full((12, 4), 0.4)
opposite, panels = {}, []
for kind in superposition.PAIRS:
    four = superposition.train_models(PAIRED, torch.ones(12, 4), 2, seed=0, pairs=kind)
    unit = four.W / four.W.norm(dim=-1, keepdim=True)
    cosines = torch.stack([(unit[:, n] * unit[:, n + 1]).sum(-1) for n in (0, 2)])
    opposite[kind] = (cosines < -0.9).sum().item()
    alike = (cosines > 0.9).sum().item()
    print(f"{kind:15} of 24 pairs, {opposite[kind]:2} are opposite, {alike:2} share one direction")
    panels += four.W[1:5]
more = {kind: opposite[kind] > opposite["independent"] + 4 for kind in superposition.PAIRS[1:]}
answer = ["it makes no difference", "features that come together", "features that never come together"][
    more["correlated"] + 2 * more["anticorrelated"] if sum(more.values()) < 2 else 0
]
plot_directions(torch.stack(panels), [kind for kind in superposition.PAIRS for _ in range(4)], columns=4)

# %% [markdown]
r"""Four models of each kind. Features that never meet are put on opposite sides: there they can't disturb each other. Most features
that come together are given *one* direction, as if they were one feature. (They come together in four examples of ten here. When
they are rarer, they get directions at right angles; try 0.1.) So geometry follows statistics, and a direction that a network
uses may stand for two things, which its data have not told apart.

## Phases

The smallest case can be solved by hand: two features, one dimension. Feature 0 has importance 1, feature 1 some other."""

# %% [markdown] exercise="phase_losses" minutes=15 difficulty=3 reference="superposition_phases.phase_losses" withhold=["phase_losses", "expected_loss", "losses_by_counting"]
r"""## Three ways to live in one dimension

Return the **expected loss** of three models, [phase, case], for every case (a `probability` of both features, and an
`importance` of the second; that of the first is 1). The features are independent, uniform in [0, 1] where present.

0. *The first alone*: W = (1, 0), no bias for the first; the second feature is answered by the best constant, its bias.
1. *The second alone*: W = (0, 1), no bias for the second; the first feature (importance 1) is answered by its bias.
2. *Both, antipodal*: W = (1, −1), no biases. So x'₀ = ReLU(x₀ − x₁), x'₁ = ReLU(x₁ − x₀).

You need: the variance of a feature that is present with probability p, and the mean of min(x₀, x₁)² for two uniform numbers."""

# %% [markdown] tags=["hint"]
r"""The best constant is the mean, and what it leaves is the variance: E[x²] − E[x]². A feature's mean is p/2; its mean square is not
the square of that, nor p²/3."""

# %% [markdown] tags=["hint"]
r"""The pair is exact unless both features are present. Then the larger comes back too small by the smaller, and the smaller comes back as
0. So both errors are min(x₀, x₁). Its density is 2(1 − m): E[min²] = ∫ m² · 2(1 − m) dm = 1/6."""


# %%
def phase_losses(
    probability: Float[Tensor, " case"], importance: Float[Tensor, " case"]
) -> Float[Tensor, "phase case"]:
    """Expected losses of three models of two features in one dimension."""
    # BEGIN SOLUTION
    mean, square = probability / 2, probability / 3
    left_out = square - mean**2
    collision = probability**2 / 6
    return torch.stack([importance * left_out, left_out, collision + importance * collision])
    # END SOLUTION


# %% tags=["check"] points=2
def check_agrees_with_the_reference(student, draw):
    """phase_losses agrees with the reference for drawn probabilities and importances"""
    for count in (3, 5):
        case = draw.normal(count).sigmoid(), draw.normal(count).exp()
        expect_close(student.phase_losses(*case), superposition_phases.phase_losses(*case), dims="phase case")


# %% tags=["check", "hidden"] points=2
def check_agrees_with_an_experiment(student, draw):
    """each number is what its model loses on a fine grid of examples, weighted by how likely they are"""
    probability, importance = draw.normal(4).sigmoid(), draw.normal(4).exp()
    known = toy_models.losses_by_counting(probability, importance)
    expect_close(
        student.phase_losses(probability, importance), known, dims="phase case", atol=2e-4, rtol=1e-3
    )


# %% tags=["check", "hidden"] points=1
def check_limits_and_symmetry(student, draw):
    """a feature always there or never; and with the features' roles exchanged, losses are exchanged and scaled"""
    edge = torch.tensor([0.0, 1.0], device=draw.device)
    weight = draw.normal(1).exp().expand(2).contiguous()
    known = torch.stack([weight * edge / 12, edge / 12, (1 + weight) * edge / 6])
    expect_close(student.phase_losses(edge, weight), known, dims="phase case")
    probability, importance = draw.normal(4).sigmoid(), draw.normal(4).exp()
    found = student.phase_losses(probability, importance)
    toy_models.expect_like(found, probability.expand(3, -1))
    exchanged = student.phase_losses(probability, 1 / importance)
    expect_close(importance * exchanged, found[[1, 0, 2]], dims="phase case")
    toy_models.expect_untouched(student, student.phase_losses, probability, importance)


# %% [markdown]
r"""The least of the three says what should happen. Now 768 models in one batch: sixteen importances, sixteen probabilities, three
seeds, of which the one with the least loss is shown."""

# %% tags=["demo"]
grid = {
    "probability": torch.logspace(0, math.log10(0.05), 16).tolist(),
    "importance": torch.logspace(-1, 1, 16).tolist(),
}
diagram = superposition_phases.phase_diagram(**grid, steps=500)
for one, other in (("trained", "formula"), ("searched", "formula"), ("trained", "searched")):
    print(f"{one} and {other} name the same phase in {diagram.agreement(one, other):.1%} of the cells")
plot_phase_diagram(diagram)

# %% [markdown]
r"""On the left what came out, on the right what the formulas say; the black line is where two formulas tie. The borders are sharp:
there is hardly a model that keeps a feature by half. When features are common, the dimension goes to whichever feature matters
more. When they are rare, both are kept, even if one is ten times as important. Where both matter alike, the formulas say that
the pair wins if p²/3 < p/3 − p²/4, which is below p = 4/7: "rare" is not very rare. (So the forty features above could lie in
pairs when every second example had them.)

At a few cells along the border the trained models superpose where the formulas would not. Who is right? A third witness is a
search on the exact loss, an integral, from several starts. It sides with the trained models, but for a cell where features are
always there and matter almost alike, and solutions differ by next to nothing. The formulas fix biases and norms; models that
superpose can choose better ones. (*Closed form* is not *true optimum*: the formula is exact about a solution that is not the
best of its kind.)

## Neurons

So far the hidden layer had no neurons to speak of: any rotation of its dimensions gives the same model (one of your checks said
so). Its axes mean nothing, and whoever describes "what dimension 3 stands for" describes a seed. A ReLU on the hidden layer
changes this. It treats every axis by itself; a rotation makes another model. The basis is *privileged*: it may mean something.

Whether it does must be measured. How strongly features keep to single neurons: Σ W⁴ over all weights, over the sum of |W_i|⁴. It is 1
if each feature has one neuron. But what is a large value? Rotations tell: in them, axes mean nothing by construction."""

# %% [markdown] exercise="basis_p_value" minutes=12 difficulty=3 reference="superposition_neurons.basis_p_value" withhold=["basis_p_value", "concentration"]
r"""## Do neurons mean anything?

Let the concentration of W [feature, hidden] be $\sum_{ik} W_{ik}^4 \,/\, \sum_i |W_i|^4$. Return a **p value** (a float):
of W itself and all its rotations W @ R, R in `rotations` [draw, hidden, hidden], the share whose concentration is at least W's.
W counts as one of them, above and below the line, so that p is never 0. "At least" includes what is smaller by no more than one
part in 100,000.

Raise `ValueError` where the question has no answer: with a single neuron, and when W is all 0."""

# %% [markdown] tags=["hint"]
r"""The denominator needs no rotating: lengths don't change. `W @ rotations` broadcasts to [draw, feature, hidden]."""

# %% [markdown] tags=["hint"]
r"""p = (1 + k) / (1 + draws), where k counts the rotations with `concentration >= own * (1 - 1e-5)`."""


# %%
def basis_p_value(
    W: Float[Tensor, "feature hidden"], rotations: Float[Tensor, "draw hidden hidden"]
) -> float:
    """How often chance makes features keep to neurons as much as these do."""
    # BEGIN SOLUTION
    if W.shape[1] < 2 or not W.any():
        raise ValueError("neurons can't be told from other directions here")
    norms = (W**2).sum(dim=1)
    total = (norms**2).sum()
    own = (W**4).sum() / total
    reached = 1
    for rotation in rotations:
        other = ((W @ rotation) ** 4).sum() / total
        reached += int(other >= own * (1 - 1e-5))
    return reached / (1 + len(rotations))
    # END SOLUTION


# %% tags=["check"] points=2
def check_agrees_with_the_reference(student, draw):
    """basis_p_value agrees with the reference on weights that keep to neurons more or less"""
    for noise in (0.2, 0.6, 3.0):
        W, rotations = toy_models.leaning_on_axes(draw, noise)
        found = student.basis_p_value(W, rotations)
        expect(type(found) is float, "The result is not a float.")
        expect_close(found, superposition_neurons.basis_p_value(W, rotations))


# %% tags=["check", "hidden"] points=2
def check_axes_rotations_and_loud_features(student, draw):
    """features on axes have the least p there is, in any order and size; evenly spread ones have 1, and so has what no rotation changes"""
    rotations = toy_models.rotations(draw, 4, 29)
    sizes = (1 + draw.normal(4).square())[:, None]
    axes = (sizes * torch.eye(4, device=draw.device))[draw.normal(4).argsort()]
    expect_close(student.basis_p_value(axes, rotations), 1 / 30)
    signs = torch.tensor([[1.0, 1, 1, 1], [1, -1, 1, -1], [1, 1, -1, -1]], device=draw.device)
    expect_close(student.basis_p_value(signs, rotations), 1.0)
    loud = torch.cat([0.01 * signs, 5 * axes[:1]])
    expect_close(student.basis_p_value(loud, rotations), 1 / 30)
    still = torch.eye(4, device=draw.device).expand(7, 4, 4).contiguous()
    expect_close(student.basis_p_value(draw.normal(5, 4), still), 1.0)
    nearly = toy_models.plane_rotations([0.0014, 0.0027]).to(
        draw.device
    )  # less by 0.4 and by 1.5 parts in 100,000
    expect_close(student.basis_p_value(torch.eye(2, device=draw.device), nearly), 2 / 3)
    toy_models.expect_untouched(student, student.basis_p_value, loud, rotations)


# %% tags=["check", "hidden"] points=1
def check_refuses_what_has_no_answer(student, draw):
    """with one neuron, or without any feature, ValueError is raised; a single feature will do"""
    one, none = draw.normal(4, 1), torch.zeros(4, 3, device=draw.device)
    for W in (one, none):
        rotations = toy_models.rotations(draw, W.shape[1], 5)
        message = f"W of shape {tuple(W.shape)}{' of zeros' if W is none else ''} should be refused."
        expect_raises("ValueError", lambda W=W, r=rotations: student.basis_p_value(W, r), message)
    single = torch.tensor([[0.0, 2.0, 0.0]], device=draw.device)
    expect_close(student.basis_p_value(single, toy_models.rotations(draw, 3, 9)), 1 / 10)


# %% tags=["demo"]
turns = superposition_neurons.random_rotations(6, 199, seed=0)
chance = torch.full((6, 6), 0.3)
weights, p_values = {}, {}
for name, hidden_relu in (("ReLU in the hidden layer", True), ("linear hidden layer", False)):
    six = superposition.train_models(chance, torch.ones(6, 6), 6, seed=0, steps=1000, hidden_relu=hidden_relu)
    weights[name], p_values[name] = six.W, [basis_p_value(W, turns) for W in six.W]
    print(f"{name:25} p values of seeds 0 to 5: {', '.join(f'{p:.3f}' for p in p_values[name])}")
with_relu = p_values["ReLU in the hidden layer"]
least, most = (with_relu.index(pick(with_relu)) for pick in (min, max))
layers = {f"ReLU, seed {seed}": weights["ReLU in the hidden layer"][seed] for seed in (least, most)}
plot_weights(layers | {"linear, seed 0": weights["linear hidden layer"][0]})

# %% [markdown]
r"""Six features, six neurons, so nothing need be superposed. With a ReLU in the hidden layer most seeds put features on neurons, at the
least p that 199 rotations allow. Without one, features are as orthogonal, the loss is even lower, and the axes are as any other: the
p values are spread over the whole range, as chance spreads them. For such a layer the answer to "what does neuron 3 mean?" is
that the question should not be asked. A residual stream is a layer of that kind, more or less.

And look at the panel in the middle, the seed with a ReLU whose p is large: several of its features are spread over many
neurons. Privileged means that axes *can* matter. It doesn't promise one feature
for each neuron; with more features than neurons, it can't be kept.

## Computing in superposition

Storing is not all. Can neurons *compute* more things than there are neurons? Take absolute values: |x| = ReLU(x) + ReLU(−x),
two neurons for every feature. Six neurons serve three features. How many could six neurons serve, if only one feature is
present at a time?"""

# %% [markdown] tags=["predict"] name="absolute_values_in_six_neurons" choices=["3", "6", "15", "any number"]
r"""The network is ReLU(ReLU(x W_in) W_out), without biases, and must be exact whenever a single feature is present. For up to how
many features does it work with six neurons?"""

# %% tags=["demo"]
exact = []
for count in range(1, 25):
    pair = superposition_neurons.absolute_value_weights(count)  # the library's; yours comes next
    alone = torch.cat([torch.eye(count), -torch.eye(count)])
    off = superposition_neurons.through_neurons(alone, *pair) - alone.abs()
    exact += [count] if off.abs().max() < 1e-3 else []
print("exact for one feature at a time, with this many features:", *exact)
answer = "any number" if max(exact) == 24 else next(n for n in ("15", "6", "3") if int(n) <= max(exact))

# %% [markdown] exercise="absolute_value_weights" minutes=20 difficulty=4 reference="superposition_neurons.absolute_value_weights" withhold=["absolute_value_weights"]
r"""## Absolute values, six neurons

Return `(W_in, W_out)`, [feature, 6] and [6, feature], such that

$$\mathrm{ReLU}(\mathrm{ReLU}(x\, W_{in})\, W_{out}) = |x|$$

for every x in which **one** feature is present (positive or negative, of any size), and for **any number** of features. Do it by hand
or train it; the checks ask for errors below 0.001 with up to twelve features."""

# %% [markdown] tags=["hint"]
r"""Let three neurons see positive values and the other three negative ones: W_in = (u, −u) with three positive numbers u_i for each
feature. Then W_out needs, for each i, three numbers v_i with v_i · u_i = 1 and v_i · u_j ≤ 0 for all others: a plane through 0
that cuts u_i off from the rest. The last ReLU does the cutting."""

# %% [markdown] tags=["hint"]
r"""In three dimensions any number of directions can each be cut off by a plane: put them on a cone. With angles a_i, two directions
orthogonal to the diagonal d = (1, 1, 1)/√3, and c_i = cos a_i · e + sin a_i · f, take u_i = d + c_i/√2 (all positive). And
v_i ∝ c_i − s · d, with s so large that the nearest neighbour gets 0."""


# %%
def absolute_value_weights(features: int) -> tuple[Float[Tensor, "feature 6"], Float[Tensor, "6 feature"]]:
    """Six neurons for the absolute values of any number of features, one at a time."""
    # BEGIN SOLUTION
    angle = 2 * math.pi * torch.arange(features) / features
    plane = torch.tensor([[3**0.5, -(3**0.5), 0.0], [1.0, 1.0, -2.0]]) / 6**0.5
    circle = torch.view_as_real(torch.polar(torch.ones(features), angle)) @ plane
    diagonal = torch.ones(3) / 3**0.5
    u = diagonal + circle / 2**0.5
    nearest = math.cos(2 * math.pi / max(features, 2))
    v = circle - nearest / 2**0.5 * diagonal
    v = v / (v * u).sum(dim=1, keepdim=True)
    return torch.cat([u, -u], dim=1), torch.cat([v, v], dim=1).T
    # END SOLUTION


# %% tags=["check"] points=2
def check_is_exact_for_one_feature_at_a_time(student, draw):
    """every feature alone, positive or negative, small or large, comes out as its absolute value, and nothing else does"""
    for features in (draw.integer(4, 6), draw.integer(7, 9), 12):
        found = student.absolute_value_weights(features)
        toy_models.expect_absolute_values(found, features, draw)


# %% tags=["check", "hidden"] points=2
def check_few_features_and_many(student, draw):
    """it works for one, two and three features as well, and always in six neurons, from weights without gradients attached"""
    for features in (1, 2, 3, draw.integer(10, 11)):
        found = student.absolute_value_weights(features)
        toy_models.expect_absolute_values(found, features, draw)


# %% tags=["demo"]
W_in, W_out = absolute_value_weights(8)
dedicated_in, dedicated_out = torch.zeros(8, 6), torch.zeros(6, 8)
for n in range(3):
    dedicated_in[n, n], dedicated_in[n, n + 3] = 1.0, -1.0
    dedicated_out[n, n] = dedicated_out[n + 3, n] = 1.0
rates = [0.5, 0.3, 0.2, 0.1, 0.05, 0.02, 0.01]
errors = {"eight features in six neurons": [], "three features in six neurons, five left out": []}
for rate in rates:
    x = superposition_neurons.signed_features(rate, 20_000, 8, seed=0)
    for name, pair in zip(errors, ((W_in, W_out), (dedicated_in, dedicated_out)), strict=True):
        wrong = superposition_neurons.through_neurons(x, *pair) - x.abs()
        errors[name].append((wrong.square().sum() / x.square().sum()).item())
plot_over_probability(errors, rates, "squared error, over that of answering 0", level=1.0)

# %% [markdown]
r"""Six neurons, and any number of absolute values: each neuron takes part in all of them. Nobody who looks at one of these neurons
could say what it computes. And the bargain is the one from the beginning. With features as common as one in two, this network is
worse than answering 0; when they are rare it is several times better than giving two neurons to each of three features. For twenty
features it would have to be rarer still, as the cone gets crowded.

This network was built, not found. That trained networks do such sums in superposition is shown for small ones by Elhage et al.
2022; in large ones it is a conjecture with supporters.

## What you may claim now

| claim | what you have | what would overturn it |
|---|---|---|
| more features than dimensions, in these models | all five come back, W seen | loss on new data no better than with two |
| the rarer features are, the more of them share; two alike do so below p = 4/7 | phases: formulas, a search, trained models | a cell where the search disagrees |
| regular figures | groups and dimensionalities, over seeds | one seed; features of unequal importance or linked ones |
| axes mean something, or not | a p value from rotations | nothing can be said with one neuron; p says nothing about *what* they mean |
| neurons can compute in superposition | weights built by hand | only one feature at a time was exact |
| language models superpose | *nothing yet* | that is what the next two chapters are about |

Toy models have features that are given, independent and sparse by construction. In a language model nobody hands you the
features. To find them, one turns the question round: given only the activations, which directions could they be sums
of? That is a sparse autoencoder (`ch06_sparse_autoencoders`)."""

# %% [markdown] tags=["rubric"] name="counting_features"
r"""## In your own words

A colleague has a layer with 768 dimensions and says: "PCA shows that 99 % of its variance lies in 200 directions, so it has no need
of superposition; it represents some 200 features." In at most 150 words: what follows, what doesn't, and what would you measure?

Levels:

- 0: agrees, or disagrees without a reason.
- 1: poor. Says that features need not be orthogonal, without what this does to the argument.
- 2: fair. Says that variance counts dimensions in use, not features; that rare features add little variance; names the toy model
  with forty features in ten dimensions, all of them used.
- 3: excellent. As 2, and says which measurement could decide (how many things can be read from few directions, or a dictionary, with
  a random baseline), what result would refute superposition, and that a single seed or layer is one case."""

# %% [markdown] tags=["interview"] name="why_superposition_matters"
r"""Explain superposition to an engineer in two minutes, and why anybody who cares about the safety of a model should care about it.

A strong answer: more features than dimensions, because features are rare; directions that are not orthogonal; interference, and a
nonlinearity that suppresses it. Consequences: a neuron answers to several things, so a monitor on a neuron fires for the wrong
reason; switching it off breaks other things; and "no neuron does X" does not mean that the model doesn't. When it pays:
sparsity and importance, with a sharp border. What is known (toy models, with formulas) and what is not (how it looks in large
models). What to do: look for directions, not neurons; test by intervention; keep a baseline."""
