def cyclic_tokens__never_bos(d_vocab, period, length, batch, bos, seed):
    """The id of BOS is kept out of the cycles, though any id is equally likely.
    axis: BOS, any ids, equally likely, left out, d_vocab, never"""
    ids = torch.tensor([token for token in range(d_vocab) if token != bos])
    if period > len(ids):
        raise ValueError(f"{d_vocab} ids are too few for a cycle of {period}")
    generator = torch.Generator().manual_seed(seed)
    order = torch.stack([torch.randperm(len(ids), generator=generator)[:period] for _ in range(batch)])
    rows = ids[order][:, torch.arange(length) % period]
    return torch.cat([torch.full((batch, 1), bos), rows], dim=1)


def pattern_completion_score__mean_over_all_queries(pattern, period):
    """The sum over queries that count is divided by the number of all queries.
    axis: queries, average, first round, divided, too small, all queries, number of"""
    pos = pattern.shape[-1]
    if pos <= period + 1:
        raise ValueError("the text is too short: no query counts")
    query = torch.arange(pos, device=pattern.device)[:, None]
    key = torch.arange(pos, device=pattern.device)
    next_one = (query + 1 - key) % period == 0
    counts = next_one & (key >= 1) & (key <= query + 1 - period) & (query >= period + 1)
    return (pattern * counts).sum(dim=-1).mean(dim=(0, 2))


def in_context_bigrams__repeats_count_once(tokens, d_vocab):
    """An indexed += counts a follower once, however often it has followed.
    axis: share, how often, repeated, counts, once, more than once, frequency"""
    batch, pos = tokens.shape
    counts = torch.zeros(batch, pos, d_vocab, device=tokens.device)
    for row in range(batch):
        for i in range(pos):
            earlier = (tokens[row, :i] == tokens[row, i]).nonzero()[:, 0]
            counts[row, i, tokens[row, earlier + 1]] += 1
    return counts / counts.sum(dim=-1, keepdim=True).clamp(min=1)


def in_context_bigrams__neighbour_left_out(tokens, d_vocab):
    """Only positions before i - 1 count, so a token twice in a row is not seen to follow itself.
    axis: j < i, neighbour, previous position, twice in a row, itself, i - 1, adjacent"""
    pos = tokens.shape[1]
    place = torch.arange(pos, device=tokens.device)
    same = tokens[:, :, None] == tokens[:, None, :-1]
    weight = (same & (place[None, :-1] < place[:, None] - 1)).float()
    followers = torch.nn.functional.one_hot(tokens[:, 1:], d_vocab).float()
    return weight @ followers / weight.sum(dim=-1, keepdim=True).clamp(min=1)


def refute_period_detector__counts_bos(model, words, period, bos):
    """The demanded word is looked up by a length that counts BOS, so the search tests one word too far.
    axis: BOS, demanded, continues rightly, rightly, model, off by one, right word"""
    generator = torch.Generator().manual_seed(0)
    start = torch.tensor([bos], device=words.device)
    for _ in range(200):
        order = torch.randperm(len(words), generator=generator).to(words.device)
        cycle = words[order[:period]]
        cycle[2] = cycle[0]  # one word with two followers
        for length in range(3 * period, min(64, 4 * period) + 1):
            row = torch.cat([start, cycle.repeat(4)[:length]])
            demanded = cycle[len(row) % period]
            chances = model(row[None])[0, -1].softmax(dim=-1)
            if chances.argmax() != demanded and chances[demanded] < 0.5:
                return row
    return row


def logit_lens__size_at_the_end(model, tokens, position=-1):
    """All depths are divided by the size that the stream has at the end.
    axis: size, scale, LayerNorm, end, as it is there, hook_scale, early layers"""
    last = model.cfg.n_layers - 1
    names = [f"blocks.{layer}.hook_resid_pre" for layer in range(last + 1)]
    names.append(f"blocks.{last}.hook_resid_post")
    _, cache = model.run_with_cache(tokens)
    streams = torch.stack([cache[name][:, position] for name in names])
    return model.unembed(streams / cache["ln_final.hook_scale"][:, position])


def logit_lens__no_bias(model, tokens, position=-1):
    """The stream is multiplied by W_U, and the bias of the unembedding is forgotten.
    axis: bias, unembed, b_U, W_U"""
    _, cache = model.run_with_cache(tokens)
    streams = [cache[f"blocks.{layer}.hook_resid_pre"] for layer in range(model.cfg.n_layers)]
    streams.append(cache[f"blocks.{model.cfg.n_layers - 1}.hook_resid_post"])
    streams = torch.stack([stream[:, position] for stream in streams])
    return model.ln_final(streams) @ model.W_U


def residual_components__heads_without_bias(model, tokens):
    """Attention's part is summed from z and W_O, and the bias of the layer's output is forgotten.
    axis: attn, bias, b_O, attention, sum, add up, missing"""
    _, cache = model.run_with_cache(tokens)
    parts = {
        "embed": cache["hook_embed"][:, -1],
        "pos_embed": cache["hook_pos_embed"][:, -1].expand(len(tokens), -1),
    }
    for layer in range(model.cfg.n_layers):
        z = cache["z", layer][:, -1]
        parts[f"attn {layer}"] = torch.einsum("bhd,hdm->bm", z, model.W_O[layer])
        parts[f"mlp {layer}"] = cache[f"blocks.{layer}.hook_mlp_out"][:, -1]
    return parts


def ov_circuit__all_destinations(model, head, tokens, through_mlp=False):
    """The columns are all words of the vocabulary instead of the given tokens.
    axis: columns, shape, tokens, destination, vocabulary, W_U"""
    layer, number = head
    rows = model.W_E[tokens]
    if through_mlp:
        block = model.blocks[0]
        rows = rows + block.mlp(block.ln2(rows[None]))[0]
    return rows @ model.W_V[layer, number] @ model.W_O[layer, number] @ model.W_U


def ov_circuit__mlp_of_its_own_layer(model, head, tokens, through_mlp=False):
    """The rows go through the MLP of the head's layer instead of the first one.
    axis: MLP, through_mlp, first, block, blocks[0], layer of the head, own layer"""
    layer, number = head
    rows = model.W_E[tokens]
    if through_mlp:
        block = model.blocks[layer]
        rows = rows + block.mlp(block.ln2(rows[None]))[0]
    return rows @ model.W_V[layer, number] @ model.W_O[layer, number] @ model.W_U[:, tokens]
