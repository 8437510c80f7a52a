def inference_threshold__weighted_by_tokens(batches, k):
    """Weights each batch by its number of tokens, though every batch counts the same.
    axis: weight, tokens, batch, mean over batches, size, equally, unweighted, longer batches"""
    total, tokens = 0.0, 0
    for batch in batches:
        kept = batch.flatten().topk(min(k * len(batch), batch.numel())).values
        kept = kept[kept > 0]
        if len(kept):
            total += kept[-1].item() * len(batch)
            tokens += len(batch)
    return total / tokens


def jumprelu__only_from_above(pre_activations, threshold, bandwidth):
    """Gives the threshold a gradient only from values above it, not from those within the band below it.
    axis: below, above, active, band, window, both sides, half, gradient, threshold, bandwidth"""
    distance = pre_activations - threshold
    over = distance > 0
    near = (over & (distance < bandwidth / 2)).to(pre_activations.dtype)
    over = over.to(pre_activations.dtype)
    step = (threshold - threshold.detach()) * near / bandwidth  # zero, but not its gradient
    feature_acts = pre_activations * over - threshold.detach() * step
    return feature_acts, over - step


def matryoshka_loss__most_active(activations, feature_acts, W_dec, b_dec, widths):
    """Keeps each token's `width` most active features instead of the dictionary's first `width`.
    axis: first, prefix, nested, largest, most active, topk, feature 0, order, strongest, dictionary"""
    loss = 0.0
    for width in widths:
        top = feature_acts.topk(width, dim=-1)
        kept = torch.zeros_like(feature_acts).scatter(-1, top.indices, top.values)
        error = kept @ W_dec + b_dec - activations
        loss = loss + error.square().sum(dim=-1).mean()
    return loss


def transcoder_recovered__not_shifted(model, tokens, layer, transcode):
    """Compares each position's logits with the token that stands there, not with the next one.
    axis: next token, shift, shifted, aligned, off by one, predicted, loss, same position, target"""
    reads, writes = f"blocks.{layer}.ln2.hook_normalized", f"blocks.{layer}.hook_mlp_out"
    with torch.no_grad():
        _, cache = model.run_with_cache(tokens)

        def loss(hooks):
            logits = model.run_with_hooks(tokens, fwd_hooks=hooks)
            told, there = logits[:, 1:].flatten(0, 1), tokens[:, 1:].flatten()
            return torch.nn.functional.cross_entropy(told, there).item()

        stand_in = transcode(cache[reads])
        mean = cache[writes].mean(dim=(0, 1))
        spliced = loss([(writes, lambda current, hook: stand_in)])
        ablated = loss([(writes, lambda current, hook: mean.expand_as(current).clone())])
        return (ablated - spliced) / (ablated - loss([]))
