"""What people really get wrong in this chapter; each function is one misconception, said in its docstring.

The first sentence defines the behaviour, the second paragraph says how to see it.
"""

import torch
from einops import einsum

# head_logit_attribution -----------------------------------------------------------------------------------


def head_logit_attribution__layer_norm_forgotten(model, tokens, right, wrong):
    """What the head writes is multiplied by the logit direction as it is, without the division by ln_final.hook_scale.

    With embedding, MLPs and biases the contributions don't add up to the logit difference.
    """
    return _attribution(model, tokens, right, wrong, scale=lambda cache: 1.0)


def head_logit_attribution__layer_norm_of_each_head(model, tokens, right, wrong):
    """Each head's output is normalized by its own standard deviation over d_model, not by the scale of the stream.

    All heads are made equally loud: one that writes next to nothing contributes as much as the others.
    """
    written = _written(model, tokens)
    written = written / (written.pow(2).mean(-1, keepdim=True) + model.cfg.eps).sqrt()
    return einsum(written, _direction(model, right, wrong), "batch layer head d, batch d -> batch layer head")


def head_logit_attribution__first_layer_norm(model, tokens, right, wrong):
    """The scale is that of the first LayerNorm, blocks.0.ln1.hook_scale at the last position, not of the final one.

    The contributions are too large, since the stream is still small there.
    """
    return _attribution(
        model, tokens, right, wrong, scale=lambda cache: cache["blocks.0.ln1.hook_scale"][:, -1]
    )


def head_logit_attribution__one_scale_for_all_rows(model, tokens, right, wrong):
    """The final LayerNorm's scale at the last position is averaged over the batch, and all rows are divided by the mean.

    A row's result changes with the rows beside it.
    """
    return _attribution(
        model, tokens, right, wrong, scale=lambda cache: cache["ln_final.hook_scale"][:, -1].mean(0)
    )


def head_logit_attribution__right_word_only(model, tokens, right, wrong):
    """The contribution is to the logit of the right word alone; that of the wrong word is not subtracted.

    Another wrong word makes no difference.
    """
    return _attribution(model, tokens, right, wrong, direction=model.W_U[:, right].T)


def head_logit_attribution__difference_reversed(model, tokens, right, wrong):
    """The direction is that of the wrong word minus that of the right one.

    Heads that speak for the right word have negative contributions.
    """
    return -_attribution(model, tokens, right, wrong)


def head_logit_attribution__averaged_over_the_batch(model, tokens, right, wrong):
    """The contributions are averaged over the rows: the shape is [layer, head].

    The batch axis is missing.
    """
    return _attribution(model, tokens, right, wrong).mean(0)


def head_logit_attribution__last_but_one(model, tokens, right, wrong):
    """What the heads write, and the scale, are taken at position -2, the last but one.

    Off by one: the word before the question predicts the question, not its answer.
    """
    return _attribution(model, tokens[:, :-1], right, wrong)


def head_logit_attribution__summed_over_positions(model, tokens, right, wrong):
    """What a head writes is summed over all positions, each divided by its own scale, instead of taken at the last.

    Heads that write early in the text contribute, although the last logits don't see it.
    """
    lengths = range(1, tokens.shape[1] + 1)
    return sum(_attribution(model, tokens[:, :length], right, wrong) for length in lengths)


def head_logit_attribution__reshaped_columns(model, tokens, right, wrong):
    """Columns of W_U are made rows by a reshape, not by a transpose, so that numbers of several prompts mix.

    A single prompt is right.
    """
    direction = (model.W_U[:, right] - model.W_U[:, wrong]).reshape(len(tokens), -1)
    return _attribution(model, tokens, right, wrong, direction=direction)


# patch_residual -------------------------------------------------------------------------------------------


def patch_residual__runs_swapped(model, clean, corrupted, right, wrong):
    """The two runs are swapped: the clean run gets the corrupted stream, and 1 means that it has become the corrupted one.

    This is noising. Both ends of the scale look right, and the values in between differ.
    """
    return _film(model, corrupted, clean, right, wrong)


