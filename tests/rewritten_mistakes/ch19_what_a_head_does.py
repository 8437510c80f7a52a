"""Each misconception of ch03 written again from its sentence alone, as other code,
to see whether it is still recognised."""

from functools import partial

import torch
import torch.nn.functional as F
from einops import reduce, repeat

from mechinterp_course.heads import find_induction_heads, induction_score
from mechinterp_course.metrics import loss_per_token
from mechinterp_course.patching import ablate_head
from mechinterp_course.worlds.tokens import repeated_tokens

# ablate_head


def z_name(layer):
    return f"blocks.{layer}.attn.hook_z"


def check_kind(kind):
    if kind not in ("zero", "mean"):
        raise ValueError(f"unknown kind of ablation: {kind!r}")


def ablate_head__whole_layer(model, tokens, layer, head, kind="zero"):
    check_kind(kind)

    def knock_out(z, hook):
        if kind == "zero":
            return torch.zeros_like(z)
        return z.mean((0, 1), keepdim=True).expand_as(z).clone()

    return model.run_with_hooks(tokens, fwd_hooks=[(z_name(layer), knock_out)])


def ablate_head__all_but_this_head(model, tokens, layer, head, kind="zero"):
    if kind == "zero":
        scale = 0.0
    elif kind == "mean":
        scale = 1.0
    else:
        raise ValueError(kind)
    mask = torch.arange(model.cfg.n_heads) == head

    def keep_only(z, hook):
        baseline = scale * reduce(z, "batch pos head d -> head d", "mean")
        return torch.where(mask[:, None], z, baseline)

    return model.run_with_hooks(tokens, fwd_hooks=[(z_name(layer), keep_only)])


def ablate_head__position_axis(model, tokens, layer, head, kind="zero"):
    check_kind(kind)

    def hook_fn(z, hook):
        z = z.clone()
        z[:, head] = 0.0 if kind == "zero" else z[:, head].mean(dim=(0, 1))
        return z

    return model.run_with_hooks(tokens, fwd_hooks=[(z_name(layer), hook_fn)])


def ablate_head__hook_left_behind(model, tokens, layer, head, kind="zero"):
    match kind:
        case "zero":
            replacement = torch.zeros_like
        case "mean":

            def replacement(own):
                return own.mean((0, 1)).expand_as(own)
        case _:
            raise ValueError("kind must be zero or mean")

    def replace(z, hook):
        pieces = list(z.unbind(dim=2))
        pieces[head] = replacement(pieces[head])
        return torch.stack(pieces, dim=2)

    model.add_hook(z_name(layer), replace)
    return model(tokens)


def ablate_head__mean_over_batch_only(model, tokens, layer, head, kind="zero"):
    check_kind(kind)
    _, cache = model.run_with_cache(tokens)
    z = cache[z_name(layer)].clone()
    z[:, :, head] = z[:, :, head].mean(dim=0, keepdim=True) if kind == "mean" else 0
    return model.run_with_hooks(tokens, fwd_hooks=[(z_name(layer), lambda _, hook: z)])


def ablate_head__mean_over_positions_only(model, tokens, layer, head, kind="zero"):
    fills = {
        "zero": lambda own: torch.zeros_like(own),
        "mean": lambda own: repeat(own.mean(1), "b d -> b p d", p=own.shape[1]),
    }
    if kind not in fills:
        raise ValueError(f"kind is {kind}")

    def hook_fn(z, hook):
        z = z.clone()
        z[:, :, head] = fills[kind](z[:, :, head])
        return z

    return model.run_with_hooks(tokens, fwd_hooks=[(z_name(layer), hook_fn)])


def ablate_head__mean_over_heads_too(model, tokens, layer, head, kind="zero"):
    def to_zero(z, hook):
        z = z.clone()
        z.select(2, head).zero_()
        return z

    def to_mean(z, hook):
        average = z.flatten(0, 2).mean(0)
        z = z.clone()
        z[:, :, head, :] = average
        return z

    if kind == "zero":
        return model.run_with_hooks(tokens, fwd_hooks=[(z_name(layer), to_zero)])
    if kind == "mean":
        return model.run_with_hooks(tokens, fwd_hooks=[(z_name(layer), to_mean)])
    raise ValueError(kind)


