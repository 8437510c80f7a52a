# %% [markdown] after="ch02_feature_visualization"
r"""# What each layer looks for

Early layers see edges, middle layers textures, late ones parts of objects. Everybody has seen the plate of pictures that says
so. It is a claim about a whole network, and a plate of chosen pictures is a poor witness for a claim about 960 channels.

This chapter makes the map properly, on a network whose world tells us its factors, and beside a network that has learned
nothing at all:

1. **How far does a layer see?** Not how far it *could*.
2. **Edges**: which channels are tuned to an orientation, and how strictly?
3. **The report**: what explains what, layer by layer, channel by channel, beyond chance.
4. **More pictures than one**: for a channel, between two, and like a picture that you have.

You need channels and their pictures (`ch02_feature_visualization`). It takes about an hour and a half."""

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
r"""A unit of `layer1` can be moved by pixels up to 21 away, and from `layer2` on every unit *could* see the whole picture: that is
settled by kernels and strides, before any learning. So the network that was trained and one with random weights have the same
reach. What of the part that matters?

Take the square around the unit's middle that holds nine tenths of all gradient."""

# %% [markdown] tags=["predict"] name="who_sees_farther" choices=["the trained network's is larger: it has learned to use context", "about the same, within two pixels", "the trained network's is smaller"]
r"""In `layer2`, is that square larger in `course-resnet18` or in the network that has learned nothing?"""

# %% tags=["demo"]
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

# %% [markdown]
r"""Learning made it *smaller*. With random weights every way from a pixel to the unit counts about alike, and there are many. The
trained network has channels that look for something, somewhere, and most ways don't help. (In networks for large photographs the
opposite has been seen: there the field grows with training, Luo et al. 2016. So this is a fact about this network; measure yours.)

And note what the frames of `layer3` and `layer4` say: nearly the whole picture. A picture of 64 pixels is too small for the
story "late layers see larger things" to be about size alone.

## How far does it see?"""

# %% [markdown] exercise="effective_receptive_field" minutes=12 difficulty=2 reference="layer_findings.effective_receptive_field"
r"""## The effective receptive field

`gradient` [picture, 3, row, column] is the gradient of one unit by the pixels of several pictures; (`row`, `column`) is the
pixel at the unit's middle. Return the side, in pixels, of the **smallest square around that pixel** (1, 3, 5, … pixels) that
holds at least the part `share` of all the absolute gradient. The absolute values of all colours and pictures are added up: one
side for all.

The unit may stand near an edge: what lies beyond the picture holds nothing. Raise `ValueError` where the gradient is zero
everywhere."""

# %% [markdown] tags=["hint"]
r"""Add up `gradient.abs()` over pictures and colours: a map of weights. Grow a square until it holds enough."""

# %% [markdown] tags=["hint"]
r"""With half a side h the square is `weight[max(row - h, 0) : row + h + 1, max(column - h, 0) : column + h + 1]`: a negative start
would count from the other end."""


# %%
def effective_receptive_field(
    gradient: Float[Tensor, "picture 3 row column"], row: int, column: int, share: float = 0.9
) -> int:
    """The side of the smallest square around a pixel that holds `share` of all |gradient|."""
    # BEGIN SOLUTION
    weight = gradient.double().abs().sum(dim=(0, 1))
    total = weight.sum().item()
    if total == 0:
        raise ValueError("no pixel moves this unit")
    for half in range(max(weight.shape)):
        square = weight[max(row - half, 0) : row + half + 1, max(column - half, 0) : column + half + 1]
        if square.sum().item() >= share * total * (1 - 1e-9):
            return 2 * half + 1
    # END SOLUTION


# %% tags=["check"] points=2
def check_agrees_with_the_reference(student, draw):
    """effective_receptive_field agrees with the reference for several places, shares and sizes"""
    for _ in range(4):
        case = layer_probes.a_gradient(draw)
        expect_equal(
            student.effective_receptive_field(*case), layer_findings.effective_receptive_field(*case)
        )


