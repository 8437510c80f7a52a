# ---
# jupyter:
#   kernelspec: {"display_name": "Python 3", "language": "python", "name": "python3"}
#   mechinterp_course: {"chapter": "ch02_feature_visualization", "version": "41a14771204e", "source": "solutions/ch02_feature_visualization/chapter.py"}
# ---

# %% [markdown]
r"""
*Chapter `ch02_feature_visualization`, version `41a14771204e`, written from `solutions/ch02_feature_visualization/chapter.py` by `python -m mechinterp_course.authoring ch02_feature_visualization`.*
"""

# %% [markdown]
r"""
# Seeing what a CNN sees

A layer of a convolutional network is a stack of maps. Each map, a *channel*, says of every place in the picture how much of
something is there. Nobody has told the network what that something should be, and nothing in the weights says it in words.

There are two ways to ask. Show the channel pictures from the world and see which it likes; or let it draw. To let it draw,
start from a picture without meaning and climb the gradient of the channel until the picture is what the channel wants.
This is *feature visualization* ([Olah et al. 2017](https://distill.pub/2017/feature-visualization)). Done the obvious way
it fails, and the failure is instructive. You build it from the ground:

1. **Ask a channel**: its answer to a picture, and the natural pictures that it answers to most.
2. **Ascend in pixels**, and look at what comes out.
3. **Make it readable**: another way to write a picture down, colours as they occur, and a shaky hand.
4. **Beside a peer**: the same channel, drawn by the library that most people use.

What a whole layer looks for, with numbers beside the pictures, is the next chapter (`ch16_feature_hierarchy`). You need to know
how to read an activation (`ch01_hooks`). This one takes an hour and a half.
"""

# %% tags=["demo"]
if __name__ == "__main__":
    from mechinterp_course.checking import run_check
    from mechinterp_course.predictions import predict

# %% tags=["given"]
from collections.abc import Callable
from functools import cache, partial

import torch
from einops import einsum
from jaxtyping import Float, Int
from torch import Tensor, nn

from mechinterp_course import visualization_steps
from mechinterp_course.checking import expect, expect_close, expect_equal
from mechinterp_course.checking import picture_probes as probes
from mechinterp_course.picture_quality import judge_picture, natural_activations, rough_share

Images = Float[Tensor, "batch 3 row column"]
Activations = Float[Tensor, "batch channel row column"]
ANSWERS, PIXELS = {"dims": "batch"}, {"dims": "batch colour row column"}  # how results are compared: by axes
NUMBER = {"dims": ""}
PLANES = {"dims": "batch channel row column", "atol": 1e-4}


def normalized(model: nn.Module, images: Images) -> Images:
    """Pictures in [0, 1] as the model wants them: less its `mean`, divided by its `std`."""
    mean, std = (images.new_tensor(values)[:, None, None] for values in (model.mean, model.std))
    return (images - mean) / std


def basis_after(function, basis):
    """The basis, as two steps of rendering leave it."""
    function(lambda images: images.mean(dim=(1, 2, 3)), basis, lambda images: images, 1, 8, 2, 0)
    return basis


# %% tags=["demo"]
if __name__ == "__main__":
    from mechinterp_course.evidence_plots import plot_pictures
    from mechinterp_course.models import load_vision_model
    from mechinterp_course.worlds import images as world

    course_model = load_vision_model("course-resnet18")
    natural = world.batch(range(160)).images


    layer, channel = "layer2.1.bn2", 5
    answers = visualization_steps.channel_activation(course_model, layer, channel, natural)
    middle, spread = answers.mean(), answers.std()


    def deviations(pictures):
        """What the channel answers, in standard deviations of its answers to natural pictures above their mean."""
        found = visualization_steps.channel_activation(course_model, layer, channel, pictures)
        return ((found - middle) / spread).mean().item()


    static = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    best = natural[answers.topk(5).indices]
    plot_pictures({"natural": best}, {"natural": [f"{deviations(one[None]):.1f}" for one in best]})

# %% [markdown]
r"""
Channel 5 of a layer in the middle of `course-resnet18`, and the five of 160 natural pictures (toys on patterned grounds)
that it answers to most. Under each, its answer: how many standard deviations above the mean of all 160.

Now take television static, and change its pixels, forty small steps along the gradient of the channel's answer.
"""

