"""What people really get wrong in this chapter; each function is one misconception, said in its docstring.

The first sentence defines the behaviour, the second paragraph says how to see it.
"""

from dataclasses import replace
from itertools import combinations

import torch
from einops import einsum

from mechinterp_course.attribution_patching import attribute_heads
from mechinterp_course.faithfulness import faithfulness_by_size, run_circuit
from mechinterp_course.metrics import LogitDifference
from mechinterp_course.patching import patch_head_output
from mechinterp_course.refutation import break_circuit
from mechinterp_course.worlds.planted import guessers
from mechinterp_course.worlds.planted.evidence import find_circuit, prove
from mechinterp_course.worlds.planted.puzzle import Puzzle
from mechinterp_course.worlds.planted.solver import answers_without

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
    return _patched_input(model, corrupted, clean, layer, part, _index(part, head))


def patch_head_input__all_heads(model, clean, corrupted, layer, head, part):
    """The part is taken from the clean run for all heads of the layer.

    The head's number makes no difference.
    """
    return _patched_input(model, clean, corrupted, layer, part, (slice(None),))


def patch_head_input__pattern_axes_swapped(model, clean, corrupted, layer, head, part):
    """The pattern is indexed like q, k and v, [:, :, head], which is the row of one *query* of all heads.

    With "pattern", only the position with the head's number is patched; it is right for the other parts.
    """
    return _patched_input(model, clean, corrupted, layer, part, (slice(None), slice(None), head))


def patch_head_input__q_and_k_exchanged(model, clean, corrupted, layer, head, part):
    """For "q" the keys are patched, and for "k" the queries.

    What keys restore is reported of the query.
    """
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
    index = (slice(None), head, -1) if part == "pattern" else (slice(None), -1, head)
    return _patched_input(model, clean, corrupted, layer, part, index)


def patch_head_input__pattern_from_scores(model, clean, corrupted, layer, head, part):
    """For "pattern", the clean attention scores before the softmax (hook_attn_scores) are put in the place of the pattern.

    The rows of what is put in don't add up to one; it is right for the other parts.
    """
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
                for each in (out[place] @ matrix[later], out[place], matrix[later])
            )
            scores[place][later] = product / divide(writing, reading)
    return scores


# run_circuit ----------------------------------------------------------------------------------------------


def run_circuit__circuit_taken_out(model, tokens, circuit, kind="resample", other=None):
    """The heads of the circuit are replaced and the others left alone, the other way round.

    With all heads in the circuit the logits are not the model's own, and with none they are.
    """
    rest = [head for head in _heads_of(model) if head not in circuit]
    return run_circuit(model, tokens, rest, kind, other)


def run_circuit__sources_from_the_damaged_run(model, tokens, circuit, kind="resample", other=None):
    """What later layers put in is taken from a run in which the layers before had been replaced already, not from an intact one.

    Right for heads of layer 0, wrong for all later ones.
    """
    _refuse(kind, other)
    source = tokens if other is None else other
    hooks = []
    for layer in range(model.cfg.n_layers):
        name = f"blocks.{layer}.attn.hook_z"
        with torch.no_grad(), model.hooks(fwd_hooks=hooks):
            _, cache = model.run_with_cache(source, names_filter=name)
        hooks.append((name, _putting(_source(cache[name], kind), _outside(model, circuit, layer))))
    return model.run_with_hooks(tokens, fwd_hooks=hooks)


def run_circuit__mean_over_batch_only(model, tokens, circuit, kind="resample", other=None):
    """For the mean, the average runs over the batch alone, so that every position has a mean of its own.

    What the head says about a position, on average over prompts, stays in.
    """
    return _run(model, tokens, circuit, kind, other, lambda z: z.mean(0, keepdim=True).expand_as(z))


def run_circuit__mean_of_the_prompts_themselves(model, tokens, circuit, kind="resample", other=None):
    """For the mean, the average is taken over `tokens` even where `other` is given.

    Changing `other` changes nothing.
    """
    return run_circuit(model, tokens, circuit, kind, None if kind == "mean" else other)


def run_circuit__one_row_for_all(model, tokens, circuit, kind="resample", other=None):
    """Every prompt is resampled from the first row of `other`, instead of row for row.

    Changing the other rows of `other` changes nothing.
    """
    _refuse(kind, other)
    row = other if kind != "resample" else other[:1].expand_as(other)
    return run_circuit(model, tokens, circuit, kind, row)