# %% tags=["check", "hidden"] points=2
def check_known_cases(student, draw):
    """one pixel that matters at a distance of d makes a side of 2d + 1; a field that is equal everywhere has the side that its share asks for; signs, colours and pictures don't cancel"""
    row, column, away = draw.integer(6, 9), draw.integer(6, 9), draw.integer(1, 5)
    gradient = torch.zeros(2, 3, 16, 18)
    gradient[1, 1, row - away, column + draw.integer(-away, away)] = draw.choice([-2.0, 0.5])
    expect_equal(student.effective_receptive_field(gradient, row, column), 2 * away + 1)
    even = torch.full((1, 3, 21, 21), draw.choice([1.0, -3.0]))
    even[:, 0] *= -1
    for half in (0, draw.integer(1, 8), 10):
        share = (2 * half + 1) ** 2 / 21**2
        expect_equal(student.effective_receptive_field(even, 10, 10, share), 2 * half + 1)
        if half < 10:
            expect_equal(student.effective_receptive_field(even, 10, 10, share + 1e-4), 2 * half + 3)
    opposite = torch.cat([gradient, -gradient])
    expect_equal(student.effective_receptive_field(opposite, row, column), 2 * away + 1)


# %% tags=["check", "hidden"] points=1
def check_units_beside_the_border(student, draw):
    """near an edge nothing is added from the other side, a long picture may need a square larger than its short side, a gradient of zero raises ValueError, and the gradient stays as it was"""
    gradient = draw.normal(2, 3, 14, 11)
    for row, column in ((0, 0), (13, draw.integer(0, 10)), (draw.integer(1, 3), 10)):
        case = gradient, row, column, draw.choice([0.3, 0.6, 0.8])
        expect_equal(
            student.effective_receptive_field(*case), layer_findings.effective_receptive_field(*case)
        )
    long = draw.normal(1, 3, 5, draw.integer(15, 19)), 2, draw.integer(1, 3), 0.97
    expect_equal(student.effective_receptive_field(*long), layer_findings.effective_receptive_field(*long))
    zero = torch.zeros(1, 3, 8, 8)
    expect_raises(
        "ValueError",
        lambda: student.effective_receptive_field(zero, 4, 4),
        "Where the gradient is zero everywhere there is nothing to hold.",
    )
    left = student.run(picture_probes.arguments_after, student.effective_receptive_field, *case)
    expect(torch.equal(left[0], gradient), "The call changes the gradient in place: work on a copy.")


# %% [markdown]
r"""## Edges

"This channel detects edges" is a claim about *orientation*: turn the stripes, and the response changes. Physiologists ask cells
of the visual cortex the same thing, and draw the answer as a tuning curve. Stripes turned by 180° are the same stripes, so a
channel that likes one orientation has one top within half a turn: a wave in *twice* the angle."""

# %% [markdown] exercise="orientation_tuning" minutes=15 difficulty=3 reference="layer_findings.orientation_tuning"
r"""## Tuned to an orientation

`responses` [picture, channel] are those to pictures of stripes, `angle` [picture] says how each is turned, in radians, any number
of turns. For each channel fit **a + b cos(2·angle) + c sin(2·angle)** by least squares, and return [2, channel]:

- row 0, the **preferred orientation**: the angle in [0, π) at which the curve is highest;
- row 1, **R²**: the share of the channel's variance that the curve explains, 1 − residual squares / squares around the mean.

The angles need not be evenly spread. A channel that never varies gets 0 in both rows."""

# %% [markdown] tags=["hint"]
r"""b cos 2θ + c sin 2θ = A cos(2θ − φ) with φ = atan2(c, b). The top is where 2θ = φ."""

# %% [markdown] tags=["hint"]
r"""`X = torch.stack([ones, cos, sin], dim=1)`, `torch.linalg.lstsq(X, responses).solution` is [3, channel]; then
`torch.atan2(c, b) % (2π) / 2`, and residuals from `responses - X @ solution`."""


