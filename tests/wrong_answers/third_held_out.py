"""Twenty-five of forty more wrong answers, drawn by lot; what is said of them was read last."""

import torch


def repeated_tokens__twice_as_long(d_vocab, length, batch, bos, seed):
    """Two times `length` tokens are drawn, and these are repeated.
    axis: length of a copy
    """
    generator = torch.Generator().manual_seed(seed)
    copy = torch.randint(d_vocab, (batch, 2 * length), generator=generator)
    return torch.cat([torch.full((batch, 1), bos), copy, copy], dim=1)


def loss_per_token__averaged_over_positions(logits, tokens):
    """One mean loss for each row.
    axis: pos averaged
    """
    log_probs = logits[:, :-1].log_softmax(dim=-1)
    return -log_probs.gather(-1, tokens[:, 1:, None])[..., 0].mean(dim=1)


def loss_per_token__entropy(logits, tokens):
    """The entropy of the prediction, whatever token came.
    axis: tokens ignored, entropy
    """
    log_probs = logits[:, :-1].log_softmax(dim=-1)
    return -(log_probs.exp() * log_probs).sum(dim=-1)


def loss_per_token__gap_to_the_largest_logit(logits, tokens):
    """The largest logit is subtracted for stability, and the logarithm of the sum is forgotten.
    axis: softmax, normalisation, the largest for the log-sum-exp
    """
    stable = logits - logits.max(dim=-1, keepdim=True).values
    return -stable[:, :-1].gather(-1, tokens[:, 1:, None])[..., 0]


def copying_gain__second_copy_alone(loss, length):
    """The mean loss on the second copy, with nothing to compare it to.
    axis: first copy missing
    """
    return loss[:, length + 1 :].mean().item()


def copying_gain__effect_size(loss, length):
    """Divided by the standard deviation of the losses.
    axis: divided, standard deviation
    """
    gap = loss[:, 1:length].mean() - loss[:, length + 1 :].mean()
    return (gap / loss.std()).item()


def copying_gain__last_token_of_each(loss, length):
    """The last token of each copy stands for the copy.
    axis: pos, last only, mean over pos missing
    """
    return (loss[:, length - 1].mean() - loss[:, -1].mean()).item()


def copying_gain__first_two_dropped(loss, length):
    """The first two tokens of each copy are left out.
    axis: pos, starts one late
    """
    return (loss[:, 2:length].mean() - loss[:, length + 2 :].mean()).item()


def copying_gain__rounded_to_two_digits(loss, length):
    """Rounded to two decimals.
    axis: rounding
    """
    return round((loss[:, 1:length].mean() - loss[:, length + 1 :].mean()).item(), 2)


def previous_token_score__everything_before(pattern):
    """Attention to all earlier keys instead of the one just before.
    axis: key, all before
    """
    return pattern.tril(-1).sum(dim=-1)[:, :, 1:].mean(dim=(0, 2))


def previous_token_score__minus_the_current_token(pattern):
    """The attention to the token itself is subtracted.
    axis: subtracted, current token, key = query
    """
    query = torch.arange(1, pattern.shape[-1])
    stripe = pattern[:, :, query, query - 1] - pattern[:, :, query, query]
    return stripe.mean(dim=(0, 2))


def previous_token_score__last_query_only(pattern):
    """Only the last query is looked at.
    axis: query, last only
    """
    return pattern[:, :, -1, -2].mean(dim=0)


def previous_token_score__axis_kept(pattern):
    """The reduced axes stay with length one.
    axis: keepdim, shape
    """
    query = torch.arange(1, pattern.shape[-1])
    return pattern[:, :, query, query - 1].mean(dim=(0, 2), keepdim=True)


def induction_score__queries_one_early(pattern, length):
    """The queries go from `length` to 2 * length - 1: from the last token of the first copy on.
    axis: query, one early
    """
    query = torch.arange(length, 2 * length)
    return pattern[:, :, query, query - (length - 1)].mean(dim=(0, 2))


def induction_score__window_of_three(pattern, length):
    """The keys on both sides of the right one count too.
    axis: key, neighbours added
    """
    query = torch.arange(length + 1, 2 * length + 1)
    key = query - (length - 1)
    stripe = sum(pattern[:, :, query, key + step] for step in (-1, 0, 1))
    return stripe.mean(dim=(0, 2))


def induction_score__against_the_duplicate_stripe(pattern, length):
    """The attention to the same token in the first copy is subtracted.
    axis: subtracted, previous occurrence itself
    """
    query = torch.arange(length + 1, 2 * length + 1)
    stripe = pattern[:, :, query, query - length + 1] - pattern[:, :, query, query - length]
    return stripe.mean(dim=(0, 2))