def run_circuit__last_position_only(model, tokens, circuit, kind="resample", other=None):
    """Only the last position of each head's z is replaced, not all positions.

    The logits before the last position are the model's own.
    """
    _refuse(kind, other)
    with torch.no_grad():
        _, cache = model.run_with_cache(tokens if other is None else other)

    def put(z, hook):
        chosen, z = _outside(model, circuit, hook.layer()), z.clone()
        z[:, -1, chosen] = _source(cache[hook.name], kind)[:, -1, chosen]
        return z

    return model.run_with_hooks(tokens, fwd_hooks=[(name, put) for name in _z_names(model)])


def run_circuit__layers_without_a_kept_head_left_alone(model, tokens, circuit, kind="resample", other=None):
    """Only the layers that hold a head of the circuit are touched; a layer without one stays whole.

    With an empty circuit nothing is replaced at all.
    """
    layers = {layer for layer, _ in circuit}
    spared = [head for head in _heads_of(model) if head[0] not in layers]
    return run_circuit(model, tokens, [*circuit, *spared], kind, other)


def run_circuit__any_kind_is_zero(model, tokens, circuit, kind="resample", other=None):
    """A kind that is neither "resample" nor "mean" is taken for "zero", whatever it is, instead of being refused.

    kind="median" raises nothing.
    """
    if kind == "resample" and other is None:
        raise ValueError("nothing to resample from")
    return run_circuit(model, tokens, circuit, kind if kind in ("resample", "mean") else "zero", other)


# faithfulness_by_size -------------------------------------------------------------------------------------


def faithfulness_by_size__nothing_not_subtracted(model, tokens, other, right, wrong, order, kind="resample"):
    """F of the circuit is divided by F of the model, and what is left with no head is not subtracted from either.

    The first entry is not 0.
    """
    left, whole = _left_by_size(model, tokens, other, right, wrong, order, kind)
    return left.mean(1) / whole.mean()


def faithfulness_by_size__mean_of_ratios(model, tokens, other, right, wrong, order, kind="resample"):
    """The ratio is taken for every prompt, and the ratios are averaged, instead of the ratio of the means.

    A prompt on which the model hardly prefers the right word can outweigh all others.
    """
    left, whole = _left_by_size(model, tokens, other, right, wrong, order, kind)
    return ((left - left[0]) / (whole - left[0])).mean(1)


def faithfulness_by_size__heads_removed(model, tokens, other, right, wrong, order, kind="resample"):
    """The first n heads are taken out of the model, instead of being kept alone.

    The curve begins at 1 and falls.
    """
    every = _heads_of(model)
    kept = [[head for head in every if head not in order[:n]] for n in range(len(order) + 1)]
    left, whole = _left_by_size(model, tokens, other, right, wrong, order, kind, kept)
    none = _left(model, tokens, other, right, wrong, [], kind).mean()
    return (left.mean(1) - none) / (whole.mean() - none)


def faithfulness_by_size__each_head_alone(model, tokens, other, right, wrong, order, kind="resample"):
    """Entry n is for the n-th head alone, not for the first n heads together.

    The curve does not grow along the order.
    """
    kept = [[], *([head] for head in order)]
    left, whole = _left_by_size(model, tokens, other, right, wrong, order, kind, kept)
    return (left.mean(1) - left[0].mean()) / (whole.mean() - left[0].mean())


def faithfulness_by_size__empty_circuit_left_out(model, tokens, other, right, wrong, order, kind="resample"):
    """The curve begins with one head: the entry for no head is missing.

    It has len(order) entries instead of len(order) + 1.
    """
    return faithfulness_by_size(model, tokens, other, right, wrong, order, kind)[1:]


def faithfulness_by_size__ends_at_one(model, tokens, other, right, wrong, order, kind="resample"):
    """The last circuit of the order stands for the whole model, so that every curve ends at 1.

    An order that leaves heads out ends at 1 all the same.
    """
    left, _ = _left_by_size(model, tokens, other, right, wrong, order, kind)
    return (left.mean(1) - left[0].mean()) / (left[-1].mean() - left[0].mean())


def faithfulness_by_size__corrupted_run_as_nothing(
    model, tokens, other, right, wrong, order, kind="resample"
):
    """The logit difference of the model on `other` is subtracted, in place of what no head leaves on `tokens`.

    The first entry is not 0.
    """
    left, whole = _left_by_size(model, tokens, other, right, wrong, order, kind)
    with torch.no_grad():
        none = LogitDifference(right, wrong)(model(other))
    return (left.mean(1) - none) / (whole.mean() - none)


