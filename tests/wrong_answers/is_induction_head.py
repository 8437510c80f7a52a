"""Wrong answers to `is_induction_head`, written from its statement and stub alone (see README.md).

Earlier functions (`repeated_tokens`, ...) are the chapter's: the answers use them.
"""

import torch


def is_induction_head__any_length(model, layer, head, bos, lengths=(8, 12, 16, 24), threshold=0.4, seed=0):
    """One length at which both tests pass is enough.
    axis: every length, any
    """
    verdicts = []
    for length in lengths:
        tokens = repeated_tokens(model.cfg.d_vocab, length, 32, bos, seed).to(model.cfg.device)
        looks = (layer, head) in find_induction_heads(model, tokens, threshold)
        intact = loss_per_token(model(tokens), tokens)[:, length + 1 :].mean()
        without = loss_per_token(ablate_head(model, tokens, layer, head), tokens)[:, length + 1 :].mean()
        verdicts.append(looks and (without - intact).item() >= 0.05)
    return any(verdicts)


def is_induction_head__either_test(model, layer, head, bos, lengths=(8, 12, 16, 24), threshold=0.4, seed=0):
    """One of the two tests is enough.
    axis: both tests, or
    """
    for length in lengths:
        tokens = repeated_tokens(model.cfg.d_vocab, length, 32, bos, seed).to(model.cfg.device)
        looks = (layer, head) in find_induction_heads(model, tokens, threshold)
        intact = loss_per_token(model(tokens), tokens)[:, length + 1 :].mean()
        without = loss_per_token(ablate_head(model, tokens, layer, head), tokens)[:, length + 1 :].mean()
        matters = (without - intact).item() >= 0.05
        if not (looks or matters):
            return False
    return True


def is_induction_head__returns_after_the_first_length(
    model, layer, head, bos, lengths=(8, 12, 16, 24), threshold=0.4, seed=0
):
    """`return True` stands inside the loop, so only the first length is tried.
    axis: every length, loop
    """
    for length in lengths:
        tokens = repeated_tokens(model.cfg.d_vocab, length, 32, bos, seed).to(model.cfg.device)
        if (layer, head) not in find_induction_heads(model, tokens, threshold):
            return False
        intact = loss_per_token(model(tokens), tokens)[:, length + 1 :].mean()
        without = loss_per_token(ablate_head(model, tokens, layer, head), tokens)[:, length + 1 :].mean()
        if without - intact < 0.05:  # noqa: SIM103
            return False
        return True


def is_induction_head__only_looks(model, layer, head, bos, lengths=(8, 12, 16, 24), threshold=0.4, seed=0):
    """The ablation test is missing.
    axis: it matters, ablation
    """
    return all(
        (layer, head)
        in find_induction_heads(
            model, repeated_tokens(model.cfg.d_vocab, length, 32, bos, seed).to(model.cfg.device), threshold
        )
        for length in lengths
    )


def is_induction_head__only_matters(model, layer, head, bos, lengths=(8, 12, 16, 24), threshold=0.4, seed=0):
    """The test of the pattern is missing.
    axis: it looks, induction score
    """
    for length in lengths:
        tokens = repeated_tokens(model.cfg.d_vocab, length, 32, bos, seed).to(model.cfg.device)
        intact = loss_per_token(model(tokens), tokens)[:, length + 1 :].mean()
        without = loss_per_token(ablate_head(model, tokens, layer, head), tokens)[:, length + 1 :].mean()
        if without - intact < 0.05:
            return False
    return True


def is_induction_head__averaged_over_lengths(
    model, layer, head, bos, lengths=(8, 12, 16, 24), threshold=0.4, seed=0
):
    """Score and effect are averaged over the lengths before they are compared.
    axis: every length, mean
    """
    scores, effects = [], []
    for length in lengths:
        tokens = repeated_tokens(model.cfg.d_vocab, length, 32, bos, seed).to(model.cfg.device)
        _, cache = model.run_with_cache(tokens)
        scores.append(induction_score(cache[f"blocks.{layer}.attn.hook_pattern"], length)[head].item())
        intact = loss_per_token(model(tokens), tokens)[:, length + 1 :].mean().item()
        without = (
            loss_per_token(ablate_head(model, tokens, layer, head), tokens)[:, length + 1 :].mean().item()
        )
        effects.append(without - intact)
    return sum(scores) / len(scores) >= threshold and sum(effects) / len(effects) >= 0.05


