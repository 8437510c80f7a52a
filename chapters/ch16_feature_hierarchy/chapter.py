# ---
# jupyter:
#   kernelspec: {"display_name": "Python 3", "language": "python", "name": "python3"}
#   mechinterp_course: {"chapter": "ch16_feature_hierarchy", "version": "ae04dd6efe95", "source": "solutions/ch16_feature_hierarchy/chapter.py"}
# ---

# %% [markdown]
r"""
*Chapter `ch16_feature_hierarchy`, version `ae04dd6efe95`, written from `solutions/ch16_feature_hierarchy/chapter.py` by `python -m mechinterp_course.authoring ch16_feature_hierarchy`.*
"""

# %% [markdown]
r"""
# What each layer looks for

Early layers see edges, middle layers textures, late ones parts of objects. Everybody has seen the plate of pictures that says
so. It is a claim about a whole network, and a plate of chosen pictures is a poor witness for a claim about 960 channels.

This chapter makes the map properly, on a network whose world tells us its factors, and beside a network that has learned
nothing at all:

1. **How far does a layer see?** Not how far it *could*.
2. **Edges**: which channels are tuned to an orientation, and how strictly?
3. **The report**: what explains what, layer by layer, channel by channel, beyond chance.
4. **More pictures than one**: for a channel, between two, and like a picture that you have.

You need channels and their pictures (`ch02_feature_visualization`). It takes about an hour and a half.
"""

# %% tags=["demo"]
if __name__ == "__main__":
    from mechinterp_course.checking import run_check
    from mechinterp_course.predictions import predict

# %% tags=["given"]
import torch
from jaxtyping import Float, Int
from torch import Tensor

from mechinterp_course import channel_evidence, layer_findings, visualization_steps
from mechinterp_course.checking import (
    expect,
    expect_close,
    expect_equal,
    expect_raises,
    layer_probes,
    picture_probes,
)

Activations = Float[Tensor, "batch channel row column"]
Responses = Float[Tensor, "picture channel"]  # the mean of each channel over all places, for each picture
NUMBER = {"dims": ""}
TUNING = {"dims": "what channel"}

# %% tags=["demo"]
if __name__ == "__main__":
    from mechinterp_course import evidence_plots, feature_visualization, layer_plots, objectives, partial_runs
    from mechinterp_course.figures import channels, selectivity
    from mechinterp_course.models import load_vision_model
    from mechinterp_course.worlds import images as world

    course_model = load_vision_model("course-resnet18")
    robust_model = load_vision_model("course-resnet18-robust")
    untrained_model = channels.untrained(course_model)
    natural = world.batch(range(24)).images
    layers = ["layer1", "layer2", "layer3", "layer4"]


    def gradients(model, layer, count=8):
        """|Gradient| of the units in the middle of a layer by the pixels of 24 pictures, summed over some channels."""
        pixels = natural.clone().requires_grad_()
        with partial_runs.reading(model, [layer]) as read:
            activation = read(pixels)[layer]
        middle, total = activation.shape[-1] // 2, torch.zeros_like(pixels)
        for channel in torch.linspace(0, activation.shape[1] - 1, count).long().tolist():
            unit = activation[:, channel, middle, middle].sum()
            total += torch.autograd.grad(unit, pixels, retain_graph=True)[0].abs()
        return total


    def reach(gradient):
        """The side of the square that holds every pixel that moves the unit at all."""
        touched = gradient.sum(dim=(0, 1)).nonzero()
        return int((touched.amax(0) - touched.amin(0)).max()) + 1


    for layer in layers:
        print(f"{layer}: {reach(gradients(course_model, layer))} of 64 pixels can move a unit in the middle")

# %% [markdown]
r"""
A unit of `layer1` can be moved by pixels up to 21 away, and from `layer2` on every unit *could* see the whole picture: that is
settled by kernels and strides, before any learning. So the network that was trained and one with random weights have the same
reach. What of the part that matters?

Take the square around the unit's middle that holds nine tenths of all gradient.
"""