def faithfulness_by_size__right_logit_only(model, tokens, other, right, wrong, order, kind="resample"):
    """F is the logit of the right word, without subtracting that of the wrong one.

    What raises all logits counts as faithful.
    """
    every = _heads_of(model)
    row = torch.arange(len(tokens))

    def left_with(kept):
        return run_circuit(model, tokens, kept, kind, other)[row, -1, right].mean()

    left = torch.stack([left_with(order[:n]) for n in range(len(order) + 1)])
    return (left - left[0]) / (left_with(every) - left[0])


# attribute_heads ------------------------------------------------------------------------------------------


def attribute_heads__gradient_of_the_clean_run(model, clean, corrupted, right, wrong):
    """The gradient is taken in the clean run, not in the corrupted run, into which the clean z is put.

    Where attention is saturated in one of the two runs, the estimates differ widely.
    """
    return -attribute_heads(model, corrupted, clean, right, wrong)


def attribute_heads__step_backwards(model, clean, corrupted, right, wrong):
    """The difference is corrupted minus clean, so the estimate has the wrong sign.

    A head that helps gets a negative number.
    """
    return -attribute_heads(model, clean, corrupted, right, wrong)


def attribute_heads__activation_times_gradient(model, clean, corrupted, right, wrong):
    """The gradient is multiplied by the clean z itself, not by what changes from corrupted to clean.

    Equal prompts do not give zero.
    """
    change, gradients = _changes_and_gradients(model, clean, corrupted, right, wrong)
    return _dot([step + here for step, here in change], gradients)


def attribute_heads__corrupted_activation_times_gradient(model, clean, corrupted, right, wrong):
    """The gradient is multiplied by the corrupted z itself, not by the change that patching makes.

    Equal prompts do not give zero.
    """
    change, gradients = _changes_and_gradients(model, clean, corrupted, right, wrong)
    return _dot([here for _, here in change], gradients)


def attribute_heads__last_position_only(model, clean, corrupted, right, wrong):
    """Only the last position is summed, instead of all positions.

    A head that writes its note earlier in the text gets zero.
    """
    change, gradients = _changes_and_gradients(model, clean, corrupted, right, wrong)
    return _dot([step[:, -1:] for step, _ in change], [gradient[:, -1:] for gradient in gradients])


def attribute_heads__divided_by_the_batch_again(model, clean, corrupted, right, wrong):
    """The products are averaged over the batch, although F is a mean over it already, so the batch size divides twice.

    Two copies of a prompt give half the estimate of one.
    """
    return attribute_heads(model, clean, corrupted, right, wrong) / len(clean)


def attribute_heads__summed_over_prompts(model, clean, corrupted, right, wrong):
    """F is the sum over the prompts, not their mean.

    Two copies of a prompt give twice the estimate of one.
    """
    return attribute_heads(model, clean, corrupted, right, wrong) * len(clean)


def attribute_heads__absolute(model, clean, corrupted, right, wrong):
    """The absolute value of each estimate is returned.

    No estimate is negative.
    """
    return attribute_heads(model, clean, corrupted, right, wrong).abs()


def attribute_heads__right_logit_only(model, clean, corrupted, right, wrong):
    """F is the logit of the right word, without subtracting that of the wrong one.

    Swapping the two words does not turn the sign.
    """
    change, gradients = _changes_and_gradients(model, clean, corrupted, right, None)
    return _dot([step for step, _ in change], gradients)


def attribute_heads__patched_truly(model, clean, corrupted, right, wrong):
    """The effect is measured by patching every head, with one run for each, not estimated by the gradient.

    The result is right where the model is a straight line, and differs elsewhere.
    """
    metric = LogitDifference(right, wrong)
    with torch.no_grad():
        intact = metric(model(corrupted))
        effects = [
            metric(patch_head_output(model, clean, corrupted, *head)) - intact for head in _heads_of(model)
        ]
    return torch.stack(effects).view(model.cfg.n_layers, model.cfg.n_heads)


# break_circuit --------------------------------------------------------------------------------------------


def break_circuit__faithfulness_only(model, tokens, other, right, wrong, circuit, kind="resample"):
    """Nothing is knocked out: only the whole circuit and the whole model are compared.

    The knockout is always empty.
    """
    return _worst(_gaps(model, tokens, other, right, wrong, circuit, kind, [()]))


def break_circuit__single_heads_only(model, tokens, other, right, wrong, circuit, kind="resample"):
    """Only knockouts of one head are tried, not those of none or of several.

    A claim that fails only when two heads go together survives.
    """
    knockouts = [(head,) for head in circuit]
    return _worst(_gaps(model, tokens, other, right, wrong, circuit, kind, knockouts))