# %% [markdown]
r"""
How far will the channel's answer to the changed static get, compared with its answer to the best of the 160 natural
pictures?

- **a** less than the best natural picture
- **b** up to half as much again
- **c** more than that
"""

# %% tags=["predict"]
if __name__ == "__main__":
    static_against_nature = predict(
        answer=None,  # "a" to "c"
        confidence=None,  # the probability that you are right, from 0 to 1
        choices=(
            "less than the best natural picture",
            "up to half as much again",
            "more than that",
        ),
    )

# %% tags=["demo"]
if __name__ == "__main__":
    if static_against_nature.answered():
        climbed = visualization_steps.ascend_pixels(course_model, layer, channel, static, steps=40, rate=1.0)
        reached, most = deviations(climbed), deviations(best[:1])
        outcomes = ["less than the best natural picture", "up to half as much again", "more than that"]
        answer = outcomes[(reached > most) + (reached > 1.5 * most)]
        print(
            f"best natural picture {most:.1f}, static {deviations(static):.1f}, changed static {reached:.1f} deviations"
        )
        three = torch.stack([best[0], static[0], climbed[0]])
        plot_pictures({"": three}, {"": ["best natural", "static", "changed static"]})
        static_against_nature.compare(answer)

# %% [markdown]
r"""
<details>
<summary>Seen it? Then read what it shows</summary>

The channel prefers static to the world, if the static is its own. Two lessons, before any method. A number that says "this
picture excites the channel very much" does not say that the picture shows *what the channel is for*. And if you want to
read a picture, making it exciting is not enough; something must keep it among pictures that can be read. What that is, and
what it costs, is this chapter.

</details>

## Ask a channel
"""

# %% [markdown]
r"""
## A channel's answer

*`channel_activation` · 10 minutes · difficulty 2 of 5 · 5 points*

Return, for each picture in `images`, the **mean over all places** of what channel `channel` of the module `layer` (a name as
in `model.named_modules()`, such as `"layer2.1.bn2"`) gives when the model sees the picture. Pictures are in [0, 1], and
the model wants them `normalized`.

What counts is the value *as the module returned it*. Leave no hook behind, also when the model raises; and let gradients
pass from the result to the pictures, since the rest of the chapter climbs them.
"""

# %% [markdown]
r"""
<details>
<summary>Hint 1</summary>

`model.get_submodule(layer)` is the module; a forward hook is called with (module, inputs, output). The output has the axes
batch, channel, row, column.

</details>
"""

# %% [markdown]
r"""
<details>
<summary>Hint 2</summary>

torchvision's blocks call `self.relu(out)` with `inplace=True`: it overwrites the very tensor that `bn1` returned, after your
hook has seen it. Keep a copy (`clone`) inside the hook. And `try: … finally: handle.remove()`.

</details>
"""


# %%
def channel_activation(model: nn.Module, layer: str, channel: int, images: Images) -> Float[Tensor, " batch"]:
    """Mean over places of a channel's answer to each picture."""
    raise NotImplementedError("channel_activation is not written yet")


# %% tags=["check"]
def check_agrees_with_the_reference(student, draw):
    """channel_activation agrees with the reference in layers of a model whose channels have other numbers"""
    model, images = draw.vision_model(), draw.images(3)
    for layer in ("conv1", "layer1.1.conv2", "layer2.0", "layer4.1.bn2"):
        case = model, layer, draw.integer(0, 63), images
        expect_close(
            student.channel_activation(*case), visualization_steps.channel_activation(*case), **ANSWERS
        )


if __name__ == "__main__":
    run_check(check_agrees_with_the_reference)