def ablate_head__kind_ignored(model, tokens, layer, head, kind="zero"):
    alive = torch.ones(model.cfg.n_heads, 1)
    alive[head] = 0

    def hook_fn(z, hook):
        return z * alive

    return model.run_with_hooks(tokens, fwd_hooks=[(z_name(layer), hook_fn)])


def ablate_head__other_kinds_accepted(model, tokens, layer, head, kind="zero"):
    def hook_fn(z, hook):
        own = z[:, :, head]
        new = torch.zeros(z.shape[-1], dtype=z.dtype) if kind == "zero" else own.flatten(0, 1).mean(0)
        return torch.cat([z[:, :, :head], new.expand_as(own).unsqueeze(2), z[:, :, head + 1 :]], dim=2)

    return model.run_with_hooks(tokens, fwd_hooks=[(z_name(layer), hook_fn)])


def ablate_head__queries_silenced(model, tokens, layer, head, kind="zero"):
    check_kind(kind)

    def hook_fn(q, hook):
        q = q.clone()
        if kind == "zero":
            q[:, :, head] = 0
        else:
            q[:, :, head] = reduce(q[:, :, head], "b p d -> d", "mean")
        return q

    return model.run_with_hooks(tokens, fwd_hooks=[(f"blocks.{layer}.attn.hook_q", hook_fn)])


# patch_head_output


def patch_head_output__runs_swapped(model, clean, corrupted, layer, head):
    name = z_name(layer)
    stored = {}

    def save(z, hook):
        stored["z"] = z.detach().clone()

    def paste(z, hook):
        z = z.clone()
        z[:, :, head] = stored["z"][:, :, head]
        return z

    model.run_with_hooks(corrupted, fwd_hooks=[(name, save)])
    return model.run_with_hooks(clean, fwd_hooks=[(name, paste)])


def patch_head_output__whole_layer(model, clean, corrupted, layer, head):
    donor = model.run_with_cache(clean)[1][f"blocks.{layer}.attn.hook_z"].clone()
    return model.run_with_hooks(corrupted, fwd_hooks=[(f"blocks.{layer}.attn.hook_z", lambda z, hook: donor)])


def patch_head_output__residual_stream(model, clean, corrupted, layer, head):
    name = f"blocks.{layer}.hook_resid_post"
    _, cache = model.run_with_cache(clean)

    def overwrite(resid, hook):
        return cache[name].clone()

    return model.run_with_hooks(corrupted, fwd_hooks=[(name, overwrite)])


def patch_head_output__last_position_only(model, clean, corrupted, layer, head):
    _, cache = model.run_with_cache(clean)
    last = cache[z_name(layer)][:, -1, head]

    def put(z, hook, vector):
        out = z.clone()
        out[:, -1, head, :] = vector
        return out

    return model.run_with_hooks(corrupted, fwd_hooks=[(z_name(layer), partial(put, vector=last))])


def patch_head_output__pattern_not_z(model, clean, corrupted, layer, head):
    where = f"blocks.{layer}.attn.hook_pattern"
    wanted = model.run_with_cache(clean)[1][where][:, head].clone()

    def transplant(pattern, hook):
        pattern = pattern.clone()
        pattern[:, head] = wanted
        return pattern

    return model.run_with_hooks(corrupted, fwd_hooks=[(where, transplant)])


def patch_head_output__added(model, clean, corrupted, layer, head):
    clean_z = model.run_with_cache(clean)[1][z_name(layer)]
    only_this = torch.zeros_like(clean_z)
    only_this[:, :, head] = clean_z[:, :, head]
    return model.run_with_hooks(corrupted, fwd_hooks=[(z_name(layer), lambda z, hook: z + only_this)])