# %% [markdown]
r"""
In `layer2`, is that square larger in `course-resnet18` or in the network that has learned nothing?

- **a** the trained network's is larger: it has learned to use context
- **b** about the same, within two pixels
- **c** the trained network's is smaller
"""

# %% tags=["predict"]
if __name__ == "__main__":
    who_sees_farther = predict(
        answer=None,  # "a" to "c"
        confidence=None,  # the probability that you are right, from 0 to 1
        choices=(
            "the trained network's is larger: it has learned to use context",
            "about the same, within two pixels",
            "the trained network's is smaller",
        ),
    )

# %% tags=["demo"]
if __name__ == "__main__":
    if who_sees_farther.answered():
        names = {"trained": course_model, "untrained": untrained_model}
        seen = {who: {layer: gradients(model, layer) for layer in layers} for who, model in names.items()}
        sides = {
            who: {layer: layer_findings.effective_receptive_field(each, 32, 32) for layer, each in found.items()}
            for who, found in seen.items()
        }
        maps = {who: {layer: each.sum(dim=(0, 1)) for layer, each in found.items()} for who, found in seen.items()}
        gap = sides["trained"]["layer2"] - sides["untrained"]["layer2"]
        answer = (
            "about the same, within two pixels"
            if abs(gap) <= 2
            else "the trained network's is smaller"
            if gap < 0
            else "the trained network's is larger: it has learned to use context"
        )
        layer_plots.plot_sensitivity(maps, sides, (32, 32))
        who_sees_farther.compare(answer)

# %% [markdown]
r"""
<details>
<summary>Seen it? Then read what it shows</summary>

Learning made it *smaller*. With random weights every way from a pixel to the unit counts about alike, and there are many. The
trained network has channels that look for something, somewhere, and most ways don't help. (In networks for large photographs the
opposite has been seen: there the field grows with training, Luo et al. 2016. So this is a fact about this network; measure yours.)

And note what the frames of `layer3` and `layer4` say: nearly the whole picture. A picture of 64 pixels is too small for the
story "late layers see larger things" to be about size alone.

</details>

## How far does it see?
"""

# %% [markdown]
r"""
## The effective receptive field

*`effective_receptive_field` · 12 minutes · difficulty 2 of 5 · 5 points*

`gradient` [picture, 3, row, column] is the gradient of one unit by the pixels of several pictures; (`row`, `column`) is the
pixel at the unit's middle. Return the side, in pixels, of the **smallest square around that pixel** (1, 3, 5, … pixels) that
holds at least the part `share` of all the absolute gradient. The absolute values of all colours and pictures are added up: one
side for all.

The unit may stand near an edge: what lies beyond the picture holds nothing. Raise `ValueError` where the gradient is zero
everywhere.
"""

# %% [markdown]
r"""
<details>
<summary>Hint 1</summary>

Add up `gradient.abs()` over pictures and colours: a map of weights. Grow a square until it holds enough.

</details>
"""

# %% [markdown]
r"""
<details>
<summary>Hint 2</summary>

With half a side h the square is `weight[max(row - h, 0) : row + h + 1, max(column - h, 0) : column + h + 1]`: a negative start
would count from the other end.

</details>
"""


# %%
def effective_receptive_field(
    gradient: Float[Tensor, "picture 3 row column"], row: int, column: int, share: float = 0.9
) -> int:
    """The side of the smallest square around a pixel that holds `share` of all |gradient|."""
    raise NotImplementedError("effective_receptive_field is not written yet")


# %% tags=["check"]
def check_agrees_with_the_reference(student, draw):
    """effective_receptive_field agrees with the reference for several places, shares and sizes"""
    for _ in range(4):
        case = layer_probes.a_gradient(draw)
        expect_equal(
            student.effective_receptive_field(*case), layer_findings.effective_receptive_field(*case)
        )


if __name__ == "__main__":
    run_check(check_agrees_with_the_reference)

# %% [markdown]
r"""
## Edges

"This channel detects edges" is a claim about *orientation*: turn the stripes, and the response changes. Physiologists ask cells
of the visual cortex the same thing, and draw the answer as a tuning curve. Stripes turned by 180° are the same stripes, so a
channel that likes one orientation has one top within half a turn: a wave in *twice* the angle.
"""

