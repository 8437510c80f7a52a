"""Right answers, written otherwise than the chapter's: other loops, other dtypes on the way, another order.

Each must pass every check of its exercise. `<exercise>__<how it is written>`.
"""

import random
from itertools import cycle as going_round
from itertools import islice

import numpy as np
import torch
import torch.nn.functional as F
from einops import einsum, reduce


def cyclic_tokens__smallest_of_random_numbers(d_vocab, period, length, batch, bos, seed):
    if period > d_vocab:
        raise ValueError("the vocabulary is too small")
    numbers = torch.rand(batch, d_vocab, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    cycles = numbers.argsort(dim=1)[:, :period]
    return F.pad(cycles.repeat(1, length // period + 1)[:, :length], (1, 0), value=bos)


def cyclic_tokens__with_numpy(d_vocab, period, length, batch, bos, seed):
    generator = np.random.default_rng(seed)
    if d_vocab < period:
        raise ValueError
    rows = [np.resize(generator.choice(d_vocab, period, replace=False), length) for _ in range(batch)]
    return torch.from_numpy(np.insert(np.stack(rows), 0, bos, axis=1)).long()


def cyclic_tokens__python_lists(d_vocab, period, length, batch, bos, seed):
    source = random.Random(seed)
    ids = range(d_vocab)
    return torch.tensor(
        [[bos, *islice(going_round(source.sample(ids, period)), length)] for _ in range(batch)]
    )


def pattern_completion_score__with_a_mask(pattern, period):
    n = pattern.shape[-1]
    if n < 2 + period:
        raise ValueError("too short")
    query, key = torch.meshgrid(torch.arange(n), torch.arange(n), indexing="ij")
    steps = query + 1 - key
    right = (steps > 0) & (steps % period == 0) & (key > 0)
    looked = (pattern * right.to(pattern)).sum(-1)[..., 1 + period :]
    return reduce(looked, "batch head query -> head", "mean")


def pattern_completion_score__by_stripes(pattern, period):
    n = pattern.shape[-1]
    queries = n - 1 - period
    if queries < 1:
        raise ValueError(f"{n} positions are too few")
    total = 0
    for distance in range(period - 1, n, period):
        for query in range(max(1 + period, distance + 1), n):
            total = total + pattern[:, :, query, query - distance].mean(0)
    return total / queries


def pattern_completion_score__by_what_the_tokens_are(pattern, period):
    """Compares a cycle with itself, one place on, instead of counting distances."""
    n = pattern.shape[-1]
    cycle = torch.cat([torch.tensor([-1]), torch.arange(n) % period])  # one token more than positions
    right = cycle[1 : n + 1, None] == cycle[None, :n]
    earlier = torch.ones(n, n, dtype=torch.bool).tril()
    if not right[1 + period :].any():
        raise ValueError("nothing comes back")
    looked = torch.where(right & earlier, pattern, 0.0).sum(dim=-1)
    return looked[:, :, 1 + period :].flatten(2).mean(2).mean(0)


def in_context_bigrams__by_matrices(tokens, d_vocab):
    hot = F.one_hot(tokens, d_vocab).double()
    same = einsum(hot, hot, "batch i v, batch j v -> batch i j").tril(-1)
    counts = same[:, :, :-1] @ hot[:, 1:]
    return counts.div(counts.sum(-1, keepdim=True)).nan_to_num(0.0).float()


def in_context_bigrams__with_a_table(tokens, d_vocab):
    """Keeps counts of pairs while reading, as one would by hand."""
    shares = torch.zeros(*tokens.shape, d_vocab)
    for b, row in enumerate(tokens.tolist()):
        seen = torch.zeros(d_vocab, d_vocab)
        for i, token in enumerate(row):
            if i:
                seen[row[i - 1], token] += 1
            shares[b, i] = seen[token] / seen[token].sum().clamp(min=1)
    return shares


def in_context_bigrams__one_share_at_a_time(tokens, d_vocab):
    shares = torch.zeros(*tokens.shape, d_vocab)
    for b, row in enumerate(tokens.tolist()):
        for i in range(len(row)):
            earlier = [j for j in range(i) if row[j] == row[i]]
            for j in earlier:
                shares[b, i, row[j + 1]] += 1 / len(earlier)
    return shares


def refute_period_detector__first_that_breaks_it(model, words, period, bos):
    """Returns the first text that breaks the claim, not the one that breaks it most."""
    for gap in range(1, period):
        for turn in range(len(words)):
            cycle = words.roll(-turn)[:period].clone()
            cycle[gap] = cycle[0]
            for more in (1, gap + 1):
                row = torch.cat([words.new_tensor([bos]), cycle.repeat(4), cycle[:more]])
                chances = model(row[None])[0, -1].softmax(-1)
                if chances[row[-period]] < 0.4 and chances.argmax() != row[-period]:
                    return row
    raise AssertionError("no text breaks the claim")


def refute_period_detector__random_search(model, words, period, bos):
    source = random.Random(0)
    ids = words.tolist()
    while True:
        cycle = source.sample(ids, period)
        twice = sorted(source.sample(range(period), 2))
        cycle[twice[1]] = cycle[twice[0]]
        body = (cycle * 4)[: 3 * period + source.choice(twice) + 1]
        row = torch.tensor([bos, *body]).to(words)
        chances = model(row[None])[0, -1].softmax(-1)
        if chances[body[-period]] < 0.45 and chances.argmax().item() != body[-period]:
            return row


def refute_period_detector__in_one_batch(model, words, period, bos):
    """The word comes twice in a row; all rotations of the words at once, and the second turn only."""
    cycles = torch.stack([words.roll(turn)[:period] for turn in range(len(words))])
    hardest = []
    for gap in range(1, period):
        for end in (1, gap + 1):
            cycle = torch.cat([cycles[:, :gap], cycles[:, :1], cycles[:, gap + 1 :]], dim=1)
            body = cycle.repeat(1, 4)[:, : 3 * period + end]
            rows = F.pad(body, (1, 0), value=bos)
            logits = model(rows)[:, -1]
            lead = logits.max(-1).values - logits.gather(1, body[:, -period, None])[:, 0]
            hardest.append((lead.max().item(), rows[lead.argmax()]))
    return max(hardest, key=lambda pair: pair[0])[1]


def logit_lens__layer_by_layer(model, tokens, position=-1):
    layers = model.cfg.n_layers
    names = [f"blocks.{layer}.hook_resid_pre" for layer in range(layers)]
    names.append(f"blocks.{layers - 1}.hook_resid_post")
    _, cache = model.run_with_cache(tokens, names_filter=names)
    rows = []
    for name in names:
        stream = cache[name][:, position : position + 1 or None]
        rows.append(model.unembed(model.ln_final(stream)).squeeze(1))
    return torch.stack(rows)


def logit_lens__normalized_by_hand(model, tokens, position=-1):
    _, cache = model.run_with_cache(tokens)
    stream = torch.stack(
        [
            cache["embed"] + cache["pos_embed"],
            *(cache["resid_post", layer] for layer in range(model.cfg.n_layers)),
        ]
    )[:, :, position]
    centred = stream - stream.mean(-1, keepdim=True)
    normed = centred / (centred.pow(2).mean(-1, keepdim=True) + model.cfg.eps).sqrt()
    norm = model.ln_final.original_component
    return (normed * norm.weight + norm.bias) @ model.W_U + model.b_U


def logit_lens__all_positions_at_once(model, tokens, position=-1):
    _, cache = model.run_with_cache(tokens)
    streams = [cache[f"blocks.{layer}.hook_resid_pre"] for layer in range(model.cfg.n_layers)]
    streams += [cache[f"blocks.{model.cfg.n_layers - 1}.hook_resid_post"]]
    return model.unembed(model.ln_final(torch.cat(streams))).unflatten(0, (len(streams), -1))[:, :, position]


def residual_components__differences_of_the_stream(model, tokens):
    _, cache = model.run_with_cache(tokens)
    parts = {"embed": cache["embed"][:, -1], "pos_embed": (cache["resid_pre", 0] - cache["embed"])[:, -1]}
    for layer in range(model.cfg.n_layers):
        parts[f"attn {layer}"] = (cache["resid_mid", layer] - cache["resid_pre", layer])[:, -1]
        parts[f"mlp {layer}"] = (cache["resid_post", layer] - cache["resid_mid", layer])[:, -1]
    return parts


def residual_components__attention_head_by_head(model, tokens):
    _, cache = model.run_with_cache(tokens)
    parts = {"embed": cache["embed"][:, -1], "pos_embed": cache["pos_embed"][:, -1]}
    for layer, block in enumerate(model.blocks):
        written = einsum(cache["z", layer][:, -1], block.attn.W_O, "b head e, head e d -> b d")
        parts[f"attn {layer}"] = written + block.attn.b_O
        parts[f"mlp {layer}"] = cache["mlp_out", layer][:, -1]
    return parts


def residual_components__with_hooks(model, tokens):
    found = {}

    def keep(value, hook):
        place = hook.name.split(".")
        what = place[-1].removeprefix("hook_").removesuffix("_out")
        found[what if len(place) == 1 else f"{what} {place[1]}"] = value[:, -1].clone()

    wanted = ("hook_embed", "hook_pos_embed", "hook_attn_out", "hook_mlp_out")
    model.run_with_hooks(tokens, fwd_hooks=[(lambda name: name.split(".")[-1] in wanted, keep)])
    return found


def ov_circuit__one_matrix_of_the_head(model, head, tokens, through_mlp=False):
    layer, number = head
    circuit = model.W_V[layer, number] @ model.W_O[layer, number]
    rows, block = model.W_E[tokens], model.blocks[0]
    if through_mlp:
        rows = rows + block.mlp(block.ln2(rows.unsqueeze(0))).squeeze(0)
    return (rows @ circuit) @ model.W_U[:, tokens]


def ov_circuit__from_the_right(model, head, tokens, through_mlp=False):
    layer, number = head
    attention, first = model.blocks[layer].attn, model.blocks[0]
    read = attention.W_V[number] @ (attention.W_O[number] @ model.W_U[:, tokens])
    found = model.W_E[tokens] @ read
    return found + first.mlp(first.ln2(model.W_E[tokens][None]))[0] @ read if through_mlp else found


def ov_circuit__row_by_row(model, head, tokens, through_mlp=False):
    rows = []
    for token in tokens:
        row = model.W_E[token]
        if through_mlp:
            block = model.blocks[0]
            row = row + block.mlp(block.ln2(row[None, None]))[0, 0]
        rows.append((row @ model.W_V[head] @ model.W_O[head] @ model.W_U)[tokens])
    return torch.stack(rows)