# %%
def orientation_tuning(
    responses: Responses, angle: Float[Tensor, " picture"]
) -> Float[Tensor, "preferred_and_share channel"]:
    """Each channel's preferred orientation and the share of its variance that orientation explains."""
    # BEGIN SOLUTION
    values, turn = responses.double(), 2 * angle.double()
    waves = torch.stack([torch.ones_like(turn), torch.cos(turn), torch.sin(turn)])
    weights = torch.linalg.inv(waves @ waves.T) @ waves @ values
    preferred = torch.atan2(weights[2], weights[1]) / 2 % torch.pi
    residual = values - waves.T @ weights
    around_mean = values - values.mean(dim=0)
    share = 1 - (residual**2).sum(dim=0) / (around_mean**2).sum(dim=0)
    constant = (values == values[0]).all(dim=0)
    tuning = torch.stack([preferred, share])
    tuning[:, constant] = 0
    return tuning.float()
    # END SOLUTION


# %% tags=["check"] points=2
def check_agrees_with_the_reference(student, draw):
    """orientation_tuning agrees with the reference on responses and angles that you have not seen"""
    for _ in range(3):
        case = layer_probes.striped(draw)
        found, known = student.orientation_tuning(*case), layer_findings.orientation_tuning(*case)
        layer_probes.expect_tuning(found, case[0].shape[1])
        expect_close(found, layer_probes.written_alike(known, found), **TUNING)


# %% tags=["check", "hidden"] points=2
def check_planted_tuning(student, draw):
    """a channel that follows a cosine has its top as preferred orientation and a share of 1; one with the wrong period has a share of 0; one that never varies has 0 and 0"""
    angle = torch.arange(48) * torch.pi / 24 + draw.normal(1) * 0.01
    tops = torch.tensor([0.3, 1.2, 2.0, 2.9]) + 0.05 * draw.normal(4)
    tuned = 3 + torch.cos(2 * (angle[:, None] - tops)) * torch.tensor([0.5, 1.0, 2.0, 4.0])
    once, dead = torch.cos(angle)[:, None], torch.full((48, 1), draw.choice([0.0, 0.75]))
    found = student.orientation_tuning(torch.cat([tuned, once, dead], dim=1), angle)
    layer_probes.expect_tuning(found, 6)
    known = torch.stack([tops, torch.ones(4)])
    expect_close(found[:, :4], known, **TUNING)
    expect_close(found[1, 4], torch.tensor(0.0), **NUMBER)
    expect_close(found[:, 5], torch.zeros(2), dims="what")


# %% tags=["check", "hidden"] points=2
def check_laws(student, draw):
    """turning all stripes by an angle turns the preference by it; half turns, a factor and an offset change nothing; uneven angles don't mislead"""
    values, angle = layer_probes.striped(draw)
    found = student.orientation_tuning(values, angle)
    layer_probes.expect_tuning(found, values.shape[1])
    turned = student.orientation_tuning(values, angle + 0.4)
    layer_probes.expect_tuning(turned, values.shape[1])
    expected = torch.stack([(found[0] + 0.4) % torch.pi, found[1]])
    expect_close(turned, layer_probes.written_alike(expected, turned), **TUNING)
    half = torch.pi * torch.tensor([draw.integer(-2, 2) for _ in angle])
    same = student.orientation_tuning(3 * values - 5, angle + half)
    layer_probes.expect_tuning(same, values.shape[1])
    expect_close(same, layer_probes.written_alike(found, same), **TUNING)
    left = student.run(picture_probes.arguments_after, student.orientation_tuning, values, angle)
    for tensor, before in zip(left, (values, angle), strict=True):
        expect(torch.equal(tensor, before), "The call changes what it was given in place.")