def patch_head_output__hook_left_behind(model, clean, corrupted, layer, head):
    clean_z = model.run_with_cache(clean)[1]["z", layer].clone()
    selected = F.one_hot(torch.tensor(head), model.cfg.n_heads).bool()[:, None]

    def patch(z, hook):
        return torch.where(selected, clean_z, z)

    model.add_hook(f"blocks.{layer}.attn.hook_z", patch)
    return model(corrupted)


# rank_heads_by_effect


def all_heads(model):
    return [(layer, head) for layer in range(model.cfg.n_layers) for head in range(model.cfg.n_heads)]


def second_copy_loss(logits, tokens):
    length = (tokens.shape[1] - 1) // 2
    return loss_per_token(logits, tokens)[:, length + 1 :].mean().item()


def rank_heads_by_effect__smallest_first(model, tokens):
    intact = second_copy_loss(model(tokens), tokens)
    rises = {
        place: second_copy_loss(ablate_head(model, tokens, *place), tokens) - intact
        for place in all_heads(model)
    }
    return [(*place, rises[place]) for place in sorted(rises, key=rises.get)]


def rank_heads_by_effect__sign_swapped(model, tokens):
    intact = second_copy_loss(model(tokens), tokens)
    table = torch.zeros(model.cfg.n_layers, model.cfg.n_heads, dtype=torch.float64)
    for layer, head in all_heads(model):
        table[layer, head] = intact - second_copy_loss(ablate_head(model, tokens, layer, head), tokens)
    values, order = table.flatten().sort(descending=True)
    return [
        (*divmod(i, model.cfg.n_heads), value)
        for i, value in zip(order.tolist(), values.tolist(), strict=True)
    ]


def rank_heads_by_effect__first_copy(model, tokens):
    length = tokens.shape[1] // 2

    def measure(logits):
        return loss_per_token(logits, tokens)[:, 1:length].mean().item()

    base = measure(model(tokens))
    results = [(i, j, measure(ablate_head(model, tokens, i, j)) - base) for i, j in all_heads(model)]
    results.sort(key=lambda result: -result[2])
    return results


def rank_heads_by_effect__whole_sequence(model, tokens):
    before = loss_per_token(model(tokens), tokens).mean()
    ranking = []
    for layer in range(model.cfg.n_layers):
        for head in range(model.cfg.n_heads):
            after = loss_per_token(ablate_head(model, tokens, layer, head, "zero"), tokens).mean()
            ranking.append(((after - before).item(), layer, head))
    return [(layer, head, effect) for effect, layer, head in sorted(ranking, reverse=True)]


def rank_heads_by_effect__first_token_counted(model, tokens):
    length = (tokens.shape[1] - 1) // 2

    def second_half(logits):
        return loss_per_token(logits, tokens)[:, -length:].mean().item()

    rows = []
    for place in all_heads(model):
        rows.append((*place, second_half(ablate_head(model, tokens, *place)) - second_half(model(tokens))))
    return sorted(rows, key=lambda row: row[2], reverse=True)


def rank_heads_by_effect__absolute(model, tokens):
    baseline = second_copy_loss(model(tokens), tokens)
    rows = []
    for layer, head in all_heads(model):
        without = second_copy_loss(ablate_head(model, tokens, layer, head), tokens)
        rows.append((layer, head, max(without - baseline, baseline - without)))
    return sorted(rows, key=lambda row: row[-1])[::-1]


def rank_heads_by_effect__mean_ablation(model, tokens):
    baseline = second_copy_loss(model(tokens), tokens)

    def effect(place):
        return second_copy_loss(ablate_head(model, tokens, *place, kind="mean"), tokens) - baseline

    effects = map(effect, all_heads(model))
    pairs = sorted(zip(effects, all_heads(model), strict=True), reverse=True)
    return [(layer, head, value) for value, (layer, head) in pairs]


def rank_heads_by_effect__ratio(model, tokens):
    start = tokens.shape[1] // 2 + 1
    intact = loss_per_token(model(tokens), tokens)[:, start:].mean()
    rows = []
    for layer, head in all_heads(model):
        ablated = loss_per_token(ablate_head(model, tokens, layer, head), tokens)[:, start:].mean()
        rows.append((layer, head, torch.div(ablated, intact).item()))
    rows.sort(key=lambda row: row[2], reverse=True)
    return rows


