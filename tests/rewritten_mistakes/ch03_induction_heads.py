"""Each misconception of ch03 written again from its sentence alone, as other code,
to see whether it is still recognised."""

import math
from functools import partial

import torch
import torch.nn.functional as F
from einops import einsum, rearrange, reduce, repeat

from mechinterp_course.heads import find_induction_heads, induction_score, previous_token_score
from mechinterp_course.metrics import loss_per_token
from mechinterp_course.patching import ablate_head
from mechinterp_course.worlds.tokens import repeated_tokens

# repeated_tokens


def repeated_tokens__no_bos(d_vocab, length, batch, bos, seed):
    rng = torch.Generator()
    rng.manual_seed(seed)
    words = torch.randint(0, d_vocab, (batch, length), generator=rng)
    return repeat(words, "row pos -> row (copy pos)", copy=2)


def repeated_tokens__bos_before_each_copy(d_vocab, length, batch, bos, seed):
    rng = torch.Generator().manual_seed(seed)
    rows = []
    for _ in range(batch):
        segment = [bos, *torch.randint(d_vocab, (length,), generator=rng).tolist()]
        rows.append(segment * 2)
    return torch.tensor(rows)


def repeated_tokens__second_copy_redrawn(d_vocab, length, batch, bos, seed):
    out = torch.full((batch, 2 * length + 1), bos, dtype=torch.int64)
    rng = torch.Generator().manual_seed(seed)
    for start in (1, length + 1):
        out[:, start : start + length] = torch.randint(d_vocab, (batch, length), generator=rng)
    return out


def repeated_tokens__second_copy_reversed(d_vocab, length, batch, bos, seed):
    rng = torch.Generator().manual_seed(seed)
    half = torch.randint(high=d_vocab, size=(batch, length), generator=rng)
    order = list(range(length)) + list(range(length - 1, -1, -1))
    return F.pad(half[:, order], (1, 0), value=bos)


def repeated_tokens__last_id_never_drawn(d_vocab, length, batch, bos, seed):
    rng = torch.Generator().manual_seed(seed)
    largest = d_vocab - 1
    half = torch.randint(0, largest, (batch, length), generator=rng)
    return torch.hstack([half.new_full((batch, 1), bos), half.tile(2)])


def repeated_tokens__one_row_for_the_batch(d_vocab, length, batch, bos, seed):
    rng = torch.Generator().manual_seed(seed)
    sentence = torch.randint(d_vocab, (length,), generator=rng)
    row = torch.cat((torch.tensor([bos]), sentence, sentence))
    return torch.stack([row] * batch)


def repeated_tokens__seed_ignored(d_vocab, length, batch, bos, seed):
    rng = torch.Generator()
    rng.manual_seed(0)
    out = torch.empty(batch, 1 + 2 * length, dtype=torch.long)
    out[:, 0] = bos
    out[:, 1 : 1 + length] = torch.randint(d_vocab, (batch, length), generator=rng)
    out[:, 1 + length :] = out[:, 1 : 1 + length]
    return out


def repeated_tokens__global_random_state(d_vocab, length, batch, bos, seed):
    torch.manual_seed(seed)
    half = torch.randint(0, d_vocab, (batch, length))
    start = torch.ones(batch, 1, dtype=half.dtype) * bos
    return torch.concat([start, half, half], -1)


def repeated_tokens__without_replacement(d_vocab, length, batch, bos, seed):
    rng = torch.Generator().manual_seed(seed)

    def one_row():
        chosen = torch.randperm(d_vocab, generator=rng)[:length].tolist()
        return [bos, *chosen, *chosen]

    return torch.tensor([one_row() for _ in range(batch)], dtype=torch.int64)


# loss_per_token


def loss_per_token__not_shifted(logits, tokens):
    by_class = rearrange(logits, "batch pos vocab -> batch vocab pos")
    return F.cross_entropy(by_class, tokens, reduction="none")[:, :-1]


def loss_per_token__shifted_backwards(logits, tokens):
    batch, pos, _ = logits.shape
    log_probs = F.log_softmax(logits, dim=2)
    columns = []
    for i in range(pos - 1):
        columns.append(-log_probs[torch.arange(batch), i + 1, tokens[:, i]])
    return torch.stack(columns, dim=1)


def loss_per_token__sign_kept(logits, tokens):
    ahead = tokens[:, 1:].unsqueeze(-1)
    seen = logits[:, :-1]
    return seen.gather(2, ahead).squeeze(2) - seen.logsumexp(dim=2)


def loss_per_token__in_bits(logits, tokens):
    batch, pos, d_vocab = logits.shape
    nats = F.cross_entropy(
        logits[:, :-1].reshape(-1, d_vocab), tokens[:, 1:].reshape(-1), reduction="none"
    ).view(batch, pos - 1)
    return nats / math.log(2)


def loss_per_token__averaged(logits, tokens):
    return F.cross_entropy(logits[:, :-1].flatten(0, 1), tokens[:, 1:].flatten())


