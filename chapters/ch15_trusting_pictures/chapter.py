# ---
# jupyter:
#   kernelspec: {"display_name": "Python 3", "language": "python", "name": "python3"}
#   mechinterp_course: {"chapter": "ch15_trusting_pictures", "version": "939043c534b3", "source": "solutions/ch15_trusting_pictures/chapter.py"}
# ---

# %% [markdown]
r"""
*Chapter `ch15_trusting_pictures`, version `939043c534b3`, written from `solutions/ch15_trusting_pictures/chapter.py` by `python -m mechinterp_course.authoring ch15_trusting_pictures`.*
"""

# %% [markdown]
r"""
# When to believe a picture

A channel has a picture: what excites it most, made by gradient ascent. It has favourites, the photographs at the top of its
list. And it has a label, the word that goes best with it. Three witnesses. They often agree, and then we say *the channel
detects wheels*, and somebody builds on it.

In this chapter the witnesses are cross-examined, on a network whose world we can edit. We can take the wheels away.

1. **Labels**: how selective is the channel, and how selective would the best of 512 look by chance?
2. **Edits**: what happens when one part goes, and nothing else changes?
3. **Two parts in one channel**: find such a channel, prove it, and find a direction that is cleaner.
4. **Forecasts and forgeries**: what is a picture good for, and how is it made to lie?

You need forward hooks, and channels and their pictures (`ch02_feature_visualization`). It takes about two and a half hours.
"""

# %% tags=["demo"]
if __name__ == "__main__":
    from mechinterp_course.checking import run_check
    from mechinterp_course.predictions import predict

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
if __name__ == "__main__":
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
r"""
Channel 208 of `layer3`, on 128 toys that training never saw. Above, the picture that was made to excite it; below, the six
toys that excite it most. The world knows what is in each of them: ears, eyes, sails, windows. What does the channel look for?

A third witness has labels. For each of the twelve kinds of parts, split the 128 pictures into those that show it and those
that don't. How often does the channel respond more to a picture with the part than to one without?
"""

# %% tags=["demo"]
if __name__ == "__main__":
    ranking = {}
    for kind, has in shown.items():
        values = album_responses[:, SUSPECT]
        ranking[kind] = (values[has][:, None] > values[~has]).float().mean().item()
    for kind in sorted(ranking, key=ranking.get, reverse=True)[:4]:
        print(f"{kind:6} {ranking[kind]:.2f}")

# %% [markdown]
r"""
0.5 would be chance. The labels say *ears or sails*; all favourites have sails. Now take the toys that have ears, and remove
the ears: what was behind them appears, and nothing else changes. Do the same with eyes, and with sails. What does the channel
miss?

- **a** the ears
- **b** the eyes
- **c** the sails
- **d** eyes and sails alike, and the ears not at all
"""

# %% tags=["predict"]
if __name__ == "__main__":
    which_part_matters = predict(
        answer=None,  # "a" to "d"
        confidence=None,  # the probability that you are right, from 0 to 1
        choices=(
            "the ears",
            "the eyes",
            "the sails",
            "eyes and sails alike, and the ears not at all",
        ),
    )

# %% tags=["demo"]
if __name__ == "__main__":
    if which_part_matters.answered():
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
        which_part_matters.compare(answer)

# %% [markdown]
r"""
<details>
<summary>Seen it? Then read what it shows</summary>

The channel has nothing to do with ears. In this world whatever has ears has eyes too, so *ear* is a good label for a channel
that sees eyes; and none of the favourites has an eye. It answers to eyes and to sails, which have nothing in common.

The label was not wrong. It says what goes along with the channel. The favourites are not wrong, and neither is the picture.
Each was asked a question that it can't answer: *what does the channel depend on?* The rest of the chapter is about asking each
of them only what it knows, and about what the answer is worth.

</details>

## Labels
"""

# %% [markdown]
r"""
## Selectivity

*`selectivity` · 10 minutes · difficulty 2 of 5 · 5 points*

Return for each channel the **AUC**: the probability that a picture that shows the factor excites the channel *more* than one
that doesn't, over all such pairs of pictures. A pair with equal responses counts half
([Hanley & McNeil 1982](https://doi.org/10.1148/radiology.143.1.7063747)).

`responses` is `[picture, channel]`, `shows` says for each picture whether it shows the factor. 1 is a perfect detector, 0.5
chance, and below it the channel prefers pictures *without* the factor: that is told, not folded away.

Raise `ValueError` when all pictures show the factor, or none.
"""

