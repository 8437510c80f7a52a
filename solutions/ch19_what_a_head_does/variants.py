"""Right answers, written otherwise than the chapter's: other loops, other dtypes on the way, another order.

Each must pass every check of its exercise. `<exercise>__<how it is written>`.
"""

import itertools

import torch
import torch.nn.functional as F
from einops import einsum

from mechinterp_course.heads import find_induction_heads, induction_score
from mechinterp_course.metrics import loss_per_token
from mechinterp_course.patching import ablate_head
from mechinterp_course.worlds.tokens import repeated_tokens


def ablate_head__in_place(model, tokens, layer, head, kind="zero"):
    def edit(z, hook):
        z[:, :, head, :] = {"zero": 0.0, "mean": z[:, :, head, :].mean((0, 1))}[kind]

    if kind not in ("zero", "mean"):
        raise ValueError(kind)
    return model.run_with_hooks(tokens, fwd_hooks=[(f"blocks.{layer}.attn.hook_z", edit)])


def ablate_head__mask(model, tokens, layer, head, kind="zero"):
    if kind == "zero":
        weight = 0.0
    elif kind == "mean":
        weight = 1.0
    else:
        raise ValueError("zero or mean")
    kept = torch.ones(model.cfg.n_heads, device=model.cfg.device)
    kept[head] = 0

    def edit(z, hook):
        mean = einsum(z, "batch pos head d_head -> head d_head") / (z.shape[0] * z.shape[1])
        return einsum(z, kept, "b p h d, h -> b p h d") + weight * (1 - kept)[:, None] * mean

    with model.hooks(fwd_hooks=[(f"blocks.{layer}.attn.hook_z", edit)]):
        return model(tokens)


def ablate_head__two_runs(model, tokens, layer, head, kind="zero"):
    if kind not in ("mean", "zero"):
        raise ValueError(f"no such kind: {kind}")
    name = f"blocks.{layer}.attn.hook_z"
    _, cache = model.run_with_cache(tokens, names_filter=name)
    z = cache[name].clone()
    z[:, :, head] = z[:, :, head].double().mean((0, 1)).to(z.dtype) if kind == "mean" else 0
    return model.run_with_hooks(tokens, fwd_hooks=[(name, lambda _, hook: z)])


def patch_head_output__in_place(model, clean, corrupted, layer, head):
    name = f"blocks.{layer}.attn.hook_z"
    _, cache = model.run_with_cache(clean, names_filter=name)

    def edit(z, hook):
        z[:, :, head] = cache[name][:, :, head]

    return model.run_with_hooks(corrupted, fwd_hooks=[(name, edit)])


def patch_head_output__row_by_row(model, clean, corrupted, layer, head):
    name, logits = f"blocks.{layer}.attn.hook_z", []
    for good, bad in zip(clean, corrupted, strict=True):
        source = model.run_with_cache(good[None])[1][name][:, :, head]
        edit = _overwriting(head, source)
        logits.append(model.run_with_hooks(bad[None], fwd_hooks=[(name, edit)]))
    return torch.cat(logits)


def patch_head_output__both_runs_in_one_batch(model, clean, corrupted, layer, head):
    def edit(z, hook):
        good, bad = z.chunk(2)
        mixed = torch.where((torch.arange(z.shape[2], device=z.device) == head)[:, None], good, bad)
        return torch.cat([good, mixed])

    hooks = [(f"blocks.{layer}.attn.hook_z", edit)]
    return model.run_with_hooks(torch.cat([clean, corrupted]), fwd_hooks=hooks)[len(clean) :]


def rank_heads_by_effect__all_places_first(model, tokens):
    length = (tokens.shape[1] - 1) // 2
    columns = slice(length + 1, 2 * length)
    intact = loss_per_token(model(tokens), tokens)
    rows = []
    for place in range(model.cfg.n_layers * model.cfg.n_heads):
        layer, head = divmod(place, model.cfg.n_heads)
        rise = loss_per_token(ablate_head(model, tokens, layer, head), tokens) - intact
        rows.append((layer, head, float(rise[:, columns].mean())))
    rows.sort(key=lambda row: -row[2])
    return rows


