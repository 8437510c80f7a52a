# ---
# jupyter:
#   kernelspec: {"display_name": "Python 3", "language": "python", "name": "python3"}
#   mechinterp_course: {"chapter": "ch18_dictionary_variants", "version": "39c23a6855d3", "source": "solutions/ch18_dictionary_variants/chapter.py"}
# ---

# %% [markdown]
r"""
*Chapter `ch18_dictionary_variants`, version `39c23a6855d3`, written from `solutions/ch18_dictionary_variants/chapter.py` by `python -m mechinterp_course.authoring ch18_dictionary_variants`.*
"""

# %% [markdown]
r"""
# Choosing a dictionary

A sparse autoencoder answers with a list of features, and the list depends on how it was asked. *Sparse autoencoders* built the
plain kind, with L1, TopK and BatchTopK. Since then every year has brought another kind, each a cure for one fault. What does
each cure, what does it cost, and which number would show it?

1. **Thresholds.** BatchTopK reads a token differently in different company. JumpReLU learns a threshold for each feature.
2. **The dead.** TopK missed the mark in a world of known features. Two ways to revive what died, and what they mend.
3. **Families.** A feature with a perfect direction that is silent on most of its tokens, or comes in pieces as a dictionary
   grows; and nested dictionaries against it.
4. **Transcoders.** A dictionary of what an MLP does, and not of what is there.

You need `ch06_sparse_autoencoders`. It takes about two and three quarter hours. The first cell holds helpers of the
checks: run it and go on, the first surprise is right below.
"""

# %% tags=["demo"]
if __name__ == "__main__":
    from mechinterp_course.checking import run_check
    from mechinterp_course.predictions import predict

# %% tags=["given"]
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

from mechinterp_course import dictionary_variants, revival, sae_training, transcoders
from mechinterp_course.checking import expect, expect_close, expect_equal

Acts = Float[Tensor, "token d_sae"]


def tensors_in(argument):
    """The tensors in an argument, in lists and in dictionaries."""
    if isinstance(argument, dict):
        argument = list(argument.values())
    parts = argument if isinstance(argument, list | tuple) else [argument]
    return [each for part in parts for each in (tensors_in(part) if part is not argument else [part])]


def changes(function, *arguments):
    """Whether a call of `function` changes a tensor among the arguments, or in a list or dictionary there."""
    held = [each for each in tensors_in(arguments) if isinstance(each, Tensor)]
    before = [each.detach().clone() for each in held]
    function(*arguments)
    return not all(torch.equal(a, b) for a, b in zip(before, held, strict=True))


def expect_untouched(student, function, *arguments):
    """Pass if a call of the student's function leaves the tensors that it is given as they were."""
    changed = student.run(changes, function, *arguments)
    expect(changed is False, "The call changes what it was given in place: work on copies (`clone`).")


def expect_parts(value, count):
    """Pass if the value is a tuple (or list) of so many parts."""
    several = isinstance(value, tuple | list) and len(value) == count
    expect(several, f"The result is not a tuple of {count} parts.")


def expect_floats(value, count):
    """Pass if the value is a tuple of so many floats."""
    expect_parts(value, count)
    expect(all(isinstance(each, float) for each in value), "The results are not floats.")


def slopes(function, arguments, pulls=None):
    """The gradients, with respect to every float tensor among the arguments, of the result.

    A result of several parts is multiplied by `pulls`, part by part, and added up. Zeros where none arrives.
    """
    leaves = [
        each.clone().requires_grad_() if isinstance(each, Tensor) and each.is_floating_point() else each
        for each in arguments
    ]
    result = function(*leaves)
    parts = result if pulls is not None else [result]
    pulls = pulls if pulls is not None else [1.0]
    total = sum((part * pull).sum() for part, pull in zip(parts, pulls, strict=True))
    learning = [each for each in leaves if isinstance(each, Tensor) and each.requires_grad]
    if not total.requires_grad:
        return [torch.zeros_like(each) for each in learning]
    found = torch.autograd.grad(total, learning, allow_unused=True)
    return [torch.zeros_like(a) if b is None else b for a, b in zip(learning, found, strict=True)]


# %% tags=["demo"]
if __name__ == "__main__":
    from mechinterp_course.known_features import draw_known_features
    from mechinterp_course.sae_comparison import KINDS, trained

    world = draw_known_features(d_in=32, features=48, probability=0.05, seed=0)
    batchtopk = trained(KINDS["BatchTopK"], world, seed=0)
    there = (world.feature_acts > 0).sum(dim=1)
    company = {
        "alone": world.activations[:0],
        "among quiet tokens": world.activations[there <= 1][:63],
        "among loud tokens": world.activations[there >= 5][:63],
    }
    print("six tokens; really active on each:", there[:6].tolist())
    for name, others in company.items():
        active = [
            (batchtopk.encode(torch.cat([token[None], others]))[0] > 0).sum().item()
            for token in world.activations[:6]
        ]
        print(f"features that fire, {name:19}", active)

# %% [markdown]
r"""
The same six activations, the same autoencoder, three answers. On the second token three features fire if it is read alone, one
in one company and none in the other. "Does this feature fire on this token?" has no answer here: BatchTopK compares a token
with its neighbours, so what it says is **no function of the token**.

## Thresholds
"""

# %% [markdown]
r"""
## A threshold in the place of the batch

*`inference_threshold` · 10 minutes · difficulty 2 of 5 · 4 points*

Once BatchTopK has been trained, it is run with a threshold instead: what exceeds it stays ([Bussmann et al.
2024](https://arxiv.org/abs/2412.06410)). The threshold, one number for all features, is what a value had to exceed on average
in training. `batches` are pre-activations, `[token, d_sae]` each, of unequally many tokens. In each, of the (`k` × number of
tokens) largest values those stay that are positive; take the **smallest that stays**. Return the mean of these over the
batches, as a float. A batch in which nothing is positive is left out; at least one batch has a positive value.
"""

# %% [markdown]
r"""
<details>
<summary>Hint 1</summary>

The smallest that stays is the last of `batch.flatten().topk(k * len(batch)).values`, if that is positive. Else it is the smallest
of those that are.

</details>
"""