def is_induction_head__relative_effect(
    model, layer, head, bos, lengths=(8, 12, 16, 24), threshold=0.4, seed=0
):
    """The rise of the loss is measured as a share of the intact loss, not in nats.
    axis: ratio, nats
    """
    for length in lengths:
        tokens = repeated_tokens(model.cfg.d_vocab, length, 32, bos, seed).to(model.cfg.device)
        if (layer, head) not in find_induction_heads(model, tokens, threshold):
            return False
        intact = loss_per_token(model(tokens), tokens)[:, length + 1 :].mean()
        without = loss_per_token(ablate_head(model, tokens, layer, head), tokens)[:, length + 1 :].mean()
        if (without - intact) / intact < 0.05:
            return False
    return True


def is_induction_head__one_row(model, layer, head, bos, lengths=(8, 12, 16, 24), threshold=0.4, seed=0):
    """The batch has one row instead of 32.
    axis: batch
    """
    for length in lengths:
        tokens = repeated_tokens(model.cfg.d_vocab, length, 1, bos, seed).to(model.cfg.device)
        if (layer, head) not in find_induction_heads(model, tokens, threshold):
            return False
        intact = loss_per_token(model(tokens), tokens)[:, length + 1 :].mean()
        without = loss_per_token(ablate_head(model, tokens, layer, head), tokens)[:, length + 1 :].mean()
        if without - intact < 0.05:
            return False
    return True


def is_induction_head__seed_ignored(model, layer, head, bos, lengths=(8, 12, 16, 24), threshold=0.4, seed=0):
    """The tokens are drawn from seed 0 whatever the caller asks for.
    axis: seed
    """
    for length in lengths:
        tokens = repeated_tokens(model.cfg.d_vocab, length, batch=32, bos=bos, seed=0).to(model.cfg.device)
        if (layer, head) not in find_induction_heads(model, tokens, threshold):
            return False
        intact = loss_per_token(model(tokens), tokens)[:, length + 1 :].mean()
        without = loss_per_token(ablate_head(model, tokens, layer, head), tokens)[:, length + 1 :].mean()
        if without - intact < 0.05:
            return False
    return True


def is_induction_head__threshold_ignored(
    model, layer, head, bos, lengths=(8, 12, 16, 24), threshold=0.4, seed=0
):
    """The threshold is not passed on, so it is always 0.4.
    axis: threshold
    """
    for length in lengths:
        tokens = repeated_tokens(model.cfg.d_vocab, length, 32, bos, seed).to(model.cfg.device)
        if (layer, head) not in find_induction_heads(model, tokens):
            return False
        intact = loss_per_token(model(tokens), tokens)[:, length + 1 :].mean()
        without = loss_per_token(ablate_head(model, tokens, layer, head), tokens)[:, length + 1 :].mean()
        if without - intact < 0.05:
            return False
    return True


def is_induction_head__loss_of_the_whole_text(
    model, layer, head, bos, lengths=(8, 12, 16, 24), threshold=0.4, seed=0
):
    """The loss is averaged over all positions.
    axis: first copy, positions
    """
    for length in lengths:
        tokens = repeated_tokens(model.cfg.d_vocab, length, 32, bos, seed).to(model.cfg.device)
        if (layer, head) not in find_induction_heads(model, tokens, threshold):
            return False
        intact = loss_per_token(model(tokens), tokens).mean()
        without = loss_per_token(ablate_head(model, tokens, layer, head), tokens).mean()
        if without - intact < 0.05:
            return False
    return True


def is_induction_head__mean_ablated(model, layer, head, bos, lengths=(8, 12, 16, 24), threshold=0.4, seed=0):
    """The head is mean-ablated instead of zero-ablated.
    axis: mean ablation, zero
    """
    for length in lengths:
        tokens = repeated_tokens(model.cfg.d_vocab, length, 32, bos, seed).to(model.cfg.device)
        if (layer, head) not in find_induction_heads(model, tokens, threshold):
            return False
        intact = loss_per_token(model(tokens), tokens)[:, length + 1 :].mean()
        without = loss_per_token(ablate_head(model, tokens, layer, head, "mean"), tokens)[
            :, length + 1 :
        ].mean()
        if without - intact < 0.05:
            return False
    return True


def is_induction_head__sign(model, layer, head, bos, lengths=(8, 12, 16, 24), threshold=0.4, seed=0):
    """The ablated loss is subtracted from the intact one, so the test asks for a fall.
    axis: sign
    """
    for length in lengths:
        tokens = repeated_tokens(model.cfg.d_vocab, length, 32, bos, seed).to(model.cfg.device)
        if (layer, head) not in find_induction_heads(model, tokens, threshold):
            return False
        intact = loss_per_token(model(tokens), tokens)[:, length + 1 :].mean()
        without = loss_per_token(ablate_head(model, tokens, layer, head), tokens)[:, length + 1 :].mean()
        if intact - without < 0.05:
            return False
    return True


