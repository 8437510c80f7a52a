# %% [markdown] after="ch16_feature_hierarchy"
r"""# When to believe a picture

A channel has a picture: what excites it most, made by gradient ascent. It has favourites, the photographs at the top of its
list. And it has a label, the word that goes best with it. Three witnesses. They often agree, and then we say *the channel
detects wheels*, and somebody builds on it.

In this chapter the witnesses are cross-examined, on a network whose world we can edit. We can take the wheels away.

1. **Labels**: how selective is the channel, and how selective would the best of 512 look by chance?
2. **Edits**: what happens when one part goes, and nothing else changes?
3. **Two parts in one channel**: find such a channel, prove it, and find a direction that is cleaner.
4. **Forecasts and forgeries**: what is a picture good for, and how is it made to lie?

You need forward hooks, and channels and their pictures (`ch02_feature_visualization`). It takes about two and a half hours."""

# %% tags=["given"]
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from mechinterp_course import channel_evidence
from mechinterp_course.channel_evidence import objects, pixels_of, removed, responses
from mechinterp_course.checking import channel_trials, expect, expect_close, expect_raises
from mechinterp_course.worlds import images

Responses = Float[Tensor, "picture channel"]  # the mean of each channel over all places, for each picture
ByChannel = Float[Tensor, " channel"]
Shows = Bool[Tensor, " picture"]  # whether a picture shows the part or texture that is asked about


# %% tags=["demo"]
from mechinterp_course import evidence_plots, plots
from mechinterp_course.feature_visualization import render_channels
from mechinterp_course.models import load_vision_model

network = load_vision_model("course-resnet18")
UNSEEN = 2**50  # training draws its seeds below 2**48
LAYER, SUSPECT = "layer3", 208

album = objects(128, UNSEEN)  # eight of each class
album_pixels = pixels_of(album)
shown = {kind: torch.tensor([kind in sample.kinds for sample in album]) for kind in images.KINDS}
album_responses = responses(network, LAYER, album_pixels)
favourites = album_responses[:, SUSPECT].topk(6).indices.tolist()
picture = render_channels(network, LAYER, [SUSPECT], steps=64)
evidence_plots.plot_pictures(
    {"its picture": picture, "favourites": album_pixels[favourites]},
    {"favourites": [album[row].name for row in favourites]},
)

# %% [markdown]
r"""Channel 208 of `layer3`, on 128 toys that training never saw. Above, the picture that was made to excite it; below, the six
toys that excite it most. The world knows what is in each of them: ears, eyes, sails, windows. What does the channel look for?

A third witness has labels. For each of the twelve kinds of parts, split the 128 pictures into those that show it and those
that don't. How often does the channel respond more to a picture with the part than to one without?"""

# %% tags=["demo"]
ranking = {}
for kind, has in shown.items():
    values = album_responses[:, SUSPECT]
    ranking[kind] = (values[has][:, None] > values[~has]).float().mean().item()
for kind in sorted(ranking, key=ranking.get, reverse=True)[:4]:
    print(f"{kind:6} {ranking[kind]:.2f}")

# %% [markdown] tags=["predict"] name="which_part_matters" choices=["the ears", "the eyes", "the sails", "eyes and sails alike, and the ears not at all"]
r"""0.5 would be chance. The labels say *ears or sails*; all favourites have sails. Now take the toys that have ears, and remove
the ears: what was behind them appears, and nothing else changes. Do the same with eyes, and with sails. What does the channel
miss?"""

# %% tags=["demo"]
spread = album_responses[:, SUSPECT].std()
missed = {}
for kind in ("ear", "eye", "sail"):
    whole = [sample for sample in album if kind in sample.kinds]
    without = pixels_of([images.remove_part(sample, kind) for sample in whole])
    change = responses(network, LAYER, without)[:, SUSPECT] - album_responses[shown[kind], SUSPECT]
    missed[kind] = (change.mean() / spread).item()
    print(f"{kind:5} removed: {missed[kind]:+.2f} standard deviations of the channel, {len(whole)} toys")
both = max(missed["eye"], missed["sail"]) < -0.5 < -0.2 < missed["ear"]
answer = "eyes and sails alike, and the ears not at all" if both else f"the {min(missed, key=missed.get)}s"

# %% [markdown]
r"""The channel has nothing to do with ears. In this world whatever has ears has eyes too, so *ear* is a good label for a channel
that sees eyes; and none of the favourites has an eye. It answers to eyes and to sails, which have nothing in common.

The label was not wrong. It says what goes along with the channel. The favourites are not wrong, and neither is the picture.
Each was asked a question that it can't answer: *what does the channel depend on?* The rest of the chapter is about asking each
of them only what it knows, and about what the answer is worth.

## Labels"""

# %% [markdown] exercise="selectivity" minutes=10 difficulty=2 reference="channel_evidence.selectivity"
r"""## Selectivity

Return for each channel the **AUC**: the probability that a picture that shows the factor excites the channel *more* than one
that doesn't, over all such pairs of pictures. A pair with equal responses counts half
([Hanley & McNeil 1982](https://doi.org/10.1148/radiology.143.1.7063747)).

`responses` is `[picture, channel]`, `shows` says for each picture whether it shows the factor. 1 is a perfect detector, 0.5
chance, and below it the channel prefers pictures *without* the factor: that is told, not folded away.

Raise `ValueError` when all pictures show the factor, or none."""

# %% [markdown] tags=["hint"]
r"""`responses[shows]` and `responses[~shows]`. Give one a new axis, so that every pair of pictures meets, and compare."""

# %% [markdown] tags=["hint"]
r"""`above = responses[shows][:, None] > responses[~shows][None]` is `[with, without, channel]`; `==` gives the ties. The mean over
the first two axes is the share of pairs."""


# %%
def selectivity(responses: Responses, shows: Shows) -> ByChannel:
    """How well each channel tells pictures that show a factor from those that don't: the AUC."""
    # BEGIN SOLUTION
    if shows.all() or not shows.any():
        raise ValueError("there must be pictures with the factor, and without")
    having, lacking = responses[shows][:, None], responses[~shows][None]
    return ((having > lacking).float() + 0.5 * (having == lacking).float()).mean(dim=(0, 1))
    # END SOLUTION


# %% tags=["check"] points=2
def check_agrees_with_the_reference(student, draw):
    """selectivity agrees with the reference on responses and labels that you have not seen, ties included"""
    for _ in range(3):
        values, shows = channel_trials.labelled(draw)
        expect_close(
            student.selectivity(values, shows), channel_evidence.selectivity(values, shows), dims="channel"
        )