# %% [markdown]
r"""
## The pictures that excite it most, and where

*`top_examples` · 12 minutes · difficulty 3 of 5 · 5 points · builds on `channel_activation`*

The mean says how much of something there is in a picture; the *maximum* says whether it is anywhere, and where. Return
`(which, where)`, two int64 tensors, for the `count` pictures with the largest maximum over places, best first:

- `which`, [count]: indices into `images`, each picture at most once;
- `where`, [count, 2]: (row, column) of that maximum, **in pixels of the picture**. A map of 8 rows divides a picture of 64 rows
  into 8 bands of 8; cell r stands for the middle of its band, which is row 8 r + 4. In general: (r + ½) · rows of the picture /
  rows of the map, rounded down; columns alike.

As before, the answer is the channel's value as `layer` returned it, and no hook is left behind. No gradients are needed.
"""

# %% [markdown]
r"""
<details>
<summary>Hint 1</summary>

You need the whole map here, not its mean: the same hook, without the last step. `answers.flatten(1).max(dim=1)` gives the
largest value of each picture, and its place in the flattened map.

</details>
"""

# %% [markdown]
r"""
<details>
<summary>Hint 2</summary>

A flat place p in a map with `columns` columns is row `p // columns`, column `p % columns`. Rows and columns have bands of their
own: pictures need not be square.

</details>
"""


# %%
def top_examples(
    model: nn.Module, layer: str, channel: int, images: Images, count: int = 9
) -> tuple[Int[Tensor, " count"], Int[Tensor, "count 2"]]:
    """The pictures that excite a channel most at one place, and that place in pixels."""
    raise NotImplementedError("top_examples is not written yet")


# %% tags=["check"]
def check_agrees_with_the_reference_on_pictures_that_are_not_square(student, draw):
    """top_examples finds the pictures and places that the reference finds, in several layers"""
    model, images = draw.vision_model(), probes.rough_pictures(draw, 8, columns=40)
    for layer in ("layer1.0.conv2", "layer2.1.bn2", "layer3.0.bn1"):
        case = model, layer, draw.integer(0, 63), images, draw.integer(3, 6)
        for found, known, dims in zip(
            student.top_examples(*case),
            visualization_steps.top_examples(*case),
            ("example", "example axis"),
            strict=True,
        ):
            expect_close(found, known, dims=dims)


if __name__ == "__main__":
    run_check(check_agrees_with_the_reference_on_pictures_that_are_not_square)

# %% tags=["demo"]
if __name__ == "__main__":
    def patches(layer, channel, count=6, half=14):
        """The places that excite a channel most, cut out of their pictures."""
        which, where = top_examples(course_model, layer, channel, natural, count)
        padded = nn.functional.pad(natural[which], [half] * 4, mode="replicate")
        cuts = [
            one[:, r : r + 2 * half, c : c + 2 * half] for one, (r, c) in zip(padded, where.tolist(), strict=True)
        ]
        return torch.stack(cuts)


    shown = [("layer1.1.bn2", 1), ("layer2.1.bn2", 5), ("layer3.1.bn2", 0), ("layer4.1.bn2", 2)]
    plot_pictures({f"{layer[:6]}, {channel}": patches(layer, channel) for layer, channel in shown})

# %% [markdown]
r"""
One channel of each layer, and the places that it answers to most, cut out with 14 pixels to each side. Deeper down, what the
patches have in common is larger, and can be said in fewer words.

Mind what you do here: you look for what patches have *in common*. Anything that always comes along has a fair chance to be
taken for the thing itself. A wheel never comes without a body over it, and these pictures can't tell you which of the
two the channel is about. Making a picture from nothing can, in principle: only what the channel wants has a reason to
appear. That is the promise. Now to the price.
"""

# %% [markdown]
r"""
## Climb, in pixels

*`ascend_pixels` · 12 minutes · difficulty 3 of 5 · 5 points · builds on `channel_activation`*

Return the pictures that you get from `start` after `steps` steps of **gradient ascent** on the channel's answer. In each step,
each picture moves by `rate` along its gradient: by `rate` times the gradient over its L2 norm (the norm over colours and
places of this one picture). Then values are cut to [0, 1]. A picture whose gradient is zero stays as it is, for this step.

`start` is left as it was, and so is the model: its weights may ask for gradients (`requires_grad`) and must end without any,
and nothing is switched to training.
"""

# %% [markdown]
r"""
<details>
<summary>Hint 1</summary>

`torch.autograd.grad(answer.sum(), images)` gives the gradient for the pictures alone. `backward()` would leave gradients in
every weight that asks for them.

</details>
"""