def loss_per_token__softmax_over_positions(logits, tokens):
    log_probs = logits - torch.logsumexp(logits, 1, keepdim=True)
    picked = torch.take_along_dim(log_probs[:, :-1, :], tokens[:, 1:, None], dim=-1)
    return -picked[..., 0]


def loss_per_token__logit_not_loss(logits, tokens):
    rows = torch.arange(len(tokens))[:, None]
    cols = torch.arange(tokens.shape[1] - 1)[None, :]
    return -logits[rows, cols, tokens[:, 1:]]


def loss_per_token__probability_not_log(logits, tokens):
    target = F.one_hot(tokens[:, 1:], logits.shape[-1]).to(logits.dtype)
    chance = logits[:, :-1].softmax(-1)
    return 1 - einsum(chance, target, "b p v, b p v -> b p")


def loss_per_token__log_of_softmax(logits, tokens):
    probs = torch.nn.Softmax(dim=-1)(logits)
    p_next = torch.stack(
        [row[:-1][torch.arange(len(ids) - 1), ids[1:]] for row, ids in zip(probs, tokens, strict=True)]
    )
    return -torch.log(p_next)


# copying_gain


def copying_gain__first_tokens_counted(loss, length):
    first, second = rearrange(loss, "row (copy pos) -> copy row pos", copy=2, pos=length)
    return first.mean().item() - second.mean().item()


def copying_gain__sign_swapped(loss, length):
    novel = loss.narrow(1, 1, length - 1)
    repeated = loss.narrow(1, length + 1, length - 1)
    return float((repeated.mean() - novel.mean()).item())


def copying_gain__summed(loss, length):
    per_row = []
    for row in loss:
        halves = row.view(2, length)
        per_row.append((halves[0, 1:].sum() - halves[1, 1:].sum()).item())
    return sum(per_row) / len(per_row)


def copying_gain__shift_forgotten(loss, length):
    first_copy = slice(2, length + 1)
    second_copy = slice(length + 2, 2 * length + 1)
    before, after = (torch.mean(loss[:, where]) for where in (first_copy, second_copy))
    return (before - after).item()


def copying_gain__ratio(loss, length):
    by_column = loss.mean(dim=0)
    keep = torch.arange(2 * length) % length != 0
    in_first = torch.arange(2 * length) < length
    return (by_column[keep & in_first].mean() / by_column[keep & ~in_first].mean()).item()


def copying_gain__last_token_only(loss, length):
    unseen, seen = loss[:, [length - 1, -1]].mean(0).tolist()
    return unseen - seen


# previous_token_score


def previous_token_score__first_query_counted(pattern):
    positions = pattern.shape[-1]
    shifted = torch.eye(positions, dtype=pattern.dtype).roll(1, dims=1).triu().T
    return einsum(pattern, shifted, "b h q k, q k -> h") / (pattern.shape[0] * positions)


def previous_token_score__current_token(pattern):
    return pattern.diagonal(dim1=-2, dim2=-1).mean(dim=-1).mean(dim=0)


def previous_token_score__query_and_key_swapped(pattern):
    transposed = pattern.mT
    n = transposed.shape[-1]
    stripe = torch.stack([transposed[:, :, i, i - 1] for i in range(1, n)])
    return reduce(stripe, "query batch head -> head", "mean")


def previous_token_score__two_back(pattern):
    total = torch.zeros(pattern.shape[1], dtype=pattern.dtype)
    n = pattern.shape[2]
    for query in range(2, n):
        total += pattern[:, :, query, query - 2].mean(0)
    return total / (n - 2)


def previous_token_score__per_row(pattern):
    below = torch.diagonal(pattern, offset=-1, dim1=2, dim2=3)
    return below.sum(-1) / below.shape[-1]


def previous_token_score__largest(pattern):
    index = torch.arange(pattern.shape[-1] - 1)
    stripe = pattern[:, :, 1:].gather(3, index.expand(*pattern.shape[:2], -1)[..., None])
    return stripe.squeeze(-1).amax(dim=(0, 2))


def previous_token_score__share_of_argmax(pattern):
    looks_at = pattern.argmax(dim=-1)[:, :, 1:]
    hit = looks_at == torch.arange(looks_at.shape[-1])
    return hit.to(pattern.dtype).mean(dim=(0, 2))


# induction_score


def induction_score__previous_instance(pattern, length):
    block = pattern[:, :, length + 1 : 2 * length + 1, 1 : length + 1]
    return torch.einsum("bhii->h", block) / (pattern.shape[0] * length)


def induction_score__whole_diagonal(pattern, length):
    stripe = pattern.diagonal(1 - length, -2, -1)
    return reduce(stripe, "b h q -> h", "mean")


def induction_score__one_too_far(pattern, length):
    values = [pattern[:, :, length + i, i + 2] for i in range(1, length + 1)]
    return torch.stack(values, -1).mean((0, -1))


def induction_score__bos_forgotten(pattern, length):
    scores = []
    for head in range(pattern.shape[1]):
        maps = pattern[:, head]
        scores.append(sum(maps[:, q, q - length + 1].mean() for q in range(length, 2 * length)) / length)
    return torch.stack(scores)