# %% [markdown]
r"""
<details>
<summary>Hint 1</summary>

`responses[shows]` and `responses[~shows]`. Give one a new axis, so that every pair of pictures meets, and compare.

</details>
"""

# %% [markdown]
r"""
<details>
<summary>Hint 2</summary>

`above = responses[shows][:, None] > responses[~shows][None]` is `[with, without, channel]`; `==` gives the ties. The mean over
the first two axes is the share of pairs.

</details>
"""


# %%
def selectivity(responses: Responses, shows: Shows) -> ByChannel:
    """How well each channel tells pictures that show a factor from those that don't: the AUC."""
    raise NotImplementedError("selectivity is not written yet")


# %% tags=["check"]
def check_agrees_with_the_reference(student, draw):
    """selectivity agrees with the reference on responses and labels that you have not seen, ties included"""
    for _ in range(3):
        values, shows = channel_trials.labelled(draw)
        expect_close(
            student.selectivity(values, shows), channel_evidence.selectivity(values, shows), dims="channel"
        )


if __name__ == "__main__":
    run_check(check_agrees_with_the_reference)

# %% tags=["demo"]
if __name__ == "__main__":
    from mechinterp_course.figures.channels import untrained

    null_network = untrained(network)
    few = [*objects(6, UNSEEN + 1000, having={"ear"}), *objects(18, UNSEEN + 2000, lacking={"ear"})]
    few_labels = torch.arange(24) < 6
    more = [*objects(24, UNSEEN + 3000, having={"ear"}), *objects(72, UNSEEN + 4000, lacking={"ear"})]
    more_labels = torch.arange(96) < 24

# %% [markdown]
r"""
An untrained network has learned nothing about ears. Show it 24 toys, six with ears and eighteen without. It has 512 channels
in `layer4`. What is the highest AUC for ears among them?

- **a** below 0.7
- **b** 0.7 to 0.8
- **c** 0.8 to 0.9
- **d** above 0.9
"""

# %% tags=["predict"]
if __name__ == "__main__":
    best_of_an_untrained_network = predict(
        answer=None,  # "a" to "d"
        confidence=None,  # the probability that you are right, from 0 to 1
        choices=(
            "below 0.7",
            "0.7 to 0.8",
            "0.8 to 0.9",
            "above 0.9",
        ),
    )

# %% tags=["demo"]
if __name__ == "__main__":
    if best_of_an_untrained_network.answered():
        few_random = responses(null_network, "layer4", pixels_of(few))
        few_found = selectivity(few_random, few_labels)
        lucky = few_found.argmax().item()
        print(f"untrained, channel {lucky}: AUC {few_found[lucky]:.2f} for ears on 24 pictures")
        more_random = selectivity(responses(null_network, "layer4", pixels_of(more)), more_labels)
        print(f"the same channel on 96 other pictures: {more_random[lucky]:.2f}")
        best = few_found[lucky].item()
        answer = ["below 0.7", "0.7 to 0.8", "0.8 to 0.9", "above 0.9"][(best > 0.7) + (best > 0.8) + (best > 0.9)]
        best_of_an_untrained_network.compare(answer)

# %% [markdown]
r"""
<details>
<summary>Seen it? Then read what it shows</summary>

Whoever looks at 512 channels and shows the best has drawn 512 lots. On other pictures the winner is ordinary. So a
selectivity needs pictures on which the channel was *not* chosen, or a *null*, the same figure where nothing is to be found, that
knows how many channels were looked at. Best both.

The null is simple. Shuffle the labels, so that they mean nothing, and see how selective *the best* channel is now. Do that
many times. The channels keep whatever they have in common, which no formula for independent tests knows.

</details>
"""

# %% [markdown]
r"""
## Selective beyond chance

*`selectivity_beyond_chance` · 15 minutes · difficulty 3 of 5 · 5 points · builds on `selectivity`*

Return a p value for each channel, by the *maximum statistic* (Westfall & Young 1993). A channel's statistic is the distance
of its AUC from 0.5, on either side. Each row of `orders` is a permutation of the pictures; with the labels `shows[order]`,
take the **largest** statistic of all channels. p is the part of these maxima that are at least as large as the channel's own
statistic under the true labels. The true labels count as one more shuffle, above and below the fraction line, so that p is
never 0 ([Phipson & Smyth 2010](https://doi.org/10.2202/1544-6115.1585)).

AUCs are fractions and tie often. So "at least as large" includes a maximum that is smaller by no more than 1e-6.
"""