def patch_residual__noising_on_the_same_scale(model, clean, corrupted, right, wrong):
    """The clean run gets the corrupted stream, while the scale stays: 0 is the corrupted run and 1 the clean one.

    Where the texts agree nothing is patched, and the result is 1.
    """
    return 1 - _film(model, corrupted, clean, right, wrong)


def patch_residual__not_normalized(model, clean, corrupted, right, wrong):
    """The mean logit difference of the patched run is returned as it is, not as a share.

    Values are logits, and a patch that does nothing has a negative one.
    """
    return _film(model, clean, corrupted, right, wrong, scale=lambda patched, good, bad: patched)


def patch_residual__divided_by_the_clean_run(model, clean, corrupted, right, wrong):
    """The patched logit difference is divided by that of the clean run; the corrupted run's is not subtracted.

    A patch that does nothing gives a value other than 0.
    """
    return _film(model, clean, corrupted, right, wrong, scale=lambda patched, good, bad: patched / good)


def patch_residual__after_the_layer(model, clean, corrupted, right, wrong):
    """The stream is patched after each layer (hook_resid_post) instead of before it.

    The film begins one frame late, and in its last frame only the last position counts.
    """
    return _film(model, clean, corrupted, right, wrong, site="hook_resid_post")


def patch_residual__one_position_late(model, clean, corrupted, right, wrong):
    """Column p holds the effect of patching position p + 1; in the last column, the last position is patched again.

    Off by one: the first frame is not empty to the left of where the texts differ.
    """
    last = clean.shape[1] - 1
    return _film(model, clean, corrupted, right, wrong, places=lambda p: [min(p + 1, last)])


def patch_residual__from_here_on(model, clean, corrupted, right, wrong):
    """The stream is patched at the position and at all that follow it, not at this one alone.

    Rows fall from left to right, and the first column is 1.
    """
    last = clean.shape[1]
    return _film(model, clean, corrupted, right, wrong, places=lambda p: list(range(p, last)))


def patch_residual__mean_of_the_clean_rows(model, clean, corrupted, right, wrong):
    """Each row gets the mean of the clean streams over the batch, instead of the stream of its own clean row.

    The result for a row depends on the others; for a batch of one it is right.
    """
    return _film(model, clean, corrupted, right, wrong, source=lambda stream: stream.mean(0, keepdim=True))


def patch_residual__cache_of_the_corrupted_run(model, clean, corrupted, right, wrong):
    """The cache is that of the corrupted run, so every patch puts in what is there already.

    All shares are 0.
    """
    return torch.zeros_like(_film(model, clean, corrupted, right, wrong))


def patch_residual__hooks_pile_up(model, clean, corrupted, right, wrong):
    """Hooks are added with add_hook and not removed between patches (only at the end), so each run has all earlier patches too.

    Shares grow along the rows, and every layer after the first is 1 throughout.
    """
    film = torch.zeros_like(_film(model, clean, corrupted, right, wrong))
    _, cache = model.run_with_cache(clean)
    good, bad = (_gap(model(rows), right, wrong) for rows in (clean, corrupted))
    for layer in range(film.shape[0]):
        for position in range(film.shape[1]):
            name = f"blocks.{layer}.hook_resid_pre"
            model.add_hook(name, _putting(cache[name], [position]))
            film[layer, position] = (_gap(model(corrupted), right, wrong) - bad) / (good - bad)
    model.reset_hooks()
    return film


def patch_residual__position_before_layer(model, clean, corrupted, right, wrong):
    """The axes are [position, layer] instead of [layer, position].

    The picture is turned.
    """
    return _film(model, clean, corrupted, right, wrong).T


# patch_head_input -----------------------------------------------------------------------------------------


def patch_head_input__runs_swapped(model, clean, corrupted, layer, head, part):
    """The two runs are swapped: the clean run's logits are returned, with the head's part from the corrupted run (noising).

    Patching an input that does nothing gives the clean logits.
    """
    _expect_part(part)
    return _patched_input(model, corrupted, clean, layer, part, _index(part, head))