def break_circuit__mean_over_prompts(model, tokens, other, right, wrong, circuit, kind="resample"):
    """The gap of a knockout is averaged over the prompts, and the prompt is the worst of that knockout.

    A claim that fails on one prompt in many has a small gap.
    """
    gaps = _gaps(model, tokens, other, right, wrong, circuit, kind)
    knockout, each = max(gaps, key=lambda pair: pair[1].mean().item())
    return list(knockout), int(each.argmax()), each.mean().item()


def break_circuit__compared_with_the_intact_model(
    model, tokens, other, right, wrong, circuit, kind="resample"
):
    """The damaged circuit is compared with the intact model, instead of with the model after the same damage.

    Every circuit with a head that matters seems broken.
    """
    whole = _left(model, tokens, other, right, wrong, _heads_of(model), kind)
    gaps = []
    for knockout in _parts(circuit):
        kept = [head for head in circuit if head not in knockout]
        gaps.append((knockout, (_left(model, tokens, other, right, wrong, kept, kind) - whole).abs()))
    return _worst(gaps)


def break_circuit__signed(model, tokens, other, right, wrong, circuit, kind="resample"):
    """The gap is the model's logit difference minus the circuit's, with its sign, so that circuits that do too much pass.

    A gap may be negative.
    """
    return _worst(_gaps(model, tokens, other, right, wrong, circuit, kind, signed=True))


def break_circuit__smallest(model, tokens, other, right, wrong, circuit, kind="resample"):
    """The knockout and prompt with the smallest gap are returned: the best case for the claim, not the worst.

    The gap is about zero for most claims.
    """
    gaps = _gaps(model, tokens, other, right, wrong, circuit, kind)
    knockout, each = min(gaps, key=lambda pair: pair[1].min().item())
    return list(knockout), int(each.argmin()), each.min().item()


def break_circuit__kept_instead_of_knocked_out(model, tokens, other, right, wrong, circuit, kind="resample"):
    """What is returned as the knockout is what was kept of the circuit: all of it but the knockout.

    Where everything was knocked out, the empty list is returned.
    """
    knockout, prompt, gap = break_circuit(model, tokens, other, right, wrong, circuit, kind)
    return sorted(head for head in circuit if head not in knockout), prompt, gap


def break_circuit__always_resampled(model, tokens, other, right, wrong, circuit, kind="resample"):
    """`kind` is ignored: all ablations resample.

    With kind="zero" the gap is that of "resample".
    """
    return break_circuit(model, tokens, other, right, wrong, circuit)


# find_circuit ---------------------------------------------------------------------------------------------


def find_circuit__by_attention_patterns(weights, bos, offset):
    """The heads are chosen by where they look in intact runs.

    Look-alikes attend in the same way, so that one guess in four is right for each role.
    """
    return _told(weights, bos, offset, guessers.by_attention_patterns)


def find_circuit__by_weights(weights, bos, offset):
    """The heads are chosen by composition and copying scores of their weights.

    The idle pair has the same scores, so that one guess in two is right.
    """
    return _told(weights, bos, offset, guessers.by_weights)


def find_circuit__single_ablations_only(weights, bos, offset):
    """The two heads whose ablation costs most, each on its own, are taken for the circuit, and no backup is looked for.

    Right for pairs. Where a backup stands by, silencing the matching head costs nothing, and another is named.
    """
    puzzle = Puzzle(weights, bos, offset)
    circuit = replace(guessers.by_single_ablation(puzzle), backup=None)
    return dict(vars(circuit)), prove(puzzle, circuit)


def find_circuit__writers_exchanged(weights, bos, offset):
    """Of two heads that can write the answer, the later one is called matching and the earlier one backup.

    Right for pairs.
    """
    circuit, evidence = find_circuit(weights, bos, offset)
    if circuit["backup"] is not None:
        circuit |= {"matching": circuit["backup"], "backup": circuit["matching"]}
    return circuit, evidence


def find_circuit__logits_not_shares(weights, bos, offset):
    """`left` is the answer's logit above the mean, not divided by that of the intact model.

    With nothing silenced it is about 11, not 1.
    """
    puzzle = Puzzle(weights, bos, offset)
    circuit, evidence = find_circuit(weights, bos, offset)
    whole = answers_without(puzzle.load(), puzzle.samples(0, 16), [()])[0]
    return circuit, [(heads, left * whole) for heads, left in evidence]


def find_circuit__enough_not_shown(weights, bos, offset):
    """The evidence has no experiment in which all heads outside the circuit are silenced.

    That the named heads are enough is left open.
    """
    circuit, evidence = find_circuit(weights, bos, offset)
    return circuit, [(heads, left) for heads, left in evidence if len(heads) < 4]