# %% [markdown]
r"""
<details>
<summary>Hint 1</summary>

One loop over the rows of `orders`. Each gives one number: `(selectivity(responses, shows[order]) - 0.5).abs().max()`.

</details>
"""

# %% [markdown]
r"""
<details>
<summary>Hint 2</summary>

With S shuffles and k maxima at or above the channel's own distance, p = (1 + k) / (1 + S).

</details>
"""


# %%
def selectivity_beyond_chance(
    responses: Responses, shows: Shows, orders: Int[Tensor, "shuffle picture"]
) -> ByChannel:
    """How often chance makes the best of all channels as selective as this one."""
    raise NotImplementedError("selectivity_beyond_chance is not written yet")


# %% tags=["check"]
def check_agrees_with_the_reference(student, draw):
    """selectivity_beyond_chance agrees with the reference on responses, labels and shuffles that you have not seen"""
    for shuffles in (19, 34):
        values, shows = channel_trials.labelled(draw)
        values[:, draw.integer(0, values.shape[1] - 1)] += draw.choice([-1.5, 1.5]) * shows
        case = values, shows, channel_trials.in_order_of(draw, len(shows), shuffles)
        expected = channel_evidence.selectivity_beyond_chance(*case)
        expect_close(student.selectivity_beyond_chance(*case), expected, dims="channel")


if __name__ == "__main__":
    run_check(check_agrees_with_the_reference)

# %% tags=["demo"]
if __name__ == "__main__":
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
r"""
Count the channels that pass an AUC of 0.75, on either side. With 24 pictures the untrained network has a good number, and
*none* is left when chance is given its due. In the trained network many stay, and with more pictures nearly all.

But look at the last line. With 96 pictures a few channels of the untrained network are beyond chance as well. They are not luck:
toys with ears differ from the others in colours and sizes too, and a random filter may see that. So beyond chance is not beyond
doubt. The null says that the labels mean *something*, not that the channel is about ears.

## How much of a channel does a label explain?

The AUC asks about one part and all pictures. A coarser question covers a whole layer: pictures fall into groups, by part, by
texture, by class. How much of a channel's variance lies *between* the groups?
"""

# %% [markdown]
r"""
## Variance explained

*`variance_explained` · 12 minutes · difficulty 2 of 5 · 5 points*

`group` gives each picture a whole number; equal numbers are one group. Return for each channel

$$1 - \frac{\sum_{g}\sum_{i \in g} (x_i - \bar x_g)^2 \,/\, (n - k)}{\sum_i (x_i - \bar x)^2 \,/\, (n - 1)}$$

with n pictures in k groups. It is eta squared, adjusted (Kelley 1935): plain eta squared grows with the number of groups even
if they mean nothing, this is 0 on average then, and so may fall a little below. A channel that never varies gets 0.

Numbers of groups may be any, in any order, and groups of any size.
"""

# %% [markdown]
r"""
<details>
<summary>Hint 1</summary>

`for g in group.unique()`: the rows `responses[group == g]`, less their own mean, squared and summed. Add that up over the
groups.

</details>
"""

# %% [markdown]
r"""
<details>
<summary>Hint 2</summary>

`responses.var(dim=0)` is the denominator. Where it is 0 there is nothing to divide by: `torch.where`.

</details>
"""


# %%
def variance_explained(responses: Responses, group: Int[Tensor, " picture"]) -> ByChannel:
    """The share of each channel's variance that lies between groups of pictures, adjusted for their number."""
    raise NotImplementedError("variance_explained is not written yet")


# %% tags=["check"]
def check_agrees_with_the_reference(student, draw):
    """variance_explained agrees with the reference on responses and groups that you have not seen"""
    for _ in range(3):
        values, group = channel_trials.grouped(draw)
        expected = channel_evidence.variance_explained(values, group)
        expect_close(student.variance_explained(values, group), expected, dims="channel")


if __name__ == "__main__":
    run_check(check_agrees_with_the_reference)

