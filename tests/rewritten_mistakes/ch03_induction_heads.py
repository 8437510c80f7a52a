"""Each misconception of ch03 written again from its sentence alone, as other code,
to see whether it is still recognised."""

import math
from functools import partial

import torch
import torch.nn.functional as F
from einops import einsum, rearrange, reduce, repeat

from mechinterp_course.heads import induction_score, previous_token_score

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


def stripe(model, tokens, layer, head):
    name = f"blocks.{layer}.attn.hook_pattern"
    _, cache = model.run_with_cache(tokens, names_filter=name)
    return induction_score(cache[name], tokens.shape[1] // 2)[head].item()