# %% [markdown]
r"""
## Tuned to an orientation

*`orientation_tuning` · 15 minutes · difficulty 3 of 5 · 6 points*

`responses` [picture, channel] are those to pictures of stripes, `angle` [picture] says how each is turned, in radians, any number
of turns. For each channel fit **a + b cos(2·angle) + c sin(2·angle)** by least squares, and return [2, channel]:

- row 0, the **preferred orientation**: the angle in [0, π) at which the curve is highest;
- row 1, **R²**: the share of the channel's variance that the curve explains, 1 − residual squares / squares around the mean.

The angles need not be evenly spread. A channel that never varies gets 0 in both rows.
"""

# %% [markdown]
r"""
<details>
<summary>Hint 1</summary>

b cos 2θ + c sin 2θ = A cos(2θ − φ) with φ = atan2(c, b). The top is where 2θ = φ.

</details>
"""

# %% [markdown]
r"""
<details>
<summary>Hint 2</summary>

`X = torch.stack([ones, cos, sin], dim=1)`, `torch.linalg.lstsq(X, responses).solution` is [3, channel]; then
`torch.atan2(c, b) % (2π) / 2`, and residuals from `responses - X @ solution`.

</details>
"""


# %%
def orientation_tuning(
    responses: Responses, angle: Float[Tensor, " picture"]
) -> Float[Tensor, "preferred_and_share channel"]:
    """Each channel's preferred orientation and the share of its variance that orientation explains."""
    raise NotImplementedError("orientation_tuning is not written yet")


# %% tags=["check"]
def check_agrees_with_the_reference(student, draw):
    """orientation_tuning agrees with the reference on responses and angles that you have not seen"""
    for _ in range(3):
        case = layer_probes.striped(draw)
        found, known = student.orientation_tuning(*case), layer_findings.orientation_tuning(*case)
        layer_probes.expect_tuning(found, case[0].shape[1])
        expect_close(found, layer_probes.written_alike(known, found), **TUNING)


if __name__ == "__main__":
    run_check(check_agrees_with_the_reference)

# %% tags=["demo"]
if __name__ == "__main__":
    first = selectivity.held_out(seed=7, pool=4)
    stripes = [world.texture(first + n, "stripes") for n in range(200)]
    angle = torch.tensor([one.background.angle for one in stripes])
    striped = torch.stack([one.image for one in stripes])
    by_layer = dict(zip(layers, selectivity.responses(course_model, striped, *layers), strict=True))
    by_chance = dict(zip(layers, selectivity.responses(untrained_model, striped, *layers), strict=True))
    print("share of variance explained by orientation: mean and best channel, trained (and untrained)")
    for layer in layers:
        share, null = (orientation_tuning(each[layer], angle)[1] for each in (by_layer, by_chance))
        print(f"{layer}  {share.mean():.2f} ({null.mean():.2f})   {share.max():.2f} ({null.max():.2f})")
    tuning = orientation_tuning(by_layer["layer1"], angle)
    best = tuning[1].topk(4).indices.tolist()
    layer_plots.plot_tuning(
        angle,
        {f"channel {c}": by_layer["layer1"][:, c] for c in best},
        {f"channel {c}": tuple(tuning[:, c].tolist()) for c in best},
    )

# %% [markdown]
r"""
The four best-tuned channels of `layer1`. Orientation explains about half of what they do, on stripes of all colours, widths and
contrasts; the rest is what else stripes differ in. In the mean over channels it is far less: `layer1` is not "the edge detectors",
it is a layer that *has* some. The network without training has none as good. From `layer3` on, nothing is left beyond what
random weights give.

Fit a curve with one top, and you will find one: R² is never negative, and with 200 pictures and two free numbers noise alone gives
about 0.01. That is why the second column is there.

## The report

The map of the network: for every layer, how much of what its channels do is explained by the orientation of stripes, by the
pattern of textures, by the kind of a part; and in how many channels that is more than random weights give.
"""

