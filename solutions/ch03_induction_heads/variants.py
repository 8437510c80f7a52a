"""Right answers, written otherwise than the chapter's: other loops, other dtypes on the way, another order.

Each must pass every check of its exercise. `<exercise>__<how it is written>`.
"""

import numpy as np
import torch
import torch.nn.functional as F
from einops import einsum, rearrange, reduce, repeat

from mechinterp_course.heads import induction_score


def repeated_tokens__row_by_row(d_vocab, length, batch, bos, seed):
    generator = torch.Generator()
    generator.manual_seed(seed)
    rows = []
    for _ in range(batch):
        copy = torch.randint(0, d_vocab, (length,), generator=generator).tolist()
        rows.append([bos, *copy, *copy])
    return torch.tensor(rows)


def repeated_tokens__with_einops(d_vocab, length, batch, bos, seed):
    generator = torch.Generator().manual_seed(seed)
    copy = torch.randint(low=0, high=d_vocab, size=(batch, length), generator=generator)
    both = repeat(copy, "batch token -> batch (copy token)", copy=2)
    return F.pad(both, (1, 0), value=bos)


def repeated_tokens__with_numpy(d_vocab, length, batch, bos, seed):
    copy = np.random.default_rng(seed).integers(0, d_vocab, size=(batch, length))
    return torch.from_numpy(np.concatenate([np.full((batch, 1), bos), copy, copy], axis=1)).long()


def repeated_tokens__uniform_floats(d_vocab, length, batch, bos, seed):
    uniform = torch.rand(batch, length, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    copy = (uniform * d_vocab).floor().to(torch.int64)
    return torch.hstack([copy.new_full((batch, 1), bos), copy.tile(1, 2)])


def loss_per_token__cross_entropy(logits, tokens):
    logits = rearrange(logits[:, :-1], "batch pos d_vocab -> batch d_vocab pos")
    return F.cross_entropy(logits, tokens[:, 1:], reduction="none")


def loss_per_token__in_double(logits, tokens):
    log_probs = torch.log_softmax(logits.double(), dim=-1)
    loss = -log_probs[:, :-1].gather(2, tokens[:, 1:].unsqueeze(2))
    return loss[..., 0].to(logits.dtype)


def loss_per_token__loops(logits, tokens):
    batch, pos, _ = logits.shape
    loss = torch.zeros(batch, pos - 1, dtype=logits.dtype, device=logits.device)
    for row in range(batch):
        for i in range(pos - 1):
            shifted = logits[row, i] - logits[row, i].max()
            loss[row, i] = shifted.exp().sum().log() - shifted[tokens[row, i + 1]]
    return loss


def loss_per_token__one_hot(logits, tokens):
    chosen = F.one_hot(tokens[:, 1:], logits.shape[-1]).to(logits.dtype)
    log_probs = logits[:, :-1] - logits[:, :-1].logsumexp(-1, keepdim=True)
    return -einsum(log_probs, chosen, "batch pos d_vocab, batch pos d_vocab -> batch pos")


def copying_gain__difference_first(loss, length):
    return float((loss[:, 1:length] - loss[:, length + 1 :]).mean())


def copying_gain__loops(loss, length):
    total = 0.0
    for row in loss.tolist():
        for token in range(1, length):
            total += row[token] - row[length + token]
    return total / (len(loss) * (length - 1))


def copying_gain__in_double(loss, length):
    first, second = loss.double().chunk(2, dim=1)
    return first[:, 1:].mean().item() - second[:, 1:].mean().item()


def previous_token_score__loops(pattern):
    batch, heads, n, _ = pattern.shape
    scores = torch.zeros(heads, dtype=pattern.dtype, device=pattern.device)
    for head in range(heads):
        values = [pattern[row, head, query, query - 1] for row in range(batch) for query in range(1, n)]
        scores[head] = torch.stack(values).mean()
    return scores


def previous_token_score__mask(pattern):
    n = pattern.shape[-1]
    stripe = torch.diag(torch.ones(n - 1, dtype=pattern.dtype, device=pattern.device), -1)
    return einsum(pattern, stripe, "b h q k, q k -> h") / (len(pattern) * (n - 1))


def previous_token_score__in_double(pattern):
    diagonal = pattern.double()[..., 1:, :-1].diagonal(dim1=-2, dim2=-1)
    return reduce(diagonal, "batch head query -> head", "mean").to(pattern.dtype)


def induction_score__loops(pattern, length):
    scores = []
    for head in range(pattern.shape[1]):
        total = 0.0
        for query in range(length + 1, 2 * length + 1):
            total += pattern[:, head, query, query - length + 1].sum().item()
        scores.append(total / (len(pattern) * length))
    return torch.tensor(scores, dtype=pattern.dtype, device=pattern.device)


def induction_score__diagonal_of_a_block(pattern, length):
    block = pattern[:, :, length + 1 :, 2 : length + 2]
    return block.diagonal(dim1=2, dim2=3).mean(dim=2).mean(dim=0)


def induction_score__gather(pattern, length):
    second = pattern[:, :, length + 1 :]
    key = (
        torch.arange(2, length + 2, device=pattern.device).view(1, 1, length, 1).expand(*second.shape[:3], 1)
    )
    return second.gather(3, key).squeeze(3).mean((0, 2))


def find_induction_heads__one_stacked_pattern(model, tokens, threshold=0.4):
    _, cache = model.run_with_cache(tokens, names_filter=lambda name: name.endswith("hook_pattern"))
    patterns = torch.cat(
        [cache[f"blocks.{layer}.attn.hook_pattern"] for layer in range(model.cfg.n_layers)], dim=1
    )
    scores = induction_score(patterns, (tokens.shape[1] - 1) // 2)
    return [divmod(place, model.cfg.n_heads) for place in range(len(scores)) if scores[place] >= threshold]


def find_induction_heads__with_hooks(model, tokens, threshold=0.4):
    found = set()

    def look(pattern, hook):
        for head, score in enumerate(induction_score(pattern, tokens.shape[1] // 2).tolist()):
            if not score < threshold:
                found.add((hook.layer(), head))

    model.run_with_hooks(tokens, fwd_hooks=[(lambda name: name.endswith("attn.hook_pattern"), look)])
    return sorted(found)


def find_induction_heads__row_by_row(model, tokens, threshold=0.4):
    caches = [model.run_with_cache(row[None])[1] for row in tokens]
    found = []
    for layer in range(model.cfg.n_layers):
        scores = sum(induction_score(cache["pattern", layer], tokens.shape[1] // 2) for cache in caches)
        found += [
            (layer, head) for head in range(len(scores)) if scores[head].item() / len(caches) >= threshold
        ]
    return found