# %%
def inference_threshold(batches: list[Acts], k: int) -> float:
    """The mean over batches of the smallest activation that BatchTopK keeps."""
    raise NotImplementedError("inference_threshold is not written yet")


# %% tags=["given"]
def some_pre_activations(draw, d_sae):
    """Batches of unequal size and loudness, and one in which little is positive."""
    sizes = draw.integer(3, 5), draw.integer(8, 12), draw.integer(5, 7)
    return [
        scale * draw.normal(tokens, d_sae) + shift
        for tokens, scale, shift in zip(sizes, (1.0, 3.0, 1.0), (0.5, 0.0, -1.3), strict=True)
    ]


# %% tags=["check"]
def check_agrees_with_the_reference(student, draw):
    """the threshold agrees with the reference on batches of unequal size and loudness"""
    for k in (1, draw.integer(2, 3)):
        batches = some_pre_activations(draw, draw.integer(9, 12))
        expect_close(
            student.inference_threshold(batches, k), dictionary_variants.inference_threshold(batches, k)
        )
    expect_untouched(student, student.inference_threshold, batches, k)


if __name__ == "__main__":
    run_check(check_agrees_with_the_reference)

# %% tags=["demo"]
if __name__ == "__main__":
    from mechinterp_course import sae, sae_comparison
    from mechinterp_course.sae_lens_training import Run, train_with_sae_lens
    from mechinterp_course.sparse_activations import jumprelu as above

    batches = [batchtopk.pre_activations(part) for part in world.activations.split(256)]
    threshold = inference_threshold(batches, 3)
    steady = above(torch.cat(batches), torch.full((48,), threshold))
    print(f"threshold {threshold:.2f}: {sae.mean_l0(steady):.2f} features fire on a token, on average")
    print("on the six tokens, in any company:", (steady[:6] > 0).sum(dim=1).tolist())

# %% [markdown]
r"""
The mean is what it was, and each token now has one answer. This is how sae-lens saves a BatchTopK dictionary, too: as a
JumpReLU one. If a threshold is what one ends with, why not learn it, one for each feature? Because a threshold has no gradient.
"""

# %% [markdown]
r"""
## A threshold that learns

*`jumprelu` · 20 minutes · difficulty 4 of 5 · 7 points*

$$\mathrm{JumpReLU}_\theta(z) = z \, H(z - \theta), \qquad H(u) = 1 \text{ if } u > 0 \text{ else } 0$$

Return `(feature_acts, active)`: JumpReLU of `pre_activations`, with one threshold for each feature, and `H(z − θ)` itself as
floats, whose sum over features is L0, to be used as a penalty. What exceeds the threshold stays **whole**, so nothing shrinks.
Thresholds are positive.

Moving θ a little changes nothing on nearly every token, so the true gradient is 0 and θ never learns. [Rajamanoharan et al.
2024](https://arxiv.org/abs/2407.14435) give it a **straight-through** one. Where z is within half a *bandwidth* ε of θ, that is
|z − θ| < ε/2,

$$\frac{\partial\, \mathrm{JumpReLU}}{\partial \theta} := -\frac{\theta}{\varepsilon}, \qquad \frac{\partial H}{\partial \theta} := -\frac{1}{\varepsilon},$$

and 0 elsewhere. These are added up over all tokens on the way back, as gradients are. The gradient to z is the true one:
through `feature_acts` it is 1 where a feature is active and 0 elsewhere, through `active` it is 0. `pre_activations` may have
any axes before the last.
"""

# %% [markdown]
r"""
<details>
<summary>Hint 1</summary>

`threshold - threshold.detach()` is zero, and has gradient 1 with respect to θ. Add a multiple of it to what has the right value.

</details>
"""

# %% [markdown]
r"""
<details>
<summary>Hint 2</summary>

`window = ((z - threshold).abs() < bandwidth / 2) / bandwidth`, then `active = (z > threshold).float() - window * (threshold -
threshold.detach())`. For the activations use the plain step, and add the same term with the height θ: `z * (z > threshold) -
threshold.detach() * window * (threshold - threshold.detach())`; `z * active` would pull by z. A `torch.autograd.Function`
does as well: it has to sum the gradient of θ over the tokens.

</details>
"""


# %%
def jumprelu(
    pre_activations: Float[Tensor, "... d_sae"], threshold: Float[Tensor, " d_sae"], bandwidth: float
) -> tuple[Float[Tensor, "... d_sae"], Float[Tensor, "... d_sae"]]:
    """What exceeds the threshold, and where; with gradients for the threshold."""
    raise NotImplementedError("jumprelu is not written yet")


# %% tags=["given"]
def some_crossings(draw, *shape):
    """Pre-activations around positive thresholds, and what is to pull at the two results."""
    threshold = 0.4 + 0.3 * draw.normal(shape[-1]).abs()
    pre_activations = threshold + draw.normal(*shape)
    return pre_activations, threshold, [draw.normal(*shape), draw.normal(*shape)]


# %% tags=["check"]
def check_agrees_with_the_reference(student, draw):
    """activations and gate agree with the reference for any axes, and are what they are without a gradient"""
    for axes, dims in (((draw.integer(5, 8),), "token d_sae"), ((2, draw.integer(3, 5)), "batch pos d_sae")):
        pre_activations, threshold, _ = some_crossings(draw, *axes, draw.integer(9, 12))
        result = student.jumprelu(pre_activations, threshold, 0.5)
        expect_parts(result, 2)
        expected = dictionary_variants.jumprelu(pre_activations, threshold, 0.5)
        for actual, known in zip(result, expected, strict=True):
            expect_close(actual, known, dims=dims)
    expect_untouched(student, student.jumprelu, pre_activations, threshold, 0.5)


if __name__ == "__main__":
    run_check(check_agrees_with_the_reference)


# %% tags=["check"]
def check_gives_thresholds_a_gradient(student, draw):
    """through each of the two results the right gradient reaches pre-activations and thresholds"""
    for shape, dims in (((12, 7), "token d_sae"), ((3, 4, 6), "batch pos d_sae")):
        pre_activations, threshold, pulls = some_crossings(draw, *shape)
        bandwidth = draw.choice([0.4, 0.9, 1.6])
        for weights in ([1.0, 0.0], [0.0, 1.0], [1.0, 1.0]):
            pulled = [weight * pull for weight, pull in zip(weights, pulls, strict=True)]
            arguments = [pre_activations, threshold, bandwidth]
            found = student.run(slopes, student.jumprelu, arguments, pulled)
            known = slopes(dictionary_variants.jumprelu, arguments, pulled)
            expect_parts(found, 2)
            expect_close(found[0], known[0], dims=dims)
            expect_close(found[1], known[1], dims="d_sae")


