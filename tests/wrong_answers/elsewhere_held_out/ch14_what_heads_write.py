def cyclic_tokens__in_rising_order(d_vocab, period, length, batch, bos, seed):
    """Picks the ids of a cycle by a mask, so they always come in rising order within a round.
    axis: order, sorted, rising, ascending, increasing, any order, random, shuffled, permutation"""
    if period > d_vocab:
        raise ValueError("too few ids for this period")
    generator = torch.Generator().manual_seed(seed)
    scores = torch.rand(batch, d_vocab, generator=generator, dtype=torch.float64)
    least = scores.topk(period, dim=1).values[:, -1:]
    cycle = (scores >= least).nonzero()[:, 1].view(batch, period)
    words = cycle[:, torch.arange(length) % period]
    return torch.cat([torch.full((batch, 1), bos), words], dim=1)


def pattern_completion_score__mean_over_keys(pattern, period):
    """Averages the attention over the keys that count, instead of adding it up.
    axis: sum, added up, mean, average, keys, all keys, divide, number of keys, total"""
    positions = pattern.shape[-1]
    found = []
    for query in range(1 + period, positions):
        keys = list(range(query + 1 - period, 0, -period))
        found.append(pattern[:, :, query, keys].mean(dim=-1))
    if not found:
        raise ValueError("no query counts")
    return torch.stack(found).mean(dim=(0, 1))


def refute_period_detector__wrong_demand(model, words, period, bos):
    """Tests against the word one place too early, so it accepts a text that is continued rightly.
    axis: off by one, demands, index, place, right word, next, target, continued rightly"""
    generator = torch.Generator().manual_seed(0)
    for _ in range(100):
        order = torch.randperm(len(words), generator=generator)[:period].to(words.device)
        text = words[order].repeat(3)
        row = torch.cat([text.new_tensor([bos]), text]).long()
        demanded = row[-1 - period]
        said = model(row[None])[0, -1].argmax()
        if said != demanded:
            return row
    return row


def residual_components__attention_twice(model, tokens):
    """Takes resid_post minus resid_pre for the MLP's part, which holds the attention's part once more.
    axis: mlp, twice, attention, resid_pre, resid_mid, add up, sum, counted, difference, double"""
    _, cache = model.run_with_cache(tokens)
    parts = {"embed": cache["hook_embed"][:, -1], "pos_embed": cache["hook_pos_embed"][:, -1]}
    for layer in range(model.cfg.n_layers):
        before = cache[f"blocks.{layer}.hook_resid_pre"][:, -1]
        after = cache[f"blocks.{layer}.hook_resid_post"][:, -1]
        parts[f"attn {layer}"] = cache[f"blocks.{layer}.hook_attn_out"][:, -1]
        parts[f"mlp {layer}"] = after - before
    return parts
