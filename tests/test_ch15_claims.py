"""What the prose of ch15_trusting_pictures says about course-resnet18 is what it does, with some margin."""

from copy import deepcopy

import pytest
import torch
from torch import nn

from mechinterp_course import hooks, objectives
from mechinterp_course.channel_evidence import (
    edit_effect,
    find_polysemantic_channel,
    fooling_channel,
    forecast_score,
    objects,
    part_direction,
    pixels_of,
    removed,
    responses,
    selectivity,
    selectivity_beyond_chance,
    variance_explained,
)
from mechinterp_course.feature_visualization import render, render_channels
from mechinterp_course.figures.channels import untrained
from mechinterp_course.models import load_vision_model
from mechinterp_course.worlds import images

pytestmark = pytest.mark.book  # measured again with the chapters that say it
torch.set_num_threads(1)
UNSEEN, SUSPECT = 2**50, 208


@pytest.fixture(scope="module")
def model():
    return load_vision_model("course-resnet18")


@pytest.fixture(scope="module")
def album():
    return objects(128, UNSEEN)


@pytest.fixture(scope="module")
def pixels(album):
    return pixels_of(album)


@pytest.fixture(scope="module")
def seen(model, pixels):
    return responses(model, "layer3", pixels)


@pytest.fixture(scope="module")
def shown(album):
    return {kind: torch.tensor([kind in sample.kinds for sample in album]) for kind in images.KINDS}


def test_the_suspect_is_labelled_ear_or_sail_and_misses_eyes_and_sails_and_no_ears(model, album, seen, shown):
    labels = {kind: selectivity(seen, has)[SUSPECT].item() for kind, has in shown.items()}
    assert (
        set(sorted(labels, key=labels.get)[-2:]) == {"ear", "sail"} and labels["ear"] > labels["eye"] + 0.05
    )
    assert not any("eye" in album[row].kinds for row in seen[:, SUSPECT].topk(6).indices.tolist())
    cost = {k: edit_effect(*removed(model, "layer3", k, 16, UNSEEN), seen)[0, SUSPECT].item() for k in labels}
    print({kind: round(value, 2) for kind, value in cost.items()})
    assert max(cost["eye"], cost["sail"]) < -0.7 and abs(cost["ear"]) < 0.1


def test_the_best_of_512_random_channels_looks_selective_until_chance_is_counted_or_pictures_change(model):
    null, counts = untrained(model), {}
    few = [*objects(6, UNSEEN + 1000, having={"ear"}), *objects(18, UNSEEN + 2000, lacking={"ear"})]
    more = [*objects(24, UNSEEN + 3000, having={"ear"}), *objects(72, UNSEEN + 4000, lacking={"ear"})]
    generator, found = torch.Generator().manual_seed(0), {}
    for name, net in {"trained": model, "untrained": null}.items():
        for samples in (few, more):
            case = (
                responses(net, "layer4", pixels_of(samples)),
                torch.arange(len(samples)) < len(samples) // 4,
            )
            found[name, len(samples)] = selectivity(*case)
            orders = torch.stack([torch.randperm(len(samples), generator=generator) for _ in range(100)])
            beyond = selectivity_beyond_chance(*case, orders) <= 0.05
            wide = (found[name, len(samples)] - 0.5).abs() > 0.25
            counts[name, len(samples)] = int(wide.sum()), int(beyond.sum())
    print(counts)
    lucky = found["untrained", 24].argmax()
    assert found["untrained", 24][lucky] > 0.8 and 0.3 < found["untrained", 96][lucky] < 0.7
    assert counts["untrained", 24][0] >= 8 and counts["untrained", 24][1] == 0
    assert 1 <= counts["untrained", 96][1] <= 20
    assert counts["trained", 24][1] > 20 and counts["trained", 96][1] > 0.9 * counts["trained", 96][0] > 50


def test_parts_rise_over_the_layers_and_textures_do_not_rise_above_random_weights(model):
    patterns, null, share = tuple(images.TEXTURES), untrained(model), {}
    textures = pixels_of([images.texture(UNSEEN + n, patterns[n % 8]) for n in range(96)])
    parts = pixels_of([images.part(UNSEEN + n, images.KINDS[n % 12]) for n in range(96)])
    for name, net in {"trained": model, "untrained": null}.items():
        for what, pictures, count in (("parts", parts, 12), ("textures", textures, 8)):
            group = torch.arange(96) % count
            share[what, name] = [
                variance_explained(responses(net, f"layer{n}", pictures), group).mean().item()
                for n in (1, 2, 3, 4)
            ]
    trained, random = share["parts", "trained"], share["parts", "untrained"]
    assert trained[0] < trained[1] < min(trained[2:]) and min(trained[2:]) > 0.3 and max(random) < 0.05
    trained, random = share["textures", "trained"], share["textures", "untrained"]
    assert all(abs(a - b) < 0.06 for a, b in zip(trained[:2], random[:2], strict=True))
    assert all(a < b - 0.02 for a, b in zip(trained[2:], random[2:], strict=True))


