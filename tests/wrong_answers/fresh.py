"""Wrong answers written from the statements after the explanations had been improved, to measure them again.

Their writer had by then seen the checks and written the rules (see README.md).
"""

import torch
from einops import reduce


def repeated_tokens__bos_never_drawn(d_vocab, length, batch, bos, seed):
    """BOS is kept out of the copies: where it is drawn, the next id stands.
    axis: BOS, uniform
    """
    generator = torch.Generator().manual_seed(seed)
    copy = torch.randint(d_vocab, (batch, length), generator=generator)
    copy = torch.where(copy == bos, (copy + 1) % d_vocab, copy)
    return torch.cat([torch.full((batch, 1), bos), copy, copy], dim=1)


def repeated_tokens__rounded(d_vocab, length, batch, bos, seed):
    """Fractions are rounded to ids, so that the first and the last id come half as often.
    axis: uniform, often
    """
    generator = torch.Generator().manual_seed(seed)
    copy = (torch.rand(batch, length, generator=generator) * (d_vocab - 1)).round().long()
    return torch.cat([torch.full((batch, 1), bos), copy, copy], dim=1)


def repeated_tokens__second_copy_rolled(d_vocab, length, batch, bos, seed):
    """The second copy begins with its last token.
    axis: second copy, shifted
    """
    generator = torch.Generator().manual_seed(seed)
    copy = torch.randint(d_vocab, (batch, length), generator=generator)
    return torch.cat([torch.full((batch, 1), bos), copy, copy.roll(1, dims=1)], dim=1)


def loss_per_token__tempered(logits, tokens):
    """The logits are divided by the root of the size of the vocabulary before the softmax.
    axis: logits, scaled
    """
    scaled = logits[:, :-1] / logits.shape[-1] ** 0.5
    return -scaled.log_softmax(-1).gather(-1, tokens[:, 1:, None])[..., 0]


def loss_per_token__capped(logits, tokens):
    """Losses above 10 nats are cut off.
    axis: large losses, capped
    """
    log_probs = logits[:, :-1].log_softmax(dim=-1)
    return (-log_probs.gather(-1, tokens[:, 1:, None])[..., 0]).clamp(max=10.0)


def loss_per_token__mean_logit_subtracted(logits, tokens):
    """The logits are normalised by their mean, not by their log-sum-exp.
    axis: softmax, normalisation
    """
    centred = logits - logits.mean(dim=-1, keepdim=True)
    return -centred[:, :-1].gather(-1, tokens[:, 1:, None])[..., 0]


def copying_gain__perplexities(loss, length):
    """The exponentials of the means are subtracted.
    axis: exponential, perplexity
    """
    first, second = loss[:, 1:length].mean(), loss[:, length + 1 :].mean()
    return (first.exp() - second.exp()).item()


def copying_gain__halved(loss, length):
    """The difference is divided by the number of copies.
    axis: factor, half
    """
    return ((loss[:, 1:length].mean() - loss[:, length + 1 :].mean()) / 2).item()


def copying_gain__last_token_of_the_second_left_out(loss, length):
    """The second copy ends one token too early.
    axis: last token, second copy
    """
    return (loss[:, 1:length].mean() - loss[:, length + 1 : -1].mean()).item()


def previous_token_score__two_neighbours(pattern):
    """Attention to the last two tokens is added up.
    axis: key, two
    """
    one, two = pattern.diagonal(-1, 2, 3), pattern.diagonal(-2, 2, 3)
    return one.mean(dim=(0, 2)) + two.mean(dim=(0, 2))


def previous_token_score__bos_masked(pattern):
    """Attention to position 0 is set to zero first, and query 1 still counts.
    axis: key 0, BOS
    """
    masked = pattern.clone()
    masked[..., 0] = 0
    return reduce(masked.diagonal(-1, 2, 3), "b h q -> h", "mean")


def previous_token_score__against_chance(pattern):
    """Each query's attention is multiplied by the number of keys that it can see.
    axis: weighted, query
    """
    n = pattern.shape[-1]
    query = torch.arange(1, n)
    return (pattern[:, :, query, query - 1] * (query + 1)).mean(dim=(0, 2))


def induction_score__both_tokens(pattern, length):
    """Attention to the previous occurrence and to the token after it is added up.
    axis: key, duplicate token
    """
    query = torch.arange(length + 1, 2 * length + 1)
    return (pattern[:, :, query, query - length] + pattern[:, :, query, query - length + 1]).mean(dim=(0, 2))