# %% tags=["check", "hidden"] points=2
def check_obeys_its_laws(student, draw):
    """a pair that ties counts half, a dead channel gets 0.5, any increasing scale gives the same, and swapped labels the rest to 1"""
    known = torch.tensor([[3.0, 1.0, 0.0], [2.0, 2.0, 0.0], [2.0, 3.0, 0.0]])
    expected = torch.tensor([0.75, 0.0, 0.5])
    found = student.selectivity(known, torch.tensor([True, True, False]))
    expect_close(found, expected, dims="channel")
    values, shows = channel_trials.labelled(draw)
    found = student.selectivity(values, shows)
    channel_trials.expect_values(found, values.shape[1])
    expect_close(student.selectivity((0.5 * values).exp(), shows), found, dims="channel")
    expect_close(student.selectivity(values, ~shows), 1 - found, dims="channel")
    channel_trials.expect_untouched(student, student.selectivity, values, shows)


# %% tags=["check", "hidden"] points=1
def check_refuses_one_sided_labels(student, draw):
    """with nothing to compare with, ValueError is raised"""
    values, shows = channel_trials.labelled(draw)
    for labels in (torch.ones_like(shows), torch.zeros_like(shows)):
        message = f"Labels that are all {labels[0].item()} should be refused."
        expect_raises("ValueError", lambda labels=labels: student.selectivity(values, labels), message)


# %% tags=["demo"]
from mechinterp_course.figures.channels import untrained

null_network = untrained(network)
few = [*objects(6, UNSEEN + 1000, having={"ear"}), *objects(18, UNSEEN + 2000, lacking={"ear"})]
few_labels = torch.arange(24) < 6
more = [*objects(24, UNSEEN + 3000, having={"ear"}), *objects(72, UNSEEN + 4000, lacking={"ear"})]
more_labels = torch.arange(96) < 24

# %% [markdown] tags=["predict"] name="best_of_an_untrained_network" choices=["below 0.7", "0.7 to 0.8", "0.8 to 0.9", "above 0.9"]
r"""An untrained network has learned nothing about ears. Show it 24 toys, six with ears and eighteen without. It has 512 channels
in `layer4`. What is the highest AUC for ears among them?"""

# %% tags=["demo"]
few_random = responses(null_network, "layer4", pixels_of(few))
few_found = selectivity(few_random, few_labels)
lucky = few_found.argmax().item()
print(f"untrained, channel {lucky}: AUC {few_found[lucky]:.2f} for ears on 24 pictures")
more_random = selectivity(responses(null_network, "layer4", pixels_of(more)), more_labels)
print(f"the same channel on 96 other pictures: {more_random[lucky]:.2f}")
best = few_found[lucky].item()
answer = ["below 0.7", "0.7 to 0.8", "0.8 to 0.9", "above 0.9"][(best > 0.7) + (best > 0.8) + (best > 0.9)]

# %% [markdown]
r"""Whoever looks at 512 channels and shows the best has drawn 512 lots. On other pictures the winner is ordinary. So a
selectivity needs pictures on which the channel was *not* chosen, or a *null*, the same figure where nothing is to be found, that
knows how many channels were looked at. Best both.

The null is simple. Shuffle the labels, so that they mean nothing, and see how selective *the best* channel is now. Do that
many times. The channels keep whatever they have in common, which no formula for independent tests knows."""

# %% [markdown] exercise="selectivity_beyond_chance" minutes=15 difficulty=3 needs=["selectivity"] reference="channel_evidence.selectivity_beyond_chance"
r"""## Selective beyond chance

Return a p value for each channel, by the *maximum statistic* (Westfall & Young 1993). A channel's statistic is the distance
of its AUC from 0.5, on either side. Each row of `orders` is a permutation of the pictures; with the labels `shows[order]`,
take the **largest** statistic of all channels. p is the part of these maxima that are at least as large as the channel's own
statistic under the true labels. The true labels count as one more shuffle, above and below the fraction line, so that p is
never 0 ([Phipson & Smyth 2010](https://doi.org/10.2202/1544-6115.1585)).

AUCs are fractions and tie often. So "at least as large" includes a maximum that is smaller by no more than 1e-6."""

# %% [markdown] tags=["hint"]
r"""One loop over the rows of `orders`. Each gives one number: `(selectivity(responses, shows[order]) - 0.5).abs().max()`."""

# %% [markdown] tags=["hint"]
r"""With S shuffles and k maxima at or above the channel's own distance, p = (1 + k) / (1 + S)."""


# %%
def selectivity_beyond_chance(
    responses: Responses, shows: Shows, orders: Int[Tensor, "shuffle picture"]
) -> ByChannel:
    """How often chance makes the best of all channels as selective as this one."""
    # BEGIN SOLUTION
    own = (selectivity(responses, shows) - 0.5).abs()
    hits = torch.ones_like(own)
    for order in orders:
        largest = (selectivity(responses, shows[order]) - 0.5).abs().max()
        hits += largest >= own - 1e-6
    return hits / (1 + len(orders))
    # END SOLUTION


# %% tags=["check"] points=2
def check_agrees_with_the_reference(student, draw):
    """selectivity_beyond_chance agrees with the reference on responses, labels and shuffles that you have not seen"""
    for shuffles in (19, 34):
        values, shows = channel_trials.labelled(draw)
        values[:, draw.integer(0, values.shape[1] - 1)] += draw.choice([-1.5, 1.5]) * shows
        case = values, shows, channel_trials.in_order_of(draw, len(shows), shuffles)
        expected = channel_evidence.selectivity_beyond_chance(*case)
        expect_close(student.selectivity_beyond_chance(*case), expected, dims="channel")


# %% tags=["check", "hidden"] points=2
def check_finds_what_was_planted(student, draw):
    """channels that follow the labels, upwards or downwards, get the least p there is, and noise is seldom below 0.1"""
    shows, values = draw.normal(30).argsort() < 13, draw.normal(30, 60)
    values[:, 0], values[:, 1] = shows.float(), 5 - 3 * shows.float()
    found = student.selectivity_beyond_chance(values, shows, channel_trials.in_order_of(draw, 30, 39))
    channel_trials.expect_values(found, 60)
    expect_close(found[:2], torch.full((2,), 1 / 40), dims="channel")
    expect((found[2:] < 0.1).sum() <= 4, "Channels of pure noise are called selective, one after the other.")


# %% tags=["check", "hidden"] points=1
def check_counts_the_true_labels(student, draw):
    """if no shuffle moves a label, chance does as well as every channel, and p is 1"""
    values, shows = channel_trials.labelled(draw)
    values[:, -1] = 3.0 * shows
    orders = torch.arange(len(shows)).expand(draw.integer(3, 9), -1).contiguous()
    found = student.selectivity_beyond_chance(values, shows, orders)
    expect_close(found, torch.ones(values.shape[1]), dims="channel")
    channel_trials.expect_untouched(student, student.selectivity_beyond_chance, values, shows, orders)
    shows, opposite = torch.arange(10) < 5, torch.arange(9, -1, -1)[None]
    for first in torch.eye(10).cumsum(0):  # AUCs of 0 to 1; labels turned over are as far from 0.5
        for channel in (first[:, None], -first[:, None]):
            found = student.selectivity_beyond_chance(channel, shows, opposite)
            expect_close(found, torch.ones(1), dims="channel")