# %% [markdown]
r"""
## A report by layers

*`layer_report` · 20 minutes · difficulty 3 of 5 · 6 points*

`trained[factor][layer]` are the responses [picture, channel] of a network to the pictures on which a factor varies; `untrained` is
the same for a network that has learned nothing; `groups[factor]` [picture] is a whole number for each picture: which value of the
factor it shows. (Pictures differ from factor to factor, layers and channels are the same.) Return `{layer: row}`, layers in their
order, and in each row:

- `"silent"`: how many of the trained layer's channels tell nothing apart, whatever the factor: within each factor, all pictures
  get one and the same response (it may be another one for another factor); an int;
- under each factor's name a dict of three facts:
    - `"explained"`: the mean over *all* channels of the variance that the factor explains,
      `channel_evidence.variance_explained(responses, group)`;
    - `"beyond"`: the share of channels for which it explains **more than** the 0.95 quantile over the *untrained* layer's channels;
    - `"channel"`: the index of the channel of which it explains most.

Means and shares are Python floats, the channel an int.
"""

# %% [markdown]
r"""
<details>
<summary>Hint 1</summary>

Two loops: layers, and factors within them. The bound is `variance_explained(untrained…, group).quantile(0.95)`: another one for
each layer and factor.

</details>
"""

# %% [markdown]
r"""
<details>
<summary>Hint 2</summary>

Silent for a factor: `responses.amax(0) == responses.amin(0)`. A channel counts if that is true for every factor.

</details>
"""


# %%
def layer_report(
    trained: dict[str, dict[str, Responses]],
    untrained: dict[str, dict[str, Responses]],
    groups: dict[str, Int[Tensor, " picture"]],
) -> dict[str, dict[str, object]]:
    """What is found of each layer: silent channels, and for each factor what it explains."""
    raise NotImplementedError("layer_report is not written yet")


# %% tags=["check"]
def check_agrees_with_the_reference(student, draw):
    """layer_report agrees with the reference on factors, layers and channels that you have not seen"""
    for _ in range(2):
        case = layer_probes.two_networks(draw)
        found = student.layer_report(*case)
        layer_probes.expect_report(found, case[0], case[2])
        layer_probes.expect_same_report(found, layer_findings.layer_report(*case))


if __name__ == "__main__":
    run_check(check_agrees_with_the_reference)

