import torch


def cyclic_tokens__reseeded_for_each_row(d_vocab, period, length, batch, bos, seed):
    """Seeds a new generator with the same seed for each row, so that all rows get one and the same cycle.
    axis: generator, seed, each row, same cycle, loop, identical, rows
    """
    if period > d_vocab:
        raise ValueError(f"{d_vocab} ids are too few for {period} different ones")
    rows = []
    for _ in range(batch):
        generator = torch.Generator().manual_seed(seed)
        cycle = torch.randperm(d_vocab, generator=generator)[:period]
        rows.append(torch.cat([torch.tensor([bos]), cycle[torch.arange(length) % period]]))
    return torch.stack(rows)


def pattern_completion_score__keys_averaged(pattern, period):
    """Averages the attention over the right keys of a query instead of adding it up.
    axis: keys, mean, sum, added up, average, number of keys
    """
    n = pattern.shape[-1]
    if n < period + 2:
        raise ValueError("no query counts")
    looks = [
        pattern[:, :, query, list(range(query + 1 - period, 0, -period))].mean(dim=-1)
        for query in range(1 + period, n)
    ]
    return torch.stack(looks).mean(dim=(0, 1))


def pattern_completion_score__starts_one_query_early(pattern, period):
    """Counts the queries from `period` on, as if the cycle began at position 0: one before a token
    has come again.
    axis: first query, period, 1 + period, early, BOS, position 1, off by one
    """
    n = pattern.shape[-1]
    if n < period + 2:
        raise ValueError("no query counts")
    looks = [
        pattern[:, :, query, list(range(query + 1 - period, 0, -period))].sum(dim=-1)
        for query in range(period, n)
    ]
    return torch.stack(looks).mean(dim=(0, 1))


def in_context_bigrams__each_follower_once(tokens, d_vocab):
    """Spreads evenly over the different followers, however often each has followed.
    axis: followers, how often, count, share, distinct, evenly, occurrences
    """
    batch, length = tokens.shape
    predicted = torch.zeros(batch, length, d_vocab, device=tokens.device)
    for b in range(batch):
        for i in range(length):
            followers = tokens[b, 1 : i + 1][tokens[b, :i] == tokens[b, i]]
            if len(followers):
                seen = (torch.bincount(followers, minlength=d_vocab) > 0).float()
                predicted[b, i] = seen / seen.sum()
    return predicted


def in_context_bigrams__divides_by_one_too_many(tokens, d_vocab):
    """Divides by the number of occurrences up to position i, which counts position i itself.
    axis: divide, position i itself, earlier, occurrences, denominator, sum to 1
    """
    batch, length = tokens.shape
    predicted = torch.zeros(batch, length, d_vocab, device=tokens.device)
    for b in range(batch):
        for i in range(length):
            followers = tokens[b, 1 : i + 1][tokens[b, :i] == tokens[b, i]]
            occurrences = (tokens[b, : i + 1] == tokens[b, i]).sum()
            predicted[b, i] = torch.bincount(followers, minlength=d_vocab).float() / occurrences
    return predicted


def refute_period_detector__ends_with_an_intruder(model, words, period, bos):
    """Ends the text with a word that breaks the cycle, so the text that confuses the model isn't periodic.
    axis: periodic, intruder, breaks, last word, period, comes twice
    """
    cycle, start = words[:period], torch.tensor([bos], dtype=words.dtype, device=words.device)
    best, lowest = None, 2.0
    for length in range(3 * period + 1, min(4 * period, 64) + 1):
        text = cycle[torch.arange(length, device=words.device) % period]
        rows = []
        for intruder in words[words != text[-1]]:
            disturbed = text.clone()
            disturbed[-1] = intruder
            rows.append(torch.cat([start, disturbed]))
        rows = torch.stack(rows)
        chances = model(rows)[:, -1].softmax(dim=-1)[:, text[length - period]]
        if chances.min().item() < lowest:
            best, lowest = rows[chances.argmin()], chances.min().item()
    return best


def logit_lens__size_at_the_end_too(model, tokens, position=-1):
    """Divides every stream by the LayerNorm scale at the end of the run, not by its own size there.
    axis: scale, LayerNorm, own size, ln_final, final, hook_scale, each depth
    """
    _, cache = model.run_with_cache(tokens)
    n_layers = model.cfg.n_layers
    names = [f"blocks.{layer}.hook_resid_pre" for layer in range(n_layers)]
    names.append(f"blocks.{n_layers - 1}.hook_resid_post")
    scale, read = cache["ln_final.hook_scale"], []
    for name in names:
        stream = cache[name]
        stream = (stream - stream.mean(dim=-1, keepdim=True)) / scale
        read.append(model.unembed(stream)[:, position])
    return torch.stack(read)


def residual_components__attention_twice_too(model, tokens):
    """Takes an MLP's part as stream above minus stream below the layer, which holds the attention once more.
    axis: attention, twice, mlp, resid_pre, resid_mid, hook_mlp_out, difference
    """
    _, cache = model.run_with_cache(tokens)
    parts = {"embed": cache["hook_embed"][:, -1], "pos_embed": cache["hook_pos_embed"][:, -1]}
    for layer in range(model.cfg.n_layers):
        below, above = cache[f"blocks.{layer}.hook_resid_pre"], cache[f"blocks.{layer}.hook_resid_post"]
        parts[f"attn {layer}"] = cache[f"blocks.{layer}.hook_attn_out"][:, -1]
        parts[f"mlp {layer}"] = (above - below)[:, -1]
    return parts


def ov_circuit__mlp_without_its_norm(model, head, tokens, through_mlp=False):
    """Gives the embedding to the first MLP as it is, without the LayerNorm ln2 in front of it.
    axis: ln2, LayerNorm, MLP, normalized, rows, block, through_mlp
    """
    layer, number = head
    rows = model.W_E[tokens]
    if through_mlp:
        rows = rows + model.blocks[0].mlp(rows[None])[0]
    return rows @ model.W_V[layer, number] @ model.W_O[layer, number] @ model.W_U[:, tokens]


def ov_circuit__destination_by_source(model, head, tokens, through_mlp=False):
    """Writes the product for column vectors, so that rows are what is said and columns what stands there.
    axis: transposed, rows, columns, source, destination, attended, logit
    """
    layer, number = head
    rows = model.W_E[tokens]
    if through_mlp:
        block = model.blocks[0]
        rows = rows + block.mlp(block.ln2(rows[None]))[0]
    moved = model.W_O[layer, number].T @ model.W_V[layer, number].T @ rows.T
    return model.W_U[:, tokens].T @ moved