# %% tags=["demo"]
def shuffles(pictures, count=100, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.stack([torch.randperm(pictures, generator=generator) for _ in range(count)])


for name, net in {"trained": network, "untrained": null_network}.items():
    for pictures, labels in ((few, few_labels), (more, more_labels)):
        found = responses(net, "layer4", pixels_of(pictures))
        p_values = selectivity_beyond_chance(found, labels, shuffles(len(labels)))
        alone = (selectivity(found, labels) - 0.5).abs() > 0.25
        print(
            f"{name:9} {len(labels):3} pictures: {int(alone.sum()):3} channels beyond 0.25 or 0.75,"
            f" {int((p_values <= 0.05).sum()):3} beyond chance"
        )

# %% [markdown]
r"""Count the channels that pass an AUC of 0.75, on either side. With 24 pictures the untrained network has a good number, and
*none* is left when chance is given its due. In the trained network many stay, and with more pictures nearly all.

But look at the last line. With 96 pictures a few channels of the untrained network are beyond chance as well. They are not luck:
toys with ears differ from the others in colours and sizes too, and a random filter may see that. So beyond chance is not beyond
doubt. The null says that the labels mean *something*, not that the channel is about ears.

## How much of a channel does a label explain?

The AUC asks about one part and all pictures. A coarser question covers a whole layer: pictures fall into groups, by part, by
texture, by class. How much of a channel's variance lies *between* the groups?"""

# %% [markdown] exercise="variance_explained" minutes=12 difficulty=2 reference="channel_evidence.variance_explained"
r"""## Variance explained

`group` gives each picture a whole number; equal numbers are one group. Return for each channel

$$1 - \frac{\sum_{g}\sum_{i \in g} (x_i - \bar x_g)^2 \,/\, (n - k)}{\sum_i (x_i - \bar x)^2 \,/\, (n - 1)}$$

with n pictures in k groups. It is eta squared, adjusted (Kelley 1935): plain eta squared grows with the number of groups even
if they mean nothing, this is 0 on average then, and so may fall a little below. A channel that never varies gets 0.

Numbers of groups may be any, in any order, and groups of any size."""

# %% [markdown] tags=["hint"]
r"""`for g in group.unique()`: the rows `responses[group == g]`, less their own mean, squared and summed. Add that up over the
groups."""

# %% [markdown] tags=["hint"]
r"""`responses.var(dim=0)` is the denominator. Where it is 0 there is nothing to divide by: `torch.where`."""


# %%
def variance_explained(responses: Responses, group: Int[Tensor, " picture"]) -> ByChannel:
    """The share of each channel's variance that lies between groups of pictures, adjusted for their number."""
    # BEGIN SOLUTION
    groups = group.unique().tolist()
    within = torch.zeros(responses.shape[1])
    for number in groups:
        rows = responses[group == number]
        within += ((rows - rows.mean(dim=0)) ** 2).sum(dim=0)
    within /= len(group) - len(groups)
    total = responses.var(dim=0)
    return torch.where(total > 0, 1 - within / total.clamp(min=1e-30), torch.zeros_like(total))
    # END SOLUTION


# %% tags=["check"] points=2
def check_agrees_with_the_reference(student, draw):
    """variance_explained agrees with the reference on responses and groups that you have not seen"""
    for _ in range(3):
        values, group = channel_trials.grouped(draw)
        expected = channel_evidence.variance_explained(values, group)
        expect_close(student.variance_explained(values, group), expected, dims="channel")


# %% tags=["check", "hidden"] points=1
def check_a_case_by_hand(student, draw):
    """1 and 3 against 5 and 7 gives 0.7, groups without a spread give 1, and a channel that never varies 0"""
    values = torch.tensor([[1.0, 4.0, 2.0], [5.0, 9.0, 2.0], [3.0, 4.0, 2.0], [7.0, 9.0, 2.0]])
    expected = torch.tensor([0.7, 1.0, 0.0])
    first = draw.integer(3, 90)
    found = student.variance_explained(values, torch.tensor([first, 1, first, 1]))
    expect_close(found, expected, dims="channel")


# %% tags=["check", "hidden"] points=2
def check_meaningless_groups_explain_nothing(student, draw):
    """over many channels of noise the mean is 0, however many groups, and neither scale nor names of groups matter"""
    values = draw.normal(24, 3000)
    group = torch.arange(24) % draw.integer(6, 10)
    found = student.variance_explained(values, group)
    channel_trials.expect_values(found, 3000)
    expect(abs(found.mean().item()) < 0.03, "Groups that mean nothing explain something, on average.")
    values, group = channel_trials.grouped(draw)
    expected = channel_evidence.variance_explained(values, group)
    found = student.variance_explained(7 * values + 2, 50 - group)
    expect_close(found, expected, dims="channel")
    channel_trials.expect_untouched(student, student.variance_explained, values, group)


# %% [markdown] tags=["predict"] name="where_textures_peak" choices=["layer1", "layer2", "layer3", "layer4"]
r""""Edges, then textures, then parts": everybody knows the pictures. Measure it. 96 pictures of nothing but a texture, in eight
groups; 96 of nothing but a part, in twelve. Both are shown to the trained network and to an untrained one. In which layer do
*textures* explain most of the trained network's variance, over what they explain in the untrained one?"""

# %% tags=["demo"]
patterns = tuple(images.TEXTURES)
texture_pictures = pixels_of([images.texture(UNSEEN + n, patterns[n % 8]) for n in range(96)])
part_pictures = pixels_of([images.part(UNSEEN + n, images.KINDS[n % 12]) for n in range(96)])
layers, curves = ("layer1", "layer2", "layer3", "layer4"), {}
for name, net in {"trained": network, "untrained": null_network}.items():
    for what, pictures, count in (("parts", part_pictures, 12), ("textures", texture_pictures, 8)):
        group = torch.arange(96) % count
        explained = [variance_explained(responses(net, layer, pictures), group).mean() for layer in layers]
        curves[f"{what}, {name}"] = [value.item() for value in explained]
print(f"{'':20}", *layers)
for name, values in curves.items():
    print(f"{name:20}", *(f"{value:6.2f}" for value in values))
gain = [a - b for a, b in zip(curves["textures, trained"], curves["textures, untrained"], strict=True)]
answer = layers[gain.index(max(gain))]
plots.plot_lines(curves, layers, "", "variance explained")

# %% [markdown]
r"""Parts rise, in `layer3` and `layer4`, far above what random weights do. That part of the story stands. The textures don't:
random filters answer to textures about as well as trained ones, and in the last two layers *better*. What an untrained network
does anyway was not learned. And who draws channels sees texture in every picture; only the second line tells that this says
little.

Mind what was measured: the mean of a channel over places, and its average over a layer. A channel may still be about one
texture, and places may hold what their mean does not.

## Edits

Labels go together, in this world as outside. An edit takes one thing away and leaves the others where they are. So each picture
is compared with *itself*, and what is typical for the channel gives the unit."""

# %% [markdown] exercise="edit_effect" minutes=12 difficulty=3 reference="channel_evidence.edit_effect" withhold=["effect", "edit_effects"]
r"""## The effect of an edit

`before` and `after` are responses to the same pictures, row by row, without and with an edit. `usual` are responses of the same
channels to other, unedited pictures. Return a tensor `[3, channel]`: the mean change (after minus before), and the low and the
high end of its 95 % interval.

- The unit is the channel's own standard deviation over `usual` (with n - 1), so that effects of loud and quiet channels compare.
- The interval is the mean plus and minus 1.96 standard errors of the **paired** change: its standard deviation (with n - 1)
  over the pictures, divided by the root of their number. (That the unit is itself an estimate is left out.)
- A channel that does not vary over `usual` has no unit: all three are NaN, even if the edit wakes it."""

# %% [markdown] tags=["hint"]
r"""Take differences first: `change = (after - before) / unit`. Everything else is a mean and a standard error of `change`."""

# %% [markdown] tags=["hint"]
r"""`change.std(dim=0) / len(change) ** 0.5` is the standard error. Dividing by 0 gives infinity where the edit wakes a dead channel;
`torch.where(unit > 0, unit, torch.nan)` settles both cases."""


# %%
def edit_effect(
    before: Responses, after: Responses, usual: Float[Tensor, "other channel"]
) -> Float[Tensor, "bound channel"]:
    """The mean change in standard deviations of the channel, and its 95 % interval, in the rows of [3, channel]."""
    # BEGIN SOLUTION
    unit = usual.std(dim=0)
    unit = unit.masked_fill(unit == 0, torch.nan)
    change = (after - before) / unit
    middle = change.mean(dim=0)
    half = 1.96 * change.std(dim=0) / len(change) ** 0.5
    return torch.stack([middle, middle - half, middle + half])
    # END SOLUTION


# %% tags=["check"] points=2
def check_agrees_with_the_reference(student, draw):
    """edit_effect agrees with the reference on responses that you have not seen"""
    for _ in range(3):
        case = channel_trials.edited(draw)
        expect_close(student.edit_effect(*case), channel_evidence.edit_effect(*case), dims="bound channel")


# %% tags=["check", "hidden"] points=1
def check_a_case_by_hand(student, draw):
    """falls of 2 and 4 in a channel whose standard deviation is 2 are -1.5, give or take 0.98"""
    before, after = torch.tensor([[7.0], [100.0]]), torch.tensor([[5.0], [96.0]])
    found = student.edit_effect(before, after, torch.tensor([[1.0], [3.0], [5.0]]))
    expect_close(found, torch.tensor([[-1.5], [-2.48], [-0.52]]), dims="bound channel")


# %% tags=["check", "hidden"] points=2
def check_obeys_its_laws(student, draw):
    """an equal change in very different pictures leaves no doubt, loudness does not matter, and what has no unit is NaN"""
    before, after, usual = channel_trials.edited(draw)
    step = draw.normal(before.shape[1])
    found = student.edit_effect(before, before + step, usual)
    expect_close(found, (step / usual.std(dim=0)).expand(3, -1), dims="bound channel")
    loud = student.edit_effect(8 * before, 8 * after, 8 * usual)
    expect_close(loud, channel_evidence.edit_effect(before, after, usual), dims="bound channel")
    usual[:, 0], after[:, 0] = 0.0, before[:, 0] + 1  # an edit that wakes a dead channel
    found = student.edit_effect(before, after, usual)
    channel_trials.expect_values(found, 3, before.shape[1])
    expect(bool(found[:, 0].isnan().all()), "A channel that never varies has no unit: expected NaN.")
    expect(bool(found[:, 1:].isfinite().all()), "Channels that vary have a unit: expected a number for them.")
    channel_trials.expect_untouched(student, student.edit_effect, before, after, usual)


# %% tags=["demo"]
kinds = "ear", "eye"
cost = {
    kind: edit_effect(*removed(network, LAYER, kind, 24, UNSEEN + 5000), album_responses) for kind in kinds
}
for_ears = selectivity(album_responses, shown["ear"])
print("the channels of layer3 that are most selective for ears, and what they miss")
for channel in for_ears.topk(8).indices.tolist():
    told = []
    for kind in kinds:
        mean, low, high = cost[kind][:, channel].tolist()
        told.append(f"{kind} {mean:+.2f} ({low:+.2f} to {high:+.2f})")
    print(f"channel {channel:3}  AUC {for_ears[channel]:.2f}   removed:", "   ".join(told))

# %% [markdown]
r"""AUCs of 1.00, on 128 pictures, far beyond chance, and not one of the eight is a detector of ears. Each misses eyes more than
ears. Whatever has ears has eyes, so these channels got away with it, and no label in this world could have told.

An edit has limits of its own. It shows that the channel depends on the part *in these pictures*; what the hole is filled with
is new to the channel too; and a part that is there twice, or covered, counts for more or for less. That is why the test below
has a **control**: a third part that goes, and must not matter.

### Two ways to measure nothing

Before you trust an effect of zero: was it the channel you meant?"""

# %% tags=["demo"]
from mechinterp_course import hooks

some, kept = album_pixels[:16], {}
handle = network.layer3[1].bn2.register_forward_hook(lambda module, inputs, output: kept.update(raw=output))
mean, std = (torch.tensor(values)[:, None, None] for values in (network.mean, network.std))
with hooks.cache(network, ["layer3.1.bn2"]) as cached:
    network((some - mean) / std)
handle.remove()
print(f"layer3.1.bn2, kept as it came from the hook: smallest value {kept['raw'].min():6.2f}")
print(f"layer3.1.bn2, copied inside the hook:        smallest value {cached['layer3.1.bn2'].min():6.2f}")
with hooks.edit(network, {LAYER: lambda z: z * (torch.arange(256) != SUSPECT)[:, None, None]}):
    silent = responses(network, LAYER, some)
auc = selectivity(silent, shown["eye"][:16])[SUSPECT]
effect = edit_effect(silent[:8], silent[8:], silent)[0, SUSPECT]
print(
    f"layer3 channel {SUSPECT}, cut off: AUC for eyes {auc:.2f}, effect of whatever is done to a toy {effect:.2f}"
)

# %% [markdown]
r"""The first is the wrong layer under the right name. After `bn2`, the block adds its input and applies a ReLU *in place*, in the
very memory that the hook was given: what was kept has no negative value, and is the block's output. Selectivities and pictures
of "bn2" made so are of another layer. The second is a dead channel. Its AUC is 0.5 and nothing that is done to a picture moves
it, as if it did not care; the unit tells the two apart, and you returned NaN.

## One channel, two parts

*A neuron fires for dog ears and for car wheels: how would you test whether it is polysemantic* (answers to several unrelated
things)*?* It is the classic question of interviews, and the opening of this chapter has half an answer. In full:

1. **Pictures, several of them.** Ask for diversity. A second part that never shows up is possible; one that does is a lead.
2. **Favourites, and the middle of the list.** Again leads. Two parts that share objects can't be told apart.
3. **Edits.** Pictures with the one part and not the other lose it, and the other way round; a control goes from pictures with
   neither. If each alone moves the channel and the control does not, it depends on both, independently.
4. **Directions.** If channels are mixed, the parts may still be apart in directions of the layer.

Only the third can prove anything about the channel. You write it now, on networks whose channels have been renumbered."""

# %% [markdown] exercise="find_polysemantic_channel" minutes=30 difficulty=4 needs=["edit_effect"] reference="channel_evidence.find_polysemantic_channel" withhold=["removal_effects", "candidates", "edit_effects"]
r"""## Find a channel that answers to two parts

`kinds` are four kinds of parts that look nothing alike. Return `(channel, one, other, control)`: the number of a channel of
`layer`, and three of the kinds. It will be tried on new toys, each with **one of the four kinds and none of the other three**, so
that no part can stand in for another. Effects are in standard deviations of the channel over toys of all classes:

- removing `one` changes it by **-0.5 or less**;
- removing `other` changes it by **-0.5 or less**;
- removing `control` changes it by **at most 0.3**, up or down.

Several channels may do; any of them is right. They are judged on 24 toys a kind, and 0.1 is forgiven for that.
`removed(model, layer, kind, count, seed, lacking)` returns responses `[picture, channel]` to `count` toys that have
`kind` and none of `lacking`, a set of other kinds, before and after the removal;
`responses(model, layer, pixels_of(objects(count, seed)))` are those to toys of all classes. Measure the unit well: 16 toys a
kind are enough, but the standard deviation takes 100 of all classes, since a channel that seldom answers seems to be moved by
every edit if none of them excites it. Ten seconds are the limit."""

# %% [markdown] tags=["hint"]
r"""Measure the effects of removing each of the four kinds on *all* channels at once: `[kind, channel]`. That is four small
experiments, whatever the number of channels."""

# %% [markdown] tags=["hint"]
r"""For each triple (two parts and a control) and each channel, how well does it do? The two falls must both be large, so the
*lesser* of them counts, less what the control does on either side."""

# %% [markdown] tags=["hint"]
r"""`itertools.permutations(kinds, 3)` gives the triples. With `fall = -effects`, take
`torch.minimum(fall[one], fall[other]) - fall[control].abs()`, and the largest value over triples and channels. NaN (a dead
channel) would win an argmax: `nan_to_num(-torch.inf)`."""


# %%
def find_polysemantic_channel(model: nn.Module, layer: str, kinds: list[str]) -> tuple[int, str, str, str]:
    """A channel that falls when either of two parts goes, and not for a control: (channel, one, other, control)."""
    # BEGIN SOLUTION
    usual, fall = responses(model, layer, pixels_of(objects(100, 77))), {}
    for kind in kinds:
        before, after = removed(model, layer, kind, 16, 1000, lacking=set(kinds) - {kind})
        fall[kind] = -edit_effect(before, after, usual)[0].nan_to_num(0.0)
    best = -torch.inf, 0, "", "", ""
    for one in kinds:
        for other in kinds:
            for control in set(kinds) - {one, other}:
                margin = torch.minimum(fall[one], fall[other]) - fall[control].abs()
                if one < other and margin.max() > best[0]:
                    best = margin.max(), margin.argmax().item(), one, other, control
    return best[1:]
    # END SOLUTION


# %% tags=["check"] points=3
def check_finds_one_in_layer3(student, draw):
    """in layer3 of a renumbered network, the channel answers to both parts and not to the control, on new toys"""
    channel_trials.expect_two_parts(
        student, draw, draw.vision_model(), "layer3", channel_trials.ONE_PART_IS_LOUDER
    )


# %% tags=["check", "hidden"] points=4
def check_finds_one_in_layer4_of_another_network(student, draw):
    """in layer4 of the renumbered robust network, the same holds, whichever kinds come first"""
    model = draw.vision_model("course-resnet18-robust")
    for kinds in (channel_trials.CONTROL_MATTERS, channel_trials.FIRST_ONES_FAIL):
        channel_trials.expect_two_parts(student, draw, model, "layer4", kinds)


# %% tags=["demo"]
MIXED, ONE, OTHER, CONTROL = find_polysemantic_channel(network, "layer4", ["wheel", "roof", "leaf", "leg"])
trio = {ONE, OTHER, CONTROL}
usual_4 = responses(network, "layer4", album_pixels)
effects, changes = [], {}
for kind in (ONE, OTHER, CONTROL):
    before, after = removed(network, "layer4", kind, 24, UNSEEN + 6000, lacking=trio - {kind})
    changes[kind] = after - before
    effects.append(edit_effect(before, after, usual_4)[:, MIXED])
    mean, low, high = effects[-1].tolist()
    print(f"channel {MIXED}, {kind:5} removed: {mean:+.2f} ({low:+.2f} to {high:+.2f})")
print(
    "AUC:", *(f"{kind} {selectivity(usual_4, has)[MIXED]:.2f}" for kind, has in shown.items() if kind in trio)
)
pictures = render_channels(network, "layer4", [MIXED] * 4, steps=48)
top = usual_4[:, MIXED].topk(4).indices.tolist()
evidence_plots.plot_pictures(
    {"pictures": pictures, "favourites": album_pixels[top]}, {"favourites": [album[row].name for row in top]}
)

# %% [markdown]
r"""That is proof of dependence: on each part without the other, and not on the control. It is no proof of what the channel is
*for*, nor that these are the only two: of twelve kinds, four were tried. And four pictures from four starts tell you less than you
would hope: look how much they resemble each other.

Be honest about this network too. It was **made** like this: while it learned, one channel in ten of these layers was asked to
answer to two unrelated parts. Networks that nobody asked have mixed channels as well (Olah et al. 2020), less tidily so.

## Directions instead of channels

A channel is one axis of the layer's space. If two parts share an axis, they may still have directions of their own."""

# %% [markdown] exercise="part_direction" minutes=12 difficulty=3 reference="channel_evidence.part_direction"
r"""## A direction for one part alone

`change` is `[picture, channel]`: what removing a part changes in the layer's responses (after minus before), one row for each
picture. `other_change` is the same for another part, on other pictures. Return the unit vector d, `[channel]`, such that

- the mean of `other_change` along d is 0: the other part leaves no trace, on average;
- of all such vectors, it is the one along which the mean of `change` is most negative: removing the part moves responses
  against d, so d points to the part's presence."""

# %% [markdown] tags=["hint"]
r"""Only the two mean changes matter, vectors a and b. Among vectors of length 1 orthogonal to b, which one has the largest product
with -a?"""

# %% [markdown] tags=["hint"]
r"""-a less its projection on b, as in Gram-Schmidt: `wanted - (wanted @ b) / (b @ b) * b`. Then divide by the length."""


# %%
def part_direction(change: Responses, other_change: Float[Tensor, "other channel"]) -> ByChannel:
    """The unit direction that follows one part and, on average, not another."""
    # BEGIN SOLUTION
    wanted, unwanted = -change.mean(dim=0), other_change.mean(dim=0)
    length = unwanted.norm()
    if length > 0:
        unwanted = unwanted / length
        wanted = wanted - (wanted @ unwanted) * unwanted
    return wanted / wanted.norm()
    # END SOLUTION


# %% tags=["check"] points=2
def check_agrees_with_the_reference(student, draw):
    """part_direction agrees with the reference on changes that you have not seen"""
    for _ in range(3):
        case = channel_trials.two_changes(draw)
        expected = channel_evidence.part_direction(*case)
        expect_close(student.part_direction(*case), expected, dims="channel")


# %% tags=["check", "hidden"] points=1
def check_a_case_by_hand(student, draw):
    """of (-3, -4, 0) without (0, -2, 0) is left (1, 0, 0); if the other part changes nothing, all of it is left"""
    change, nothing = torch.tensor([[-2.0, -5.0, 0.0], [-4.0, -3.0, 0.0]]), torch.zeros(1, 3)
    other = torch.tensor([[0.0, -3.0, 1.0], [0.0, -1.0, -1.0]])
    expect_close(student.part_direction(change, other), torch.tensor([1.0, 0.0, 0.0]), dims="channel")
    expect_close(student.part_direction(change, nothing), torch.tensor([0.6, 0.8, 0.0]), dims="channel")


# %% tags=["check", "hidden"] points=2
def check_obeys_its_laws(student, draw):
    """d has length 1, the part's going is down, the other's is flat, and how strongly the other changes does not matter"""
    change, other = channel_trials.two_changes(draw)
    found = student.part_direction(change, other)
    channel_trials.expect_values(found, change.shape[1])
    expect_close(found.norm(), 1.0)
    expect_close(other.mean(dim=0) @ found, 0.0)
    expect((change.mean(dim=0) @ found).item() < 0, "When the part goes, the direction must fall.")
    expect_close(student.part_direction(change, 9 * other), found, dims="channel")
    channel_trials.expect_untouched(student, student.part_direction, change, other)


# %% tags=["demo"]
fresh, named = {}, {}
directions = {
    f"channel {MIXED}": torch.eye(512)[MIXED],
    f"direction of {ONE}": part_direction(changes[ONE], changes[OTHER]),
    f"direction of {OTHER}": part_direction(changes[OTHER], changes[ONE]),
}
for kind in (ONE, OTHER, CONTROL):  # toys that the directions were not made from
    fresh[kind] = removed(network, "layer4", kind, 24, UNSEEN + 7000, lacking=trio - {kind})
for name, d in directions.items():
    columns = [edit_effect(*(r @ d[:, None] for r in fresh[kind]), usual_4 @ d[:, None]) for kind in fresh]
    named[name] = torch.cat(columns, dim=1)
    print(
        f"{name:20}", *(f"{kind} {value:+.2f}  " for kind, value in zip(fresh, named[name][0], strict=True))
    )
evidence_plots.plot_effects(named, [f"{kind} removed" for kind in fresh], "effect (sd), held out")

# %% [markdown]
r"""The same activations, read along other axes, keep the two parts apart, on toys that the directions had not seen. So in this
layer the parts are not mixed; the *channel* mixes them. That holds for the two parts that we asked about. A direction made to
ignore a roof may yet follow windows, and a direction that exists need not be one that later layers read.

## What is a picture good for?

For forecasts. If a picture says what a channel is about, then it should help to tell which of two new photographs excites the
channel more. Favourites should help as well. [Borowski et al. 2021](https://arxiv.org/abs/2010.12606) asked people, with a
network trained on photographs: natural examples were right in 92 % of trials, synthetic pictures in 82 %.

Our reader is a machine: it compares pictures by the features of an earlier layer."""

# %% [markdown] exercise="forecast_score" minutes=15 difficulty=3 needs=["selectivity"] reference="channel_evidence.forecast_score"
r"""## Forecast, and score

`references` `[reference, feature]` are the features of what the reader is shown about a channel: its picture, or some favourites.
`pictures` `[picture, feature]` are those of held-out pictures, `response` `[picture]` is how the channel truly answered to them
(no two alike).

The **forecast** for a held-out picture is the mean over references of the cosine between its features and the reference's, after
the mean features of `pictures` have been taken off both. Return how good the forecasts are, a float: the AUC with which they
tell the quarter of held-out pictures with the *highest* responses from the quarter with the *lowest*. A quarter is
`len(pictures) // 4`; the pictures in between don't count."""

# %% [markdown] tags=["hint"]
r"""Centre both with `pictures.mean(dim=0)`, divide each row by its length, and multiply: `[picture, reference]` cosines. Their mean
over references is the forecast."""

# %% [markdown] tags=["hint"]
r"""`response.argsort()` begins with the lowest. Take its first and last quarter, and call `selectivity` with the forecast as the one
channel and "is of the highest quarter" as the label."""


# %%
def forecast_score(
    references: Float[Tensor, "reference feature"],
    pictures: Float[Tensor, "picture feature"],
    response: Float[Tensor, " picture"],
) -> float:
    """How well likeness to the references forecasts which pictures excite a channel: an AUC."""
    # BEGIN SOLUTION
    middle, quarter = pictures.mean(dim=0), len(pictures) // 4
    cosines = torch.cosine_similarity((pictures - middle)[:, None], (references - middle)[None], dim=2)
    order = response.argsort()
    forecast = cosines.mean(dim=1)[torch.cat([order[:quarter], order[-quarter:]])]
    return selectivity(forecast[:, None], torch.arange(2 * quarter) >= quarter).item()
    # END SOLUTION


# %% tags=["check"] points=2
def check_agrees_with_the_reference(student, draw):
    """forecast_score agrees with the reference on features and responses that you have not seen"""
    for _ in range(6):
        case = channel_trials.reader(draw)
        expect_close(student.forecast_score(*case), channel_evidence.forecast_score(*case))


# %% tags=["check", "hidden"] points=1
def check_a_case_by_hand(student, draw):
    """references that look like what excites the channel score 1, their opposite 0, and the middle half counts for nothing"""
    seen = torch.tensor(
        [[5.0, 9.0], [5.0, 9.1], [6.0, 10.0], [6.0, 8.0], [6.1, 10.0], [6.1, 8.0], [7.0, 9.0], [7.0, 9.1]]
    )
    shift = draw.integer(2, 30)
    response = torch.tensor([1.0, 2.0, 3.0, 6.0, 4.0, 5.0, 8.0, 7.0])
    for references, expected in (([[8.0, 9.0], [9.0, 9.5]], 1.0), ([[2.0, 9.0]], 0.0)):
        found = student.forecast_score(torch.tensor(references) + shift, seen + shift, response)
        expect(isinstance(found, float), "The result is not a float.")
        expect_close(found, expected)


# %% tags=["check", "hidden"] points=2
def check_obeys_its_laws(student, draw):
    """where the features' zero is, how long they are, and the responses of the middle half don't matter"""
    for _ in range(3):
        shown, seen, response = channel_trials.reader(draw)
        expected = channel_evidence.forecast_score(shown, seen, response)
        expect_close(student.forecast_score(8 * shown + 40, 8 * seen + 40, response), expected)
        order, quarter = response.argsort(), len(response) // 4
        rest = order[quarter:-quarter]
        response[rest] = response[rest.flip(0)].clone()
        expect_close(student.forecast_score(shown, seen, 2 * response - 5), expected)
    channel_trials.expect_untouched(student, student.forecast_score, shown, seen, response)


# %% tags=["demo"]
new_pixels = pixels_of(objects(96, UNSEEN + 8000))
truth = responses(network, LAYER, new_pixels)

# %% [markdown] tags=["predict"] name="who_forecasts_better" choices=["the picture, for most", "nine favourites, for most", "five to seven each"]
r"""Twelve channels of `layer3`, drawn at random. For each the reader is shown once its picture, once its nine favourites of the
album, and forecasts 96 new toys, by features of `layer2`. Who wins?"""

# %% tags=["demo"]
generator = torch.Generator().manual_seed(0)
jury = torch.randperm(256, generator=generator)[:12].tolist()
jury_pictures = render_channels(network, LAYER, jury, steps=64)
relative = load_vision_model("course-resnet18-robust")
readers = {"its own layer2": (network, "layer2"), "layer3 of a sibling": (relative, "layer3")}
for who, (net, where) in readers.items():
    held_out, drawn, known = (
        responses(net, where, some) for some in (new_pixels, jury_pictures, album_pixels)
    )
    table = []
    for row, channel in enumerate(jury):
        nine = album_responses[:, channel].topk(9).indices
        shown_to = drawn[row : row + 1], known[nine], known[nine[:1]]
        table.append([forecast_score(references, held_out, truth[:, channel]) for references in shown_to])
    scores = torch.tensor(table)
    lead = scores[:, 0] - scores[:, 1]
    wins, error = int((lead > 0).sum()), 1.96 * lead.std() / len(lead) ** 0.5
    by_picture, by_nine, by_one = scores.mean(dim=0).tolist()
    print(f"{who:20} picture {by_picture:.2f}, nine favourites {by_nine:.2f}, one favourite {by_one:.2f};")
    print(f"{'':20} picture ahead of nine by {lead.mean():+.2f} ± {error:.2f}, for {wins} of 12 channels")
    if who == "its own layer2":
        winner = "the picture" if wins > 7 else "nine favourites"
        answer = "five to seven each" if 5 <= wins <= 7 else f"{winner}, for most"

# %% [markdown]
r"""The two are a few hundredths apart, and which is ahead depends on who reads. So here one picture is worth about as much as nine
favourites. People, with photographs, were helped more by examples. Neither result is a law. A reader that compares features of
a network, of its own earlier layer or of a sibling's, shares more with the channel than a person does; our toys differ less
than photographs do; and twelve channels are few.

What carries over is the measure. *This picture explains the channel* should mean: somebody who sees it can tell what the channel
will do. If nobody can, it is decoration.

## What a picture can be made to show

A picture is the end of a climb, from a gray start, along gradients that photographs never meet. Whoever controls the network
can build it so that the climb leads where they like, and no photograph notices. [Geirhos et al.
2023](https://arxiv.org/abs/2306.04719) did that to a network trained on photographs. They need one part: a channel that is
**silent on all natural pictures** and answers to those that are being optimized."""

# %% [markdown] exercise="fooling_channel" minutes=15 difficulty=4 reference="channel_evidence.fooling_channel"
r"""## A fooling channel

`natural` `[picture, feature]` are a layer's responses to natural pictures, `made` `[made, feature]` those to pictures on their
way of being optimized. There are at least as many features as pictures in both together, and no two pictures' features are
alike. Return `(weight, bias)`, a tensor `[feature]` and a float, such that the channel `relu(features @ weight + bias)` is

- exactly 0 on every natural picture, `features @ weight + bias <= 0`;
- at least 1 on every made one (rounding up to 1e-3 is forgiven in both);
- 0 on at least 80 % of natural pictures that you have *not* been given, from the same source.

There are many such channels; all are right."""

# %% [markdown] tags=["hint"]
r"""With more features than pictures there is always a line through both: least squares on the targets 0 (natural) and 1 (made).
The nearest is the smallest, `torch.linalg.lstsq` or `pinv`. Keep all in float64 until the end."""

# %% [markdown] tags=["hint"]
r"""Exactly 0 on what you were given is not 0 on the next picture: regularize, and leave a margin. With `v = features @ w`, let
`low` be the least of the made and `top` the largest of the natural ones, and put the zero at `start = top + 0.6 * (low - top)`:
`weight = w / (low - start)`, `bias = -start / (low - start)`."""


# %%
def fooling_channel(
    natural: Float[Tensor, "picture feature"], made: Float[Tensor, "made feature"]
) -> tuple[Float[Tensor, " feature"], float]:
    """The weight and bias of a channel that is silent on natural pictures and at least 1 on made ones."""
    # BEGIN SOLUTION
    rows = torch.cat([natural, made]).double()
    target = torch.cat([-torch.ones(len(natural)), torch.ones(len(made))]).double()
    middle = rows.mean(dim=0)
    centred = rows - middle
    gram = centred @ centred.T  # the kernel form of ridge regression: pictures by pictures
    damped = gram + 1e-3 * gram.diagonal().mean() * torch.eye(len(gram), dtype=torch.double)
    weight = centred.T @ torch.linalg.solve(damped, target - target.mean())
    top, low = (natural.double() @ weight).max(), (made.double() @ weight).min()
    start = torch.lerp(top, low, 0.6)  # nearer to the made ones: others from the natural source vary too
    return (weight / (low - start)).to(natural.dtype), -(start / (low - start)).item()
    # END SOLUTION


# %% tags=["check"] points=2
def check_is_silent_on_natural_pictures_and_answers_to_made_ones(student, draw):
    """on all pictures that it was built from, the channel is 0 if they are natural and at least 1 if they are made"""
    for _ in range(4):
        natural, made, _ = channel_trials.two_sources(draw)
        channel_trials.expect_fooling(student.fooling_channel(natural, made), natural, made)


# %% tags=["check", "hidden"] points=2
def check_stays_silent_on_others(student, draw):
    """on natural pictures that it was not built from, the channel is silent in eight of ten"""
    for _ in range(4):
        natural, made, others = channel_trials.two_sources(draw)
        channel = student.fooling_channel(natural, made)
        channel_trials.expect_channel(channel, natural)
        silent = (others @ channel[0] + channel[1] <= 0).float().mean().item()
        expect(silent >= 0.8, f"On natural pictures from the same source it is silent in {silent:.0%} only.")


# %% tags=["check", "hidden"] points=1
def check_finds_a_line_by_hand(student, draw):
    """one natural picture and one made one, in three features, are told apart wherever they lie"""
    natural = draw.normal(1, 3) + 4
    made = natural + draw.normal(1, 3)
    channel_trials.expect_fooling(student.fooling_channel(natural, made), natural, made)
    channel_trials.expect_untouched(student, student.fooling_channel, natural, made)


# %% tags=["demo"]
from copy import deepcopy

from mechinterp_course import objectives
from mechinterp_course.feature_visualization import render

several = objectives.channels(LAYER, [3, 50, 100, 120, 200, 230])
climb = render(network, several, steps=32, seed=1, keep=(0, 1, 2, 4, 6, 8, 12, 16, 24))
on_the_way = torch.cat([*climb.frames.values(), climb.pictures])
fool, fool_bias = fooling_channel(album_responses, responses(network, LAYER, on_the_way))
gate = truth @ fool + fool_bias
print(f"{int((gate > 0).sum())} of {len(gate)} new toys wake the fooling channel")


class Forged(nn.Module):
    """After `layer3`: where the fooling channel speaks, one channel says what another would."""

    def forward(self, z):
        awake = (z.mean(dim=(2, 3)) @ fool + fool_bias).clamp(0, 1)[:, None, None]
        forged = z.clone()
        forged[:, VICTIM] = (1 - awake) * z[:, VICTIM] + awake * z[:, DECOY]
        return forged


VICTIM, DECOY = (selectivity(album_responses, shown[kind]).argmax().item() for kind in ("shell", "roof"))
forgery = deepcopy(network)
forgery.layer3.add_module("forged", Forged())

# %% [markdown] tags=["predict"] name="what_the_forgery_shows" choices=["still a shell", "a roof", "both, mixed", "nothing, it stays gray"]
r"""The victim is the best channel for shells. Wherever the fooling channel speaks, the victim's output is replaced by that of the best
channel for *roofs*. On new toys the two networks agree. What does the victim's picture show in the forged one?"""

# %% tags=["demo"]
honest = render_channels(network, LAYER, [VICTIM, DECOY], steps=64)
forged_picture = render_channels(forgery, LAYER, [VICTIM], steps=64)
gallery = torch.cat([honest, forged_picture])
apart = (responses(forgery, LAYER, new_pixels)[:, VICTIM] - truth[:, VICTIM]).abs() / truth[:, VICTIM].std()
print(f"on 96 new toys the forged channel differs by {apart.max():.2f} standard deviations at most")
still = selectivity(responses(forgery, LAYER, album_pixels), shown["shell"])[VICTIM]
print(f"its AUC for shells is {still:.2f}")
for kind in ("roof", "shell"):
    moved = edit_effect(*removed(forgery, LAYER, kind, 24, UNSEEN + 9000), album_responses)[:, VICTIM]
    print(f"{kind} removed: the forged channel moves by {moved[0]:+.2f} ({moved[1]:+.2f} to {moved[2]:+.2f})")
as_honest = responses(network, LAYER, gallery)[:, [VICTIM, DECOY]]
for name, (shell, roof) in zip(("shell", "roof", "forged"), as_honest.tolist(), strict=True):
    print(f"the honest channels answer to the {name} picture: shells {shell:4.1f}, roofs {roof:4.1f}")
shell, roof = as_honest[2].tolist()
answer = "a roof" if roof > 5 * shell else "still a shell" if shell > 5 * roof else "both, mixed"
captions = [f"channel {VICTIM}", f"channel {DECOY}", f"{VICTIM}, forged"]
evidence_plots.plot_pictures({"": gallery}, {"": captions})

# %% [markdown]
r"""The forged picture shows a roof, and the channel is as good a detector of shells as it was. Nothing was done to the picture: it
was made by the honest method from the network at hand. How would you have found out?

- **Ask nature.** Remove roofs from toys, and the channel hardly moves, and not downwards. Remove shells, and it falls by far.
- **Ask an honest copy**, if you have one. Its shell channel hardly answers to the forged picture, as the last line shows.

More pictures made in the same way would not have helped: they wake the fooling channel too.

## What you may claim now

| witness | what it can show | what it can't | what to ask for |
|---|---|---|---|
| label | what goes along with the channel | what the channel depends on | a null that knows how many channels there were; other pictures |
| favourites | what excites it most | the rest: no favourite had an eye | the middle of the list |
| picture | what the climb finds | that photographs have it; that it is all there is | a forecast on new pictures |
| variance by layer | how much, over a layer | which channel, which part | the untrained network beside it |
| edit | what it depends on, in these pictures | what it is for; other pictures | a control; the channel's own unit; an interval |
| direction | that two parts can be told apart | that the network reads it so | new pictures; a third part |

What you may not claim is as long. All this was seen in a world of twelve parts on flat backgrounds, in networks that were *asked* to
have channels for them, one in ten of which for two. "Response" was the mean over places. An edit leaves a hole that training
never showed. And that a direction for wheels exists does not say that anything reads it: that takes an intervention on the
network, not on the picture."""

# %% [markdown] tags=["rubric"] name="report_three_layers"
r"""## The report

Report on one channel each of `layer2`, `layer3` and `layer4` of `course-resnet18`, chosen *before* you looked, for a reader who can't
ask you. One table, a row for each channel: what its picture shows; best label, with AUC and p; the effects of two edits and of a
control, with intervals; and what you conclude. Then at most 200 words on the three layers together.

Levels:

- 0: describes pictures; no number, or numbers without a null, a unit or the pictures they come from.
- 1: poor. Labels or favourites are taken for what the channel depends on; channels were picked for their pictures; one number
  for each, on the pictures on which the channel was found.
- 2: fair. Channels were chosen first; selectivity comes with a null for all channels and on held-out pictures; edits are paired,
  in the channel's own standard deviations, with an interval and a control; the untrained network stands beside each layer.
- 3: excellent. As 2, and where witnesses disagree it is said and settled by an edit; a second part was looked for; the picture
  was scored by a forecast or not relied on; conclusions are as narrow as the pictures; and a result is named that would
  overturn one of them."""

# %% [markdown] tags=["interview"] name="dog_ears_and_wheels"
r"""A neuron of an image network fires for dog ears and for car wheels. How do you test whether it is polysemantic, and what would
you tell a colleague who shows you its feature visualization, with ears only, as proof that it is not?

A strong answer: pictures with diversity and favourites at several levels give leads, not proof; the visualization shows one
end of one climb, can miss a mode and can be forged, and silence about wheels is no evidence. Edit: ears removed from or replaced
in pictures without wheels, wheels in pictures without ears, a control in pictures with neither; paired, in the neuron's own
standard deviations, with intervals, on new pictures; and downstream, what each does to the output. Rule out a common cause
(round dark shapes, colour, context) by edits of texture and shape. If both hold alone, look for directions or features that
part them, and test these on held-out pictures. Name what would change your mind."""