# %% tags=["demo"]
if __name__ == "__main__":
    textures, parts = selectivity.labelled_textures(first, 160), selectivity.labelled_parts(first, 12)
    asked = {
        "orientation of stripes": (striped[:160], (angle[:160].remainder(torch.pi) // (torch.pi / 4)).long()),
        "pattern of textures": (textures.pixels, textures.shows.int().argmax(dim=1)),
        "kind of part": (parts.pixels, parts.shows.int().argmax(dim=1)),
    }


    def answers_of(model):
        """{factor: {layer: responses}} of a model."""
        return {
            factor: dict(zip(layers, selectivity.responses(model, pictures, *layers), strict=True))
            for factor, (pictures, _) in asked.items()
        }


    groups = {factor: group for factor, (_, group) in asked.items()}
    null = answers_of(untrained_model)
    reports = {
        "trained": layer_report(answers_of(course_model), null, groups),
        "robust": layer_report(answers_of(robust_model), null, groups),
        "untrained": layer_report(null, null, groups),
    }

# %% [markdown]
r"""
In which layer does the *pattern of textures* explain most of what channels do, by at least 0.1 more than in the same layer of the
untrained network?

- **a** layer1
- **b** layer2
- **c** layer3
- **d** no layer stands out from the untrained network
"""

# %% tags=["predict"]
if __name__ == "__main__":
    texture_rung = predict(
        answer=None,  # "a" to "d"
        confidence=None,  # the probability that you are right, from 0 to 1
        choices=(
            "layer1",
            "layer2",
            "layer3",
            "no layer stands out from the untrained network",
        ),
    )

# %% tags=["demo"]
if __name__ == "__main__":
    if texture_rung.answered():
        for who, report in reports.items():
            print(f"{who:10} explained (share of channels beyond chance)")
            for layer, row in report.items():
                cells = (
                    f"{factor} {row[factor]['explained']:.2f} ({row[factor]['beyond']:.2f})" for factor in groups
                )
                print(f"  {layer}  {row['silent']} silent  ", "   ".join(cells))
        lead = {
            layer: reports["trained"][layer]["pattern of textures"]["explained"]
            - reports["untrained"][layer]["pattern of textures"]["explained"]
            for layer in layers
        }
        most = max(lead, key=lead.get)
        answer = most if lead[most] >= 0.1 else "no layer stands out from the untrained network"
        layer_plots.plot_report(reports, list(groups))
        texture_rung.compare(answer)

# %% [markdown]
r"""
<details>
<summary>Seen it? Then read what it shows</summary>

Both ends of the story stand. Orientation counts most in `layer1` and is gone in `layer4`; the kind of a part explains little in
`layer1`, and close to half of a channel's variance in the last two, in more than nine of ten channels. Neither is in the untrained
network. The robust sibling, trained further against an adversary, tells the same story: its pictures are calmer, its map is not
another.

The rung between does not stand, by this measure. What the pattern explains is about what it explains with random weights: random
filters tell stripes from dots, too. Without the grey line you would have found "texture channels" wherever you looked.

Look also at "beyond" for parts in `layer1`: a third of the channels, for a factor that explains a few hundredths. Beyond chance is
not much. A part comes with its colour and its size, and a channel that knows nothing of wheels can still tell red from green. What
it depends on, only edits can say: the next chapter on pictures (`ch15_trusting_pictures`).

Here are five channels of each layer, not chosen: the first five.

</details>
"""

# %% tags=["demo"]
if __name__ == "__main__":
    pictured = {"course": course_model, "robust": robust_model}
    evidence_plots.plot_pictures(
        {
            f"{layer}, {name}": feature_visualization.render_channels(model, layer, range(5), steps=48)
            for layer in layers
            for name, model in pictured.items()
        }
    )

# %% [markdown]
r"""
Of each layer, first `course-resnet18`, then its sibling; most channels have kept their meaning. `layer1` shows fine gratings, grids
and dots, `layer2` streaks and larger dots. In `layer3` there are wheels, and window panes under red roofs; in `layer4`
arrangements: panes above wheels, petals above leaves. It looks exactly like the story. The pictures of `layer2` look like
textures although no texture rung is there, because what is repeated over a whole picture *is* a texture: the mean over all
places asks for it.

## More than one picture

One picture is one answer. The channel may have others that the ascent never met. So make several at once, and have them
pay for being alike. What is alike? Not pixels: a shifted picture would count as new. *Style*: which channels are active
together, wherever that is.
"""

# %% [markdown]
r"""
## How alike are they?

*`diversity` · 10 minutes · difficulty 3 of 5 · 4 points*

`activations` [batch, channel, row, column] belong to a batch of pictures. The **Gram matrix** of a picture is [channel, channel]:
for every two channels the sum over places of the product of their activations. Return how alike the pictures are, one
number without axes: the mean, over all pairs of *different* pictures, of the cosine between their Gram matrices (taken as long
vectors). One picture alone has no pair: return 0. To make pictures differ, one subtracts it.
"""

# %% [markdown]
r"""
<details>
<summary>Hint 1</summary>

With places flattened, F is [batch, channel, place], and the Gram matrices are `F @ F.mT`: [batch, channel, channel].

</details>
"""

# %% [markdown]
r"""
<details>
<summary>Hint 2</summary>

Divide each Gram matrix by its own norm, flatten, and all cosines are one product of matrices. Its diagonal is 1 and does not
count: batch · (batch − 1) entries are left.

</details>
"""


# %%
def diversity(activations: Activations) -> Float[Tensor, ""]:
    """The mean cosine between Gram matrices of different pictures: 1 if all are alike."""
    raise NotImplementedError("diversity is not written yet")


# %% tags=["check"]
def check_agrees_with_the_reference(student, draw):
    """diversity agrees with the reference for batches, channels and maps of several sizes"""
    for batch in (2, 3, draw.integer(4, 5)):
        activations = draw.normal(batch, draw.integer(6, 8), draw.integer(2, 4), draw.integer(9, 11)) + 0.5
        expect_close(student.diversity(activations), visualization_steps.diversity(activations), **NUMBER)


if __name__ == "__main__":
    run_check(check_agrees_with_the_reference)

# %% tags=["demo"]
if __name__ == "__main__":
    def activations_at(layer, pictures):
        """All channels of a layer at all places, on pictures in [0, 1]."""
        return partial_runs.activations(course_model, pictures, [layer])[layer]


    where, channel = "layer4.1.bn2", 418
    usual = activations_at(where, world.batch(range(96)).images)[:, channel].mean(dim=(1, 2))
    wish = objectives.channel(where, channel)
    prices = {"free": 0.0, "diverse": usual.std().item()}
    several = {
        name: feature_visualization.render(
            course_model, wish - price * objectives.diversity(where), batch=4, steps=64, progress=False
        ).pictures
        for name, price in prices.items()
    }
    for name, pictures in several.items():
        activation = activations_at(where, pictures)
        excited = (activation[:, channel].mean(dim=(1, 2)) - usual.mean()) / usual.std()
        print(f"{name:8} alike {diversity(activation).item():.2f}, deviations", *(f"{e:.1f}" for e in excited))
    evidence_plots.plot_pictures(several)

# %% [markdown]
r"""
Free, four different starts end in one picture: a roof over panes over wheels. Charged for being alike, three keep the wheels, and
the fourth finds another answer, without wheels: spotted green below something round. It excites the channel less, and still
more than all but a few natural pictures do. Had you made one picture, or four without the price, you would know one answer, and
call it *the* answer.

Whether these are two answers of one channel, or one answer seen twice (the panes?), no picture can say: it shows what
*suffices* to excite the channel, all at once. Taking one part away, and looking again, can say it. That is the next chapter on
pictures (`ch15_trusting_pictures`).

## Downwards, between, and like that

The ascent takes any objective. *Downwards*: minus a channel. *Between*: a mixture of two channels is a direction in the space
of activations, as good as any other to a network; the axes are only where we happened to look. And *like that*: take all
activations of a picture at some layer as the direction.
"""

# %% [markdown]
r"""
## A caricature

*`caricature_score` · 8 minutes · difficulty 2 of 5 · 4 points*

`target` [channel, row, column] are the activations of some picture, `activations` those of a batch. Return for each picture of
the batch **dot · max(cosine, 0.1)^power**, where dot is the dot product of its activations with the target, over all channels
and places, and cosine the cosine of the angle between the two.

The dot product alone is largest where one strong direction runs away with everything. The cosine asks to go where the target
goes, and nowhere else; `power` says how strictly. (So it is done in *lucid*, whose caricatures these are.)
"""

# %% [markdown]
r"""
<details>
<summary>Hint 1</summary>

Flatten all but the batch. The cosine is the dot product over the product of the two norms.

</details>
"""

# %% [markdown]
r"""
<details>
<summary>Hint 2</summary>

`torch.nn.functional.cosine_similarity(activations.flatten(1), target.flatten()[None])` has one number for each picture;
`.clamp(min=0.1) ** power`.

</details>
"""


# %%
def caricature_score(
    activations: Activations, target: Float[Tensor, "channel row column"], power: float = 1.0
) -> Float[Tensor, " batch"]:
    """Dot product with the target times a power of the cosine."""
    raise NotImplementedError("caricature_score is not written yet")


# %% tags=["check"]
def check_agrees_with_the_reference(student, draw):
    """caricature_score agrees with the reference for several powers"""
    for power in (0.0, 1.0, draw.choice([2.0, 2.5, 3.0])):
        target = draw.normal(5, 3, 4)
        activations = draw.normal(6, 5, 3, 4) + draw.normal(6, 1, 1, 1) * target
        case = activations, target, power
        expect_close(
            student.caricature_score(*case),
            visualization_steps.caricature_score(*case),
            dims="batch",
            atol=1e-3,
        )


if __name__ == "__main__":
    run_check(check_agrees_with_the_reference)

# %% tags=["demo"]
if __name__ == "__main__":
    ends = [objectives.channel("layer3.1.bn2", index) for index in (0, 4)]
    spreads = [
        activations_at("layer3.1.bn2", natural)[:, index].mean(dim=(1, 2)).std().item() for index in (0, 4)
    ]
    first_end, second_end = (end / spread for end, spread in zip(ends, spreads, strict=True))
    original = world.sample(12345, "flower").image
    wishes = {
        "channel 0": first_end,
        "halfway": 0.5 * first_end + 0.5 * second_end,
        "channel 4": second_end,
        "minus channel 0": -first_end,
        "caricature": objectives.caricature("layer2.1.bn2", original, 2.0),
    }
    made = feature_visualization.render(course_model, list(wishes.values()), steps=64, progress=False).pictures
    alike = caricature_score(
        activations_at("layer2.1.bn2", torch.stack([original, made[-1], *natural[:3]])),
        activations_at("layer2.1.bn2", original[None])[0],
        2.0,
    )
    print("caricature score, in that of the flower itself: its caricature, three other toys")
    print("  ".join(f"{each:.2f}" for each in (alike[1:] / alike[0]).tolist()))
    titles = [*list(wishes)[:4], "a flower", "caricature, layer2"]
    evidence_plots.plot_pictures({"": torch.cat([made[:4], original[None], made[4:]])}, {"": titles})

# %% [markdown]
r"""
Channel 0 draws wheels below panes, channel 4 a blossom on a striped foot. Halfway between them there is no third thing. There are
wheels, more of them than before, and hardly a trace of the blossom: shares are equal in the objective, and what is cheaper to draw
wins. *Minus* a channel is what it would rather not see, and often, as here, harder to name. The caricature keeps blossom, foot and
the spots of the leaves, each in its place, and has let the zigzags go. So this is what the layer makes most of.

## On pictures from elsewhere

A model of toys has never seen a dog. Its channels answer all the same, and that is worth seeing once. (The cell needs CIFAR-10
in torch's cache, `mechinterp models fetch cifar10`, and says so if it is not there.)
"""

# %% tags=["demo"]
if __name__ == "__main__":
    from torchvision.transforms.functional import to_tensor

    from mechinterp_course.errors import CourseError
    from mechinterp_course.models import cifar10

    try:
        data = cifar10("test")
        photographs = torch.stack([to_tensor(data[n][0]) for n in range(256)])
        excited = activations_at("layer2.1.bn2", photographs)[:, 5].mean(dim=(1, 2)).topk(8).indices.tolist()
        kinds = [data.classes[data[n][1]] for n in excited]
        figure = evidence_plots.plot_pictures({"CIFAR-10": photographs[excited]}, {"CIFAR-10": kinds})
    except CourseError as error:
        figure = print(error)
    figure

# %% [markdown]
r"""
## What you may claim now

| claim | what you have | what would overturn it |
|---|---|---|
| early layers are tuned to orientation, late ones not | R² by layer, beside random weights | the same R² without training |
| late layers tell parts apart | variance explained, and in how many channels beyond chance | pictures of parts of equal colour and size |
| middle layers see textures | pictures that look so | *the grey line*: random weights do as well, as here |
| late units see more of the picture | the field that holds nine tenths of the gradient | gradients are local: a part far away that matters only when it is there |
| this channel has two answers | pictures made diverse | an edit: one picture shows what suffices, not what it depends on |

All of it is about `course-resnet18`, which was helped to have channels that can be read, and about factors that somebody
chose: a channel for which none of the three explains much may be about a fourth. What a layer is *for* is one more question:
nothing here has changed anything and looked at the output.
"""

# %% [markdown]
r"""
## Your report

Write the report on `course-resnet18` for a reader who will look at nothing else: at most 300 words and the table. One paragraph a
layer; the numbers are those of your `layer_report`.
"""

# %% [markdown] tags=["rubric"]
r"""
*Your answer:*
"""