def patch_head_input__all_heads(model, clean, corrupted, layer, head, part):
    """The part is taken from the clean run for all heads of the layer.

    The head's number makes no difference.
    """
    _expect_part(part)
    return _patched_input(model, clean, corrupted, layer, part, (slice(None),))


def patch_head_input__pattern_axes_swapped(model, clean, corrupted, layer, head, part):
    """The pattern is indexed like q, k and v, [:, :, head], which is the row of one *query* of all heads.

    With "pattern", only the position with the head's number is patched; it is right for the other parts.
    """
    _expect_part(part)
    return _patched_input(model, clean, corrupted, layer, part, (slice(None), slice(None), head))


def patch_head_input__q_and_k_exchanged(model, clean, corrupted, layer, head, part):
    """For "q" the keys are patched, and for "k" the queries.

    What keys restore is reported of the query.
    """
    _expect_part(part)
    other = {"q": "k", "k": "q"}.get(part, part)
    return _patched_input(model, clean, corrupted, layer, other, _index(other, head))


def patch_head_input__output_instead(model, clean, corrupted, layer, head, part):
    """Whatever the part, the head's z is patched, its output.

    All four parts give the same logits.
    """
    _expect_part(part)
    return _patched_input(model, clean, corrupted, layer, "z", _index("z", head))


def patch_head_input__last_position_only(model, clean, corrupted, layer, head, part):
    """The part is patched at the last position only (for "pattern", the row of the last query).

    Keys and values of earlier places, which is where a head reads, stay corrupted.
    """
    _expect_part(part)
    index = (slice(None), head, -1) if part == "pattern" else (slice(None), -1, head)
    return _patched_input(model, clean, corrupted, layer, part, index)


def patch_head_input__pattern_from_scores(model, clean, corrupted, layer, head, part):
    """For "pattern", the clean attention scores before the softmax (hook_attn_scores) are put in the place of the pattern.

    The rows of what is put in don't add up to one; it is right for the other parts.
    """
    _expect_part(part)
    if part != "pattern":
        return _patched_input(model, clean, corrupted, layer, part, _index(part, head))
    _, cache = model.run_with_cache(clean)
    scores = cache[f"blocks.{layer}.attn.hook_attn_scores"]
    positions = torch.arange(clean.shape[1], device=clean.device)
    scores = scores.masked_fill(positions[:, None] < positions, 0.0)

    def edit(pattern, hook):
        pattern = pattern.clone()
        pattern[:, head] = scores[:, head]
        return pattern

    return model.run_with_hooks(corrupted, fwd_hooks=[(f"blocks.{layer}.attn.hook_pattern", edit)])


def patch_head_input__hook_left_behind(model, clean, corrupted, layer, head, part):
    """The right hook is added with model.add_hook and never removed, so that patches pile up from call to call.

    The model without any patch gives other logits after the call than before it.
    """
    _expect_part(part)
    name, index = f"blocks.{layer}.attn.hook_{part}", _index(part, head)
    _, cache = model.run_with_cache(clean)

    def edit(current, hook):
        current = current.clone()
        current[index] = cache[name][index]
        return current

    model.add_hook(name, edit)
    return model(corrupted)


def patch_head_input__outputs_accepted(model, clean, corrupted, layer, head, part):
    """Any part is accepted whose hook exists or not: "z" is patched, and an unknown one changes nothing; nothing raises.

    A misspelt part gives the corrupted logits.
    """
    if part not in ("q", "k", "v", "z", "pattern"):
        return model(corrupted)
    return _patch_anything(model, clean, corrupted, layer, part, _index(part, head))


# path_logits ----------------------------------------------------------------------------------------------

BOTH = ("heads", "mlps")


def path_logits__nothing_frozen(model, clean, corrupted, sender, receivers, through="k", frozen=BOTH):
    """Nothing is frozen in step 1, whatever `frozen` says: the receivers' inputs follow the sender by every path.

    The result does not depend on `frozen`.
    """
    _expect_path(sender, receivers, through, frozen)
    return _path(model, clean, corrupted, sender, receivers, through, frozen=())