if __name__ == "__main__":
    run_check(check_gives_thresholds_a_gradient)

# %% [markdown]
r"""
sae-lens trains three JumpReLU dictionaries on the world above, with the same penalty on L0 and with the bandwidths 2, 0.05 and
0.00005. All thresholds begin at 0.1. A narrow window gives a truer gradient, from fewer tokens. How does the narrowest one end,
beside the others?

- **a** fires least
- **b** fires about as much
- **c** fires most
"""

# %% tags=["predict"]
if __name__ == "__main__":
    narrow_bandwidth = predict(
        answer=None,  # "a" to "c"
        confidence=None,  # the probability that you are right, from 0 to 1
        choices=(
            "fires least",
            "fires about as much",
            "fires most",
        ),
    )

# %% tags=["demo"]
if __name__ == "__main__":
    if narrow_bandwidth.answered():
        narrow = {}
        print("bandwidth    mean threshold     L0    mean matched cosine    variance unexplained")
        for bandwidth in (2.0, 0.05, 0.00005):
            settings = {"l0_coefficient": 1.0, "jumprelu_bandwidth": bandwidth, "jumprelu_init_threshold": 0.1}
            one = train_with_sae_lens(world.activations, "jumprelu", 48, Run(300, 512, 1e-2), **settings)
            seen = narrow[bandwidth] = sae_comparison.outcome(one, world)
            parts = f"{one.threshold.mean():13.2f} {seen.l0:10.1f} {seen.recovery.mean_cosine:17.3f}"
            print(f"{bandwidth:9} {parts} {seen.unexplained:22.3f}")
        ratio = narrow[0.00005].l0 / narrow[0.05].l0
        answer = "fires least" if ratio < 0.7 else "fires most" if ratio > 1.4 else "fires about as much"
        narrow_bandwidth.compare(answer)

# %% [markdown]
r"""
<details>
<summary>Seen it? Then read what it shows</summary>

With the narrowest window hardly a token ever falls in it: the thresholds stay near where they began, and most features fire on
every token. It has by far the best reconstruction, and its directions are worth little. With the widest, fewer fire than there
are, 2.4 on a token. The bandwidth is a setting that no loss shows, and L0 does. And with a window that is wide enough, JumpReLU
finds more of this world than TopK did.

</details>

## The dead

In *Sparse autoencoders* L1 found the directions of five worlds, with a mean matched cosine above 0.95, and TopK did not: 0.92.
"Another learning rate may change that", the page said. We shall try that and four other things. The two that Bricken, Gao and
their colleagues propose are about features that have **died**: they are among no token's k largest, so no gradient reaches
them, so they stay dead.
"""

# %% [markdown]
r"""
## Let the dead explain what is left

*`auxiliary_loss` · 15 minutes · difficulty 3 of 5 · 6 points*

The **auxiliary loss** ([Gao et al. 2024](https://arxiv.org/abs/2406.04093)) asks of the dead features to rebuild what the
living got wrong. `error` is activation minus reconstruction. On each token take the `k_aux` dead features with the largest
pre-activations (all of the dead, if they are fewer), with these **pre-activations as they are**, also where they are negative,
and rebuild the error with their decoder rows, **without bias**: the error has none. Return the squared distance to the error,
summed over inputs and averaged over tokens, as a tensor without axes.

Gradients flow to `pre_activations` and `W_dec`, and **none to the error**: else the living would learn to leave errors that the
dead can explain. If no feature is dead, the loss is 0.
"""

# %% [markdown]
r"""
<details>
<summary>Hint 1</summary>

`pre_activations.masked_fill(~dead, -torch.inf).topk(count, dim=-1)` chooses among the dead. `count` must not exceed the number of the
dead, or living ones come along as −∞. `error.detach()` is a constant.

</details>
"""


# %%
def auxiliary_loss(
    error: Float[Tensor, "token d_in"],
    pre_activations: Float[Tensor, "token d_sae"],
    dead: Bool[Tensor, " d_sae"],
    W_dec: Float[Tensor, "d_sae d_in"],
    k_aux: int,
) -> Float[Tensor, ""]:
    """How far the dead features are from explaining the error."""
    raise NotImplementedError("auxiliary_loss is not written yet")


# %% tags=["given"]
def some_dead(draw, count, tokens=6, d_in=7, d_sae=13):
    """(error, pre-activations, dead, W_dec): `count` features are dead, at places you can't foresee."""
    dead = torch.zeros(d_sae, dtype=torch.bool)
    dead[draw.normal(d_sae).argsort()[:count].cpu()] = True
    values = draw.normal(tokens, d_sae), draw.normal(d_sae, d_in)
    return draw.normal(tokens, d_in), values[0] - 0.3, dead.to(draw.device), values[1]


# %% tags=["check"]
def check_agrees_with_the_reference(student, draw):
    """the loss agrees with the reference for few, many and as many dead features as may speak"""
    for count, k_aux in ((9, 3), (9, 9), (draw.integer(2, 3), 5), (13, draw.integer(2, 4))):
        case = some_dead(draw, count, draw.integer(4, 6), draw.integer(7, 8))
        expected = sae_training.auxiliary_loss(*case, k_aux)
        expect_close(student.auxiliary_loss(*case, k_aux), expected, dims="")
    expect_untouched(student, student.auxiliary_loss, *case, k_aux)


if __name__ == "__main__":
    run_check(check_agrees_with_the_reference)