# %% [markdown]
r"""
"Edges, then textures, then parts": everybody knows the pictures. Measure it. 96 pictures of nothing but a texture, in eight
groups; 96 of nothing but a part, in twelve. Both are shown to the trained network and to an untrained one. In which layer do
*textures* explain most of the trained network's variance, over what they explain in the untrained one?

- **a** layer1
- **b** layer2
- **c** layer3
- **d** layer4
"""

# %% tags=["predict"]
if __name__ == "__main__":
    where_textures_peak = predict(
        answer=None,  # "a" to "d"
        confidence=None,  # the probability that you are right, from 0 to 1
        choices=(
            "layer1",
            "layer2",
            "layer3",
            "layer4",
        ),
    )

# %% tags=["demo"]
if __name__ == "__main__":
    if where_textures_peak.answered():
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
        where_textures_peak.compare(answer)

# %% [markdown]
r"""
<details>
<summary>Seen it? Then read what it shows</summary>

Parts rise, in `layer3` and `layer4`, far above what random weights do. That part of the story stands. The textures don't:
random filters answer to textures about as well as trained ones, and in the last two layers *better*. What an untrained network
does anyway was not learned. And who draws channels sees texture in every picture; only the second line tells that this says
little.

Mind what was measured: the mean of a channel over places, and its average over a layer. A channel may still be about one
texture, and places may hold what their mean does not.

</details>

## Edits

Labels go together, in this world as outside. An edit takes one thing away and leaves the others where they are. So each picture
is compared with *itself*, and what is typical for the channel gives the unit.
"""

# %% [markdown]
r"""
## The effect of an edit

*`edit_effect` · 12 minutes · difficulty 3 of 5 · 5 points*

`before` and `after` are responses to the same pictures, row by row, without and with an edit. `usual` are responses of the same
channels to other, unedited pictures. Return a tensor `[3, channel]`: the mean change (after minus before), and the low and the
high end of its 95 % interval.

- The unit is the channel's own standard deviation over `usual` (with n - 1), so that effects of loud and quiet channels compare.
- The interval is the mean plus and minus 1.96 standard errors of the **paired** change: its standard deviation (with n - 1)
  over the pictures, divided by the root of their number. (That the unit is itself an estimate is left out.)
- A channel that does not vary over `usual` has no unit: all three are NaN, even if the edit wakes it.
"""

# %% [markdown]
r"""
<details>
<summary>Hint 1</summary>

Take differences first: `change = (after - before) / unit`. Everything else is a mean and a standard error of `change`.

</details>
"""

# %% [markdown]
r"""
<details>
<summary>Hint 2</summary>

`change.std(dim=0) / len(change) ** 0.5` is the standard error. Dividing by 0 gives infinity where the edit wakes a dead channel;
`torch.where(unit > 0, unit, torch.nan)` settles both cases.

</details>
"""


# %%
def edit_effect(
    before: Responses, after: Responses, usual: Float[Tensor, "other channel"]
) -> Float[Tensor, "bound channel"]:
    """The mean change in standard deviations of the channel, and its 95 % interval, in the rows of [3, channel]."""
    raise NotImplementedError("edit_effect is not written yet")


# %% tags=["check"]
def check_agrees_with_the_reference(student, draw):
    """edit_effect agrees with the reference on responses that you have not seen"""
    for _ in range(3):
        case = channel_trials.edited(draw)
        expect_close(student.edit_effect(*case), channel_evidence.edit_effect(*case), dims="bound channel")


if __name__ == "__main__":
    run_check(check_agrees_with_the_reference)

# %% tags=["demo"]
if __name__ == "__main__":
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
r"""
AUCs of 1.00, on 128 pictures, far beyond chance, and not one of the eight is a detector of ears. Each misses eyes more than
ears. Whatever has ears has eyes, so these channels got away with it, and no label in this world could have told.

An edit has limits of its own. It shows that the channel depends on the part *in these pictures*; what the hole is filled with
is new to the channel too; and a part that is there twice, or covered, counts for more or for less. That is why the test below
has a **control**: a third part that goes, and must not matter.

### Two ways to measure nothing

Before you trust an effect of zero: was it the channel you meant?
"""

# %% tags=["demo"]
if __name__ == "__main__":
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
r"""
The first is the wrong layer under the right name. After `bn2`, the block adds its input and applies a ReLU *in place*, in the
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

Only the third can prove anything about the channel. You write it now, on networks whose channels have been renumbered.
"""

