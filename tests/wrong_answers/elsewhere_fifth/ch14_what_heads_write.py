import torch


def cyclic_tokens__length_counts_bos_e(d_vocab, period, length, batch, bos, seed):
    """The student takes `length` for the length of the whole row and draws one token fewer after BOS.
    axis: length counts the tokens after BOS; rows have length + 1 columns
    """
    if d_vocab < period:
        raise ValueError("too few ids for so long a cycle")
    generator = torch.Generator().manual_seed(seed)
    rows = torch.full((batch, length), bos, dtype=torch.int64)
    for row in rows:
        cycle = torch.randperm(d_vocab, generator=generator)[:period]
        row[1:] = cycle[torch.arange(length - 1) % period]
    return rows


def cyclic_tokens__one_cycle_rolled_for_each_row_e(d_vocab, period, length, batch, bos, seed):
    """The student draws a single cycle and lets every row begin at another place of it.
    axis: each row has a cycle of its own, drawn anew, not the same tokens rotated
    """
    if period > d_vocab:
        raise ValueError(f"{d_vocab} ids are too few for {period} different ones")
    gen = torch.Generator().manual_seed(seed)
    cycle = torch.randperm(d_vocab, generator=gen)[:period]
    places = torch.arange(length) % period
    body = torch.stack([cycle.roll(row)[places] for row in range(batch)])
    return torch.cat([torch.full((batch, 1), bos), body], dim=1).long()


def pattern_completion_score__looks_at_the_same_token_e(pattern, period):
    """The student counts the keys that hold the query's own token (query - k * period), not those that hold
    the next one.
    axis: keys hold the next token, one place after the earlier occurrences (query + 1 - period)
    """
    n = pattern.shape[-1]
    if n <= 1 + period:
        raise ValueError("no query counts in so short a text")
    per_query = []
    for query in range(1 + period, n):
        keys = list(range(query - period, 0, -period))
        per_query.append(pattern[:, :, query, keys].sum(dim=-1))  # [batch, head]
    return torch.stack(per_query).mean(dim=(0, 1))


def pattern_completion_score__attention_to_bos_taken_out_e(pattern, period):
    """The student regards attention to BOS as rest, and rescales each query's attention so that the other
    keys add up to one.
    axis: raw attention, no renormalisation without BOS
    """
    n = pattern.shape[-1]
    if period + 1 >= n:
        raise ValueError("the text is too short for this period")
    query = torch.arange(n, device=pattern.device)[:, None]
    key = torch.arange(n, device=pattern.device)[None, :]
    ahead = query + 1 - key
    right = (ahead > 0) & (ahead % period == 0) & (key >= 1)
    elsewhere = pattern[..., 1:].sum(dim=-1).clamp(min=1e-9)
    on_target = (pattern * right).sum(dim=-1) / elsewhere
    return on_target[:, :, 1 + period :].mean(dim=(0, 2))


def in_context_bigrams__each_follower_once_e(tokens, d_vocab):
    """The student spreads evenly over the different followers seen so far, however often each has come.
    axis: shares of occurrences, repeated followers count as often as they came
    """
    batch, n = tokens.shape
    predicted = torch.zeros(batch, n, d_vocab, device=tokens.device)
    for b in range(batch):
        for i in range(n):
            earlier = tokens[b, :i] == tokens[b, i]
            followers = set(tokens[b, 1 : i + 1][earlier].tolist())
            for v in followers:
                predicted[b, i, v] = 1 / len(followers)
    return predicted


def in_context_bigrams__divides_by_all_occurrences_e(tokens, d_vocab):
    """The student divides the counts by how often the token has occurred up to and with position i, so shares
    don't add up to one.
    axis: the denominator is the number of earlier occurrences, position i not counted
    """
    batch, n = tokens.shape
    result = torch.zeros(batch, n, d_vocab, dtype=torch.float32, device=tokens.device)
    for b in range(batch):
        row = tokens[b]
        for i in range(n):
            followers = row[1 : i + 1][row[:i] == row[i]]
            occurrences = (row[: i + 1] == row[i]).sum()
            result[b, i] = torch.bincount(followers, minlength=d_vocab).float() / occurrences
    return result


def refute_period_detector__demands_the_last_word_again_e(model, words, period, bos):
    """The student counts `period` places back from the last word instead of from the next one, so the word
    taken as demanded is the last word itself.
    axis: the demanded word is period places before the next, text[len - period], off by one
    """
    start = torch.tensor([bos], device=words.device)
    best, lowest = None, 2.0
    for shift in range(len(words)):
        some = words.roll(-shift)
        for gap in range(1, period):
            cycle = some[:period].clone()
            cycle[gap] = cycle[0]
            for length in (3 * period + 1, 3 * period + gap + 1):
                text = cycle[torch.arange(length, device=words.device) % period]
                row = torch.cat([start, text]).long()
                demanded = text[length - 1 - period]
                chance = model(row[None])[0, -1].softmax(-1)[demanded].item()
                if chance < lowest:
                    best, lowest = row, chance
    return best