def path_logits__heads_not_frozen(model, clean, corrupted, sender, receivers, through="k", frozen=BOTH):
    """Heads are never frozen, MLPs are if `frozen` says so: paths through other heads are counted as direct.

    Between layers 0 and 2, the heads of layer 1 pass on what the sender says.
    """
    _expect_path(sender, receivers, through, frozen)
    return _path(
        model, clean, corrupted, sender, receivers, through, [name for name in frozen if name == "mlps"]
    )


def path_logits__mlps_not_frozen(model, clean, corrupted, sender, receivers, through="k", frozen=BOTH):
    """MLPs are never frozen, heads are if `frozen` says so: what passes through MLPs is counted as direct.

    In a model without MLPs everything is right.
    """
    _expect_path(sender, receivers, through, frozen)
    return _path(
        model, clean, corrupted, sender, receivers, through, [name for name in frozen if name == "heads"]
    )


def path_logits__mlps_always_frozen(model, clean, corrupted, sender, receivers, through="k", frozen=BOTH):
    """MLPs are always frozen, also when `frozen` does not name them.

    The direct effect is taken for the whole one.
    """
    _expect_path(sender, receivers, through, frozen)
    return _path(model, clean, corrupted, sender, receivers, through, {*frozen, "mlps"})


def path_logits__own_mlp_not_frozen(model, clean, corrupted, sender, receivers, through="k", frozen=BOTH):
    """The MLP of the sender's own layer is left free: only MLPs of the layers above are frozen.

    That MLP comes after the heads of its layer and reads what they have just written.
    """
    _expect_path(sender, receivers, through, frozen)
    return _path(model, clean, corrupted, sender, receivers, through, frozen, first_mlp=sender[0] + 1)


def path_logits__frozen_at_clean(model, clean, corrupted, sender, receivers, through="k", frozen=BOTH):
    """What is frozen is held at its values in the clean run instead of the corrupted run.

    Frozen nodes carry the news themselves: the effect is nearly that of the whole clean run.
    """
    _expect_path(sender, receivers, through, frozen)
    return _path(model, clean, corrupted, sender, receivers, through, frozen, held=clean)


def path_logits__sender_patched_in_step_2(
    model, clean, corrupted, sender, receivers, through="k", frozen=BOTH
):
    """In step 2 the sender's clean z is patched in as well as the receivers' inputs, so all its other paths count too.

    The effect is at least that of patching the sender as a whole.
    """
    _expect_path(sender, receivers, through, frozen)
    return _path(model, clean, corrupted, sender, receivers, through, frozen, sender_again=True)


def path_logits__one_step(model, clean, corrupted, sender, receivers, through="k", frozen=BOTH):
    """There is no step 2: the logits of step 1 are returned, in which the sender is patched and the rest frozen.

    With all heads frozen the receivers say what they always said, so their inputs make no difference.
    """
    _expect_path(sender, receivers, through, frozen)
    hooks = _first_step(model, clean, corrupted, sender, frozen)
    return model.run_with_hooks(corrupted, fwd_hooks=hooks)


def path_logits__frozen_in_step_2(model, clean, corrupted, sender, receivers, through="k", frozen=BOTH):
    """What is frozen in step 1 stays frozen in step 2, apart from the receivers' inputs.

    With frozen heads, the receivers' own outputs don't follow their inputs, and nothing happens.
    """
    _expect_path(sender, receivers, through, frozen)
    return _path(model, clean, corrupted, sender, receivers, through, frozen, frozen_again=True)


def path_logits__runs_swapped(model, clean, corrupted, sender, receivers, through="k", frozen=BOTH):
    """The two runs are swapped: the arrow is cut in the clean run instead of mended in the corrupted one.

    An arrow without effect gives the clean logits.
    """
    return _path(model, corrupted, clean, sender, receivers, through, frozen)


def path_logits__whole_sender_layer(model, clean, corrupted, sender, receivers, through="k", frozen=BOTH):
    """All heads of the sender's layer are patched in step 1, not the sender alone.

    The sender's number makes no difference.
    """
    _expect_path(sender, receivers, through, frozen)
    heads = range(model.cfg.n_heads)
    return _path(model, clean, corrupted, sender, receivers, through, frozen, senders=list(heads))