def test_the_best_channels_for_ears_all_miss_eyes_more(model, seen, shown):
    auc = selectivity(seen, shown["ear"])
    best = auc.topk(8).indices
    ear, eye = (
        edit_effect(*removed(model, "layer3", k, 24, UNSEEN + 5000), seen)[0, best] for k in ("ear", "eye")
    )
    assert auc[best].min() > 0.98 and (eye < 2 * ear).all()


def test_what_a_hook_keeps_of_bn2_without_a_copy_comes_after_the_relu(model, pixels):
    kept = []
    handle = model.layer3[1].bn2.register_forward_hook(lambda module, inputs, output: kept.append(output))
    with hooks.cache(model, ["layer3.1.bn2"]) as cached:
        model(pixels[:4])
    handle.remove()
    assert kept[0].min() >= 0 and cached["layer3.1.bn2"].min() < -1


def test_directions_keep_apart_on_new_toys_what_a_channel_mixes(model, pixels):
    channel, one, other, control = find_polysemantic_channel(
        model, "layer4", ["wheel", "roof", "leaf", "leg"]
    )
    usual, trio, pairs = responses(model, "layer4", pixels), {one, other, control}, {}
    for kind in (one, other):
        for seed in (6000, 7000):
            pairs[kind, seed] = removed(model, "layer4", kind, 16, UNSEEN + seed, lacking=trio - {kind})
    change = {kind: pairs[kind, 6000][1] - pairs[kind, 6000][0] for kind in (one, other)}
    for part, rest in ((one, other), (other, one)):
        d = part_direction(change[part], change[rest])[:, None]
        along = {
            kind: edit_effect(*(r @ d for r in pairs[kind, 7000]), usual @ d)[0].item()
            for kind in (part, rest)
        }
        alone = edit_effect(*pairs[part, 7000], usual)[0, channel].item()
        assert alone < -0.4 and along[part] < alone and abs(along[rest]) < 0.3


def test_a_picture_and_nine_favourites_forecast_about_equally_well(model, pixels, seen):
    chosen = torch.randperm(256, generator=torch.Generator().manual_seed(0))[:6].tolist()
    pictures, new = render_channels(model, "layer3", chosen, steps=48), pixels_of(objects(96, UNSEEN + 8000))
    truth, lead = responses(model, "layer3", new), []
    drawn, held_out, known = (responses(model, "layer2", some) for some in (pictures, new, pixels))
    for row, channel in enumerate(chosen):
        nine = seen[:, channel].topk(9).indices
        scores = [
            forecast_score(shown, held_out, truth[:, channel])
            for shown in (drawn[row : row + 1], known[nine])
        ]
        assert min(scores) > 0.5
        lead.append(scores[0] - scores[1])
    assert abs(sum(lead) / len(lead)) < 0.12


def test_a_forged_channel_is_itself_on_toys_and_shows_a_roof_in_its_picture(model, seen, shown):
    climb = objectives.channels("layer3", [3, 50, 100, 120, 200, 230])
    climb = render(model, climb, steps=32, seed=1, keep=(0, 1, 2, 4, 6, 8, 12, 16, 24), progress=False)
    made = responses(model, "layer3", torch.cat([*climb.frames.values(), climb.pictures]))
    weight, bias = fooling_channel(seen, made)
    victim, decoy = (selectivity(seen, shown[kind]).argmax().item() for kind in ("shell", "roof"))

    class Forged(nn.Module):
        def forward(self, z):
            awake = (z.mean(dim=(2, 3)) @ weight + bias).clamp(0, 1)[:, None, None]
            forged = z.clone()
            forged[:, victim] = (1 - awake) * z[:, victim] + awake * z[:, decoy]
            return forged

    forgery = deepcopy(model)
    forgery.layer3.add_module("forged", Forged())
    new = pixels_of(objects(64, UNSEEN + 8000))
    honest, forged = (responses(net, "layer3", new)[:, victim] for net in (model, forgery))
    assert ((forged - honest).abs() / honest.std()).max() < 0.2
    moved = {
        kind: edit_effect(*removed(forgery, "layer3", kind, 24, UNSEEN + 9000), seen)[:, victim].tolist()
        for kind in ("roof", "shell")
    }
    print(moved)
    assert -0.05 < moved["roof"][0] < 0.35 and moved["shell"][2] < -1
    picture = render_channels(forgery, "layer3", [victim], steps=48)
    answer = responses(model, "layer3", picture)[0]
    assert answer[decoy] > 5 * answer[victim]