def induction_score__median_query(pattern, length):
    """The median query stands for all.
    axis: median, mean
    """
    query = torch.arange(length + 1, 2 * length + 1)
    return pattern[:, :, query, query - length + 1].median(dim=-1).values.mean(dim=0)


def induction_score__length_without_bos(pattern, length):
    """The length is made larger by one to make room for BOS, so the stripe and the queries move.
    axis: length, off by one
    """
    length = length + 1
    query = torch.arange(length + 1, pattern.shape[-1])
    return pattern[:, :, query, query - (length - 1)].mean(dim=(0, 2))


def find_induction_heads__relative_threshold(model, tokens, threshold=0.4):
    """The scores are divided by the largest before they are compared.
    axis: threshold, relative
    """
    _, cache = model.run_with_cache(tokens)
    length = tokens.shape[1] // 2
    scores = torch.stack(
        [induction_score(cache[f"blocks.{i}.attn.hook_pattern"], length) for i in range(model.cfg.n_layers)]
    )
    return [tuple(place) for place in (scores / scores.max() >= threshold).nonzero().tolist()]


def find_induction_heads__last_layer_first(model, tokens, threshold=0.4):
    """The layers are searched from the last to the first, and the list is not sorted.
    axis: order, sorted
    """
    _, cache = model.run_with_cache(tokens)
    length, found = tokens.shape[1] // 2, []
    for layer in reversed(range(model.cfg.n_layers)):
        for head, score in enumerate(induction_score(cache[f"blocks.{layer}.attn.hook_pattern"], length)):
            if score >= threshold:
                found.append((layer, head))
    return found


def find_induction_heads__names(model, tokens, threshold=0.4):
    """The heads are returned as text.
    axis: text, pairs
    """
    _, cache = model.run_with_cache(tokens)
    length = tokens.shape[1] // 2
    return [
        f"L{layer}H{head}"
        for layer in range(model.cfg.n_layers)
        for head, score in enumerate(induction_score(cache[f"blocks.{layer}.attn.hook_pattern"], length))
        if score >= threshold
    ]


def ablate_head__mean_subtracted(model, tokens, layer, head, kind="zero"):
    """Mean ablation subtracts the mean from z instead of putting it in its place.
    axis: mean, subtracted
    """
    if kind not in ("zero", "mean"):
        raise ValueError(kind)

    def replace(z, hook):
        z = z.clone()
        own = z[:, :, head]
        z[:, :, head] = 0 if kind == "zero" else own - own.mean(dim=(0, 1))
        return z

    return model.run_with_hooks(tokens, fwd_hooks=[(f"blocks.{layer}.attn.hook_z", replace)])


def ablate_head__mean_of_the_first_row(model, tokens, layer, head, kind="zero"):
    """The mean is that of the first row.
    axis: mean, row
    """
    if kind not in ("zero", "mean"):
        raise ValueError(kind)

    def replace(z, hook):
        z = z.clone()
        z[:, :, head] = 0 if kind == "zero" else z[0, :, head].mean(dim=0)
        return z

    return model.run_with_hooks(tokens, fwd_hooks=[(f"blocks.{layer}.attn.hook_z", replace)])


def ablate_head__attention_output(model, tokens, layer, head, kind="zero"):
    """The output of the whole attention layer is replaced.
    axis: other heads, layer
    """
    if kind not in ("zero", "mean"):
        raise ValueError(kind)

    def replace(attn_out, hook):
        mean = attn_out.mean(dim=(0, 1), keepdim=True).expand_as(attn_out)
        return mean if kind == "mean" else torch.zeros_like(attn_out)

    return model.run_with_hooks(tokens, fwd_hooks=[(f"blocks.{layer}.hook_attn_out", replace)])


def patch_head_output__in_every_layer(model, clean, corrupted, layer, head):
    """The head of that number is patched in all layers.
    axis: layer, every
    """
    _, cache = model.run_with_cache(clean)

    def patch(z, hook):
        z = z.clone()
        z[:, :, head] = cache[hook.name][:, :, head]
        return z

    places = [(f"blocks.{each}.attn.hook_z", patch) for each in range(model.cfg.n_layers)]
    return model.run_with_hooks(corrupted, fwd_hooks=places)


def patch_head_output__half(model, clean, corrupted, layer, head):
    """The mean of both z is put in.
    axis: mean, replaced
    """
    name = f"blocks.{layer}.attn.hook_z"
    _, cache = model.run_with_cache(clean)

    def patch(z, hook):
        z = z.clone()
        z[:, :, head] = (z[:, :, head] + cache[name][:, :, head]) / 2
        return z

    return model.run_with_hooks(corrupted, fwd_hooks=[(name, patch)])