def path_logits__whole_receiver_layers(model, clean, corrupted, sender, receivers, through="k", frozen=BOTH):
    """The inputs of all heads in the receivers' layers are replaced in step 2, not only those of the receivers.

    Leaving a head out of the receivers makes no difference.
    """
    _expect_path(sender, receivers, through, frozen)
    layers = {layer for layer, _ in receivers}
    everyone = [(layer, head) for layer in layers for head in range(model.cfg.n_heads)]
    return _path(model, clean, corrupted, sender, everyone, through, frozen)


def path_logits__first_receiver_only(model, clean, corrupted, sender, receivers, through="k", frozen=BOTH):
    """Only the first of the receivers gets its new input.

    Further receivers make no difference.
    """
    _expect_path(sender, receivers, through, frozen)
    return _path(model, clean, corrupted, sender, receivers[:1], through, frozen)


def path_logits__k_and_q_exchanged(model, clean, corrupted, sender, receivers, through="k", frozen=BOTH):
    """Through "k" it is the receivers' queries that are replaced, and through "q" their keys.

    K-composition is reported as Q-composition.
    """
    other = {"q": "k", "k": "q"}.get(through, through)
    return _path(model, clean, corrupted, sender, receivers, other, frozen)


def path_logits__receivers_output(model, clean, corrupted, sender, receivers, through="k", frozen=BOTH):
    """The receivers' z as it is in step 1, free of freezing in their layers, is replaced in step 2, whatever `through` says.

    q, k and v give the same logits.
    """
    _expect_path(sender, receivers, through, frozen)
    return _path(model, clean, corrupted, sender, receivers, "z", frozen, spare=receivers)


def path_logits__anything_accepted(model, clean, corrupted, sender, receivers, through="k", frozen=BOTH):
    """Nothing is refused: unknown inputs and receivers below the sender change nothing, unknown names freeze nothing.

    A misspelt "mlp" leaves the MLPs free without a word.
    """
    receivers = [place for place in receivers if place[0] > sender[0] and through in "qkv"]
    frozen = [name for name in frozen if name in BOTH]
    return _path(model, clean, corrupted, sender, receivers, through if receivers else "k", frozen)


def path_logits__receivers_in_one_layer(
    model, clean, corrupted, sender, receivers, through="k", frozen=("heads", "mlps")
):
    """All receivers are patched in the layer of the first one, whichever layer they are in.

    With receivers in one layer nothing shows.
    """
    layer = receivers[0][0]
    _expect_path(sender, receivers, through, frozen)
    moved = [(layer, head) for _, head in receivers]
    return _path(model, clean, corrupted, sender, moved, through, frozen)


# composition_scores ---------------------------------------------------------------------------------------


def composition_scores__k_and_q_exchanged(model, into):
    """For "k" the matrix M is W_QK itself, and for "q" its transpose: queries and keys are exchanged.

    The keys of the receiver are scored by what its queries read.
    """
    return _scores(model, {"q": "k", "k": "q"}.get(into, into))


def composition_scores__not_normalized(model, into):
    """The norm of the product is returned without dividing by the norms of the factors.

    Values exceed 1, and heads with large weights come first.
    """
    return _scores(model, into, divide=lambda writes, reads: 1.0)


def composition_scores__divided_by_the_receiver_only(model, into):
    """The norm of the product is divided by that of M alone, not by that of the sender's W_OV.

    Senders with large weights come first.
    """
    return _scores(model, into, divide=lambda writes, reads: reads)


def composition_scores__w_o_forgotten(model, into):
    """W_OV of the sender is taken as W_V W_Vᵀ: what the head reads, instead of what it writes with W_O.

    A head scores by the directions that it listens to.
    """
    return _scores(model, into, writes=lambda model: model.W_V @ model.W_V.mT)


