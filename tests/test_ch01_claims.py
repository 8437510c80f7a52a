"""What the prose of ch01_hooks says about its models is what they do, with some margin."""

import pytest
import torch
from torch import nn

from mechinterp_course import attention, directions, hooks
from mechinterp_course.figures.selectivity import held_out, normalized
from mechinterp_course.models import load_language_model, load_vision_model
from mechinterp_course.worlds import images, text

pytestmark = pytest.mark.book  # measured again with the chapters that say it
torch.set_num_threads(1)


def toys(count, seed):
    first = held_out(seed, 0)
    return images.gather(images.sample(first + n, images.NAMES[n % 16]) for n in range(count))


class Toys:
    """The ResNet on pictures that no training has seen."""

    def __init__(self):
        self.model, self.batch = load_vision_model(), toys(64, seed=1)
        self.pixels = normalized(self.model, self.batch.images)

    def accuracy(self, logits=None, batch=None):
        logits, batch = self.model(self.pixels) if logits is None else logits, batch or self.batch
        return (logits.argmax(-1) == batch.labels).float().mean().item()


@pytest.fixture(scope="module")
def vision():
    return Toys()


@pytest.fixture(scope="module")
def gpt2():
    return load_language_model("course-gpt2")


def test_a_hook_without_a_copy_shows_bn1_as_the_relu_left_it(vision):
    seen = {}
    handles = [
        getattr(vision.model, name).register_forward_hook(
            lambda module, inputs, output, name=name: seen.update({name: output})
        )
        for name in ("bn1", "relu")
    ]
    vision.model(vision.pixels)
    for handle in handles:
        handle.remove()
    assert torch.equal(seen["bn1"], seen["relu"]) and not (seen["bn1"] < 0).any()
    honest = hooks.read_activation(vision.model, "bn1", vision.pixels)
    assert 0.5 < (honest < 0).float().mean() < 0.65
    assert (hooks.read_activation(vision.model, "layer4.1.bn2", vision.pixels) < 0).float().mean() > 0.6


def test_a_hook_left_behind_costs_accuracy_without_an_error(vision):
    assert vision.accuracy() > 0.95
    with hooks.attached(vision.model, {"conv1": lambda module, inputs, output: output / 2}):
        assert 0.65 < vision.accuracy() < 0.9
    assert vision.accuracy() > 0.95


def test_no_block_is_missed_alone_and_the_first_ones_are_missed_together(vision):
    def without(*blocks):
        silenced = {
            f"{block}.bn2": lambda module, inputs, output: torch.zeros_like(output) for block in blocks
        }
        with hooks.attached(vision.model, silenced):
            return vision.accuracy()

    blocks = [f"layer{stage}.{block}" for stage in (1, 2, 3, 4) for block in (0, 1)]
    assert min(without(block) for block in blocks) > 0.88
    assert without(*blocks[1::2]) > 0.9
    assert without(*blocks[0::2]) < 0.35


def test_one_direction_at_layer4_takes_the_roofs_and_at_layer3_nothing(vision):
    study, fresh = toys(256, seed=2), toys(128, seed=3)
    model, pixels = vision.model, normalized(vision.model, fresh.images)
    activations = hooks.cache_activations(model, ["layer3", "layer4"], normalized(model, study.images))

    def without(kind, stage, direction=None):
        column = images.KINDS.index(kind)
        pooled, has = activations[stage].mean(dim=(2, 3)), study.kinds[:, column]
        if direction is None:
            direction = directions.class_direction(pooled[has], pooled[~has])
        logits = hooks.run_edited(
            model, stage, pixels, lambda a: directions.remove_direction(a, direction, axis=1)
        )
        right, shows = logits.argmax(-1) == fresh.labels, fresh.kinds[:, column]
        return right[shows].float().mean().item(), right[~shows].float().mean().item()

    assert without("roof", "layer3")[0] > 0.95
    roofed, others = without("roof", "layer4")
    assert roofed < 0.5 and others > 0.95
    noise = torch.randn(512, generator=torch.Generator().manual_seed(0))
    assert min(without("roof", "layer4", noise)) > 0.95
    unmoved = [
        kind for kind in ("window", "tail", "wing", "sail", "leaf") if without(kind, "layer4")[0] > 0.95
    ]
    assert len(unmoved) >= 4