# %% tags=["demo"]
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
r"""The four best-tuned channels of `layer1`. Orientation explains about half of what they do, on stripes of all colours, widths and
contrasts; the rest is what else stripes differ in. In the mean over channels it is far less: `layer1` is not "the edge detectors",
it is a layer that *has* some. The network without training has none as good. From `layer3` on, nothing is left beyond what
random weights give.

Fit a curve with one top, and you will find one: R² is never negative, and with 200 pictures and two free numbers noise alone gives
about 0.01. That is why the second column is there.

## The report

The map of the network: for every layer, how much of what its channels do is explained by the orientation of stripes, by the
pattern of textures, by the kind of a part; and in how many channels that is more than random weights give."""

# %% [markdown] exercise="layer_report" minutes=20 difficulty=3 reference="layer_findings.layer_report" withhold=["layer_report", "_row_of", "_silent"]
r"""## A report by layers

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

Means and shares are Python floats, the channel an int."""

# %% [markdown] tags=["hint"]
r"""Two loops: layers, and factors within them. The bound is `variance_explained(untrained…, group).quantile(0.95)`: another one for
each layer and factor."""

# %% [markdown] tags=["hint"]
r"""Silent for a factor: `responses.amax(0) == responses.amin(0)`. A channel counts if that is true for every factor."""


# %%
def layer_report(
    trained: dict[str, dict[str, Responses]],
    untrained: dict[str, dict[str, Responses]],
    groups: dict[str, Int[Tensor, " picture"]],
) -> dict[str, dict[str, object]]:
    """What is found of each layer: silent channels, and for each factor what it explains."""
    # BEGIN SOLUTION
    report = {}
    for layer in next(iter(trained.values())):
        everything = torch.cat([trained[factor][layer] - trained[factor][layer][0] for factor in groups])
        row = {"silent": int((everything == 0).all(dim=0).sum())}
        for factor, group in groups.items():
            shares = channel_evidence.variance_explained(trained[factor][layer], group)
            null = channel_evidence.variance_explained(untrained[factor][layer], group)
            above = shares > torch.quantile(null, 0.95)
            row[factor] = {
                "explained": float(shares.mean()),
                "beyond": int(above.sum()) / len(above),
                "channel": int(shares.argmax()),
            }
        report[layer] = row
    return report
    # END SOLUTION


# %% tags=["check"] points=2
def check_agrees_with_the_reference(student, draw):
    """layer_report agrees with the reference on factors, layers and channels that you have not seen"""
    for _ in range(2):
        case = layer_probes.two_networks(draw)
        found = student.layer_report(*case)
        layer_probes.expect_report(found, case[0], case[2])
        layer_probes.expect_same_report(found, layer_findings.layer_report(*case))


# %% tags=["check", "hidden"] points=2
def check_planted_truth(student, draw):
    """a planted channel is found, a channel that is silent for one factor only is not silent, and only what is more than chance counts"""
    trained, untrained, groups, truth = layer_probes.planted(draw)
    found = student.layer_report(trained, untrained, groups)
    layer_probes.expect_report(found, trained, groups)
    for layer, facts in truth.items():
        expect_equal(found[layer]["silent"], facts["silent"])
        for factor in groups:
            expect_equal(found[layer][factor]["channel"], facts[factor])
            expect_close(found[layer][factor]["beyond"], facts["beyond"])


# %% tags=["check", "hidden"] points=2
def check_laws(student, draw):
    """with channels in another order the report has the same shares and names channels by their new numbers; groups may be numbered anyhow; nothing is changed in place"""
    trained, untrained, groups, _ = layer_probes.planted(draw)
    width = trained["hue"]["first"].shape[1]
    order = draw.normal(width).argsort()
    moved = layer_probes.reordered((trained, untrained, groups), order)
    one, other = student.layer_report(trained, untrained, groups), student.layer_report(*moved)
    for found in (one, other):
        layer_probes.expect_report(found, trained, groups)
    for layer in one:
        expect_equal(other[layer]["silent"], one[layer]["silent"])
        for factor in groups:
            expect_equal(order[other[layer][factor]["channel"]].item(), one[layer][factor]["channel"])
            expect_close(other[layer][factor]["explained"], one[layer][factor]["explained"], atol=1e-5)
    left = student.run(layer_probes.tensors_left, student.layer_report, *moved)
    for tensor, before in zip(left, layer_probes.tensors_left(lambda *case: None, *moved), strict=True):
        expect(torch.equal(tensor, before), "The call changes what it was given in place.")