# %% [markdown]
r"""
## Find a channel that answers to two parts

*`find_polysemantic_channel` · 30 minutes · difficulty 4 of 5 · 7 points · builds on `edit_effect`*

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
every edit if none of them excites it. Ten seconds are the limit.
"""

# %% [markdown]
r"""
<details>
<summary>Hint 1</summary>

Measure the effects of removing each of the four kinds on *all* channels at once: `[kind, channel]`. That is four small
experiments, whatever the number of channels.

</details>
"""

# %% [markdown]
r"""
<details>
<summary>Hint 2</summary>

For each triple (two parts and a control) and each channel, how well does it do? The two falls must both be large, so the
*lesser* of them counts, less what the control does on either side.

</details>
"""

# %% [markdown]
r"""
<details>
<summary>Hint 3</summary>

`itertools.permutations(kinds, 3)` gives the triples. With `fall = -effects`, take
`torch.minimum(fall[one], fall[other]) - fall[control].abs()`, and the largest value over triples and channels. NaN (a dead
channel) would win an argmax: `nan_to_num(-torch.inf)`.

</details>
"""


# %%
def find_polysemantic_channel(model: nn.Module, layer: str, kinds: list[str]) -> tuple[int, str, str, str]:
    """A channel that falls when either of two parts goes, and not for a control: (channel, one, other, control)."""
    raise NotImplementedError("find_polysemantic_channel is not written yet")


# %% tags=["check"]
def check_finds_one_in_layer3(student, draw):
    """in layer3 of a renumbered network, the channel answers to both parts and not to the control, on new toys"""
    channel_trials.expect_two_parts(
        student, draw, draw.vision_model(), "layer3", channel_trials.ONE_PART_IS_LOUDER
    )


if __name__ == "__main__":
    run_check(check_finds_one_in_layer3)

# %% tags=["demo"]
if __name__ == "__main__":
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
r"""
That is proof of dependence: on each part without the other, and not on the control. It is no proof of what the channel is
*for*, nor that these are the only two: of twelve kinds, four were tried. And four pictures from four starts tell you less than you
would hope: look how much they resemble each other.

Be honest about this network too. It was **made** like this: while it learned, one channel in ten of these layers was asked to
answer to two unrelated parts. Networks that nobody asked have mixed channels as well (Olah et al. 2020), less tidily so.

## Directions instead of channels

A channel is one axis of the layer's space. If two parts share an axis, they may still have directions of their own.
"""

# %% [markdown]
r"""
## A direction for one part alone

*`part_direction` · 12 minutes · difficulty 3 of 5 · 5 points*

`change` is `[picture, channel]`: what removing a part changes in the layer's responses (after minus before), one row for each
picture. `other_change` is the same for another part, on other pictures. Return the unit vector d, `[channel]`, such that

- the mean of `other_change` along d is 0: the other part leaves no trace, on average;
- of all such vectors, it is the one along which the mean of `change` is most negative: removing the part moves responses
  against d, so d points to the part's presence.
"""

# %% [markdown]
r"""
<details>
<summary>Hint 1</summary>

Only the two mean changes matter, vectors a and b. Among vectors of length 1 orthogonal to b, which one has the largest product
with -a?

</details>
"""

# %% [markdown]
r"""
<details>
<summary>Hint 2</summary>

-a less its projection on b, as in Gram-Schmidt: `wanted - (wanted @ b) / (b @ b) * b`. Then divide by the length.

</details>
"""


# %%
def part_direction(change: Responses, other_change: Float[Tensor, "other channel"]) -> ByChannel:
    """The unit direction that follows one part and, on average, not another."""
    raise NotImplementedError("part_direction is not written yet")


# %% tags=["check"]
def check_agrees_with_the_reference(student, draw):
    """part_direction agrees with the reference on changes that you have not seen"""
    for _ in range(3):
        case = channel_trials.two_changes(draw)
        expected = channel_evidence.part_direction(*case)
        expect_close(student.part_direction(*case), expected, dims="channel")


if __name__ == "__main__":
    run_check(check_agrees_with_the_reference)