# %% [markdown]
r"""
## Or begin again elsewhere

*`resample_dead` · 25 minutes · difficulty 4 of 5 · 7 points*

**Resampling** ([Bricken et al. 2023](https://transformer-circuits.pub/2023/monosemantic-features)) gives a dead feature a
second birth, at a token that is badly reconstructed. For each dead feature:

1. draw a token, with a chance proportional to the **square of its squared error**, the fourth power of its distance (several
   features may draw the same one);
2. its row of `W_dec` becomes the **unit** vector from `b_dec` to that token's activation;
3. its column of `W_enc` becomes the same vector, at **a fifth of the mean length of the living features' columns**; its `b_enc`
   becomes 0;
4. what the optimizer remembers of all three becomes 0. Adam's averages are those of the dead: the first steps would follow them.

`weights` and `moments` are dictionaries with the keys `"W_enc"` [d_in, d_sae], `"b_enc"`, `"W_dec"` [d_sae, d_in] and
`"b_dec"`; `moments` holds one running average of each (Adam keeps two: the function is called for each of them). Return
`(weights, moments)`, new dictionaries with the same keys; the arguments, and all that belongs to the living, stay as they are.
The same `seed` must give the same answer. At least one feature is alive; it may be that none is dead, and then nothing
changes.
"""

# %% [markdown]
r"""
<details>
<summary>Hint 1</summary>

`torch.multinomial(chances, count, replacement=True, generator=...)` draws. `error.square().sum(dim=-1)` is a squared error; its
square is what counts. Clone first, then write to `weights["W_dec"][dead]` and `weights["W_enc"][:, dead]`.

</details>
"""