# %% tags=["demo"]
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

# %% [markdown] tags=["predict"] name="texture_rung" choices=["layer1", "layer2", "layer3", "no layer stands out from the untrained network"]
r"""In which layer does the *pattern of textures* explain most of what channels do, by at least 0.1 more than in the same layer of the
untrained network?"""

# %% tags=["demo"]
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

# %% [markdown]
r"""Both ends of the story stand. Orientation counts most in `layer1` and is gone in `layer4`; the kind of a part explains little in
`layer1`, and close to half of a channel's variance in the last two, in more than nine of ten channels. Neither is in the untrained
network. The robust sibling, trained further against an adversary, tells the same story: its pictures are calmer, its map is not
another.

The rung between does not stand, by this measure. What the pattern explains is about what it explains with random weights: random
filters tell stripes from dots, too. Without the grey line you would have found "texture channels" wherever you looked.

Look also at "beyond" for parts in `layer1`: a third of the channels, for a factor that explains a few hundredths. Beyond chance is
not much. A part comes with its colour and its size, and a channel that knows nothing of wheels can still tell red from green. What
it depends on, only edits can say: the next chapter on pictures (`ch15_trusting_pictures`).

Here are five channels of each layer, not chosen: the first five."""

# %% tags=["demo"]
pictured = {"course": course_model, "robust": robust_model}
evidence_plots.plot_pictures(
    {
        f"{layer}, {name}": feature_visualization.render_channels(model, layer, range(5), steps=48)
        for layer in layers
        for name, model in pictured.items()
    }
)

# %% [markdown]
r"""Of each layer, first `course-resnet18`, then its sibling; most channels have kept their meaning. `layer1` shows fine gratings, grids
and dots, `layer2` streaks and larger dots. In `layer3` there are wheels, and window panes under red roofs; in `layer4`
arrangements: panes above wheels, petals above leaves. It looks exactly like the story. The pictures of `layer2` look like
textures although no texture rung is there, because what is repeated over a whole picture *is* a texture: the mean over all
places asks for it.

## More than one picture

One picture is one answer. The channel may have others that the ascent never met. So make several at once, and have them
pay for being alike. What is alike? Not pixels: a shifted picture would count as new. *Style*: which channels are active
together, wherever that is."""

# %% [markdown] exercise="diversity" minutes=10 difficulty=3 reference="visualization_steps.diversity" withhold=["diversity", "alike", "style"]
r"""## How alike are they?

`activations` [batch, channel, row, column] belong to a batch of pictures. The **Gram matrix** of a picture is [channel, channel]:
for every two channels the sum over places of the product of their activations. Return how alike the pictures are, one
number without axes: the mean, over all pairs of *different* pictures, of the cosine between their Gram matrices (taken as long
vectors). One picture alone has no pair: return 0. To make pictures differ, one subtracts it."""

# %% [markdown] tags=["hint"]
r"""With places flattened, F is [batch, channel, place], and the Gram matrices are `F @ F.mT`: [batch, channel, channel]."""

# %% [markdown] tags=["hint"]
r"""Divide each Gram matrix by its own norm, flatten, and all cosines are one product of matrices. Its diagonal is 1 and does not
count: batch · (batch − 1) entries are left."""


# %%
def diversity(activations: Activations) -> Float[Tensor, ""]:
    """The mean cosine between Gram matrices of different pictures: 1 if all are alike."""
    # BEGIN SOLUTION
    batch = len(activations)
    if batch < 2:
        return activations.new_zeros(())
    features = activations.flatten(2)
    gram = (features @ features.mT).flatten(1)
    cosines = [
        torch.nn.functional.cosine_similarity(gram[one], gram[other], dim=0)
        for one in range(batch)
        for other in range(one)
    ]
    return torch.stack(cosines).mean()
    # END SOLUTION


