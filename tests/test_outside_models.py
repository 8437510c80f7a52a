"""Models that others trained and published: our loading code and hooks against numbers we had no part in.

They lie beside the checkout, in `../shared/data`, and are no part of the project.
"""

import base64
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from torch import nn
from torch.nn import functional
from torchvision.transforms.functional import center_crop, hflip, resize, to_tensor
from transformers import GPT2Config, PreTrainedTokenizerFast

from mechinterp_course import hooks
from mechinterp_course.feature_visualization import render
from mechinterp_course.language_models import bridge_from, gpt2_from_weights
from mechinterp_course.objectives import channels as channels_of
from mechinterp_course.picture_quality import judge_picture, natural_activations
from mechinterp_course.quiet_loading import without_traces
from mechinterp_course.vision_models import IMAGENET_MEAN, IMAGENET_STD, described, probabilities

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
SORTER, RESNET20 = DATA / "gpt-nano-sort", DATA / "resnet20-cifar10" / "resnet20-12fca82f.th"
PHOTOS = DATA / "photos"
needs_sorter = pytest.mark.skipif(not SORTER.is_dir(), reason=f"{SORTER} is not here")
needs_resnet20 = pytest.mark.skipif(not RESNET20.is_file(), reason=f"{RESNET20} is not here")
CLASSES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
PUBLISHED = {  # its name there, and ours
    "tok_emb": "hook_embed",
    "x": "blocks.0.hook_resid_pre",
    "ln1": "blocks.0.ln1.hook_out",
    "q": "blocks.0.attn.hook_q",
    "k": "blocks.0.attn.hook_k",
    "v": "blocks.0.attn.hook_v",
    "attSm": "blocks.0.attn.hook_pattern",
    "y": "blocks.0.attn.hook_z",
    "yProj": "blocks.0.hook_attn_out",
    "attnResid": "blocks.0.hook_resid_mid",
    "ln2": "blocks.0.ln2.hook_out",
    "fc": "blocks.0.mlp.hook_pre",
    "gelu": "blocks.0.mlp.hook_post",
    "mlp": "blocks.0.hook_mlp_out",
    "block0": "blocks.0.hook_resid_post",
    "block1": "blocks.1.hook_resid_post",
    "block2": "blocks.2.hook_resid_post",
    "ln_f": "ln_final.hook_out",
}
UNCHANGED_BY_PROCESSING = ("q", "k", "attSm")


def tensors(path):
    """The tensors of one of the sorter's files, by name."""
    stored = json.loads(path.read_text())
    return {
        name: torch.from_numpy(np.frombuffer(base64.b64decode(entry["data"]), "<f4").copy()).view(
            entry["shape"]
        )
        for name, entry in stored.items()
        if name != "config"
    }


@pytest.fixture(scope="module")
def partials():
    return tensors(SORTER / "gpt-nano-sort-t0-partials.json")


def letters():
    """A tokenizer for the sorter's three letters; TransformerLens asks for special tokens."""
    vocabulary = Tokenizer(WordLevel({"A": 0, "B": 1, "C": 2}, unk_token="A"))
    special = dict.fromkeys(("bos_token", "eos_token", "pad_token"), "A")
    return PreTrainedTokenizerFast(
        tokenizer_object=vocabulary, name_or_path="letters", add_bos_token=True, **special
    )


def sorter(processed):
    """The sorter as a TransformerBridge: minGPT stores linear layers the other way round than GPT-2 does."""
    stored = tensors(SORTER / "gpt-nano-sort-model.json")
    weights = {
        name: weight.T if ".c_" in name and weight.ndim == 2 else weight
        for name, weight in stored.items()
        if not name.endswith(".attn.bias")  # the causal mask
    }
    size = {"n_layer": 3, "n_head": 3, "n_embd": 48, "vocab_size": 3, "n_positions": 11}
    config = GPT2Config(**size, tie_word_embeddings=False, bos_token_id=0, eos_token_id=0)
    with without_traces():
        return bridge_from("sorter", gpt2_from_weights(config, weights), letters(), processed=processed)


def in_published_layout(name, activation):
    """Heads come before positions there, and their outputs side by side."""
    if name in ("q", "k", "v"):
        return activation.transpose(1, 2)
    return activation.flatten(2) if name == "y" else activation


@needs_sorter
def test_hooks_read_the_published_intermediates_of_a_published_gpt(partials):
    model = sorter(processed=False)
    with hooks.cache(model, PUBLISHED.values()) as activations:
        logits = model(partials["idx"].long())
    for theirs, ours in PUBLISHED.items():
        read = in_published_layout(theirs, activations[ours])
        torch.testing.assert_close(
            read, partials[theirs], rtol=0, atol=2e-6, msg=lambda m, n=theirs: f"{n}: {m}"
        )
    torch.testing.assert_close(logits.softmax(-1), partials["probs"], rtol=0, atol=2e-6)


@needs_sorter
def test_processing_the_weights_keeps_what_the_published_model_computes(partials):
    model = sorter(processed=True)
    with hooks.cache(model, [PUBLISHED[name] for name in UNCHANGED_BY_PROCESSING]) as activations:
        logits = model(partials["idx"].long())
    for theirs in UNCHANGED_BY_PROCESSING:
        read = in_published_layout(theirs, activations[PUBLISHED[theirs]])
        torch.testing.assert_close(read, partials[theirs], rtol=0, atol=1e-5)
    torch.testing.assert_close(logits.softmax(-1), partials["probs"], rtol=0, atol=2e-6)