def induction_score__share_of_the_first_copy(pattern, length):
    """The share of what is paid to the first copy, instead of all attention.
    axis: key, normalised over the first copy
    """
    query = torch.arange(length + 1, 2 * length + 1)
    stripe = pattern[:, :, query, query - length + 1]
    paid = pattern[:, :, length + 1 :, 1 : length + 1].sum(dim=-1)
    return (stripe / paid).mean(dim=(0, 2))


def induction_score__list_of_floats(pattern, length):
    """A list of Python floats.
    axis: type, list for a tensor
    """
    query = torch.arange(length + 1, 2 * length + 1)
    return pattern[:, :, query, query - length + 1].mean(dim=(0, 2)).tolist()


def find_induction_heads__layer_mean(model, tokens, threshold=0.4):
    """The mean score of the layer decides for all of its heads.
    axis: head averaged
    """
    _, cache = model.run_with_cache(tokens)
    found = []
    for layer in range(model.cfg.n_layers):
        score = induction_score(cache[f"blocks.{layer}.attn.hook_pattern"], tokens.shape[1] // 2)
        if score.mean() >= threshold:
            found += [(layer, head) for head in range(model.cfg.n_heads)]
    return found


def find_induction_heads__rounded_scores(model, tokens, threshold=0.4):
    """Scores are rounded to one decimal before they are compared.
    axis: threshold, rounding
    """
    _, cache = model.run_with_cache(tokens)
    found = []
    for layer in range(model.cfg.n_layers):
        score = induction_score(cache[f"blocks.{layer}.attn.hook_pattern"], tokens.shape[1] // 2)
        for head, each in enumerate(score.tolist()):
            if round(each, 1) >= threshold:
                found.append((layer, head))
    return found


def ablate_head__kinds_exchanged(model, tokens, layer, head, kind="zero"):
    """`kind="zero"` takes the mean and `kind="mean"` zeros.
    axis: kind, exchanged
    """
    if kind not in ("zero", "mean"):
        raise ValueError(kind)

    def replace(z, hook):
        z = z.clone()
        z[:, :, head] = 0 if kind == "mean" else z[:, :, head].mean(dim=(0, 1))
        return z

    return model.run_with_hooks(tokens, fwd_hooks=[(f"blocks.{layer}.attn.hook_z", replace)])


def ablate_head__head_of_every_layer(model, tokens, layer, head, kind="zero"):
    """The head of that number is ablated in every layer.
    axis: layer ignored
    """
    if kind not in ("zero", "mean"):
        raise ValueError(kind)

    def replace(z, hook):
        z = z.clone()
        z[:, :, head] = 0 if kind == "zero" else z[:, :, head].mean(dim=(0, 1))
        return z

    hooks = [(f"blocks.{each}.attn.hook_z", replace) for each in range(model.cfg.n_layers)]
    return model.run_with_hooks(tokens, fwd_hooks=hooks)


def patch_head_output__only_where_tokens_differ(model, clean, corrupted, layer, head):
    """The head is patched only at positions where the two inputs differ.
    axis: pos, where the tokens differ
    """
    _, cache = model.run_with_cache(clean)
    name, differ = f"blocks.{layer}.attn.hook_z", clean != corrupted

    def replace(z, hook):
        z = z.clone()
        z[:, :, head] = torch.where(differ[..., None], cache[name][:, :, head], z[:, :, head])
        return z

    return model.run_with_hooks(corrupted, fwd_hooks=[(name, replace)])


def patch_head_output__residual_stream(model, clean, corrupted, layer, head):
    """The whole residual stream before the layer is taken from the clean run.
    axis: hook point, residual stream, head ignored
    """
    name = f"blocks.{layer}.hook_resid_pre"
    _, cache = model.run_with_cache(clean)
    return model.run_with_hooks(corrupted, fwd_hooks=[(name, lambda value, hook: cache[name])])


def rank_heads_by_effect__sorted_within_layers(model, tokens):
    """The heads are sorted within each layer only.
    axis: order, layer by layer
    """
    start = tokens.shape[1] // 2 + 1
    intact = loss_per_token(model(tokens), tokens)[:, start:].mean()
    rows = []
    for layer in range(model.cfg.n_layers):
        of_layer = []
        for head in range(model.cfg.n_heads):
            loss = loss_per_token(ablate_head(model, tokens, layer, head), tokens)[:, start:].mean()
            of_layer.append((layer, head, (loss - intact).item()))
        rows += sorted(of_layer, key=lambda row: -row[2])
    return rows
