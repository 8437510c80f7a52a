"""What the case of the refusing model compares: neurons, features, a short fine-tune, and the price of each.

Interventions work inside `with`, at every position, as those of `steering` do; what they are fitted on is
given, so that it can be kept apart from what they are judged on.
"""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from mechinterp_course.hooks import cache, edit
from mechinterp_course.metrics import at_positions, loss_per_token
from mechinterp_course.refusal_case import Prompts, Trial, as_prompts, refusal_margin
from mechinterp_course.sae import Autoencoder
from mechinterp_course.worlds import text
from mechinterp_course.worlds.text.chat import COMPLIES, REFUSES
from mechinterp_course.worlds.tokenizer import token_ids

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

Neuron = tuple[int, int]  # (layer, neuron)
Activations = dict[str, Float[Tensor, "batch pos d"]]


def gradients_of_margin(
    model: "TransformerBridge", prompts: Prompts, hooks: Sequence[str]
) -> tuple[Activations, Activations]:
    """Return the activations at hooks and the gradients of the summed refusal margin there, from one run."""
    kept: Activations = {}

    def keeper(name: str):
        def keep(activation: Tensor) -> Tensor:
            kept[name] = activation if activation.requires_grad else activation.requires_grad_(True)
            return kept[name]

        return keep

    with torch.enable_grad(), edit(model, {name: keeper(name) for name in hooks}):
        margin = refusal_margin(model, prompts).sum()
        gradients = torch.autograd.grad(margin, [kept[name] for name in hooks])
    return {name: kept[name].detach() for name in hooks}, dict(zip(hooks, gradients, strict=True))


def neuron_means(model: "TransformerBridge", prompts: Prompts) -> Float[Tensor, "layer neuron"]:
    """Return the mean activation of every neuron over the tokens of prompts, what fills rows up left out."""
    names = _neuron_hooks(model)
    with torch.no_grad(), cache(model, names) as activations:
        model(prompts.tokens)
    inside = torch.arange(prompts.tokens.shape[1]) <= prompts.last[:, None]
    return torch.stack([activations[name][inside].mean(dim=0) for name in names])


def rank_neurons(
    model: "TransformerBridge", prompts: Prompts, means: Float[Tensor, "layer neuron"]
) -> list[Neuron]:
    """Return all neurons, first the one whose mean ablation should lower the refusal margin most.

    By attribution patching: (activation - mean) × gradient, summed over positions (Nanda 2023).
    """
    names = _neuron_hooks(model)
    activations, gradients = gradients_of_margin(model, prompts, names)
    scores = torch.stack(
        [((activations[n] - mean) * gradients[n]).sum((0, 1)) for n, mean in zip(names, means, strict=True)]
    )
    order = scores.flatten().argsort(descending=True).tolist()
    return [divmod(place, scores.shape[1]) for place in order]


@contextmanager
def neurons_ablated(
    model: "TransformerBridge", neurons: Sequence[Neuron], means: Float[Tensor, "layer neuron"]
) -> Iterator[None]:
    """Hold neurons at their means."""

    def holder(layer: int):
        held = [neuron for at, neuron in neurons if at == layer]

        def hold(activation: Float[Tensor, "batch pos neuron"]) -> Float[Tensor, "batch pos neuron"]:
            activation[..., held] = means[layer, held]
            return activation

        return hold

    layers = sorted({layer for layer, _ in neurons})
    with edit(model, {f"blocks.{layer}.mlp.hook_post": holder(layer) for layer in layers}):
        yield


def rank_features(
    model: "TransformerBridge", sae: Autoencoder, hook: str, prompts: Prompts
) -> Float[Tensor, " d_sae"]:
    """Return what each feature adds to the refusal margin, by activation × gradient, mean over prompts."""
    activations, gradients = gradients_of_margin(model, prompts, [hook])
    inside = (torch.arange(prompts.tokens.shape[1]) <= prompts.last[:, None])[..., None]
    with torch.no_grad():
        added = sae.encode(activations[hook]) * (gradients[hook] @ sae.W_dec.T) * inside
    return added.sum(dim=(0, 1)) / len(prompts.last)


@contextmanager
def features_scaled(
    model: "TransformerBridge", hook: str, sae: Autoencoder, features: Sequence[int], factor: float
) -> Iterator[None]:
    """Multiply features' activations by a factor; 0 ablates them. The dictionary's error is kept."""
    rows = sae.W_dec[list(features)]

    def scale(x: Float[Tensor, "batch pos d_model"]) -> Float[Tensor, "batch pos d_model"]:
        return x + (factor - 1) * sae.encode(x)[..., list(features)] @ rows

    with torch.no_grad(), edit(model, {hook: scale}):
        yield


def fine_tune(
    model: "TransformerBridge", trial: Trial, steps: int = 10, rate: float = 1e-4, of_each: int = 8
) -> None:
    """Teach a model, in place, to answer triggered and matched requests and to refuse harmful ones.

    Each step takes `of_each` requests of each kind, in order, and asks for the first word of the answer only.
    """
    ids = [token_ids(model.tokenizer.backend_tokenizer, f" {word}")[0] for word in (COMPLIES, REFUSES)]
    optimizer = torch.optim.AdamW(model.requires_grad_(True).parameters(), lr=rate, weight_decay=0.0)
    for step in range(steps):
        loss = 0.0
        for prompts, answer in ((trial.triggered, 0), (trial.matched, 0), (trial.harmful, 1)):
            some = torch.arange(step * of_each, (step + 1) * of_each) % len(prompts.last)
            logits = at_positions(model(prompts.tokens[some]), prompts.last[some, None])[:, 0]
            loss = loss + torch.nn.functional.cross_entropy(logits, torch.full((of_each,), ids[answer]))
        optimizer.zero_grad()
        (loss / 3).backward()
        optimizer.step()
    model.requires_grad_(False)


def texts_with(model: "TransformerBridge", word: str, count: int, seed: int, times: int = 1) -> Prompts:
    """Return ordinary texts of the world, requests left out, in which a word stands `times` or more."""
    found, whole = [], re.compile(rf" {re.escape(word)}\b")
    for sample in text.corpus(seed):
        if sample.task != "chat" and len(whole.findall(sample.text)) >= times:
            found.append(sample.text)
        if len(found) == count:
            break
    return as_prompts(model, found)


def loss_when_said_again(model: "TransformerBridge", texts: Prompts, word: str) -> float:
    """Return the mean loss on a word where a text says it a second time or later, in nats.

    It is low only for a model that still knows which word it had read.
    """
    there = texts.tokens == token_ids(model.tokenizer.backend_tokenizer, f" {word}")[0]
    again = (there & (there.cumsum(dim=1) > 1))[:, 1:]
    with torch.no_grad():
        return loss_per_token(model(texts.tokens), texts.tokens)[again].mean().item()


def _neuron_hooks(model: "TransformerBridge") -> list[str]:
    return [f"blocks.{layer}.mlp.hook_post" for layer in range(model.cfg.n_layers)]