# %% [markdown]
r"""
<details>
<summary>Hint 2</summary>

The sum over the batch is right: pictures don't mix, so each gets the gradient of its own answer. In each step begin with
`images = images.detach().requires_grad_()`. Keep the norm from zero: `norm.clamp(min=1e-12)`.

</details>
"""


# %%
def ascend_pixels(
    model: nn.Module, layer: str, channel: int, start: Images, steps: int, rate: float
) -> Images:
    """Pictures after some steps up the gradient of a channel's answer."""
    raise NotImplementedError("ascend_pixels is not written yet")


# %% tags=["check"]
def check_takes_the_steps_of_the_reference(student, draw):
    """one step and three end where the reference ends, for pictures with pixels that hit 0 and 1 on the way"""
    model, start = draw.vision_model(), probes.contrasty(draw, 2)
    for layer, steps in (("layer1.0.bn1", 3), ("layer3.0.bn1", 1)):  # at ReLUs' kinks, rounding adds up
        case = model, layer, draw.integer(0, 63), start, steps, draw.choice([0.8, 1.5, 3.0])
        expect_close(student.ascend_pixels(*case), visualization_steps.ascend_pixels(*case), **PIXELS)


if __name__ == "__main__":
    run_check(check_takes_the_steps_of_the_reference)

# %% tags=["demo"]
if __name__ == "__main__":
    gray = torch.full((1, 3, 64, 64), 0.5)
    flower = world.sample(12345, "flower").image[None]
    asked = {"layer1": ("layer1.1.bn2", 1), "layer2": ("layer2.1.bn2", 5), "layer3": ("layer3.0.bn2", 7)}
    starts = {"from gray": (gray, 1.0), "from static": (static, 1.0), "from a flower": (flower, 0.25)}
    climbs = {
        name: torch.cat([ascend_pixels(course_model, *where, start, 40, rate) for where in asked.values()])
        for name, (start, rate) in starts.items()
    }
    plot_pictures(climbs, {name: list(asked) for name in climbs})

# %% [markdown]
r"""
Three channels, climbed for from gray, from static, and from a flower. From gray something appears, in `layer3` even things
with red stripes and black feet, drawn in single pixels. From static it stays static, more or less. And the flower, moved a
quarter as far, remains a flower. Is the channel excited by it, then?
"""

# %% tags=["demo"]
if __name__ == "__main__":
    @cache
    def usual(layer):
        """How each channel of a layer answers to the natural pictures."""
        return natural_activations(course_model, layer, natural)


    def judged(layer, channel, picture):
        """What `judge_picture` says of it: `held` is the excitation under fresh shifts and scales."""
        return judge_picture(course_model, layer, channel, picture, usual(layer))


    seen = {
        "flower": flower[0],
        "changed flower": climbs["from a flower"][2],
        "static, climbed": climbs["from static"][2],
    }
    print(f"{'':18} as it is   shaken   short waves")
    for name, picture in seen.items():
        quality = judged(*asked["layer3"], picture)
        print(f"{name:18} {quality.excitation:8.1f} {quality.held:8.1f} {quality.rough:13.2f}")
    print(f"best natural       {quality.best_natural:8.1f}")
    print(
        f"natural pictures have {torch.tensor([rough_share(each) for each in natural]).mean():.2f} in short waves"
    )

# %% [markdown]
r"""
The changed flower excites the channel more than every natural picture, and you can hardly say what was done to it. Seen
through a shaky hand it loses a good part of that.

Why? The gradient asks of every pixel alone what would help, and most of what helps is in differences between neighbours. In
pixels, all waves are equally cheap, and there are many more short waves than long ones. In pictures of the world it is
the other way round: power falls steeply with frequency. So ascent in pixels spends its steps where the world has nothing.
(Reports of networks trained on ImageNet say that nothing at all can be seen. `course-resnet18` met noise, and pictures changed
by a weak adversary, in its training; its card says so. It is better behaved than most.)

## Make it readable

Three cures. The first: write the picture as a sum of waves, and make the long ones cheap.
"""

