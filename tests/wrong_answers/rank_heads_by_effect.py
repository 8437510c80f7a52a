"""Wrong answers to `rank_heads_by_effect`, written from its statement and stub alone (see README.md).

`ablate_head` and `loss_per_token` are the chapter's: the answers use them as a student would.
"""

import itertools

import torch


def rank_heads_by_effect__intact_minus_ablated(model, tokens):
    """The intact loss stands first in the difference, so that useful heads get negative effects.
    axis: sign
    """
    length = tokens.shape[1] // 2
    intact = loss_per_token(model(tokens), tokens)[:, length + 1 :].mean().item()
    rows = []
    for layer in range(model.cfg.n_layers):
        for head in range(model.cfg.n_heads):
            loss = (
                loss_per_token(ablate_head(model, tokens, layer, head), tokens)[:, length + 1 :].mean().item()
            )
            rows.append((layer, head, intact - loss))
    return sorted(rows, key=lambda row: row[2], reverse=True)


def rank_heads_by_effect__absolute(model, tokens):
    """The effects are ranked and returned by their size, without sign.
    axis: sign, negative
    """
    length = tokens.shape[1] // 2

    def second(logits):
        return loss_per_token(logits, tokens)[:, length + 1 :].mean()

    intact = second(model(tokens))
    rows = [
        (layer, head, (second(ablate_head(model, tokens, layer, head)) - intact).abs().item())
        for layer in range(model.cfg.n_layers)
        for head in range(model.cfg.n_heads)
    ]
    rows.sort(key=lambda row: -row[2])
    return rows


def rank_heads_by_effect__smallest_first(model, tokens):
    """The list is sorted in rising order.
    axis: order, largest first
    """
    length = tokens.shape[1] // 2
    intact = loss_per_token(model(tokens), tokens)[:, length + 1 :].mean().item()
    rows = []
    for layer in range(model.cfg.n_layers):
        for head in range(model.cfg.n_heads):
            loss = loss_per_token(ablate_head(model, tokens, layer, head), tokens)
            rows.append((layer, head, loss[:, length + 1 :].mean().item() - intact))
    return sorted(rows, key=lambda row: row[2])


def rank_heads_by_effect__unsorted(model, tokens):
    """The list stays in the order of layers and heads.
    axis: order, sorted
    """
    length = tokens.shape[1] // 2
    columns = slice(length + 1, 2 * length)
    intact = loss_per_token(model(tokens), tokens)[:, columns].mean().item()
    rows = []
    for layer, head in itertools.product(range(model.cfg.n_layers), range(model.cfg.n_heads)):
        loss = loss_per_token(ablate_head(model, tokens, layer, head, "zero"), tokens)[:, columns]
        rows.append((layer, head, loss.mean().item() - intact))
    return rows


def rank_heads_by_effect__mean_ablated(model, tokens):
    """The heads are mean-ablated instead of zero-ablated.
    axis: mean ablation, zero
    """
    length = tokens.shape[1] // 2
    intact = loss_per_token(model(tokens), tokens)[:, length + 1 :].mean().item()
    rows = []
    for layer in range(model.cfg.n_layers):
        for head in range(model.cfg.n_heads):
            loss = loss_per_token(ablate_head(model, tokens, layer, head, kind="mean"), tokens)
            rows.append((layer, head, loss[:, length + 1 :].mean().item() - intact))
    return sorted(rows, key=lambda row: row[2], reverse=True)


def rank_heads_by_effect__loss_of_the_whole_text(model, tokens):
    """The loss is averaged over all positions, the first copy included.
    axis: first copy, positions
    """
    intact = loss_per_token(model(tokens), tokens).mean().item()
    rows = []
    for layer in range(model.cfg.n_layers):
        for head in range(model.cfg.n_heads):
            loss = loss_per_token(ablate_head(model, tokens, layer, head), tokens).mean().item()
            rows.append((layer, head, loss - intact))
    return sorted(rows, key=lambda row: row[2], reverse=True)