def patch_head_output__one_position_late(model, clean, corrupted, layer, head):
    """The clean z of each position goes to the next one.
    axis: position, shift
    """
    name = f"blocks.{layer}.attn.hook_z"
    _, cache = model.run_with_cache(clean)

    def patch(z, hook):
        z = z.clone()
        z[:, 1:, head] = cache[name][:, :-1, head]
        return z

    return model.run_with_hooks(corrupted, fwd_hooks=[(name, patch)])


def rank_heads_by_effect__top_five(model, tokens):
    """Only the five largest effects are returned.
    axis: every head
    """
    length = tokens.shape[1] // 2
    intact = loss_per_token(model(tokens), tokens)[:, length + 1 :].mean().item()
    rows = []
    for layer in range(model.cfg.n_layers):
        for head in range(model.cfg.n_heads):
            loss = loss_per_token(ablate_head(model, tokens, layer, head), tokens)
            rows.append((layer, head, loss[:, length + 1 :].mean().item() - intact))
    return sorted(rows, key=lambda row: row[2], reverse=True)[:5]


def rank_heads_by_effect__rounded(model, tokens):
    """The effects are rounded to two decimals.
    axis: rounding, precision
    """
    length = tokens.shape[1] // 2
    intact = loss_per_token(model(tokens), tokens)[:, length + 1 :].mean().item()
    rows = []
    for layer in range(model.cfg.n_layers):
        for head in range(model.cfg.n_heads):
            loss = loss_per_token(ablate_head(model, tokens, layer, head), tokens)
            rows.append((layer, head, round(loss[:, length + 1 :].mean().item() - intact, 2)))
    return sorted(rows, key=lambda row: row[2], reverse=True)


def rank_heads_by_effect__last_token(model, tokens):
    """Only the loss on the last token is compared.
    axis: last token, mean
    """
    intact = loss_per_token(model(tokens), tokens)[:, -1].mean().item()
    rows = []
    for layer in range(model.cfg.n_layers):
        for head in range(model.cfg.n_heads):
            loss = loss_per_token(ablate_head(model, tokens, layer, head), tokens)
            rows.append((layer, head, loss[:, -1].mean().item() - intact))
    return sorted(rows, key=lambda row: row[2], reverse=True)


def is_induction_head__most_lengths(model, layer, head, bos, lengths=(8, 12, 16, 24), threshold=0.4, seed=0):
    """Half of the lengths are enough.
    axis: every length
    """
    passed = 0
    for length in lengths:
        tokens = repeated_tokens(model.cfg.d_vocab, length, 32, bos, seed).to(model.cfg.device)
        intact = loss_per_token(model(tokens), tokens)[:, length + 1 :].mean()
        without = loss_per_token(ablate_head(model, tokens, layer, head), tokens)[:, length + 1 :].mean()
        looks = (layer, head) in find_induction_heads(model, tokens, threshold)
        passed += looks and (without - intact).item() >= 0.05
    return passed >= len(lengths) / 2


def is_induction_head__large_effects_only(
    model, layer, head, bos, lengths=(8, 12, 16, 24), threshold=0.4, seed=0
):
    """The effect has to reach the threshold of the score instead of 0.05 nats.
    axis: effect, 0.05
    """
    for length in lengths:
        tokens = repeated_tokens(model.cfg.d_vocab, length, 32, bos, seed).to(model.cfg.device)
        intact = loss_per_token(model(tokens), tokens)[:, length + 1 :].mean()
        without = loss_per_token(ablate_head(model, tokens, layer, head), tokens)[:, length + 1 :].mean()
        if (layer, head) not in find_induction_heads(
            model, tokens, threshold
        ) or without - intact < threshold:
            return False
    return True


def is_induction_head__score_of_another_layer(
    model, layer, head, bos, lengths=(8, 12, 16, 24), threshold=0.4, seed=0
):
    """The pattern is taken from the layer below.
    axis: layer
    """
    for length in lengths:
        tokens = repeated_tokens(model.cfg.d_vocab, length, 32, bos, seed).to(model.cfg.device)
        logits, cache = model.run_with_cache(tokens)
        pattern = cache[f"blocks.{max(layer - 1, 0)}.attn.hook_pattern"]
        rise = loss_per_token(ablate_head(model, tokens, layer, head), tokens) - loss_per_token(
            logits, tokens
        )
        if induction_score(pattern, length)[head] < threshold or rise[:, length + 1 :].mean() < 0.05:
            return False
    return True