def composition_scores__half_of_the_receiver(model, into):
    """M is only the reading matrix of the receiver, W_Q, W_K or W_V, without the other half of its circuit.

    The size of what the receiver makes of the news does not count.
    """
    half = {"q": model.W_Q, "k": model.W_K, "v": model.W_V}
    return _scores(model, into, reads=lambda model: half[into])


def composition_scores__receiver_first(model, into):
    """The axes are [receiver layer, receiver head, sender layer, sender head]: the sender comes last.

    Entries are zero where the first layer is the earlier one.
    """
    return _scores(model, into).permute(2, 3, 0, 1)


def composition_scores__all_pairs(model, into):
    """All pairs are scored, also those in which the sender is not in an earlier layer than the receiver.

    A head composes with itself.
    """
    return _scores(model, into, earlier=lambda sender, receiver: True)


def composition_scores__same_layer_too(model, into):
    """Pairs of heads in the same layer are scored as well, which can't feed each other.

    Only pairs with a later sender are zero.
    """
    return _scores(model, into, earlier=lambda sender, receiver: sender <= receiver)


def composition_scores__largest_singular_value(model, into):
    """The norms are the largest singular values of the matrices instead of Frobenius norms.

    One shared direction is enough for a score near 1.
    """
    return _scores(model, into, order=2)


def composition_scores__squared(model, into):
    """The squares of the Frobenius norms are taken: sums of squares, without the root.

    All scores are the squares of what they should be.
    """
    return _scores(model, into) ** 2


def composition_scores__other_inputs_accepted(model, into):
    """Any `into` that is neither "q" nor "k" is taken for "v", so that an unknown one does not raise.

    A misspelt input gives the scores of V-composition.
    """
    return _scores(model, into if into in ("q", "k") else "v")


def composition_scores__columns_for_rows(model, into):
    """The matrices are multiplied in the order for column vectors: the reader's before the sender's.

    What the sender reads is held against what the receiver writes.
    """
    return _scores(model, into, multiply=lambda sent, read: read @ sent)


# what several of them share -------------------------------------------------------------------------------


def _direction(model, right, wrong):
    return (model.W_U[:, right] - model.W_U[:, wrong]).T


def _written(model, tokens):
    _, cache = model.run_with_cache(tokens)
    z = torch.stack([cache["z", layer][:, -1] for layer in range(model.cfg.n_layers)], dim=1)
    return einsum(z, model.W_O, "batch layer head d_head, layer head d_head d -> batch layer head d")


def _attribution(
    model, tokens, right, wrong, scale=lambda cache: cache["ln_final.hook_scale"][:, -1], direction=None
):
    _, cache = model.run_with_cache(tokens)
    direction = _direction(model, right, wrong) if direction is None else direction
    written = _written(model, tokens)
    return einsum(written, direction / scale(cache), "batch layer head d, batch d -> batch layer head")


def _gap(logits, right, wrong):
    row = torch.arange(len(logits), device=logits.device)
    return (logits[row, -1, right] - logits[row, -1, wrong]).mean().item()


def _putting(stream, places):
    def edit(current, hook):
        current = current.clone()
        current[:, places] = stream[:, places]
        return current

    return edit


def _film(
    model,
    clean,
    corrupted,
    right,
    wrong,
    scale=lambda patched, good, bad: (patched - bad) / (good - bad),
    site="hook_resid_pre",
    places=lambda p: [p],
    source=lambda stream: stream,
):
    _, cache = model.run_with_cache(clean)
    good, bad = (_gap(model(rows), right, wrong) for rows in (clean, corrupted))
    film = torch.zeros(model.cfg.n_layers, clean.shape[1])
    for layer in range(film.shape[0]):
        name = f"blocks.{layer}.{site}"
        for position in range(film.shape[1]):
            hook = (name, _putting(source(cache[name]), places(position)))
            film[layer, position] = _gap(model.run_with_hooks(corrupted, fwd_hooks=[hook]), right, wrong)
    return scale(film, good, bad)


def _expect_part(part):
    if part not in ("q", "k", "v", "pattern"):
        raise ValueError(f"part is {part}")


def _index(part, head):
    return (slice(None), head) if part == "pattern" else (slice(None), slice(None), head)