# %% tags=["check"] points=2
def check_agrees_with_the_reference(student, draw):
    """diversity agrees with the reference for batches, channels and maps of several sizes"""
    for batch in (2, 3, draw.integer(4, 5)):
        activations = draw.normal(batch, draw.integer(6, 8), draw.integer(2, 4), draw.integer(9, 11)) + 0.5
        expect_close(student.diversity(activations), visualization_steps.diversity(activations), **NUMBER)


# %% tags=["check", "hidden"] points=2
def check_known_cases(student, draw):
    """pictures that are equal, moved about or brighter count 1, channels that never meet count 0, and one picture alone 0"""
    one = draw.normal(1, 5, 4, 6)
    moved = one.flatten(2)[:, :, draw.normal(24).argsort().to(one.device)].view_as(one)
    expect_close(student.diversity(torch.cat([one, 3 * moved, one])), one.new_tensor(1.0), **NUMBER)
    apart = torch.zeros(2, 4, 3, 5, device=one.device)
    apart[0, :2], apart[1, 2:] = draw.normal(2, 3, 5), draw.normal(2, 3, 5)
    expect_close(student.diversity(apart), one.new_tensor(0.0), **NUMBER)
    expect_close(student.diversity(one), one.new_tensor(0.0), **NUMBER)


# %% tags=["demo"]
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
r"""Free, four different starts end in one picture: a roof over panes over wheels. Charged for being alike, three keep the wheels, and
the fourth finds another answer, without wheels: spotted green below something round. It excites the channel less, and still
more than all but a few natural pictures do. Had you made one picture, or four without the price, you would know one answer, and
call it *the* answer.

Whether these are two answers of one channel, or one answer seen twice (the panes?), no picture can say: it shows what
*suffices* to excite the channel, all at once. Taking one part away, and looking again, can say it. That is the next chapter on
pictures (`ch15_trusting_pictures`).

## Downwards, between, and like that

The ascent takes any objective. *Downwards*: minus a channel. *Between*: a mixture of two channels is a direction in the space
of activations, as good as any other to a network; the axes are only where we happened to look. And *like that*: take all
activations of a picture at some layer as the direction."""

# %% [markdown] exercise="caricature_score" minutes=8 difficulty=2 reference="visualization_steps.caricature_score" withhold=["caricature_score", "caricature"]
r"""## A caricature

`target` [channel, row, column] are the activations of some picture, `activations` those of a batch. Return for each picture of
the batch **dot · max(cosine, 0.1)^power**, where dot is the dot product of its activations with the target, over all channels
and places, and cosine the cosine of the angle between the two.

The dot product alone is largest where one strong direction runs away with everything. The cosine asks to go where the target
goes, and nowhere else; `power` says how strictly. (So it is done in *lucid*, whose caricatures these are.)"""

# %% [markdown] tags=["hint"]
r"""Flatten all but the batch. The cosine is the dot product over the product of the two norms."""

# %% [markdown] tags=["hint"]
r"""`torch.nn.functional.cosine_similarity(activations.flatten(1), target.flatten()[None])` has one number for each picture;
`.clamp(min=0.1) ** power`."""


# %%
def caricature_score(
    activations: Activations, target: Float[Tensor, "channel row column"], power: float = 1.0
) -> Float[Tensor, " batch"]:
    """Dot product with the target times a power of the cosine."""
    # BEGIN SOLUTION
    dot = (activations * target).sum(dim=(1, 2, 3))
    length = activations.pow(2).sum(dim=(1, 2, 3)).sqrt() * target.norm()
    return dot * torch.clamp(dot / length, min=0.1) ** power
    # END SOLUTION


# %% tags=["check"] points=2
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