# %% tags=["demo"]
if __name__ == "__main__":
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
r"""
The same activations, read along other axes, keep the two parts apart, on toys that the directions had not seen. So in this
layer the parts are not mixed; the *channel* mixes them. That holds for the two parts that we asked about. A direction made to
ignore a roof may yet follow windows, and a direction that exists need not be one that later layers read.

## What is a picture good for?

For forecasts. If a picture says what a channel is about, then it should help to tell which of two new photographs excites the
channel more. Favourites should help as well. [Borowski et al. 2021](https://arxiv.org/abs/2010.12606) asked people, with a
network trained on photographs: natural examples were right in 92 % of trials, synthetic pictures in 82 %.

Our reader is a machine: it compares pictures by the features of an earlier layer.
"""

# %% [markdown]
r"""
## Forecast, and score

*`forecast_score` · 15 minutes · difficulty 3 of 5 · 5 points · builds on `selectivity`*

`references` `[reference, feature]` are the features of what the reader is shown about a channel: its picture, or some favourites.
`pictures` `[picture, feature]` are those of held-out pictures, `response` `[picture]` is how the channel truly answered to them
(no two alike).

The **forecast** for a held-out picture is the mean over references of the cosine between its features and the reference's, after
the mean features of `pictures` have been taken off both. Return how good the forecasts are, a float: the AUC with which they
tell the quarter of held-out pictures with the *highest* responses from the quarter with the *lowest*. A quarter is
`len(pictures) // 4`; the pictures in between don't count.
"""

# %% [markdown]
r"""
<details>
<summary>Hint 1</summary>

Centre both with `pictures.mean(dim=0)`, divide each row by its length, and multiply: `[picture, reference]` cosines. Their mean
over references is the forecast.

</details>
"""

# %% [markdown]
r"""
<details>
<summary>Hint 2</summary>

`response.argsort()` begins with the lowest. Take its first and last quarter, and call `selectivity` with the forecast as the one
channel and "is of the highest quarter" as the label.

</details>
"""


# %%
def forecast_score(
    references: Float[Tensor, "reference feature"],
    pictures: Float[Tensor, "picture feature"],
    response: Float[Tensor, " picture"],
) -> float:
    """How well likeness to the references forecasts which pictures excite a channel: an AUC."""
    raise NotImplementedError("forecast_score is not written yet")


# %% tags=["check"]
def check_agrees_with_the_reference(student, draw):
    """forecast_score agrees with the reference on features and responses that you have not seen"""
    for _ in range(6):
        case = channel_trials.reader(draw)
        expect_close(student.forecast_score(*case), channel_evidence.forecast_score(*case))


if __name__ == "__main__":
    run_check(check_agrees_with_the_reference)

# %% tags=["demo"]
if __name__ == "__main__":
    new_pixels = pixels_of(objects(96, UNSEEN + 8000))
    truth = responses(network, LAYER, new_pixels)

# %% [markdown]
r"""
Twelve channels of `layer3`, drawn at random. For each the reader is shown once its picture, once its nine favourites of the
album, and forecasts 96 new toys, by features of `layer2`. Who wins?

- **a** the picture, for most
- **b** nine favourites, for most
- **c** five to seven each
"""

# %% tags=["predict"]
if __name__ == "__main__":
    who_forecasts_better = predict(
        answer=None,  # "a" to "c"
        confidence=None,  # the probability that you are right, from 0 to 1
        choices=(
            "the picture, for most",
            "nine favourites, for most",
            "five to seven each",
        ),
    )

# %% tags=["demo"]
if __name__ == "__main__":
    if who_forecasts_better.answered():
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
        who_forecasts_better.compare(answer)

# %% [markdown]
r"""
<details>
<summary>Seen it? Then read what it shows</summary>

The two are a few hundredths apart, and which is ahead depends on who reads. So here one picture is worth about as much as nine
favourites. People, with photographs, were helped more by examples. Neither result is a law. A reader that compares features of
a network, of its own earlier layer or of a sibling's, shares more with the channel than a person does; our toys differ less
than photographs do; and twelve channels are few.

What carries over is the measure. *This picture explains the channel* should mean: somebody who sees it can tell what the channel
will do. If nobody can, it is decoration.

</details>

## What a picture can be made to show

A picture is the end of a climb, from a gray start, along gradients that photographs never meet. Whoever controls the network
can build it so that the climb leads where they like, and no photograph notices. [Geirhos et al.
2023](https://arxiv.org/abs/2306.04719) did that to a network trained on photographs. They need one part: a channel that is
**silent on all natural pictures** and answers to those that are being optimized.
"""