def rank_heads_by_effect__head_before_layer(model, tokens):
    intact = second_copy_loss(model(tokens), tokens)
    rows = []
    for head in range(model.cfg.n_heads):
        for layer in range(model.cfg.n_layers):
            loss = second_copy_loss(ablate_head(model, tokens, layer, head), tokens)
            rows.append((head, layer, loss - intact))
    return sorted(rows, key=lambda row: row[2], reverse=True)


def rank_heads_by_effect__last_layer_only(model, tokens):
    intact = second_copy_loss(model(tokens), tokens)
    rows = []
    for layer in range(model.cfg.n_layers):
        rows = [
            (layer, head, second_copy_loss(ablate_head(model, tokens, layer, head), tokens) - intact)
            for head in range(model.cfg.n_heads)
        ]
    return sorted(rows, key=lambda row: row[2], reverse=True)


# is_induction_head


def draw_rows(model, length, bos, seed):
    return repeated_tokens(model.cfg.d_vocab, length, 32, bos, seed)


def stripe(model, tokens, layer, head):
    name = f"blocks.{layer}.attn.hook_pattern"
    _, cache = model.run_with_cache(tokens, names_filter=name)
    return induction_score(cache[name], tokens.shape[1] // 2)[head].item()


def rise(model, tokens, layer, head):
    ablated = second_copy_loss(ablate_head(model, tokens, layer, head), tokens)
    return ablated - second_copy_loss(model(tokens), tokens)


def is_induction_head__first_length_only(
    model, layer, head, bos, lengths=(8, 12, 16, 24), threshold=0.4, seed=0
):
    for length in lengths:
        tokens = draw_rows(model, length, bos, seed)
        looks = (layer, head) in find_induction_heads(model, tokens, threshold)
        matters = rise(model, tokens, layer, head) >= 0.05
        return looks and matters


def is_induction_head__any_length(model, layer, head, bos, lengths=(8, 12, 16, 24), threshold=0.4, seed=0):
    def passes(length):
        tokens = draw_rows(model, length, bos, seed)
        if (layer, head) not in find_induction_heads(model, tokens, threshold=threshold):
            return False
        return rise(model, tokens, layer, head) >= 0.05

    return any(map(passes, lengths))


def is_induction_head__stripe_only(model, layer, head, bos, lengths=(8, 12, 16, 24), threshold=0.4, seed=0):
    scores = [stripe(model, draw_rows(model, length, bos, seed), layer, head) for length in lengths]
    return min(scores) >= threshold


def is_induction_head__effect_only(model, layer, head, bos, lengths=(8, 12, 16, 24), threshold=0.4, seed=0):
    verdict = True
    for length in lengths:
        rows = repeated_tokens(model.cfg.d_vocab, length, 32, bos, seed)
        with_head = loss_per_token(model(rows), rows)
        without = loss_per_token(ablate_head(model, rows, layer, head), rows)
        verdict &= (without - with_head)[:, length + 1 :].mean().item() >= 0.05
    return verdict


def is_induction_head__threshold_ignored(
    model, layer, head, bos, lengths=(8, 12, 16, 24), threshold=0.4, seed=0
):
    for length in lengths:
        tokens = draw_rows(model, length, bos, seed)
        if (layer, head) not in find_induction_heads(model, tokens):
            return False
        if rise(model, tokens, layer, head) < 0.05:
            return False
    return True


def is_induction_head__effect_reversed(
    model, layer, head, bos, lengths=(8, 12, 16, 24), threshold=0.4, seed=0
):
    failures = 0
    for length in lengths:
        tokens = draw_rows(model, length, bos, seed)
        effect = second_copy_loss(model(tokens), tokens)
        effect -= second_copy_loss(ablate_head(model, tokens, layer, head), tokens)
        if stripe(model, tokens, layer, head) < threshold or effect < 0.05:
            failures += 1
    return failures == 0