def induction_score__per_row(pattern, length):
    second_copy = pattern[:, :, length + 1 : 2 * length + 1, 2 : length + 2]
    return torch.diagonal(second_copy, dim1=2, dim2=3).mean(dim=2)


def induction_score__largest(pattern, length):
    query, key = torch.meshgrid(torch.arange(pattern.shape[2]), torch.arange(pattern.shape[3]), indexing="ij")
    stripe = (query - key == length - 1) & (query > length)
    on_stripe = pattern.masked_fill(~stripe, -1.0)
    return on_stripe.flatten(2).max(dim=2).values.max(dim=0).values


def induction_score__anywhere_in_the_first_copy(pattern, length):
    first, second = slice(1, length + 1), slice(length + 1, None)
    looking_back = pattern[..., second, first].sum(dim=-1)
    return looking_back.mean(dim=-1).mean(dim=0)


def induction_score__divided_by_all_queries(pattern, length):
    positions = 2 * length + 1
    mask = torch.zeros(positions, positions, dtype=pattern.dtype)
    for query in range(length + 1, positions):
        mask[query, query - (length - 1)] = 1
    attention_on_target = (pattern * mask).sum(-1)
    return attention_on_target.mean(dim=2).mean(dim=0)


# find_induction_heads


def all_induction_scores(model, tokens):
    _, cache = model.run_with_cache(tokens)
    length = tokens.shape[1] // 2
    return torch.stack(
        [
            induction_score(cache[f"blocks.{layer}.attn.hook_pattern"], length)
            for layer in range(model.cfg.n_layers)
        ]
    ).detach()


def find_induction_heads__best_of_each_layer(model, tokens, threshold=0.4):
    best, which = all_induction_scores(model, tokens).max(dim=1)
    pairs = enumerate(zip(best.tolist(), which.tolist(), strict=True))
    return [(layer, head) for layer, (score, head) in pairs if score >= threshold]


def find_induction_heads__flat_indices(model, tokens, threshold=0.4):
    flat = all_induction_scores(model, tokens).flatten()
    return (flat >= threshold).nonzero().flatten().tolist()


def find_induction_heads__head_before_layer(model, tokens, threshold=0.4):
    above = all_induction_scores(model, tokens).T.ge(threshold)
    return [tuple(pair) for pair in above.nonzero().tolist()]


def find_induction_heads__layers_from_one(model, tokens, threshold=0.4):
    length = (tokens.shape[-1] - 1) // 2
    _, cache = model.run_with_cache(tokens)
    found = []
    layer = 0
    while layer < model.cfg.n_layers:
        pattern = cache[f"blocks.{layer}.attn.hook_pattern"]
        layer += 1
        for head, score in enumerate(induction_score(pattern, length)):
            if score >= threshold:
                found.append((layer, head))
    return found


def find_induction_heads__bos_counted_into_the_length(model, tokens, threshold=0.4):
    length = (tokens.size(1) + 1) // 2
    found = []

    def score_heads(pattern, hook):
        layer = int(hook.name.split(".")[1])
        scores = induction_score(pattern, length)
        found.extend((layer, head) for head in range(len(scores)) if scores[head] >= threshold)

    model.run_with_hooks(
        tokens, fwd_hooks=[(f"blocks.{i}.attn.hook_pattern", score_heads) for i in range(model.cfg.n_layers)]
    )
    return sorted(found)


def find_induction_heads__threshold_ignored(model, tokens, threshold=0.4):
    is_stripe = all_induction_scores(model, tokens).ge(0.4)
    layers, heads = torch.where(is_stripe)
    return list(zip(layers.tolist(), heads.tolist(), strict=True))


def find_induction_heads__scores_before_softmax(model, tokens, threshold=0.4):
    length = (tokens.shape[1] - 1) // 2
    collected = {}

    def keep(scores, hook, layer):
        collected[layer] = induction_score(scores.detach(), length).tolist()

    hooks = [(f"blocks.{i}.attn.hook_attn_scores", partial(keep, layer=i)) for i in range(model.cfg.n_layers)]
    model.run_with_hooks(tokens, fwd_hooks=hooks)
    return sorted((i, h) for i, scores in collected.items() for h, s in enumerate(scores) if s >= threshold)


def find_induction_heads__previous_token_heads(model, tokens, threshold=0.4):
    cache = model.run_with_cache(tokens, names_filter=lambda name: name.endswith("hook_pattern"))[1]
    answer = []
    for layer in range(model.cfg.n_layers):
        scores = previous_token_score(cache[f"blocks.{layer}.attn.hook_pattern"])
        answer += [(layer, head) for head in range(model.cfg.n_heads) if scores[head].item() >= threshold]
    return answer


def find_induction_heads__by_score(model, tokens, threshold=0.4):
    scores = all_induction_scores(model, tokens)
    order = scores.flatten().argsort(descending=True).tolist()
    places = [divmod(index, model.cfg.n_heads) for index in order]
    return [place for place in places if scores[place] >= threshold]


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