# %% [markdown]
r"""
## A fooling channel

*`fooling_channel` · 15 minutes · difficulty 4 of 5 · 5 points*

`natural` `[picture, feature]` are a layer's responses to natural pictures, `made` `[made, feature]` those to pictures on their
way of being optimized. There are at least as many features as pictures in both together, and no two pictures' features are
alike. Return `(weight, bias)`, a tensor `[feature]` and a float, such that the channel `relu(features @ weight + bias)` is

- exactly 0 on every natural picture, `features @ weight + bias <= 0`;
- at least 1 on every made one (rounding up to 1e-3 is forgiven in both);
- 0 on at least 80 % of natural pictures that you have *not* been given, from the same source.

There are many such channels; all are right.
"""

# %% [markdown]
r"""
<details>
<summary>Hint 1</summary>

With more features than pictures there is always a line through both: least squares on the targets 0 (natural) and 1 (made).
The nearest is the smallest, `torch.linalg.lstsq` or `pinv`. Keep all in float64 until the end.

</details>
"""

# %% [markdown]
r"""
<details>
<summary>Hint 2</summary>

Exactly 0 on what you were given is not 0 on the next picture: regularize, and leave a margin. With `v = features @ w`, let
`low` be the least of the made and `top` the largest of the natural ones, and put the zero at `start = top + 0.6 * (low - top)`:
`weight = w / (low - start)`, `bias = -start / (low - start)`.

</details>
"""


# %%
def fooling_channel(
    natural: Float[Tensor, "picture feature"], made: Float[Tensor, "made feature"]
) -> tuple[Float[Tensor, " feature"], float]:
    """The weight and bias of a channel that is silent on natural pictures and at least 1 on made ones."""
    raise NotImplementedError("fooling_channel is not written yet")


# %% tags=["check"]
def check_is_silent_on_natural_pictures_and_answers_to_made_ones(student, draw):
    """on all pictures that it was built from, the channel is 0 if they are natural and at least 1 if they are made"""
    for _ in range(4):
        natural, made, _ = channel_trials.two_sources(draw)
        channel_trials.expect_fooling(student.fooling_channel(natural, made), natural, made)


if __name__ == "__main__":
    run_check(check_is_silent_on_natural_pictures_and_answers_to_made_ones)

# %% tags=["demo"]
if __name__ == "__main__":
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

# %% [markdown]
r"""
The victim is the best channel for shells. Wherever the fooling channel speaks, the victim's output is replaced by that of the best
channel for *roofs*. On new toys the two networks agree. What does the victim's picture show in the forged one?

- **a** still a shell
- **b** a roof
- **c** both, mixed
- **d** nothing, it stays gray
"""

# %% tags=["predict"]
if __name__ == "__main__":
    what_the_forgery_shows = predict(
        answer=None,  # "a" to "d"
        confidence=None,  # the probability that you are right, from 0 to 1
        choices=(
            "still a shell",
            "a roof",
            "both, mixed",
            "nothing, it stays gray",
        ),
    )

# %% tags=["demo"]
if __name__ == "__main__":
    if what_the_forgery_shows.answered():
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
        what_the_forgery_shows.compare(answer)

# %% [markdown]
r"""
<details>
<summary>Seen it? Then read what it shows</summary>

The forged picture shows a roof, and the channel is as good a detector of shells as it was. Nothing was done to the picture: it
was made by the honest method from the network at hand. How would you have found out?

- **Ask nature.** Remove roofs from toys, and the channel hardly moves, and not downwards. Remove shells, and it falls by far.
- **Ask an honest copy**, if you have one. Its shell channel hardly answers to the forged picture, as the last line shows.

More pictures made in the same way would not have helped: they wake the fooling channel too.

</details>

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
network, not on the picture.
"""

# %% [markdown]
r"""
## The report

Report on one channel each of `layer2`, `layer3` and `layer4` of `course-resnet18`, chosen *before* you looked, for a reader who can't
ask you. One table, a row for each channel: what its picture shows; best label, with AUC and p; the effects of two edits and of a
control, with intervals; and what you conclude. Then at most 200 words on the three layers together.
"""

# %% [markdown] tags=["rubric"]
r"""
*Your answer:*
"""