def find_circuit__other_prompts(weights, bos, offset):
    """The shares are measured on other prompts than the statement's: samples(seed=1, count=16).

    Each is right for its prompts, and differs in the third decimal.
    """
    puzzle = Puzzle(weights, bos, offset)
    circuit, evidence = find_circuit(weights, bos, offset)
    groups = [heads for heads, _ in evidence]
    whole, *left = answers_without(puzzle.load(), puzzle.samples(1, 16), [(), *groups])
    return circuit, [(heads, one / whole) for heads, one in zip(groups, left, strict=True)]


# ------------------------------------------------------------------------------------------------------------


def _heads_of(model):
    return [(layer, head) for layer in range(model.cfg.n_layers) for head in range(model.cfg.n_heads)]


def _z_names(model):
    return [f"blocks.{layer}.attn.hook_z" for layer in range(model.cfg.n_layers)]


def _outside(model, circuit, layer):
    return [head for head in range(model.cfg.n_heads) if (layer, head) not in circuit]


def _refuse(kind, other):
    if kind not in ("resample", "mean", "zero") or (kind == "resample" and other is None):
        raise ValueError(kind)


def _source(z, kind):
    return {"resample": z, "zero": torch.zeros_like(z), "mean": z.mean((0, 1), keepdim=True).expand_as(z)}[
        kind
    ]


def _putting(source, chosen):
    def put(z, hook):
        z = z.clone()
        z[:, :, chosen] = source[:, :, chosen]
        return z

    return put


def _run(model, tokens, circuit, kind, other, mean):
    """`run_circuit` with another way to take the mean."""
    if kind != "mean":
        return run_circuit(model, tokens, circuit, kind, other)
    with torch.no_grad():
        _, cache = model.run_with_cache(tokens if other is None else other)
    hooks = [
        (name, _putting(mean(cache[name]), _outside(model, circuit, layer)))
        for layer, name in enumerate(_z_names(model))
    ]
    return model.run_with_hooks(tokens, fwd_hooks=hooks)


def _left(model, tokens, other, right, wrong, kept, kind):
    return LogitDifference(right, wrong).per_prompt(run_circuit(model, tokens, kept, kind, other))


def _left_by_size(model, tokens, other, right, wrong, order, kind, kept=None):
    """What circuits leave of each prompt's logit difference, [size, batch], and what the model has."""
    kept = kept or [order[:n] for n in range(len(order) + 1)]
    left = torch.stack([_left(model, tokens, other, right, wrong, heads, kind) for heads in kept])
    return left, _left(model, tokens, other, right, wrong, _heads_of(model), kind)


def _changes_and_gradients(model, clean, corrupted, right, wrong):
    """For every layer (clean z - corrupted z, corrupted z), and the gradient of F by the corrupted z."""
    with torch.no_grad():
        _, cache = model.run_with_cache(clean)
    kept = []

    def keep(z, hook):
        kept.append(z.requires_grad_(True))
        return z

    with torch.enable_grad():
        logits = model.run_with_hooks(corrupted, fwd_hooks=[(name, keep) for name in _z_names(model)])
        row = torch.arange(len(logits))
        value = logits[row, -1, right] - (0 if wrong is None else logits[row, -1, wrong])
        gradients = torch.autograd.grad(value.mean(), kept)
    changes = [(cache[name] - z.detach(), z.detach()) for name, z in zip(_z_names(model), kept, strict=True)]
    return changes, gradients


def _dot(steps, gradients):
    return torch.stack([(step * each).sum((0, 1, 3)) for step, each in zip(steps, gradients, strict=True)])


def _parts(circuit):
    return [part for size in range(len(circuit) + 1) for part in combinations(sorted(circuit), size)]


def _gaps(model, tokens, other, right, wrong, circuit, kind, knockouts=None, signed=False):
    """For every knockout the gap between model and circuit on each prompt."""
    gaps = []
    for knockout in _parts(circuit) if knockouts is None else knockouts:
        left = [
            _left(model, tokens, other, right, wrong, [head for head in heads if head not in knockout], kind)
            for heads in (_heads_of(model), circuit)
        ]
        gap = left[0] - left[1]
        gaps.append((knockout, gap if signed else gap.abs()))
    return gaps


def _worst(gaps):
    knockout, each = max(gaps, key=lambda pair: pair[1].max().item())
    return sorted(knockout), int(each.argmax()), each.max().item()


def _told(weights, bos, offset, guess):
    """A guess, without the backup that guessers always name where there can be none, and its evidence."""
    puzzle = Puzzle(weights, bos, offset)
    circuit = guess(puzzle)
    circuit = replace(circuit, backup=circuit.backup if len(puzzle.heads) > 16 else None)
    return dict(vars(circuit)), prove(puzzle, circuit)