# %% [markdown]
r"""
## From waves to pixels

*`fourier_to_pixels` · 12 minutes · difficulty 3 of 5 · 5 points*

`spectrum` has axes [batch, channel, row, frequency, 2]; the last holds real and imaginary part. Return the planes [batch, channel,
row, column], `width` columns wide, that are the inverse real Fourier transform (`torch.fft.irfft2` with `norm="ortho"`) of the
spectrum with **each coefficient divided by its frequency**.

The frequency of a coefficient is √(f_row² + f_column²), in cycles per pixel, with f_row from `torch.fft.fftfreq` and f_column
from `torch.fft.rfftfreq`. The constant has frequency 0; take 1 / (the longer side of the planes) for it, the frequency of the
longest wave.

A spectrum of `width // 2 + 1` frequencies belongs to planes of either of two widths, even and odd, which is why `width` is
given.
"""

# %% [markdown]
r"""
<details>
<summary>Hint 1</summary>

`torch.fft.fftfreq(rows)[:, None]` and `torch.fft.rfftfreq(width)[None, :]` together make the grid of frequencies;
`torch.view_as_complex(spectrum)` makes complex numbers of pairs.

</details>
"""

# %% [markdown]
r"""
<details>
<summary>Hint 2</summary>

Without `s=(rows, width)`, `irfft2` takes the plane to be 2 · (frequencies − 1) wide, which is never odd.

</details>
"""


# %%
def fourier_to_pixels(
    spectrum: Float[Tensor, "batch channel row frequency 2"], width: int
) -> Float[Tensor, "batch channel row column"]:
    """Planes whose Fourier coefficients are the spectrum, each over its frequency."""
    raise NotImplementedError("fourier_to_pixels is not written yet")


# %% tags=["check"]
def check_agrees_with_the_reference_for_odd_and_even_widths(student, draw):
    """fourier_to_pixels agrees with the reference on planes of even and of odd sides"""
    for rows, width in ((8, 12), (9, 14), (12, 9), (7, 11)):
        case = probes.a_spectrum(draw, rows, width), width
        expect_close(student.fourier_to_pixels(*case), visualization_steps.fourier_to_pixels(*case), **PLANES)


if __name__ == "__main__":
    run_check(check_agrees_with_the_reference_for_odd_and_even_widths)

# %% [markdown]
r"""
The second cure is for colours. In a picture of the world red, green and blue rise and fall together: most of what varies is
brightness. Three independent planes make garish noise. Mixed by the right matrix, they vary as the colours of the world do.
"""

# %% [markdown]
r"""
## Colours as they occur

*`colour_basis` · 10 minutes · difficulty 3 of 5 · 4 points*

Return a matrix B [3, 3] with **B Bᵀ = C**, where C is the covariance of the colours of `images`: the mean over all pixels of
all pictures together, about their overall mean. If three planes z vary independently with variance 1, then the colours B z have
the covariance B Bᵀ.

There are many such matrices, and any will do. But it must exist also for gray pictures, whose three colours are always equal.
"""

# %% [markdown]
r"""
<details>
<summary>Hint 1</summary>

First make a matrix with one row for each pixel and one column for each colour. The colour axis has to come last *before* you
reshape: `images.permute(0, 2, 3, 1).reshape(-1, 3)`. `torch.cov` wants variables in rows.

</details>
"""

# %% [markdown]
r"""
<details>
<summary>Hint 2</summary>

`values, vectors = torch.linalg.eigh(C)` gives C = V diag(values) Vᵀ. What is B, then? Scale *columns* of V. Rounding can make the
smallest value a little negative, and its root NaN. (`torch.linalg.cholesky` refuses gray pictures.)

</details>
"""


# %%
def colour_basis(images: Images) -> Float[Tensor, "3 3"]:
    """A matrix whose product with its transpose is the covariance of the colours."""
    raise NotImplementedError("colour_basis is not written yet")


# %% tags=["check"]
def check_its_square_is_the_covariance(student, draw):
    """B Bᵀ is the covariance of the colours, of pictures of the world and of pictures with any colours"""
    images = draw.images(4)
    probes.expect_root(student.colour_basis(images), images)


if __name__ == "__main__":
    run_check(check_its_square_is_the_covariance)