def rank_heads_by_effect__first_copy(model, tokens):
    """The loss is that of the first copy.
    axis: first copy, second copy
    """
    length = tokens.shape[1] // 2
    intact = loss_per_token(model(tokens), tokens)[:, 1:length].mean().item()
    rows = []
    for layer in range(model.cfg.n_layers):
        for head in range(model.cfg.n_heads):
            loss = loss_per_token(ablate_head(model, tokens, layer, head), tokens)[:, 1:length]
            rows.append((layer, head, loss.mean().item() - intact))
    return sorted(rows, key=lambda row: row[2], reverse=True)


def rank_heads_by_effect__first_token_counted(model, tokens):
    """The first token of the second copy is counted.
    axis: first token, second copy
    """
    length = tokens.shape[1] // 2
    intact = loss_per_token(model(tokens), tokens)[:, -length:].mean().item()
    effects = {}
    for layer in range(model.cfg.n_layers):
        for head in range(model.cfg.n_heads):
            loss = loss_per_token(ablate_head(model, tokens, layer, head), tokens)[:, -length:]
            effects[layer, head] = loss.mean().item() - intact
    return [(*place, effects[place]) for place in sorted(effects, key=effects.get, reverse=True)]


def rank_heads_by_effect__second_token_dropped(model, tokens):
    """Columns are taken for positions, so token 2 of the second copy is left out.
    axis: shift, off by one
    """
    length = tokens.shape[1] // 2
    intact = loss_per_token(model(tokens), tokens)[:, length + 2 :].mean().item()
    rows = []
    for layer in range(model.cfg.n_layers):
        for head in range(model.cfg.n_heads):
            loss = loss_per_token(ablate_head(model, tokens, layer, head), tokens)[:, length + 2 :]
            rows.append((layer, head, loss.mean().item() - intact))
    return sorted(rows, key=lambda row: row[2], reverse=True)


def rank_heads_by_effect__tensor_effects(model, tokens):
    """The effects are tensors instead of Python floats.
    axis: float, tensor
    """
    length = tokens.shape[1] // 2
    intact = loss_per_token(model(tokens), tokens)[:, length + 1 :].mean()
    rows = []
    for layer in range(model.cfg.n_layers):
        for head in range(model.cfg.n_heads):
            loss = loss_per_token(ablate_head(model, tokens, layer, head), tokens)
            rows.append((layer, head, loss[:, length + 1 :].mean() - intact))
    return sorted(rows, key=lambda row: row[2], reverse=True)


def rank_heads_by_effect__effect_first(model, tokens):
    """The tuples begin with the effect, so that they sort by themselves.
    axis: order, tuple
    """
    length = tokens.shape[1] // 2
    intact = loss_per_token(model(tokens), tokens)[:, length + 1 :].mean().item()
    rows = []
    for layer in range(model.cfg.n_layers):
        for head in range(model.cfg.n_heads):
            loss = loss_per_token(ablate_head(model, tokens, layer, head), tokens)
            rows.append((loss[:, length + 1 :].mean().item() - intact, layer, head))
    return sorted(rows, reverse=True)


def rank_heads_by_effect__head_before_layer(model, tokens):
    """The tuples are (head, layer, effect).
    axis: order, layer and head
    """
    length = tokens.shape[1] // 2
    intact = loss_per_token(model(tokens), tokens)[:, length + 1 :].mean().item()
    rows = []
    for head in range(model.cfg.n_heads):
        for layer in range(model.cfg.n_layers):
            loss = loss_per_token(ablate_head(model, tokens, layer, head), tokens)
            rows.append((head, layer, loss[:, length + 1 :].mean().item() - intact))
    return sorted(rows, key=lambda row: row[2], reverse=True)


