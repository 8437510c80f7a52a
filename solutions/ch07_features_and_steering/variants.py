"""Right answers, written otherwise than the chapter's. Each must pass every check of its exercise."""

import random
from contextlib import ExitStack, contextmanager

import numpy as np
import torch
from einops import einsum

from mechinterp_course import hooks

# adding ---------------------------------------------------------------------------------------------------


class adding__as_a_class:
    def __init__(self, model, hook, direction, amount):
        self.edit = hooks.edit(model, {hook: lambda x: x + direction * amount})

    def __enter__(self):
        self.edit.__enter__()

    def __exit__(self, *problem):
        return self.edit.__exit__(*problem)


@contextmanager
def adding__with_the_bridges_own_hooks(model, hook, direction, amount):
    if hook not in model.hook_dict:
        raise KeyError(hook)
    with model.hooks(fwd_hooks=[(hook, lambda x, hook: torch.add(x, direction, alpha=amount))]):
        yield model


@contextmanager
def adding__with_an_exit_stack(model, hook, direction, amount):
    step = (amount * direction)[None, None]
    with ExitStack() as stack:
        stack.enter_context(hooks.edit(model, {hook: lambda x: step + x}))
        yield


# strongest_contexts ---------------------------------------------------------------------------------------


def strongest_contexts__with_numpy(feature_acts, readable, count):
    seen = np.where(readable.numpy(), feature_acts.numpy(), -np.inf)
    places, values = seen.argmax(axis=1), seen.max(axis=1)
    order = np.argsort(-values, kind="stable")
    return [(int(n), int(places[n])) for n in order if values[n] > 0][:count]


def strongest_contexts__sorted_by_a_key(feature_acts, readable, count):
    seen = (feature_acts * readable).tolist()
    found = [(-max(row), number, row.index(max(row))) for number, row in enumerate(seen)]
    return [(number, place) for value, number, place in sorted(found)[:count] if value < 0]


def strongest_contexts__one_at_a_time(feature_acts, readable, count):
    left, contexts = (feature_acts * readable).clone(), []
    while len(contexts) < count and left.max() > 0:
        text, place = divmod(int((left == left.max()).flatten().int().argmax()), left.shape[1])
        contexts.append((text, place))
        left[text] = 0
    return contexts


# direct_logits --------------------------------------------------------------------------------------------


def direct_logits__norm_folded_into_the_unembedding(model, directions):
    folded = model.ln_final.original_component.weight[:, None] * model.W_U
    return directions @ (folded - folded.mean(dim=0)).detach()


def direct_logits__in_double_precision(model, directions):
    weight, unembedding = (
        model.ln_final.original_component.weight.detach().double(),
        model.W_U.detach().double(),
    )
    centred = directions.double() - directions.double().mean()
    return einsum(centred, weight, unembedding, "d, d, d v -> v").float()


def direct_logits__by_the_models_own_derivative(model, directions):
    with torch.no_grad():
        return torch.mv(
            model.W_U.T,
            (directions - directions.sum() / len(directions)) * model.ln_final.original_component.weight,
        )


# intruder_items -------------------------------------------------------------------------------------------


def intruder_items__with_numpy(feature_acts, lengths, items, seed, count=10):
    strength = np.array([feature_acts[n, :length].max().item() for n, length in enumerate(lengths)])
    firing = np.argsort(-strength, kind="stable")[: int((strength > 0).sum())][:count]
    silent = np.flatnonzero(strength <= 0)
    if (strength > 0).sum() < 4 or not len(silent):
        raise ValueError("not enough")
    source, made, size = np.random.default_rng(seed), [], np.array(lengths)
    for _ in range(items):
        members = source.choice(firing, 4, replace=False)
        near = silent[np.argsort(np.abs(size[silent] - size[members].mean()), kind="stable")[:5]]
        place = int(source.integers(5))
        made.append((np.insert(members, place, source.choice(near)).tolist(), place))
    return made


def intruder_items__with_torch(feature_acts, lengths, items, seed, count=10):
    inside = torch.arange(feature_acts.shape[1]) < torch.tensor(lengths)[:, None]
    strength = feature_acts.masked_fill(~inside, 0).amax(1)
    generator = torch.Generator().manual_seed(seed)
    firing = (strength > 0).nonzero()[:, 0]
    firing = firing[strength[firing].argsort(descending=True)]
    silent, size = (strength <= 0).nonzero()[:, 0], torch.tensor(lengths).double()
    if len(firing) < 4 or len(silent) == 0:
        raise ValueError
    made = []
    for _ in range(items):
        pool = firing[:count]
        members = pool[torch.randperm(len(pool), generator=generator)[:4]]
        near = silent[(size[silent] - size[members].mean()).abs().argsort(stable=True)][:5]
        intruder = near[torch.randint(len(near), (1,), generator=generator)].item()
        place = torch.randint(5, (1,), generator=generator).item()
        texts = members.tolist()
        made.append(([*texts[:place], intruder, *texts[place:]], place))
    return made