# %% [markdown]
r"""
The third cure is the oldest, and the simplest. A picture of something remains a picture of it when the hand shakes; a pattern
that hits certain pixels of a certain grid does not. So let the channel never see the same view twice.
"""

# %% [markdown]
r"""
## A shaky hand

*`shake` · 8 minutes · difficulty 2 of 5 · 5 points*

Return each picture moved by a whole number of rows and a whole number of columns. Both numbers are drawn uniformly from -`most`
to `most`, both ends included, from the given `generator` and from nothing else: **anew for every picture, for rows and columns
apart, and in every call**. What comes in at an edge is the nearest pixel of the picture, repeated; nothing wraps around.
"""

# %% [markdown]
r"""
<details>
<summary>Hint 1</summary>

Pad the pictures by `most` on all sides (`nn.functional.pad` has a mode for repeating the edge), and cut a window of the old
size out of each, at a corner of its own.

</details>
"""

# %% [markdown]
r"""
<details>
<summary>Hint 2</summary>

`torch.randint(0, 2 * most + 1, (batch, 2), generator=generator)` draws the corners: the upper end of `randint` is not included.
`torch.roll` wraps around.

</details>
"""


# %%
def shake(images: Images, most: int, generator: torch.Generator) -> Images:
    """Each picture moved by a few whole pixels, as the generator says."""
    raise NotImplementedError("shake is not written yet")


# %% tags=["check"]
def check_moves_by_whole_pixels_and_repeats_the_edge(student, draw):
    """each picture comes back as it was, moved by at most `most`, with its edges repeated"""
    images, most = draw.normal(4, 3, 9, 12), draw.integer(1, 3)
    calls = student.run(probes.shaken_often, student.shake, images, most, draw.seed(), 3)
    for moved in calls:
        expect(
            isinstance(moved, Tensor) and moved.shape == images.shape,
            "The result has not the shape of the pictures.",
        )
    message = (
        "Some picture is not the picture moved by at most `most` rows and columns, with its edges repeated."
    )
    expect(probes.all_moves(images, calls, most) is not None, message)


if __name__ == "__main__":
    run_check(check_moves_by_whole_pixels_and_repeats_the_edge)

# %% [markdown]
r"""
## All of it together

*`render` · 18 minutes · difficulty 4 of 5 · 9 points · builds on `fourier_to_pixels`*

Return `count` pictures [count, 3, size, size], in [0, 1] and without a graph, that make `objective` large. `objective` takes
pictures and gives one number for each (or one for all); it is to be **raised**. In every step:

- a spectrum becomes three planes for each picture (`fourier_to_pixels`), the planes are mixed by `basis` into colours, and a
  sigmoid brings them into (0, 1);
- the objective sees what `transform` makes of the pictures, **called anew in every step**;
- an optimizer moves the spectrum, and the spectrum alone: nothing else gets a gradient, not even weights that ask for one.

The spectrum starts at small random numbers from a generator with this `seed`, so that the picture with `steps=0` is nearly
gray; equal seeds give equal pictures. What is returned has not gone through `transform`.

How it is graded: not by pixels. With `objective` the mean of a channel of `layer1` or `layer2`, 40 steps and 32 pixels, the
picture must excite the channel by at least **1 standard deviation** of its answers to natural pictures above their mean, seen
through fresh shifts and scales that you don't control; must be in [0, 1]; and may have at most **half** of its power in waves
under four pixels (white noise has 0.80). Over 60 draws of channel, pictures and seed, ours reached 2.0 to 9.3 deviations, and
0.07 to 0.34. A better picture than ours is right. And with an objective that asks for a given picture and a `transform` that
mirrors, 60 steps at 16 pixels must halve the distance to it; with `steps=0` the pixels deviate from gray by less than 0.1.
"""

# %% [markdown]
r"""
<details>
<summary>Hint 1</summary>

`spectrum = 0.01 * torch.randn(count, 3, size, size // 2 + 1, 2, generator=…)`, then `requires_grad_()`, and
`torch.optim.Adam([spectrum], lr=0.05)`, which minimizes: mind the sign.

</details>
"""

