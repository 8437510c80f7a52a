import torch


def cyclic_tokens__each_token_repeated_b(d_vocab, period, length, batch, bos, seed):
    """Repeats each token in place (A A B B C C) instead of the whole cycle (A B C A B C).
    axis: repeat_interleave, repeat, tile, each token, whole cycle, order, period
    """
    if d_vocab < period:
        raise ValueError(f"{d_vocab} ids are too few for {period} different tokens")
    generator = torch.Generator().manual_seed(seed)
    rounds = -(-length // period)  # rounded up
    rows = torch.full((batch, length + 1), bos, dtype=torch.int64)
    for b in range(batch):
        cycle = torch.randperm(d_vocab, generator=generator)[:period]
        rows[b, 1:] = cycle.repeat_interleave(rounds)[:length]
    return rows


def pattern_completion_score__counts_queries_with_a_key_b(pattern, period):
    """Averages over all queries that have a right key, so query `period`, in the first round, counts too.
    axis: queries, 1 + period, query period, one too early, first round, token has come before, average
    """
    n = pattern.shape[-1]
    place = torch.arange(n, device=pattern.device)
    distance = place[:, None] + 1 - place[None, :]
    right = (distance > 0) & (distance % period == 0) & (place[None, :] >= 1)
    counts = right.any(dim=1)
    if not counts.any():
        raise ValueError("the text is too short for this period")
    looked = (pattern * right).sum(dim=-1)
    return looked[:, :, counts].mean(dim=(0, 2))


def in_context_bigrams__each_follower_once_b(tokens, d_vocab):
    """Counts each different follower once, so shares don't tell how often it has followed.
    axis: set, different followers, counted once, how often, occurrences, share, frequency
    """
    batch, pos = tokens.shape
    predicted = torch.zeros(batch, pos, d_vocab, device=tokens.device)
    for b, row in enumerate(tokens.tolist()):
        for i, token in enumerate(row):
            followers = {row[j + 1] for j in range(i) if row[j] == token}
            for follower in followers:
                predicted[b, i, follower] = 1 / len(followers)
    return predicted


def in_context_bigrams__counts_carried_over_b(tokens, d_vocab):
    """Goes on with the same table of counts from row to row, so a row predicts from the rows before it.
    axis: table, reset, each row, carried over, other rows, state, counts
    """
    from collections import Counter, defaultdict

    predicted = torch.zeros(*tokens.shape, d_vocab, device=tokens.device)
    followed = defaultdict(Counter)
    for b, row in enumerate(tokens.tolist()):
        for i, token in enumerate(row):
            if i > 0:
                followed[row[i - 1]][token] += 1
            so_far = followed[token]
            total = sum(so_far.values())
            for word, times in so_far.items():
                predicted[b, i, word] = times / total
    return predicted


def refute_period_detector__surprise_without_its_sign_b(model, words, period, bos):
    """Forgets the minus of the surprise: it keeps the text whose demanded word is likeliest.
    axis: sign, minus, log probability, surprise, likeliest, least likely, wrong text kept
    """
    start = torch.tensor([bos], device=words.device)
    best, most = None, -float("inf")
    for shift in range(len(words)):
        for gap in range(1, period):
            cycle = words.roll(shift)[:period].clone()
            cycle[gap] = cycle[0]
            for length in (3 * period + 1, 3 * period + gap + 1):
                if length > 64:
                    continue
                text = cycle[torch.arange(length, device=words.device) % period]
                row = torch.cat([start, text])
                surprise = model(row[None])[0, -1].log_softmax(-1)[text[-period]].item()
                if surprise > most:
                    best, most = row, surprise
    return best


def logit_lens__adds_up_the_streams_b(model, tokens, position=-1):
    """Adds the streams up from layer to layer, though each already holds all that was written before.
    axis: running sum, stream, hook_resid_pre, already added up, cumulative, counted several times
    """
    _, cache = model.run_with_cache(tokens)
    n_layers = model.cfg.n_layers
    names = [f"blocks.{layer}.hook_resid_pre" for layer in range(n_layers)]
    names.append(f"blocks.{n_layers - 1}.hook_resid_post")
    stream, read = 0, []
    for name in names:
        stream = stream + cache[name][:, [position]]
        read.append(model.unembed(model.ln_final(stream))[:, 0])
    return torch.stack(read)


def residual_components__attention_within_the_mlp_b(model, tokens):
    """Takes the whole layer's change for the MLP's part, so that the attention's comes twice.
    axis: resid_post, resid_pre, resid_mid, MLP, attention counted twice, hook_mlp_out, sum
    """
    _, cache = model.run_with_cache(tokens)
    last = {name: cache[name][:, -1] for name in ("hook_embed", "hook_pos_embed")}
    parts = {"embed": last["hook_embed"], "pos_embed": last["hook_pos_embed"]}
    for layer in range(model.cfg.n_layers):
        block = f"blocks.{layer}"
        parts[f"attn {layer}"] = cache[f"{block}.hook_attn_out"][:, -1]
        parts[f"mlp {layer}"] = (cache[f"{block}.hook_resid_post"] - cache[f"{block}.hook_resid_pre"])[:, -1]
    return parts


def ov_circuit__destination_first_b(model, head, tokens, through_mlp=False):
    """Multiplies in the order for column vectors: rows are what is said, columns what is attended to.
    axis: transposed, source, destination, rows and columns, column vectors, order, entry [i, j]
    """
    layer, index = head
    E = model.W_E[tokens]
    if through_mlp:
        block = model.blocks[0]
        E = E + block.mlp(block.ln2(E[None]))[0]
    W_OV = (model.W_V[layer, index] @ model.W_O[layer, index]).T
    return model.W_U[:, tokens].T @ W_OV @ E.T