def rank_heads_by_effect__in_double(model, tokens):
    def loss_of(logits):
        return loss_per_token(logits.double(), tokens)[:, tokens.shape[1] // 2 + 1 :].mean().item()

    effects = {
        (layer, head): loss_of(ablate_head(model, tokens, layer, head, kind="zero")) - loss_of(model(tokens))
        for layer in reversed(range(model.cfg.n_layers))
        for head in reversed(range(model.cfg.n_heads))
    }
    return [(*place, effects[place]) for place in sorted(effects, key=effects.get, reverse=True)]


def rank_heads_by_effect__by_hand(model, tokens):
    length, found = tokens.shape[1] // 2, []
    for layer in range(model.cfg.n_layers):
        for head in range(model.cfg.n_heads):
            ablated = loss_per_token(ablate_head(model, tokens, layer, head), tokens)[:, -(length - 1) :]
            intact = loss_per_token(model(tokens), tokens)[:, -(length - 1) :]
            found.append((ablated.mean().item() - intact.mean().item(), layer, head))
    return [(layer, head, effect) for effect, layer, head in sorted(found)[::-1]]


def refute_redundancy__pairs_only(model, tokens, answers, layer, head):
    """Companies of two, the largest rise of all that leave half of the lead."""
    loss, lead = _measured(model, tokens, answers, [])
    alone, left = _measured(model, tokens, answers, [(layer, head)])
    if lead - left < 0.75:
        return None
    if alone - loss >= 1:
        return []
    every = [(at, number) for at in range(model.cfg.n_layers) for number in range(model.cfg.n_heads)]
    rises = {}
    for one, other in itertools.combinations([place for place in every if place != (layer, head)], 2):
        before, left = _measured(model, tokens, answers, [one, other])
        if 2 * left >= lead:
            rises[one, other] = _measured(model, tokens, answers, [one, other, (layer, head)])[0] - before
    return sorted(max(rises, key=rises.get), reverse=True)


def refute_redundancy__heads_of_its_own_layer(model, tokens, answers, layer, head):
    """One companion, sought in the head's own layer first, and returned as a list of lists."""
    _, lead = _measured(model, tokens, answers, [])
    if lead - _measured(model, tokens, answers, [(layer, head)])[1] < 0.75:
        return None
    places = [(at, number) for at in range(model.cfg.n_layers) for number in range(model.cfg.n_heads)]
    for place in sorted(places, key=lambda place: place[0] != layer):
        before, left = _measured(model, tokens, answers, [place])
        rise = _measured(model, tokens, answers, [place, (layer, head)])[0] - before
        if place != (layer, head) and left >= 0.5 * lead and rise >= 1:
            return [list(place)]


def refute_redundancy__one_batch_of_runs(model, tokens, answers, layer, head):
    """All companies of one head at once: each in rows of its own."""
    places = [(at, number) for at in range(model.cfg.n_layers) for number in range(model.cfg.n_heads)]
    others = [place for place in places if place != (layer, head)]
    runs = [
        [],
        [(layer, head)],
        *([place] for place in others),
        *([place, (layer, head)] for place in others),
    ]
    keep = torch.ones(len(runs), model.cfg.n_layers, model.cfg.n_heads, device=tokens.device)
    for number, silenced in enumerate(runs):
        for place in silenced:
            keep[(number, *place)] = 0

    def silence(z, hook):
        return z * keep[:, hook.layer()].repeat_interleave(len(tokens), 0)[:, None, :, None]

    hooks = [(f"blocks.{at}.attn.hook_z", silence) for at in range(model.cfg.n_layers)]
    logits = model.run_with_hooks(tokens.repeat(len(runs), 1), fwd_hooks=hooks)[:, -1]
    right = logits.gather(1, answers.repeat(len(runs))[:, None])[:, 0]
    losses = (logits.logsumexp(1) - right).view(len(runs), -1).mean(1).tolist()
    leads = (right - logits.mean(1)).view(len(runs), -1).mean(1).tolist()
    if leads[0] - leads[1] < 0.75:
        return None
    if losses[1] - losses[0] >= 1:
        return []
    rises = {
        place: losses[2 + i + len(others)] - losses[2 + i]
        for i, place in enumerate(others)
        if leads[2 + i] >= leads[0] / 2
    }
    return [max(rises, key=rises.get)]


def _measured(model, tokens, answers, silenced):
    def silence(z, hook):
        for at, head in silenced:
            if at == hook.layer():
                z[:, :, head] = 0
        return z

    hooks = [(f"blocks.{at}.attn.hook_z", silence) for at in {place[0] for place in silenced}]
    logits = model.run_with_hooks(tokens, fwd_hooks=hooks)[:, -1]
    loss = F.cross_entropy(logits, answers).item()
    return loss, (logits[torch.arange(len(answers)), answers] - logits.mean(-1)).mean().item()


def is_induction_head__early_exit(model, layer, head, bos, lengths=(8, 12, 16, 24), threshold=0.4, seed=0):
    for length in lengths:
        tokens = repeated_tokens(model.cfg.d_vocab, length, 32, bos, seed).to(model.cfg.device)
        if (layer, head) not in find_induction_heads(model, tokens, threshold):
            return False
        second = slice(length + 1, 2 * length)
        ablated = loss_per_token(ablate_head(model, tokens, layer, head), tokens)[:, second].mean().item()
        if ablated - loss_per_token(model(tokens), tokens)[:, second].mean().item() < 0.05:
            return False
    return True


def is_induction_head__effect_first(model, layer, head, bos, lengths=(8, 12, 16, 24), threshold=0.4, seed=0):
    device, d_vocab = model.cfg.device, model.cfg.d_vocab
    batches = [repeated_tokens(d_vocab, length, 32, bos, seed).to(device) for length in sorted(lengths)]
    effects = [
        (loss_per_token(ablate_head(model, rows, layer, head), rows) - loss_per_token(model(rows), rows))[
            :, rows.shape[1] // 2 + 1 :
        ].mean()
        for rows in batches
    ]
    if min(effects) < 0.05:
        return False
    return all([layer, head] in map(list, find_induction_heads(model, rows, threshold)) for rows in batches)


def is_induction_head__own_score(model, layer, head, bos, lengths=(8, 12, 16, 24), threshold=0.4, seed=0):
    verdict = True
    for length in lengths:
        rows = repeated_tokens(model.cfg.d_vocab, length, 32, bos, seed).to(model.cfg.device)
        logits, cache = model.run_with_cache(rows)
        score = induction_score(cache["pattern", layer], length)[head].item()
        losses = [loss_per_token(each, rows) for each in (ablate_head(model, rows, layer, head), logits)]
        ablated, intact = (loss[:, length + 1 :].mean().item() for loss in losses)
        verdict &= score >= threshold and ablated - intact >= 0.05
    return verdict


def _overwriting(head, source):
    def edit(z, hook):
        z[:, :, head] = source
        return z

    return edit