# %%
def resample_dead(
    activations: Float[Tensor, "token d_in"],
    reconstruction: Float[Tensor, "token d_in"],
    dead: Bool[Tensor, " d_sae"],
    weights: dict[str, Tensor],
    moments: dict[str, Tensor],
    seed: int,
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Weights and moments after dead features were pointed at badly reconstructed tokens."""
    raise NotImplementedError("resample_dead is not written yet")


# %% tags=["given"]
SIZES = {"W_enc": "d_in d_sae", "b_enc": "d_sae", "W_dec": "d_sae d_in", "b_dec": "d_in"}


def some_optimizer(draw, d_in, d_sae):
    """Weights, and an average of each that an optimizer may hold."""
    shapes = {"W_enc": (d_in, d_sae), "b_enc": (d_sae,), "W_dec": (d_sae, d_in), "b_dec": (d_in,)}
    weights = {name: draw.normal(*shape) for name, shape in shapes.items()}
    return weights, {name: 1 + draw.normal(*shape).abs() for name, shape in shapes.items()}


def expect_weights(result, expected):
    """Pass if weights and moments are the expected ones, name by name."""
    expect_parts(result, 2)
    for found, known in zip(result, expected, strict=True):
        same = isinstance(found, dict) and set(found) == set(SIZES)
        expect(same, "The results are not two dictionaries with the keys of `weights`.")
        for name, dims in SIZES.items():
            expect_close(found[name], known[name], dims=dims)


def four_tokens(draw, count):
    """Tokens along four axes with squared errors of 0, 1, 2 and 4, and `count` dead features beside a living one."""
    activations = torch.eye(4, device=draw.device)
    reconstruction = activations.clone()
    reconstruction[1:, 0] += torch.tensor([1.0, 2.0, 4.0], device=draw.device).sqrt()
    weights, moments = some_optimizer(draw, 4, count + 1)
    weights["b_dec"] = torch.zeros(4, device=draw.device)
    dead = torch.arange(count + 1, device=draw.device) < count
    return activations, reconstruction, dead, weights, moments, draw.seed()


# %% tags=["check"]
def check_agrees_where_nothing_is_left_to_chance(student, draw):
    """with one bad token, weights and moments agree with the reference, for any number of dead features"""
    for count in (1, draw.integer(3, 5), 0):
        d_in, d_sae, tokens = draw.integer(5, 6), draw.integer(8, 10), draw.integer(12, 14)
        activations = draw.normal(tokens, d_in)
        reconstruction = activations.clone()
        reconstruction[draw.integer(0, tokens - 1)] += 0.5
        dead = torch.zeros(d_sae, dtype=torch.bool)
        dead[draw.normal(d_sae).argsort()[:count].cpu()] = True
        dead = dead.to(draw.device)
        if count == 0:
            reconstruction = activations + 0.1
        case = [activations, reconstruction, dead, *some_optimizer(draw, d_in, d_sae), draw.seed()]
        expect_weights(student.resample_dead(*case), revival.resample_dead(*case))
    expect_untouched(student, student.resample_dead, *case)


if __name__ == "__main__":
    run_check(check_agrees_where_nothing_is_left_to_chance)

# %% [markdown]
r"""
TopK with 48 features again, in three of the worlds, with the same first weights. Which one change finds most, by mean matched cosine?

- **a** twice as many steps
- **b** a quarter of the learning rate
- **c** resampling
- **d** the auxiliary loss
"""

# %% tags=["predict"]
if __name__ == "__main__":
    what_mends_topk = predict(
        answer=None,  # "a" to "d"
        confidence=None,  # the probability that you are right, from 0 to 1
        choices=(
            "twice as many steps",
            "a quarter of the learning rate",
            "resampling",
            "the auxiliary loss",
        ),
    )

# %% tags=["demo"]
if __name__ == "__main__":
    if what_mends_topk.answered():
        from mechinterp_course import sae_plots

        outcomes = revival.compare_revivals(range(3), rivals=("L1", "frozen random decoder", sae_comparison.PCA))
        print(sae_comparison.table(outcomes))
        cosine = {
            name: sae_comparison.mean_over_seeds(runs, lambda run: run.recovery.mean_cosine)
            for name, runs in outcomes.items()
        }
        answers = {
            "twice as long": "twice as many steps",
            "a quarter of the rate": "a quarter of the learning rate",
            "resampling": "resampling",
            "auxiliary loss": "the auxiliary loss",
        }
        answer = answers[max(answers, key=cosine.get)]
        sae_plots.plot_by_world({name: outcomes[name] for name in (*revival.TRIES, "L1")})
        what_mends_topk.compare(answer)

# %% [markdown]
r"""
<details>
<summary>Seen it? Then read what it shows</summary>

Patience changes nothing. Another rate finds more in two worlds and much less in the third: that is another draw, not a cure.
The auxiliary loss lifts the two worlds in which TopK had missed most, and brings the mean over 0.95. Resampling lifts the one in
which most was missed. What it does elsewhere hangs on the tokens it draws: on one of our processors it lifted the third world as
well, on another, where sums are rounded otherwise, it did not.

Is it the dead that were in the way? The last column counts the features that fire on none of the tokens trained on. TopK ends
with four of 48, and most of them in the two worlds in which it misses most. The auxiliary loss ends with hardly any. Resampling
ends with nearly as many as before, though every fifty steps of the first half it gave them a new life: most died again.
A second birth is one step; the auxiliary loss speaks for the dead at each.

But count on. Eight directions are missed where four features are dead. The rest has another cause, and there is a suspect: TopK
takes three on every token, where each of 48 directions is active on one token in twenty. That makes 2.4 on average, and none or
one on three tokens in ten.

- **It is no victory.** L1 finds every direction of all three worlds, with 4 active features on a token instead of 2.7, and lets
  none die. And where TopK had missed little, resampling ends below it.
- **What is left is hardly a matter of death.** Where two features share a direction (look at *uniqueness*), both are alive, and
  no revival concerns them.
- **Unexplained variance moves by two points** with the auxiliary loss, while recall gains eight. Whoever compares the runs by
  reconstruction sees little.
- The frozen random decoder and the principal directions find nothing, at any L0.

Mind what *dead* means. One batch of a few hundred tokens is not enough to call a feature dead that fires on one token in a
thousand: resampling it destroys what it had learned. And one that is alive may say nothing that is there.

</details>

## Families

Directions that are independent and all alike are a friendly case. In *Sparse autoencoders* a parent's direction was found
perfectly, and its feature was silent where it should have spoken. There it was shown for one family and one kind. To compare
kinds one needs numbers: one for what is lost, and one for where it went.
"""

# %% [markdown]
r"""
## Recall, and what was absorbed

*`absorption_rate` · 15 minutes · difficulty 3 of 5 · 5 points*

The world says which features are really active, `true_acts`; `partner[i]` is the found feature matched to true feature i. Of
the family (`parent`, `children`) return two floats, `(recall, absorbed)`:

- `recall`: of the tokens on which the parent is truly active, the share on which its partner fires;
- `absorbed`: of the tokens on which **some child** is truly active, the share on which the parent's partner is silent **and**
  the partner of a child that is truly there fires: the child's feature speaks for both ([Chanin et al.
  2024](https://arxiv.org/abs/2409.14507)).

A feature is active, or fires, where it is above zero. Several children may be there at once; a token still counts once. A child
is there only where its parent is. A token on which nobody speaks is missed, but not absorbed.
"""

# %% [markdown]
r"""
<details>
<summary>Hint 1</summary>

`fires = feature_acts > 0` and `there = true_acts > 0`. The children that are there and whose partner fires:
`there[:, children] & fires[:, partner[children]]`. `.any(dim=1)` makes one answer a token.

</details>
"""


# %%
def absorption_rate(
    feature_acts: Acts,
    true_acts: Float[Tensor, "token feature"],
    partner: Int[Tensor, " feature"],
    parent: int,
    children: list[int],
) -> tuple[float, float]:
    """How often a parent's partner speaks, and how often a child's speaks in its place."""
    raise NotImplementedError("absorption_rate is not written yet")


# %% tags=["given"]
def some_family(draw, tokens, features, d_sae):
    """(feature_acts, true_acts, partner, parent, children): a family among strangers, matched in any order."""
    family = draw.normal(features).argsort()[:4].tolist()
    parent, children = family[0], family[1:]
    there = draw.normal(tokens, features) > 0.6
    there[:, parent] = (draw.normal(tokens) > 0.5) | there[:, children].any(dim=1)
    partner = draw.normal(d_sae).argsort()[:features]
    fires = draw.normal(tokens, d_sae) > 0.2
    sizes = draw.normal(tokens, d_sae).abs() + 0.05, draw.normal(tokens, features).abs() + 0.05
    return fires * sizes[0], there * sizes[1], partner, parent, children


def of_digits(rows):
    """A row of activations for each word of digits."""
    return torch.tensor([[float(digit) for digit in row] for row in rows.split()])


# %% tags=["check"]
def check_agrees_with_the_reference(student, draw):
    """both numbers agree with the reference, whatever the order of features and partners"""
    for tokens in (draw.integer(60, 80), draw.integer(90, 110)):
        case = some_family(draw, tokens, draw.integer(6, 8), draw.integer(10, 13))
        result = student.absorption_rate(*case)
        expect_floats(result, 2)
        recall, absorbed = dictionary_variants.absorption_rate(*case)
        expect_close(result[0], recall)
        expect_close(result[1], absorbed)
    expect_untouched(student, student.absorption_rate, *case)


if __name__ == "__main__":
    run_check(check_agrees_with_the_reference)

# %% [markdown]
r"""
## One feature, and its pieces

*`split_features` · 15 minutes · difficulty 3 of 5 · 5 points*

Absorption shows because the world says who is there. On a model nobody does, but two dictionaries can be held against each
other: where a narrow one has a feature, a wider one often has several. That is **splitting** ([Bricken et al.
2023](https://transformer-circuits.pub/2023/monosemantic-features)).

`narrow_acts` `[token, narrow]` and `wide_acts` `[token, wide]` are activations of two dictionaries on the same tokens; a feature
fires where its activation is above zero. A wide feature is a **piece** of a narrow one if at least the share `inside` of the
tokens on which it fires are tokens on which the narrow one fires. Return two tensors:

- `pieces`, bool `[narrow, wide]`: which wide feature is a piece of which narrow one. One that never fires is nobody's piece;
- `covered`, of the dtype of the activations, `[narrow]`: of the tokens on which the narrow feature fires, the share on which at
  least one of its pieces fires. For a narrow feature that never fires it is 0.

A wide feature may be a piece of several narrow ones, and pieces may fire together: a token still counts once.
"""

# %% [markdown]
r"""
<details>
<summary>Hint 1</summary>

With `narrow` and `wide` as zeros and ones, `narrow.T @ wide` counts the tokens on which both fire: all you need for `pieces`.

</details>
"""

# %% [markdown]
r"""
<details>
<summary>Hint 2</summary>

`wide @ pieces.T` counts, for each token and narrow feature, the pieces that fire. Above zero, and the narrow one fires too:
such a token is covered.

</details>
"""


# %%
def split_features(
    narrow_acts: Float[Tensor, "token narrow"], wide_acts: Float[Tensor, "token wide"], inside: float
) -> tuple[Bool[Tensor, "narrow wide"], Float[Tensor, " narrow"]]:
    """Which wide features are pieces of which narrow ones, and how much of these they cover."""
    raise NotImplementedError("split_features is not written yet")


# %% tags=["given"]
def some_pieces(draw, tokens, narrow, wide):
    """(narrow_acts, wide_acts): most wide features lie within a narrow one, some with a spill; one is dead."""
    whole = draw.normal(tokens, narrow) > 0.3
    owner = torch.tensor([draw.integer(0, narrow - 1) for _ in range(wide)], device=draw.device)
    within = whole[:, owner] & (draw.normal(tokens, wide) > 0.2)
    spilt = draw.normal(tokens, wide) > 1.2 + draw.normal(wide).abs()
    part = within | spilt
    part[:, draw.integer(0, wide - 1)] = False
    whole[:, draw.integer(0, narrow - 1)] = False
    sizes = draw.normal(tokens, narrow).abs() + 0.05, draw.normal(tokens, wide).abs() + 0.05
    return whole * sizes[0], part * sizes[1]


def pairs(matrix):
    """The places (row, column) at which a bool matrix is true."""
    return [tuple(place) for place in matrix.nonzero().tolist()]


def expect_pieces(result, pieces, covered):
    """Pass if the result is (pieces, covered): these pairs, exactly, and how much they cover."""
    expect_parts(result, 2)
    right = isinstance(result[0], Tensor) and result[0].dtype == torch.bool
    expect(right and result[0].shape == pieces.shape, "`pieces` is not a bool tensor [narrow, wide].")
    expect_equal(pairs(result[0]), pairs(pieces), "pairs of a narrow feature and a piece")
    expect_close(result[1], covered, "narrow")


# %% tags=["check"]
def check_agrees_with_the_reference(student, draw):
    """both tensors agree with the reference, wherever the line is drawn"""
    for share in (0.5, 0.7, 0.9):
        inside = share + 0.00037  # no count of tokens lies on the line
        case = some_pieces(draw, draw.integer(60, 90), draw.integer(5, 7), draw.integer(9, 12))
        expect_pieces(
            student.split_features(*case, inside), *dictionary_variants.split_features(*case, inside)
        )
    expect_untouched(student, student.split_features, *case, inside)


if __name__ == "__main__":
    run_check(check_agrees_with_the_reference)

# %% [markdown]
r"""
Worlds of 48 directions with three families: each parent is active on a fifth of the tokens, on three fifths of these with one
of its three children. BatchTopK with k = 2 is trained by sae-lens, in four widths. Which width holds the best detector of a
parent, by F1, as a mean over families and two worlds?

- **a** 12
- **b** 24
- **c** 48
- **d** 96
"""

# %% tags=["predict"]
if __name__ == "__main__":
    width_for_a_parent = predict(
        answer=None,  # "a" to "d"
        confidence=None,  # the probability that you are right, from 0 to 1
        choices=(
            "12",
            "24",
            "48",
            "96",
        ),
    )

# %% tags=["demo"]
if __name__ == "__main__":
    if width_for_a_parent.answered():
        from mechinterp_course import known_families, plots

        at_width = known_families.across_widths((12, 24, 48, 96), seeds=(0, 1))
        print(known_families.table_of_widths(at_width))
        answer = str(max(at_width, key=lambda width: at_width[width].parents))

        family_world = known_families.family_world(1)
        narrow, wide = (known_families.of_width(family_world, width, seed=1) for width in (24, 48))
        print("\nThe features of 24 that several of 48 stand for, and no single one:")
        print(known_families.table_of_splits(known_families.splits(family_world, narrow, wide)))
        narrow_acts, wide_acts = narrow.encode(family_world.activations), wide.encode(family_world.activations)
        shuffled = wide_acts[torch.randperm(len(wide_acts), generator=torch.Generator().manual_seed(0))]
        pairs = [split_features(narrow_acts, acts, 0.9)[0].sum().item() for acts in (wide_acts, shuffled)]
        print(f"\npieces: {pairs[0]}; with the tokens of one dictionary shuffled: {pairs[1]}")
        curves = {
            "best F1 for a parent": [each.parents for each in at_width.values()],
            "best F1 for a child": [each.children for each in at_width.values()],
            "variance unexplained": [each.unexplained for each in at_width.values()],
        }
        plots.plot_lines(curves, [str(width) for width in at_width], "features in the dictionary", "share")
        width_for_a_parent.compare(answer)

# %% [markdown]
r"""
<details>
<summary>Seen it? Then read what it shows</summary>

The best detector of a parent is found where there is room for half of the directions: a feature for each child would cost too
much, and the direction that a family shares pays. With 48 features each child has its own, which speaks for the parent as well,
and the parent's detector gets worse while variance unexplained falls to a third. With 96 half of them are dead, children are told
a little better and parents worse again. **Wider is finer, not better**: which width is right depends on what will be asked.

And what comes apart need not have been one thing. Three of the eight features in pieces were parents. The other five were two
strangers under one name, for want of room: nothing was split there, a mixture was undone. On a model the column *in truth* is
missing. The pieces' directions are a hint, since those of a family share the parent's: cosines above 0.45 belong to families here,
and those of strangers stay below 0.35. But the third family hides among the strangers, because one of its pieces fires on a
handful of tokens and was counted like the rest.

A cure that keeps both, the parent and its children, would have to train narrow and wide dictionaries in one.

</details>
"""

# %% [markdown]
r"""
## Dictionaries inside dictionaries

*`matryoshka_loss` · 12 minutes · difficulty 3 of 5 · 5 points*

A child's feature can take over its parent's work because the two always act together. In a **Matryoshka** dictionary ([Bussmann
et al. 2025](https://arxiv.org/abs/2503.17547)) they do not: its first few features have to rebuild the activation alone, then
the first few more, and so on to the whole. A small dictionary has no room for children, so a parent learns to speak wherever it
is.

Return, as a tensor without axes through which gradients flow, the **sum** over the `widths` of the error that the first `width`
features leave: the squared error summed over inputs, averaged over tokens. The prefixes are nested: each begins with feature 0.
Every reconstruction has the whole `b_dec`. `feature_acts` are given, chosen once for the whole dictionary.
"""

# %% [markdown]
r"""
<details>
<summary>Hint 1</summary>

`feature_acts[:, :width] @ W_dec[:width] + b_dec` is what the first `width` features rebuild.

</details>
"""


# %%
def matryoshka_loss(
    activations: Float[Tensor, "token d_in"],
    feature_acts: Acts,
    W_dec: Float[Tensor, "d_sae d_in"],
    b_dec: Float[Tensor, " d_in"],
    widths: list[int],
) -> Float[Tensor, ""]:
    """The error of every nested prefix, added up."""
    raise NotImplementedError("matryoshka_loss is not written yet")


# %% tags=["given"]
def some_dictionary(draw, tokens, d_in, d_sae):
    """Activations, sparse feature activations, a decoder and a bias."""
    feature_acts = (draw.normal(tokens, d_sae) - 0.4).clamp(min=0)
    return draw.normal(tokens, d_in), feature_acts, draw.normal(d_sae, d_in), draw.normal(d_in)


# %% tags=["check"]
def check_agrees_with_the_reference(student, draw):
    """the loss agrees with the reference for one, two and many widths, also where the last is not the whole"""
    for widths in ([12], [3, 12], [2, 5, 9, 12], [draw.integer(1, 3), draw.integer(5, 8)]):
        case = some_dictionary(draw, draw.integer(4, 6), draw.integer(7, 8), 12)
        expected = dictionary_variants.matryoshka_loss(*case, widths)
        expect_close(student.matryoshka_loss(*case, widths), expected, dims="")
    expect_untouched(student, student.matryoshka_loss, *case, widths)


if __name__ == "__main__":
    run_check(check_agrees_with_the_reference)

# %% [markdown]
r"""
The same two worlds again, where 2.8 of 48 features are active on a token, and BatchTopK in 48 features. On what share of the
tokens with a child is the parent *absorbed*, as a mean over families and worlds?
"""

# %% tags=["predict"]
if __name__ == "__main__":
    absorbed_by_batchtopk = predict(
        answer=None,  # a number
        confidence=None,  # the probability that you are right, from 0 to 1
        tolerance=0.1,
    )

# %% tags=["demo"]
if __name__ == "__main__":
    if absorbed_by_batchtopk.answered():
        from mechinterp_course import known_families

        kinds = {"BatchTopK": None, "Matryoshka, 8 and 48": [8, 48], "Matryoshka, 12, 24 and 48": [12, 24, 48]}
        absorbed = {name: known_families.measured(widths, seeds=(0, 1)) for name, widths in kinds.items()}
        print(known_families.table(absorbed))
        answer = absorbed["BatchTopK"].absorbed
        absorbed_by_batchtopk.compare(answer)

# %% [markdown]
r"""
<details>
<summary>Seen it? Then read what it shows</summary>

Cosines hide it. In the second of the two worlds every parent has a partner with a cosine of 0.9 or more, and these partners are
silent on more than half of the tokens with a child, where the child's feature speaks for both. An L0 below the truth forces
somebody to be silent, and the parent is the one whom another implies. Recall hides it less, but it counts what was simply
missed in the same number.

Nesting helps a lot: absorption falls to less than a third. It is not free and not a cure. More variance is unexplained at the
same L0, some absorption is left, and how much depends on the widths, which are a bet on how many parents there are. Try k = 3,
which is above the true L0, with `known_families.measured`: what is left of the difference?

</details>

## Transcoders

All these dictionaries say what is **there**, in the residual stream. None says how it came to be. A **transcoder** ([Dunefsky
et al. 2024](https://arxiv.org/abs/2406.11944)) is the same machine with another target: it reads what goes into an MLP and
writes what comes out, so each feature is a step of a computation. How good is it? Let the model run with the transcoder in the
MLP's place.
"""

# %% [markdown]
r"""
## In the place of the MLP

*`transcoder_recovered` · 20 minutes · difficulty 4 of 5 · 6 points*

Return, as a float, the **cross-entropy recovered**

$$\frac{L_\mathrm{ablated} - L_\mathrm{spliced}}{L_\mathrm{ablated} - L_\mathrm{clean}}$$

where each L is the model's mean loss per predicted token, in nats, and

- *spliced*: at every position, what the layer's MLP writes, `blocks.{layer}.hook_mlp_out`, is replaced by `transcode` of what
  that MLP **reads**, `blocks.{layer}.ln2.hook_normalized`;
- *ablated*: what it writes is replaced by the **mean** of what it writes, over all positions of all rows of `tokens`;
- *clean*: nothing is replaced.

`transcode` takes and returns a tensor `[batch, pos, d_model]`. No hook may stay on the model.
"""

# %% [markdown]
r"""
<details>
<summary>Hint 1</summary>

`_, cache = model.run_with_cache(tokens)` holds both activations. The MLP reads the same in the spliced run, since nothing
before it changes. `model.run_with_hooks(tokens, fwd_hooks=[(hook, function)])` puts something else in its place;
`function(activation, hook)` returns it.

</details>
"""


# %%
def transcoder_recovered(
    model: TransformerBridge, tokens: Int[Tensor, "batch pos"], layer: int, transcode
) -> float:
    """The share of the loss between a mean ablation and the intact MLP that a transcoder wins back."""
    raise NotImplementedError("transcoder_recovered is not written yet")


# %% tags=["given"]
def half_of_it(activation):
    """The first half of the inputs, doubled; zeros in the place of the others: no good transcoder."""
    first = torch.arange(activation.shape[-1], device=activation.device) < activation.shape[-1] // 2
    return 2 * activation * first


def nothing_of_it(activation):
    """Nothing at all is written."""
    return torch.zeros_like(activation)


def some_text(draw, model, rows):
    """BOS and eight tokens said twice, in each row: a model that copies has something to lose."""
    start = torch.full((rows, 1), model.tokenizer.bos_token_id, device=draw.device)
    return torch.cat([start, draw.tokens(rows, 8, model.cfg.d_vocab).repeat(1, 2)], dim=1)


def with_its_own_mlp(function, model, tokens, layer):
    """The result for a transcoder that computes what the layer's MLP does, from its weights."""
    W_in, b_in, W_out, b_out = (
        weights[layer] for weights in (model.W_in, model.b_in, model.W_out, model.b_out)
    )

    def mlp(reads):
        return torch.nn.functional.gelu(reads @ W_in + b_in, approximate="tanh") @ W_out + b_out

    return function(model, tokens, layer, mlp)


def hooks_left(function, model, *arguments):
    """How many hook points of the model carry more hooks after a call of the function than before."""
    points = list(model.hook_dict.values())
    before = [len(point.fwd_hooks) for point in points]
    function(model, *arguments)
    return sum(len(point.fwd_hooks) > count for point, count in zip(points, before, strict=True))


# %% tags=["check"]
def check_agrees_with_the_reference(student, draw):
    """transcoder_recovered agrees with the reference in the first and the last layer, and leaves no hook"""
    model = draw.language_model()
    tokens = some_text(draw, model, 3)
    for layer, transcode in ((0, half_of_it), (3, half_of_it), (3, nothing_of_it)):
        expected = transcoders.transcoder_recovered(model, tokens, layer, transcode)
        found = student.transcoder_recovered(model, tokens, layer, transcode)
        expect(isinstance(found, float), "The result is not a float.")
        expect_close(found, expected)
    expect_untouched(student, student.transcoder_recovered, model, tokens, 0, half_of_it)
    left = student.run(hooks_left, student.transcoder_recovered, model, tokens, 1, half_of_it)
    expect_equal(left, 0, what="hook points with a hook left")


if __name__ == "__main__":
    run_check(check_agrees_with_the_reference)

# %% [markdown]
r"""
Layer 2's MLP in `course-gpt2` has 768 neurons with a curved activation function. Put the best **affine map** in its place,
fitted by least squares. How much of the cross-entropy that the MLP earns does it recover?

- **a** below 0.3
- **b** from 0.3 to 0.6
- **c** above 0.6
"""

# %% tags=["predict"]
if __name__ == "__main__":
    linear_mlp = predict(
        answer=None,  # "a" to "c"
        confidence=None,  # the probability that you are right, from 0 to 1
        choices=(
            "below 0.3",
            "from 0.3 to 0.6",
            "above 0.6",
        ),
    )

# %% tags=["demo"]
if __name__ == "__main__":
    if linear_mlp.answered():
        from mechinterp_course.figures.directions import held_out_rows
        from mechinterp_course.making import dictionary_recipes
        from mechinterp_course.models import load_language_model

        LAYER = 2
        course_model = load_language_model("course-gpt2")
        recipe = dictionary_recipes.dictionary_recipe("course-sae")
        seen = dictionary_recipes.rows_of(course_model.tokenizer.backend_tokenizer, recipe, seed=0, rows=160)
        reads, writes = transcoders.mlp_activations(course_model, seen, LAYER)
        stand_ins = {
            "transcoder": transcoders.train_transcoder(reads, writes, 512, Run(150)),
            "transcoder, frozen random decoder": transcoders.train_transcoder(
                reads, writes, 512, Run(150), frozen_decoder=True
            ),
            "affine map": transcoders.best_affine(reads, writes),
            "affine map of rank 16": transcoders.best_affine(reads, writes, rank=16),
            "zero": nothing_of_it,
        }
        rows = held_out_rows(course_model, 1000, 16)
        print(f"{'':34}     L0    unexplained    recovered")
        results = {}
        for name, stand_in in stand_ins.items():
            one = results[name] = transcoders.passed_on(course_model, rows, LAYER, stand_in)
            print(f"{name:34} {one}")
        recovered = results["affine map"].recovered
        answer = ["below 0.3", "from 0.3 to 0.6", "above 0.6"][(recovered > 0.3) + (recovered > 0.6)]
        linear_mlp.compare(answer)

# %% [markdown]
r"""
<details>
<summary>Seen it? Then read what it shows</summary>

The affine map is the rival to beat, and it is seldom reported: more than half of what this MLP earns is linear in what it
reads. The transcoder leaves less than half of its error and recovers more than four fifths, with 16 numbers a token. An affine
map through 16 directions, which is to a transcoder what principal directions are to an SAE, recovers less than a quarter. And
with a frozen random decoder, of the same size and sparsity, most is lost: that the directions are *learned* matters here. Zero
is below the mean: zero ablation would have made all of them look better.

Three limits. What the transcoder leaves unexplained may be the very step one is interested in. It was trained for a few seconds
on one model's texts, and says nothing of others. And a good stand-in is not a proof that the MLP computes *by* these steps: for
that one has to intervene on them.

sae-lens 6 loads and runs transcoders but has none to train. `transcoders.train_transcoder` gives its trainer inputs and targets
side by side, and an SAE that tells them apart: twenty lines.

</details>

## What you may claim now

| claim | what you have | what would overturn it |
|---|---|---|
| BatchTopK's activations depend on the batch | the same token in three companies | - |
| part of what TopK missed can be revived | the auxiliary loss lifts the worlds in which it missed most; resampling, patience and another rate do not reliably; three worlds | other rates, other revivals, more worlds |
| a parent's feature can be silent where its child's speaks | six families, two numbers each | a world without families |
| what one feature tells in a narrow dictionary, several tell in a wider one | four widths of one kind, six families; truth tells families from mixtures | a model, where cosines of pieces are only a hint |
| nested prefixes lessen that, and cost reconstruction | the same six families, two choices of widths | k above the true L0; other widths |
| a transcoder stands in for an MLP better than the affine map of least squares | cross-entropy recovered at one layer | another layer: at layer 0 an affine map does nearly all |

And what not. No variant was best at everything. Worlds of 48 nearly orthogonal directions are kinder than a model, and there
you have no partner to match with: absorption has to be found by tokens on which a feature is *silent*. Compare kinds at equal
L0, beside a frozen decoder and principal directions, over several seeds; else you compare settings.
"""

# %% [markdown]
r"""
## In your own words

A colleague has a TopK dictionary on a language model and reports: "The auxiliary loss brought dead features from 30 % to 1 %,
so it now covers the model better. We also moved to Matryoshka, because absorption is solved there." In at most 200 words: which
of the two conclusions follow, and what would you measure on a model, where no truth is written down?
"""

# %% [markdown] tags=["rubric"]
r"""
*Your answer:*
"""