def logit_lens__scale_of_the_last_stream_e(model, tokens, position=-1):
    """The student divides the stream of every depth by the LayerNorm's size at the end of the model, as for
    direct logit attribution.
    axis: LayerNorm takes the scale of the stream at that depth, not the final scale
    """
    _, cache = model.run_with_cache(tokens)
    n_layers = model.cfg.n_layers
    streams = [cache[f"blocks.{layer}.hook_resid_pre"] for layer in range(n_layers)]
    streams.append(cache[f"blocks.{n_layers - 1}.hook_resid_post"])
    scale = cache["ln_final.hook_scale"]
    centred = [stream - stream.mean(dim=-1, keepdim=True) for stream in streams]
    return torch.stack([model.unembed(stream / scale)[:, position] for stream in centred])


def logit_lens__reads_between_attention_and_mlp_e(model, tokens, position=-1):
    """The student reads hook_resid_mid of each layer, where its attention has written already.
    axis: below layer l is hook_resid_pre, before attention; entry 0 has seen no layer
    """
    _, cache = model.run_with_cache(tokens)
    depth = model.cfg.n_layers
    names = [f"blocks.{ell}.hook_resid_mid" for ell in range(depth)] + [f"blocks.{depth - 1}.hook_resid_post"]
    out = []
    for name in names:
        logits = model.unembed(model.ln_final(cache[name]))
        out.append(logits[:, position, :])
    return torch.stack(out, dim=0)


def residual_components__divided_by_the_final_scale_e(model, tokens):
    """The student divides each part by ln_final.hook_scale already, so that it can be read in logits.
    axis: parts are to be what was written, unscaled, so they add up to hook_resid_post
    """
    _, cache = model.run_with_cache(tokens)
    scale = cache["ln_final.hook_scale"][:, -1]
    names = {"embed": "hook_embed", "pos_embed": "hook_pos_embed"}
    for layer in range(model.cfg.n_layers):
        names[f"attn {layer}"] = f"blocks.{layer}.hook_attn_out"
        names[f"mlp {layer}"] = f"blocks.{layer}.hook_mlp_out"
    batch = len(tokens)
    return {part: cache[hook][:, -1].expand(batch, -1) / scale for part, hook in names.items()}


def residual_components__mlp_takes_the_attention_along_e(model, tokens):
    """The student gets each part as a difference of streams, and for the MLP subtracts hook_resid_pre where
    hook_resid_mid belongs.
    axis: the mlp part includes what attention wrote; the attention counted twice
    """
    _, cache = model.run_with_cache(tokens)
    batch = len(tokens)
    parts = {
        "embed": cache["hook_embed"][:, -1],
        "pos_embed": cache["hook_pos_embed"][:, -1].expand(batch, -1),
    }
    for ell in range(model.cfg.n_layers):
        pre, mid, post = (
            cache[f"blocks.{ell}.hook_resid_{where}"][:, -1] for where in ("pre", "mid", "post")
        )
        parts[f"attn {ell}"] = mid - pre
        parts[f"mlp {ell}"] = post - pre
    return parts


def _ch14_rows(model, tokens, through_mlp):
    """The rows of E: embedding, and what the first MLP adds to it."""
    rows = model.W_E[tokens]
    if through_mlp:
        block = model.blocks[0]
        rows = rows + block.mlp(block.ln2(rows[None]))[0]
    return rows


def ov_circuit__rows_normalised_first_e(model, head, tokens, through_mlp=False):
    """The student lets each row of E pass a LayerNorm before W_V, since a head reads the normalised stream.
    axis: no LayerNorm scale; the size LayerNorm divides by is left out
    """
    layer, index = head
    rows = _ch14_rows(model, tokens, through_mlp)
    rows = torch.nn.functional.layer_norm(rows, rows.shape[-1:], eps=1e-5)
    return rows @ model.W_V[layer, index] @ model.W_O[layer, index] @ model.W_U[:, tokens]


def ov_circuit__embedding_as_unembedding_e(model, head, tokens, through_mlp=False):
    """The student has read that GPT-2 ties its embeddings, and reads the output with the transposed W_E.
    axis: unembed with W_U, not with the embedding W_E transposed
    """
    layer, h = head
    rows = _ch14_rows(model, tokens, through_mlp)
    moved = rows @ model.W_V[layer, h] @ model.W_O[layer, h]
    return moved @ model.W_E[tokens].T


def ov_circuit__mlp_of_the_heads_own_layer_e(model, head, tokens, through_mlp=False):
    """The student takes the MLP of the head's own layer to make what the head reads, not the first MLP.
    axis: the first MLP, model.blocks[0], whatever the head's layer
    """
    layer, h = head
    E = model.W_E[tokens]
    if through_mlp:
        block = model.blocks[layer]
        E = E + block.mlp(block.ln2(E[None]))[0]
    OV = model.W_V[layer, h] @ model.W_O[layer, h]
    return E @ OV @ model.W_U[:, tokens]