def rank_heads_by_effect__only_helpful_heads(model, tokens):
    """Heads with a negative effect are left out of the list.
    axis: every head, negative
    """
    length = tokens.shape[1] // 2
    intact = loss_per_token(model(tokens), tokens)[:, length + 1 :].mean().item()
    rows = []
    for layer in range(model.cfg.n_layers):
        for head in range(model.cfg.n_heads):
            loss = loss_per_token(ablate_head(model, tokens, layer, head), tokens)
            effect = loss[:, length + 1 :].mean().item() - intact
            if effect > 0:
                rows.append((layer, head, effect))
    return sorted(rows, key=lambda row: row[2], reverse=True)


def rank_heads_by_effect__intact_not_subtracted(model, tokens):
    """The ablated loss itself is returned, without the intact one subtracted.
    axis: difference, intact
    """
    length = tokens.shape[1] // 2
    rows = []
    for layer in range(model.cfg.n_layers):
        for head in range(model.cfg.n_heads):
            loss = loss_per_token(ablate_head(model, tokens, layer, head), tokens)
            rows.append((layer, head, loss[:, length + 1 :].mean().item()))
    return sorted(rows, key=lambda row: row[2], reverse=True)


def rank_heads_by_effect__summed(model, tokens):
    """The losses of a row are summed, so the effect is per row and not per token.
    axis: sum, mean
    """
    length = tokens.shape[1] // 2

    def second(logits):
        return loss_per_token(logits, tokens)[:, length + 1 :].sum(dim=1).mean().item()

    intact = second(model(tokens))
    rows = [
        (layer, head, second(ablate_head(model, tokens, layer, head)) - intact)
        for layer in range(model.cfg.n_layers)
        for head in range(model.cfg.n_heads)
    ]
    return sorted(rows, key=lambda row: row[2], reverse=True)


def rank_heads_by_effect__hooks_pile_up(model, tokens):
    """Every hook stays until the end, so each head is removed on top of the ones before it.
    axis: cumulative, hook left behind
    """
    length = tokens.shape[1] // 2
    intact = loss_per_token(model(tokens), tokens)[:, length + 1 :].mean().item()
    rows = []

    def silence(head):
        def hook_function(z, hook):
            z = z.clone()
            z[:, :, head] = 0
            return z

        return hook_function

    for layer in range(model.cfg.n_layers):
        for head in range(model.cfg.n_heads):
            model.add_hook(f"blocks.{layer}.attn.hook_z", silence(head))
            loss = loss_per_token(model(tokens), tokens)[:, length + 1 :].mean().item()
            rows.append((layer, head, loss - intact))
    model.reset_hooks()
    return sorted(rows, key=lambda row: row[2], reverse=True)


def rank_heads_by_effect__first_row_only(model, tokens):
    """Only the first row is measured.
    axis: batch, row
    """
    tokens = tokens[:1]
    length = tokens.shape[1] // 2
    intact = loss_per_token(model(tokens), tokens)[:, length + 1 :].mean().item()
    rows = []
    for layer in range(model.cfg.n_layers):
        for head in range(model.cfg.n_heads):
            loss = loss_per_token(ablate_head(model, tokens, layer, head), tokens)
            rows.append((layer, head, loss[:, length + 1 :].mean().item() - intact))
    return sorted(rows, key=lambda row: row[2], reverse=True)


def rank_heads_by_effect__ratio(model, tokens):
    """The losses are divided instead of subtracted.
    axis: ratio, difference
    """
    length = tokens.shape[1] // 2
    intact = loss_per_token(model(tokens), tokens)[:, length + 1 :].mean()
    effects = torch.empty(model.cfg.n_layers, model.cfg.n_heads)
    for layer in range(model.cfg.n_layers):
        for head in range(model.cfg.n_heads):
            loss = loss_per_token(ablate_head(model, tokens, layer, head), tokens)
            effects[layer, head] = loss[:, length + 1 :].mean() / intact
    order = effects.flatten().argsort(descending=True).tolist()
    places = [divmod(i, model.cfg.n_heads) for i in order]
    return [(layer, head, effects[layer, head].item()) for layer, head in places]