@needs_sorter
@pytest.mark.parametrize("unsorted", [[0, 0, 2, 1, 0, 1], [2, 2, 2, 1, 1, 0], [0, 1, 2, 0, 1, 2]])
def test_the_sorter_sorts(unsorted):
    model, tokens = sorter(processed=True), list(unsorted)
    for _ in unsorted:
        tokens.append(model(torch.tensor([tokens[:11]]))[0, len(tokens) - 1].argmax().item())
    assert tokens[len(unsorted) :] == sorted(unsorted)


class Block(nn.Module):
    """Two convolutions beside a shortcut that halves the image and pads the channels with zeros."""

    def __init__(self, channels_in, channels, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.stride, self.padding = stride, (channels - channels_in) // 2

    def forward(self, x):
        y = self.bn2(self.conv2(self.bn1(self.conv1(x)).relu()))
        shortcut = x[:, :, :: self.stride, :: self.stride]
        return (y + functional.pad(shortcut, (0, 0, 0, 0, self.padding, self.padding))).relu()


class ResNet20(nn.Module):
    """The architecture of He et al. for CIFAR-10 (arXiv 1512.03385, section 4.2), with n = 3."""

    def __init__(self):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16)
        for layer, (channels_in, channels) in enumerate([(16, 16), (16, 32), (32, 64)], start=1):
            blocks = [Block(channels_in, channels, 1 if layer == 1 else 2)]
            blocks += [Block(channels, channels, 1) for _ in range(2)]
            setattr(self, f"layer{layer}", nn.Sequential(*blocks))
        self.linear = nn.Linear(64, 10)

    def forward(self, x):
        x = self.layer3(self.layer2(self.layer1(self.bn1(self.conv1(x)).relu())))
        return self.linear(x.mean((2, 3)))


@pytest.fixture(scope="module")
def resnet20():
    stored = torch.load(RESNET20, weights_only=True, map_location="cpu")["state_dict"]
    model = ResNet20()
    left = model.load_state_dict(
        {key.removeprefix("module."): weight for key, weight in stored.items()}, strict=False
    )
    assert not left.unexpected_keys and all(key.endswith("num_batches_tracked") for key in left.missing_keys)
    return described(model, CLASSES, IMAGENET_MEAN, IMAGENET_STD)  # what it was trained with


def photograph(name, crop):
    """A square from the middle of a photograph and its mirror image, at 32 px."""
    image = center_crop(to_tensor(Image.open(PHOTOS / name).convert("RGB")), [crop, crop])
    small = resize(image, [32, 32], antialias=True)
    return torch.stack([small, hflip(small)])


@needs_resnet20
@pytest.mark.parametrize("crop", [180, 240, 300])
def test_a_published_cifar_network_knows_the_cat_and_calls_neither_rocket_nor_grass_one(resnet20, crop):
    cat = CLASSES.index("cat")
    assert (probabilities(resnet20, photograph("chelsea.png", crop))[:, cat] > 0.9).all()
    for other in ("rocket.jpg", "grass.png"):
        assert (probabilities(resnet20, photograph(other, crop))[:, cat] < 0.1).all()


@needs_resnet20
def test_hooks_read_a_published_cifar_network_and_an_edit_takes_the_cat_away(resnet20):
    image = photograph("chelsea.png", 240)
    with hooks.cache(resnet20, ["layer3", "linear"]) as activations:
        before = probabilities(resnet20, image)
    again = activations["layer3"].mean((2, 3)) @ resnet20.linear.weight.T + resnet20.linear.bias
    torch.testing.assert_close(activations["linear"].softmax(-1), before)
    torch.testing.assert_close(again, activations["linear"], rtol=1e-4, atol=1e-4)

    def without_cat(features):
        direction = functional.normalize(resnet20.linear.weight[CLASSES.index("cat")], dim=0)[:, None, None]
        return features - direction * (features * direction).sum(1, keepdim=True)

    with hooks.edit(resnet20, {"layer3": without_cat}):
        after = probabilities(resnet20, image)
    assert (before.argmax(-1) == CLASSES.index("cat")).all() and (
        after.argmax(-1) != CLASSES.index("cat")
    ).all()


@needs_resnet20
def test_a_published_cifar_network_is_rendered_by_the_same_call_and_its_pictures_hold(resnet20):
    photographs = torch.cat([photograph(name, 240) for name in ("chelsea.png", "rocket.jpg", "grass.png")])
    natural = natural_activations(resnet20, "layer3", photographs)
    made = render(resnet20, channels_of("layer3", [3, 40]), steps=48, size=32, progress=False)
    assert made.pictures.shape == (2, 3, 32, 32)
    for channel, picture in zip([3, 40], made.pictures, strict=True):
        quality = judge_picture(resnet20, "layer3", channel, picture, natural)
        assert quality.held > max(3, quality.best_natural) and quality.rough < 0.2
    assert not any(module._forward_hooks for module in resnet20.modules())