def intruder_items__shuffled_together(feature_acts, lengths, items, seed, count=10):
    strength = {n: float(max(feature_acts[n, :length].tolist())) for n, length in enumerate(lengths)}
    firing = sorted((n for n in strength if strength[n] > 0), key=strength.get, reverse=True)
    silent = [n for n in strength if n not in firing]
    if len(firing) < 4 or not silent:
        raise ValueError("no test can be made")
    source = random.Random(f"blind {seed}")
    made = []
    for _ in range(items):
        members = source.sample(firing[:count], k=4)
        target = sum(lengths[n] for n in members)
        near = sorted(silent, key=lambda n: abs(4 * lengths[n] - target))[:5]
        intruder = source.choice(near)
        texts = [*members, intruder]
        source.shuffle(texts)
        made.append((texts, texts.index(intruder)))
    return made


# attribute_features ---------------------------------------------------------------------------------------


def attribute_features__by_added_zeros(model, sae, hook, tokens, metric):
    """The gradient with respect to something that is added to the activation, and is zero."""
    kept = {}

    def add_zeros(x):
        kept["x"] = x.detach()
        kept["zeros"] = torch.zeros_like(x, requires_grad=True)
        return x.detach() + kept["zeros"]

    with torch.enable_grad(), hooks.edit(model, {hook: add_zeros}):
        (gradient,) = torch.autograd.grad(metric(model(tokens)), kept["zeros"])
    f = sae.encode(kept["x"])
    per_feature = einsum(f, gradient, sae.W_dec, "b p f, b p d, f d -> f")
    return per_feature, float((gradient * kept["x"]).sum() - (gradient * sae.decode(f)).sum())


def attribute_features__by_the_gradient_of_the_features(model, sae, hook, tokens, metric):
    """The features are leaves of a graph, and the error is a constant in it."""
    with torch.no_grad(), hooks.cache(model, [hook]) as activations:
        model(tokens)
    x = activations[hook]
    f = sae.encode(x).detach().requires_grad_(True)
    error = (x - sae.decode(f)).detach().requires_grad_(True)
    with torch.enable_grad(), hooks.edit(model, {hook: lambda _: sae.decode(f) + error}):
        of_f, of_error = torch.autograd.grad(metric(model(tokens)), [f, error])
    return (f * of_f).detach().sum((0, 1)), (of_error * error).sum().item()


def attribute_features__feature_by_feature(model, sae, hook, tokens, metric):
    with torch.no_grad(), hooks.cache(model, [hook]) as activations:
        model(tokens)
    x = activations[hook].detach().requires_grad_(True)
    with torch.enable_grad(), hooks.edit(model, {hook: lambda _: x}):
        value = metric(model(tokens))
    gradient = torch.autograd.grad(value, [x])[0]
    f = sae.encode(x.detach())
    shares = [(f[..., i] * (gradient @ sae.W_dec[i])).sum() for i in range(len(sae.W_dec))]
    return torch.stack(shares), (gradient * (x.detach() - sae.decode(f))).sum().item()


# patch_feature --------------------------------------------------------------------------------------------


def patch_feature__by_two_decodings(model, sae, hook, tokens, other, feature):
    there = sae.encode(_read(model, hook, other))

    def exchange(x):
        here = sae.encode(x)
        turned = here.clone()
        turned[..., feature] = there[..., feature]
        return x + (sae.decode(turned) - sae.decode(here))

    with torch.no_grad(), hooks.edit(model, {hook: exchange}):
        return model(tokens)


def patch_feature__error_put_back(model, sae, hook, tokens, other, feature):
    x, there = _read(model, hook, tokens), sae.encode(_read(model, hook, other))
    f = sae.encode(x)
    error = x - sae.decode(f)
    f[:, :, feature] = there[:, :, feature]
    with torch.no_grad(), hooks.edit(model, {hook: lambda _: sae.decode(f) + error}):
        return model(tokens)


def patch_feature__with_the_bridges_hooks(model, sae, hook, tokens, other, feature):
    with torch.no_grad():
        _, cache = model.run_with_cache(other, names_filter=hook)
        there = sae.encode(cache[hook])[..., feature : feature + 1]

        def exchange(x, hook):
            return x + (there - sae.encode(x)[..., feature : feature + 1]) @ sae.W_dec[feature][None]

        return model.run_with_hooks(tokens, fwd_hooks=[(hook, exchange)])


def _read(model, hook, tokens):
    with torch.no_grad(), hooks.cache(model, [hook]) as activations:
        model(tokens)
    return activations[hook]