def is_induction_head__size_of_the_effect(
    model, layer, head, bos, lengths=(8, 12, 16, 24), threshold=0.4, seed=0
):
    """The size of the change counts, so a head that harms passes as well.
    axis: sign, absolute
    """
    for length in lengths:
        tokens = repeated_tokens(model.cfg.d_vocab, length, 32, bos, seed).to(model.cfg.device)
        if (layer, head) not in find_induction_heads(model, tokens, threshold):
            return False
        intact = loss_per_token(model(tokens), tokens)[:, length + 1 :].mean()
        without = loss_per_token(ablate_head(model, tokens, layer, head), tokens)[:, length + 1 :].mean()
        if abs(without - intact) < 0.05:
            return False
    return True


def is_induction_head__any_head_of_the_layer(
    model, layer, head, bos, lengths=(8, 12, 16, 24), threshold=0.4, seed=0
):
    """The best score of the layer is compared, not that of the head.
    axis: head, layer
    """
    for length in lengths:
        tokens = repeated_tokens(model.cfg.d_vocab, length, 32, bos, seed).to(model.cfg.device)
        logits, cache = model.run_with_cache(tokens)
        if induction_score(cache[f"blocks.{layer}.attn.hook_pattern"], length).max() < threshold:
            return False
        without = ablate_head(model, tokens, layer, head)
        rise = loss_per_token(without, tokens) - loss_per_token(logits, tokens)
        if rise[:, length + 1 :].mean() < 0.05:
            return False
    return True


def is_induction_head__summed_effect(model, layer, head, bos, lengths=(8, 12, 16, 24), threshold=0.4, seed=0):
    """The rise is summed over the tokens, so it reaches 0.05 for almost any head.
    axis: sum, mean
    """
    for length in lengths:
        tokens = repeated_tokens(model.cfg.d_vocab, length, 32, bos, seed).to(model.cfg.device)
        logits, cache = model.run_with_cache(tokens)
        looks = induction_score(cache[f"blocks.{layer}.attn.hook_pattern"], length)[head] >= threshold
        rise = loss_per_token(ablate_head(model, tokens, layer, head), tokens) - loss_per_token(
            logits, tokens
        )
        matters = rise[:, length + 1 :].sum() >= 0.05
        if not looks or not matters:
            return False
    return True


def is_induction_head__tensor_verdict(
    model, layer, head, bos, lengths=(8, 12, 16, 24), threshold=0.4, seed=0
):
    """The verdict is a tensor of one boolean, not a bool.
    axis: bool, tensor
    """
    verdict = torch.tensor(True)
    for length in lengths:
        tokens = repeated_tokens(model.cfg.d_vocab, length, 32, bos, seed).to(model.cfg.device)
        logits, cache = model.run_with_cache(tokens)
        score = induction_score(cache[f"blocks.{layer}.attn.hook_pattern"], length)[head]
        rise = loss_per_token(ablate_head(model, tokens, layer, head), tokens) - loss_per_token(
            logits, tokens
        )
        verdict = verdict & (score >= threshold) & (rise[:, length + 1 :].mean() >= 0.05)
    return verdict


def is_induction_head__lengths_ignored(
    model, layer, head, bos, lengths=(8, 12, 16, 24), threshold=0.4, seed=0
):
    """The lengths are written into the loop, whatever the caller asks for.
    axis: lengths
    """
    for length in (8, 12, 16, 24):
        tokens = repeated_tokens(model.cfg.d_vocab, length, 32, bos, seed).to(model.cfg.device)
        if (layer, head) not in find_induction_heads(model, tokens, threshold=threshold):
            return False
        intact = loss_per_token(model(tokens), tokens)[:, length + 1 :].mean()
        without = loss_per_token(ablate_head(model, tokens, layer, head), tokens)[:, length + 1 :].mean()
        if without - intact < 0.05:
            return False
    return True


def is_induction_head__some_length_fails(
    model, layer, head, bos, lengths=(8, 12, 16, 24), threshold=0.4, seed=0
):
    """The answer is turned round: True is returned as soon as a test fails.
    axis: inverted, opposite
    """
    for length in lengths:
        tokens = repeated_tokens(model.cfg.d_vocab, length, 32, bos, seed).to(model.cfg.device)
        intact = loss_per_token(model(tokens), tokens)[:, length + 1 :].mean()
        without = loss_per_token(ablate_head(model, tokens, layer, head), tokens)[:, length + 1 :].mean()
        if (layer, head) not in find_induction_heads(model, tokens, threshold) or without - intact < 0.05:
            return True
    return False
