"""Wrong answers to `find_induction_heads`, written from its statement and stub alone (see README.md).

`induction_score` is the chapter's: the answers use it as a student would.
"""

import torch


def find_induction_heads__strictly_above(model, tokens, threshold=0.4):
    """A score equal to the threshold does not count.
    axis: threshold, at least
    """
    _, cache = model.run_with_cache(tokens)
    length = (tokens.shape[1] - 1) // 2
    found = []
    for layer in range(model.cfg.n_layers):
        for head, score in enumerate(induction_score(cache[f"blocks.{layer}.attn.hook_pattern"], length)):
            if score > threshold:
                found.append((layer, head))
    return found


def find_induction_heads__counted_from_one(model, tokens, threshold=0.4):
    """Layers and heads are counted from 1.
    axis: counted from 0
    """
    _, cache = model.run_with_cache(tokens)
    length = tokens.shape[1] // 2
    scores = [
        induction_score(cache[f"blocks.{i}.attn.hook_pattern"], length) for i in range(model.cfg.n_layers)
    ]
    return [
        (layer, head)
        for layer, row in enumerate(scores, start=1)
        for head, score in enumerate(row.tolist(), start=1)
        if score >= threshold
    ]


def find_induction_heads__head_before_layer(model, tokens, threshold=0.4):
    """The pairs are (head, layer).
    axis: order, layer and head
    """
    _, cache = model.run_with_cache(tokens)
    length = tokens.shape[1] // 2
    found = []
    for layer in range(model.cfg.n_layers):
        scores = induction_score(cache[f"blocks.{layer}.attn.hook_pattern"], length)
        for head in (scores >= threshold).nonzero().flatten().tolist():
            found.append((head, layer))
    return sorted(found)


def find_induction_heads__sorted_by_score(model, tokens, threshold=0.4):
    """The list is sorted by score, strongest first.
    axis: order, sorted
    """
    _, cache = model.run_with_cache(tokens)
    length = tokens.shape[1] // 2
    found = {}
    for layer in range(model.cfg.n_layers):
        pattern = cache[f"blocks.{layer}.attn.hook_pattern"]
        for head, score in enumerate(induction_score(pattern, length).tolist()):
            if score >= threshold:
                found[layer, head] = score
    return sorted(found, key=found.get, reverse=True)


def find_induction_heads__length_one_too_long(model, tokens, threshold=0.4):
    """The length is worked out with BOS counted in, so the stripe is one off.
    axis: length, BOS
    """
    _, cache = model.run_with_cache(tokens)
    length = (tokens.shape[1] + 1) // 2
    found = []
    for layer in range(model.cfg.n_layers):
        pattern = cache[f"blocks.{layer}.attn.hook_pattern"]
        query = torch.arange(length + 1, pattern.shape[-1])
        scores = pattern[:, :, query, query - (length - 1)].mean(dim=(0, -1))
        found += [(layer, head) for head, score in enumerate(scores) if score >= threshold]
    return found


def find_induction_heads__lists_instead_of_tuples(model, tokens, threshold=0.4):
    """The places are lists, not tuples.
    axis: tuple, list
    """
    _, cache = model.run_with_cache(tokens)
    length = tokens.shape[1] // 2
    patterns = [cache[f"blocks.{layer}.attn.hook_pattern"] for layer in range(model.cfg.n_layers)]
    scores = torch.stack([induction_score(pattern, length) for pattern in patterns])
    return (scores >= threshold).nonzero().tolist()


def find_induction_heads__scores_added(model, tokens, threshold=0.4):
    """Each entry also holds the score.
    axis: tuple, score
    """
    _, cache = model.run_with_cache(tokens)
    length = tokens.shape[1] // 2
    found = []
    for layer in range(model.cfg.n_layers):
        for head, score in enumerate(induction_score(cache[f"blocks.{layer}.attn.hook_pattern"], length)):
            if score >= threshold:
                found.append((layer, head, score.item()))
    return found