def _patched_input(model, clean, corrupted, layer, part, index):
    if part != "z":
        _expect_part(part)
    return _patch_anything(model, clean, corrupted, layer, part, index)


def _patch_anything(model, clean, corrupted, layer, part, index):
    name = f"blocks.{layer}.attn.hook_{part}"
    _, cache = model.run_with_cache(clean)

    def edit(current, hook):
        current = current.clone()
        current[index] = cache[name][index]
        return current

    return model.run_with_hooks(corrupted, fwd_hooks=[(name, edit)])


def _expect_path(sender, receivers, through, frozen):
    known = through in ("q", "k", "v") and set(frozen) <= set(BOTH)
    if not known or any(layer <= sender[0] for layer, _ in receivers):
        raise ValueError("no such path")


def _put_heads(name, values, chosen):
    def edit(current, hook):
        current = current.clone()
        current[:, :, chosen] = values[:, :, chosen]
        return current

    return name, edit


def _first_step(model, clean, corrupted, sender, frozen, senders=None, held=None, first_mlp=None, spare=()):
    """The hooks of step 1; those of `frozen` leave the z of the heads in `spare` free."""
    layer, head = sender
    z, layers = f"blocks.{layer}.attn.hook_z", range(layer + 1, model.cfg.n_layers)
    _, source = model.run_with_cache(clean)
    _, kept = model.run_with_cache(corrupted if held is None else held)
    hooks = [_put_heads(z, source[z], [head] if senders is None else senders)]
    for above in layers if "heads" in frozen else ():
        name = f"blocks.{above}.attn.hook_z"
        heads = [head for head in range(model.cfg.n_heads) if (above, head) not in spare]
        hooks.append(_put_heads(name, kept[name], heads))
    first_mlp = layer if first_mlp is None else first_mlp
    for above in range(first_mlp, model.cfg.n_layers) if "mlps" in frozen else ():
        name = f"blocks.{above}.hook_mlp_out"
        hooks.append((name, lambda current, hook, value=kept[name]: value))
    return hooks


def _path(
    model,
    clean,
    corrupted,
    sender,
    receivers,
    through,
    frozen,
    sender_again=False,
    frozen_again=False,
    **changes,
):
    if through != "z":
        _expect_path(sender, receivers, through, frozen)
    hooks = _first_step(model, clean, corrupted, sender, frozen, **changes)
    with model.hooks(fwd_hooks=hooks):
        _, arrived = model.run_with_cache(corrupted)
    again = (hooks[:1] if sender_again else []) + (hooks[1:] if frozen_again else [])
    names = {f"blocks.{layer}.attn.hook_{through}" for layer, _ in receivers}
    for name in sorted(names):
        chosen = [head for layer, head in receivers if name.startswith(f"blocks.{layer}.")]
        again.append(_put_heads(name, arrived[name], chosen))
    return model.run_with_hooks(corrupted, fwd_hooks=again)


def _scores(
    model,
    into,
    divide=lambda writes, reads: writes * reads,
    writes=lambda model: model.W_V @ model.W_O,
    reads=None,
    earlier=lambda sender, receiver: sender < receiver,
    order="fro",
    multiply=lambda sent, read: sent @ read,
):
    qk = model.W_Q @ model.W_K.mT
    whole = {"q": qk, "k": qk.mT, "v": model.W_V @ model.W_O}
    if into not in whole:
        raise ValueError(f"into is {into}")
    out, matrix = writes(model), whole[into] if reads is None else reads(model)
    layers, heads = model.cfg.n_layers, model.cfg.n_heads
    scores = torch.zeros(layers, heads, layers, heads, device=out.device)
    for place in [(layer, head) for layer in range(layers) for head in range(heads)]:
        for later in [each for each in range(layers) if earlier(place[0], each)]:
            product, writing, reading = (
                torch.linalg.matrix_norm(each, ord=order)
                for each in (multiply(out[place], matrix[later]), out[place], matrix[later])
            )
            scores[place][later] = product / divide(writing, reading)
    return scores