# %% [markdown]
r"""
<details>
<summary>Hint 2</summary>

Mixing: `einsum(basis, planes, "colour plane, batch plane row column -> batch colour row column")`. Rows of the basis are
colours; the other way round is the transpose.

</details>
"""

# %% [markdown]
r"""
<details>
<summary>Hint 3</summary>

In a step: `loss = -objective(transform(pixels())).sum()`, `optimizer.zero_grad()`, `loss.backward(inputs=[spectrum])`,
`optimizer.step()`. Here `pixels()` is a function of your own that makes the pictures from the spectrum as it now is.

</details>
"""


# %%
def render(
    objective: Callable[[Images], Tensor],
    basis: Float[Tensor, "3 3"],
    transform: Callable[[Images], Images],
    count: int = 1,
    size: int = 64,
    steps: int = 96,
    seed: int = 0,
) -> Images:
    """Pictures that make an objective large, optimized as spectra."""
    raise NotImplementedError("render is not written yet")


# %% tags=["check"]
def check_excites_a_channel_and_can_be_read(student, draw):
    """the picture excites a drawn channel by 1 deviation under fresh views, in range, and without too many short waves"""
    model, natural = draw.vision_model(), draw.images(24)
    basis = visualization_steps.colour_basis(natural)
    layer, channel = draw.choice(["layer1.1.bn2", "layer2.0.bn2"]), draw.integer(0, 63)
    picture = student.run(probes.rendered, student.render, model, layer, channel, basis, draw.seed())
    probes.expect_pictures(picture, 1, 32)
    usual = natural_activations(model, layer, natural)
    quality = judge_picture(model, layer, channel, picture[0], usual, draw.seed(), views=6)
    weak = f"Under fresh views the picture excites channel {channel} of {layer} by {quality.held:.1f} deviations."
    expect(quality.held >= 1, weak)
    rough = f"{quality.rough:.2f} of the picture's power is in waves under four pixels, more than half."
    expect(quality.rough <= 0.5, rough)


if __name__ == "__main__":
    run_check(check_excites_a_channel_and_can_be_read)

# %% tags=["demo"]
if __name__ == "__main__":
    natural_basis, garish = colour_basis(natural), torch.eye(3) / 4


    def for_channel(layer, channel, basis=natural_basis, shaky=True, **options):
        """A picture for a channel of `course-resnet18`, by your functions."""
        generator = torch.Generator().manual_seed(options.get("seed", 0))
        hand = partial(shake, most=4, generator=generator)
        objective = partial(channel_activation, course_model, layer, channel)
        return render(objective, basis, hand if shaky else (lambda images: images), **options)


    target = asked["layer3"]
    stages = {
        "pixels": ascend_pixels(course_model, *target, gray, 64, 1.0),
        "waves": for_channel(*target, basis=garish, shaky=False, steps=64),
        "and colours": for_channel(*target, shaky=False, steps=64),
        "and a shaky hand": for_channel(*target, steps=64),
    }

# %% [markdown]
r"""
Four pictures for one channel of `layer3`, each with one cure more: pixels (from gray), waves, waves with the colours of the
world, and all that with shifts in every step. Which of them has the smallest share of its power in waves under four pixels?

- **a** waves
- **b** and colours
- **c** and a shaky hand
- **d** none: pixels have least
"""

# %% tags=["predict"]
if __name__ == "__main__":
    which_cure_smooths = predict(
        answer=None,  # "a" to "d"
        confidence=None,  # the probability that you are right, from 0 to 1
        choices=(
            "waves",
            "and colours",
            "and a shaky hand",
            "none: pixels have least",
        ),
    )

# %% tags=["demo"]
if __name__ == "__main__":
    if which_cure_smooths.answered():
        table = {name: judged(*target, picture[0]) for name, picture in stages.items()}
        print(f"{'':18} as it is   shaken   kept   short waves")
        for name, quality in table.items():
            print(
                f"{name:18} {quality.excitation:8.1f} {quality.held:8.1f} {quality.kept:6.2f} {quality.rough:13.2f}"
            )
        smoothest = min(table, key=lambda name: table[name].rough)
        answer = "none: pixels have least" if smoothest == "pixels" else smoothest
        plot_pictures({"": torch.cat(list(stages.values()))}, {"": list(stages)})
        which_cure_smooths.compare(answer)