def find_induction_heads__last_layer_skipped(model, tokens, threshold=0.4):
    """The loop stops before the last layer.
    axis: last layer
    """
    _, cache = model.run_with_cache(tokens)
    length = tokens.shape[1] // 2
    found = []
    for layer in range(model.cfg.n_layers - 1):
        for head, score in enumerate(induction_score(cache[f"blocks.{layer}.attn.hook_pattern"], length)):
            if score >= threshold:
                found.append((layer, head))
    return found


def find_induction_heads__best_of_each_layer(model, tokens, threshold=0.4):
    """Only the strongest head of a layer is reported.
    axis: every head, one per layer
    """
    _, cache = model.run_with_cache(tokens)
    length = tokens.shape[1] // 2
    found = []
    for layer in range(model.cfg.n_layers):
        best, head = induction_score(cache[f"blocks.{layer}.attn.hook_pattern"], length).max(dim=0)
        if best >= threshold:
            found.append((layer, head.item()))
    return found


def find_induction_heads__scores_before_softmax(model, tokens, threshold=0.4):
    """The attention scores before the softmax are read instead of the pattern.
    axis: softmax, pattern
    """
    _, cache = model.run_with_cache(tokens)
    length = tokens.shape[1] // 2
    found = []
    for layer in range(model.cfg.n_layers):
        scores = induction_score(cache[f"blocks.{layer}.attn.hook_attn_scores"], length)
        found.extend((layer, head) for head in range(model.cfg.n_heads) if scores[head] >= threshold)
    return found


def find_induction_heads__threshold_ignored(model, tokens, threshold=0.4):
    """The threshold is 0.4 whatever the caller asks for.
    axis: threshold
    """
    _, cache = model.run_with_cache(tokens)
    length = tokens.shape[1] // 2
    return [
        (layer, head)
        for layer in range(model.cfg.n_layers)
        for head, score in enumerate(induction_score(cache[f"blocks.{layer}.attn.hook_pattern"], length))
        if score >= 0.4
    ]


def find_induction_heads__any_row(model, tokens, threshold=0.4):
    """A head counts as soon as its score on one row reaches the threshold.
    axis: batch, mean
    """
    _, cache = model.run_with_cache(tokens)
    length = tokens.shape[1] // 2
    found = set()
    for layer in range(model.cfg.n_layers):
        pattern = cache[f"blocks.{layer}.attn.hook_pattern"]
        for row in pattern:
            scores = induction_score(row[None], length)
            found |= {(layer, head) for head, score in enumerate(scores.tolist()) if score >= threshold}
    return sorted(found)


def find_induction_heads__returns_after_the_first_layer(model, tokens, threshold=0.4):
    """The return stands inside the loop, so only the first layer is searched.
    axis: layer, loop
    """
    _, cache = model.run_with_cache(tokens)
    length = tokens.shape[1] // 2
    found = []
    for layer in range(model.cfg.n_layers):
        scores = induction_score(cache[f"blocks.{layer}.attn.hook_pattern"], length)
        for head in range(model.cfg.n_heads):
            if scores[head].item() >= threshold:
                found.append((layer, head))
        return found


def find_induction_heads__layer_not_in_the_name(model, tokens, threshold=0.4):
    """The name of layer 1 is used for every layer.
    axis: layer
    """
    _, cache = model.run_with_cache(tokens)
    length = tokens.shape[1] // 2
    found = []
    for layer in range(model.cfg.n_layers):
        scores = induction_score(cache["blocks.1.attn.hook_pattern"], length)
        for head, score in enumerate(scores):
            if score >= threshold:
                found.append((layer, head))
    return found


def find_induction_heads__layers_grouped(model, tokens, threshold=0.4):
    """The heads come as one list for each layer instead of as pairs.
    axis: pairs, shape
    """
    _, cache = model.run_with_cache(tokens)
    length = tokens.shape[1] // 2
    return [
        [
            head
            for head, score in enumerate(induction_score(cache[f"blocks.{layer}.attn.hook_pattern"], length))
            if score >= threshold
        ]
        for layer in range(model.cfg.n_layers)
    ]
