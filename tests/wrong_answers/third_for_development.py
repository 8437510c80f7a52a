"""Fifteen of forty more wrong answers, drawn by lot: the rules of diagnosis were made with these in view."""

import math

import torch


def repeated_tokens__second_copy_shuffled(d_vocab, length, batch, bos, seed):
    """The second copy has the same tokens in shuffled order.
    axis: second copy, order
    """
    generator = torch.Generator().manual_seed(seed)
    copy = torch.randint(d_vocab, (batch, length), generator=generator)
    order = torch.randperm(length, generator=generator)
    return torch.cat([torch.full((batch, 1), bos), copy, copy[:, order]], dim=1)


def repeated_tokens__drawn_above_bos(d_vocab, length, batch, bos, seed):
    """Only ids above BOS are drawn, as if it were always the first of the special tokens.
    axis: range of ids, bos
    """
    generator = torch.Generator().manual_seed(seed)
    copy = torch.randint(min(bos + 1, d_vocab - 1), d_vocab, (batch, length), generator=generator)
    return torch.cat([torch.full((batch, 1), bos), copy, copy], dim=1)


def repeated_tokens__positions_first(d_vocab, length, batch, bos, seed):
    """Positions are the rows and the batch the columns.
    axis: batch and pos swapped
    """
    generator = torch.Generator().manual_seed(seed)
    copy = torch.randint(d_vocab, (length, batch), generator=generator)
    return torch.cat([torch.full((1, batch), bos), copy, copy], dim=0)


def loss_per_token__padded_with_zero(logits, tokens):
    """A zero stands in front for the first token, so that the losses line up with the tokens.
    axis: pos, one too many, the first
    """
    log_probs = logits[:, :-1].log_softmax(dim=-1)
    loss = -log_probs.gather(-1, tokens[:, 1:, None])[..., 0]
    return torch.cat([torch.zeros_like(loss[:, :1]), loss], dim=1)


def loss_per_token__relative_to_a_uniform_guess(logits, tokens):
    """Divided by the loss of a uniform guess, log(d_vocab).
    axis: factor, log d_vocab
    """
    log_probs = logits[:, :-1].log_softmax(dim=-1)
    return -log_probs.gather(-1, tokens[:, 1:, None])[..., 0] / math.log(logits.shape[-1])


def loss_per_token__running_mean(logits, tokens):
    """The mean of all losses so far at each position.
    axis: pos, running mean
    """
    log_probs = logits[:, :-1].log_softmax(dim=-1)
    loss = -log_probs.gather(-1, tokens[:, 1:, None])[..., 0]
    return loss.cumsum(dim=1) / torch.arange(1, loss.shape[1] + 1)


def copying_gain__against_the_whole_text(loss, length):
    """The second copy is compared with the mean loss over the whole text.
    axis: first copy, whole text
    """
    return (loss.mean() - loss[:, length + 1 :].mean()).item()


def previous_token_score__shares_over_heads(pattern):
    """The scores are divided by their sum over the heads.
    axis: head, normalised
    """
    query = torch.arange(1, pattern.shape[-1])
    score = pattern[:, :, query, query - 1].mean(dim=(0, 2))
    return score / score.sum()


def previous_token_score__strongest_query(pattern):
    """The largest attention over the queries, instead of their mean.
    axis: query, maximum
    """
    query = torch.arange(1, pattern.shape[-1])
    return pattern[:, :, query, query - 1].amax(dim=-1).mean(dim=0)


def induction_score__worst_row(pattern, length):
    """The row of the batch with the smallest score decides.
    axis: batch, minimum
    """
    query = torch.arange(length + 1, 2 * length + 1)
    return pattern[:, :, query, query - length + 1].mean(dim=-1).amin(dim=0)


def find_induction_heads__length_from_the_batch(model, tokens, threshold=0.4):
    """The size of the batch is taken for the number of positions.
    axis: length, axis 0 of the tokens
    """
    length = max((tokens.shape[0] - 1) // 2, 1)
    _, cache = model.run_with_cache(tokens)
    found = []
    for layer in range(model.cfg.n_layers):
        score = induction_score(cache[f"blocks.{layer}.attn.hook_pattern"], length)
        found += [(layer, head) for head in range(model.cfg.n_heads) if score[head] >= threshold]
    return found


def find_induction_heads__first_row_only(model, tokens, threshold=0.4):
    """Only the first row of the tokens is run.
    axis: batch, first row
    """
    _, cache = model.run_with_cache(tokens[:1])
    found = []
    for layer in range(model.cfg.n_layers):
        score = induction_score(cache[f"blocks.{layer}.attn.hook_pattern"], tokens.shape[1] // 2)
        found += [(layer, head) for head in range(model.cfg.n_heads) if score[head] >= threshold]
    return found


def ablate_head__mean_without_bos(model, tokens, layer, head, kind="zero"):
    """The mean leaves the first position out.
    axis: pos, the first left out of the mean
    """
    if kind not in ("zero", "mean"):
        raise ValueError(kind)

    def replace(z, hook):
        z = z.clone()
        z[:, :, head] = 0 if kind == "zero" else z[:, 1:, head].mean(dim=(0, 1))
        return z

    return model.run_with_hooks(tokens, fwd_hooks=[(f"blocks.{layer}.attn.hook_z", replace)])


def rank_heads_by_effect__median_loss(model, tokens):
    """The median loss over the second copy, instead of the mean.
    axis: median for mean
    """
    start = tokens.shape[1] // 2 + 1
    intact = loss_per_token(model(tokens), tokens)[:, start:].median()
    rows = []
    for layer in range(model.cfg.n_layers):
        for head in range(model.cfg.n_heads):
            loss = loss_per_token(ablate_head(model, tokens, layer, head), tokens)[:, start:].median()
            rows.append((layer, head, (loss - intact).item()))
    return sorted(rows, key=lambda row: -row[2])


def is_induction_head__threshold_for_both(
    model, layer, head, bos, lengths=(8, 12, 16, 24), threshold=0.4, seed=0
):
    """The threshold of the score is taken for the effect as well.
    axis: threshold, effect, 0.05
    """
    for length in lengths:
        tokens = repeated_tokens(model.cfg.d_vocab, length, 32, bos, seed).to(model.cfg.device)
        if (layer, head) not in find_induction_heads(model, tokens, threshold):
            return False
        before = loss_per_token(model(tokens), tokens)[:, length + 1 :].mean()
        after = loss_per_token(ablate_head(model, tokens, layer, head), tokens)[:, length + 1 :].mean()
        if after - before < threshold:
            return False
    return True