# %% [markdown]
r"""
<details>
<summary>Seen it? Then read what it shows</summary>

Waves alone, the famous cure, leave as many short waves as pixels did, or more: they are dearer, not forbidden, and
the optimizer pays. The colours change what you see, and no number here. It is the shaky hand that does it: short waves
halved, and a larger part of the excitement kept when the picture is shaken by other shifts, and scaled. Together the three
make the picture that is calmest and loses least.

Look at the first column, too. Each cure makes something dearer or forbids it, and the picture for a shaky hand excites the
channel *less* as it is. It is a compromise between the channel's wish and your eye, and the compromise is yours: waves, colours
and shifts are *assumptions*, put in by hand.

</details>

## A peer

*lucent* is the library that most people use for this. It draws from the same sources, and you can now read its parts: a
parameterization, transformations, an objective.
"""

# %% tags=["demo"]
if __name__ == "__main__":
    import random
    import warnings

    import numpy as np

    with warnings.catch_warnings():  # what lucent imports warns of itself
        warnings.simplefilter("ignore")
        from lucent.optvis import param, transform
        from lucent.optvis.render import render_vis

    for seed_all in (torch.manual_seed, np.random.seed, random.seed):
        seed_all(0)
    model = load_vision_model("course-resnet18")  # one of its own: lucent leaves hooks on what it is given
    mean, std = (torch.tensor(values)[:, None, None] for values in (model.mean, model.std))
    theirs = render_vis(
        model,
        "layer3_0_bn2:7",
        lambda: param.image(64),
        transforms=[transform.jitter(4), lambda images: (images - mean) / std],
        preprocess=False,
        thresholds=(48,),
        fixed_image_size=64,
        show_image=False,
        progress=False,
        verbose=False,
    )
    theirs = torch.tensor(theirs[-1]).permute(0, 3, 1, 2)
    ours = for_channel(*target, steps=48)
    for name, picture in {"lucent": theirs, "ours": ours}.items():
        quality = judged(*target, picture[0])
        print(
            f"{name:8} {quality.excitation:5.1f} deviations, shaken {quality.held:5.1f}, short waves {quality.rough:.2f}"
        )
    hooks_left = sum(len(module._forward_hooks) for module in model.modules())
    print(f"forward hooks left on the model that lucent used: {hooks_left}")
    plot_pictures({"48 steps": torch.cat([theirs, ours])}, {"48 steps": ["lucent", "ours"]})

# %% [markdown]
r"""
The same channel, the same steps and learning rate. What differs is put in by hand: lucent mixes its planes by the colours of
ImageNet, with a larger matrix, where ours is measured on the pictures that this model knows; and it divides its waves by four.
One channel and one seed compare no libraries. But note what you would have to know to repeat lucent's picture: it draws from
the global generators, three of which this cell seeds; and it leaves its hooks on the model, so this cell loads one to throw
away.
"""

# %% [markdown]
r"""
## What you may claim now

| claim | what you have | what would overturn it |
|---|---|---|
| this picture excites the channel more than any natural one | its answer, in deviations, shaken | it falls under fresh views |
| this is what the channel is for | *nothing yet*: a picture shows what suffices | a natural picture of another kind that excites it as much |
| the channel is about one thing | *nothing*: one picture is one answer | an edit that removes the thing and changes nothing |

All of it is about `course-resnet18`, a network that was helped to have channels that can be read; others are less kind. And all
pictures are made with your assumptions in them: smooth, with the colours of the world, firm under a shaky hand. What a plate of
them says of a whole layer is the next chapter, *What each layer looks for* (`ch16_feature_hierarchy`). Whether to believe them,
when they compete with natural examples, with edits, and with somebody who wants to fool you, is a chapter of its own: *Trusting
pictures* (`ch15_trusting_pictures`).
"""

# %% [markdown]
r"""
## In your own words

Take one channel of `layer3` that this chapter has not shown. In at most 200 words, say what it answers to, for a reader who
will look at nothing else.
"""

# %% [markdown] tags=["rubric"]
r"""
*Your answer:*
"""