# %% tags=["check", "hidden"] points=2
def check_known_cases(student, draw):
    """the target scores its own square, what is orthogonal 0, the opposite a tenth of minus that; pictures don't mix"""
    target = draw.normal(3, 2, 5)
    square = (target**2).sum()
    side = torch.zeros_like(target)
    side[0, 0, 0], side[0, 0, 1] = target[0, 0, 1], -target[0, 0, 0]
    batch = torch.stack([target, side, -target, 2 * target])
    known = torch.stack([square, 0 * square, -0.1 * square, 2 * square])
    expect_close(student.caricature_score(batch, target), known, dims="batch", atol=1e-3)
    strict = torch.stack([square, 0 * square, -0.001 * square, 2 * square])
    expect_close(student.caricature_score(batch, target, 3.0), strict, dims="batch", atol=1e-3)
    expect_close(student.caricature_score(batch[3:], target, 1.0), known[3:], dims="batch", atol=1e-3)
    left = student.run(picture_probes.arguments_after, student.caricature_score, batch, target, 1.0)
    for tensor, before in zip(left, (batch, target), strict=True):
        expect(torch.equal(tensor, before), "The call changes what it was given in place.")


# %% tags=["demo"]
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
r"""Channel 0 draws wheels below panes, channel 4 a blossom on a striped foot. Halfway between them there is no third thing. There are
wheels, more of them than before, and hardly a trace of the blossom: shares are equal in the objective, and what is cheaper to draw
wins. *Minus* a channel is what it would rather not see, and often, as here, harder to name. The caricature keeps blossom, foot and
the spots of the leaves, each in its place, and has let the zigzags go. So this is what the layer makes most of.

## On pictures from elsewhere

A model of toys has never seen a dog. Its channels answer all the same, and that is worth seeing once. (The cell needs CIFAR-10
in torch's cache, `mechinterp models fetch cifar10`, and says so if it is not there.)"""

# %% tags=["demo"]
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
r"""## What you may claim now

| claim | what you have | what would overturn it |
|---|---|---|
| early layers are tuned to orientation, late ones not | R² by layer, beside random weights | the same R² without training |
| late layers tell parts apart | variance explained, and in how many channels beyond chance | pictures of parts of equal colour and size |
| middle layers see textures | pictures that look so | *the grey line*: random weights do as well, as here |
| late units see more of the picture | the field that holds nine tenths of the gradient | gradients are local: a part far away that matters only when it is there |
| this channel has two answers | pictures made diverse | an edit: one picture shows what suffices, not what it depends on |

All of it is about `course-resnet18`, which was helped to have channels that can be read, and about factors that somebody
chose: a channel for which none of the three explains much may be about a fourth. What a layer is *for* is one more question:
nothing here has changed anything and looked at the output."""

# %% [markdown] tags=["rubric"] name="report_on_layers"
r"""## Your report

Write the report on `course-resnet18` for a reader who will look at nothing else: at most 300 words and the table. One paragraph a
layer; the numbers are those of your `layer_report`.

Levels:

- 0: retells edges, textures, parts; the numbers are missing or contradict the text.
- 1: poor. Numbers of the trained network only, or "beyond chance" read as "much"; layers described by one picture each.
- 2: fair. Each claim beside the untrained network; what the middle layers do not show is said; pictures are examples, with how
  they were chosen; share of channels and share of variance are kept apart.
- 3: excellent. As 2, and for each layer what was *not* asked (other factors, edits, effects on the output), one sentence that could
  be refuted tomorrow and by which measurement, and how this network differs from one trained on photographs."""

# %% [markdown] tags=["interview"] name="a_plate_of_channels"
r"""A colleague shows you a plate of 24 channels of a new vision model, six from each of four blocks. They go beautifully from edges to
objects. He wants to write that the model "builds objects from parts". What do you ask, and what do you measure before you sign?

A strong answer: how were the 24 chosen, and out of how many? The same plate for a random network and the same factors measured on it.
Selectivity on labelled pictures for *all* channels of a layer, its distribution and not its best six; held-out pictures; confounds
(colour, size, position) matched. Receptive fields: size alone may make late pictures look like objects. And *builds* is causal:
ablate or patch the part channels and see whether object channels and the output follow, with control channels of equal activation.
Textures are a warning: they look like the middle of the story and are there without learning."""