def test_heads_sum_to_the_layer_and_the_pattern_is_the_models_own(gpt2):
    tokens = gpt2.to_tokens("The baker gave the cake to the driver and the baker gave the")
    parts = ("hook_q", "hook_k", "hook_z", "o", "hook_pattern")
    read = hooks.cache_activations(gpt2, [f"blocks.2.attn.{part}" for part in parts], tokens)
    q, k, z, output, pattern = (read[f"blocks.2.attn.{part}"] for part in parts)
    written = attention.head_outputs(z, gpt2.blocks[2].attn.W_O.flatten(0, 1), gpt2.cfg.n_heads)
    torch.testing.assert_close(written.sum(2) + gpt2.blocks[2].attn.b_O, output, rtol=1e-4, atol=1e-4)
    q, k = (each.unflatten(-1, (gpt2.cfg.n_heads, -1)) for each in (q, k))
    torch.testing.assert_close(attention.attention_pattern(q, k), pattern, rtol=1e-4, atol=1e-5)
    words = tokens[0].tolist()
    most = pattern[0, :, -1].argmax(-1).tolist()
    assert any(place > 0 and words[place - 1] == words[-1] for place in most)


def test_one_direction_after_the_last_block_takes_most_of_what_decides_number(gpt2):
    layers = [f"blocks.{layer}" for layer in range(4)]
    known = [text.sample("agreement", 10**6 + n) for n in range(120)]
    unseen = [text.sample("agreement", 10**6 + n, held_out=True) for n in range(60)]
    plural = torch.tensor([sample.number == "plural" for sample in known])
    ends = [hooks.cache_activations(gpt2, layers, gpt2.to_tokens(sample.prompt)) for sample in known]

    def margins(layer, direction):
        found = []
        for sample in unseen:
            logits = hooks.run_edited(
                gpt2,
                layer,
                gpt2.to_tokens(sample.prompt),
                lambda a: directions.remove_direction(a, direction, axis=-1),
            )
            ids = (
                gpt2.to_tokens(" " + word, prepend_bos=False)[0, 0] for word in (sample.answer, sample.rival)
            )
            found.append(torch.sub(*(logits[0, -1, each] for each in ids)))
        return torch.stack(found)

    def by_number(layer):
        rows = torch.stack([each[layer][0, -1] for each in ends])
        return margins(layer, directions.class_direction(rows[plural], rows[~plural]))

    noise = torch.randn(gpt2.cfg.d_model, generator=torch.Generator().manual_seed(0))
    whole, early, late = margins(layers[-1], noise), by_number(layers[2]), by_number(layers[3])
    assert whole.mean() > 6 and (whole > 0).float().mean() > 0.95
    assert early.mean() > 4.5 and (early > 0).float().mean() > 0.9
    assert late.mean() < 3.5 and 0.55 < (late > 0).float().mean() < 0.85


def test_an_edit_of_a_module_whose_method_is_called_never_arrives():
    class Mine(nn.Module):
        def __init__(self):
            super().__init__()
            self.by_method = nn.Linear(6, 6)

        def forward(self, x):
            return self.by_method.forward(x)

    mine, rows = Mine().requires_grad_(False), torch.randn(8, 6)
    assert torch.equal(hooks.run_edited(mine, "by_method", rows, torch.zeros_like), mine(rows))
    assert hooks.cache_activations(mine, ["by_method"], rows) == {}
    with pytest.raises(KeyError):
        hooks.read_activation(mine, "by_method", rows)
