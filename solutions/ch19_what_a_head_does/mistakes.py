"""What people really get wrong in this chapter; each function is one misconception, said in its docstring.

The first sentence defines the behaviour, the second paragraph says how to see it.
"""

import math

import torch

from mechinterp_course.heads import find_induction_heads
from mechinterp_course.metrics import loss_per_token
from mechinterp_course.patching import ablate_head
from mechinterp_course.redundancy import loss_and_lead
from mechinterp_course.worlds.tokens import repeated_tokens

# ablate_head ----------------------------------------------------------------------------------------------


def ablate_head__whole_layer(model, tokens, layer, head, kind="zero"):
    """The z of every head of the layer is replaced (by zeros, or by each head's own mean), not that of one head.

    The head's number makes no difference.
    """
    return _with_z(model, tokens, layer, lambda z: _constant(z, kind))


def ablate_head__all_but_this_head(model, tokens, layer, head, kind="zero"):
    """The other heads of the layer are replaced (by zeros, or by each one's own mean), and this one is kept.

    Ablating a head that does nothing changes the logits most.
    """
    return _with_z(model, tokens, layer, lambda z: _put(_constant(z, kind), head, z))


def ablate_head__position_axis(model, tokens, layer, head, kind="zero"):
    """The head's number indexes the position axis of z, z[:, head]: all heads of the layer are replaced at that one position.

    "mean" puts each head's mean over batch and positions there. Logits before that position don't change.
    """

    def edit(z):
        z = z.clone()
        z[:, head] = _constant(z, kind)[:, head]
        return z

    return _with_z(model, tokens, layer, edit)


def ablate_head__hook_left_behind(model, tokens, layer, head, kind="zero"):
    """The right hook is added with model.add_hook and never removed, so that ablations pile up from call to call.

    The model without any ablation gives other logits after the call than before it.
    """
    _check_kind(kind)
    model.add_hook(f"blocks.{layer}.attn.hook_z", lambda z, hook: _put(z, head, _constant(z, kind)))
    return model(tokens)


def ablate_head__mean_over_batch_only(model, tokens, layer, head, kind="zero"):
    """ "mean" averages the head's z over the batch only, so that every position keeps its own mean.

    With a batch of one, mean ablation changes nothing.
    """
    return _with_mean(model, tokens, layer, head, kind, dims=(0,))


def ablate_head__mean_over_positions_only(model, tokens, layer, head, kind="zero"):
    """ "mean" averages the head's z over the positions only, so that every row of the batch keeps its own mean.

    The result for a row is the same whatever the other rows hold.
    """
    return _with_mean(model, tokens, layer, head, kind, dims=(1,))


def ablate_head__mean_over_heads_too(model, tokens, layer, head, kind="zero"):
    """ "mean" averages z over batch, positions and all heads of the layer, and puts that one vector in the head's place.

    All heads of a layer get the same replacement.
    """
    return _with_mean(model, tokens, layer, head, kind, dims=(0, 1, 2))


def ablate_head__kind_ignored(model, tokens, layer, head, kind="zero"):
    """Every kind, "mean" and unknown ones included, is a zero ablation, and nothing raises.

    Zero and mean ablation give the same logits.
    """
    return ablate_head(model, tokens, layer, head, "zero")


def ablate_head__other_kinds_accepted(model, tokens, layer, head, kind="zero"):
    """Every kind but "zero" is taken for "mean", so that an unknown one does not raise.

    A misspelt "zreo" gives the logits of mean ablation.
    """
    return ablate_head(model, tokens, layer, head, "zero" if kind == "zero" else "mean")


def ablate_head__queries_silenced(model, tokens, layer, head, kind="zero"):
    """The head's queries (hook_q) are replaced instead of its z: by zeros, or by their mean over batch and positions.

    With zero queries the head attends evenly and still writes.
    """
    _check_kind(kind)
    hook = (f"blocks.{layer}.attn.hook_q", lambda q, hook: _put(q, head, _constant(q, kind)))
    return model.run_with_hooks(tokens, fwd_hooks=[hook])


# patch_head_output ----------------------------------------------------------------------------------------


def patch_head_output__runs_swapped(model, clean, corrupted, layer, head):
    """The two runs are swapped: the clean run's logits are returned, with the head's z from the corrupted run (noising).

    Patching a head that does nothing gives the clean logits instead of the corrupted ones.
    """
    return _patched(model, corrupted, clean, layer, head)


def patch_head_output__whole_layer(model, clean, corrupted, layer, head):
    """The z of every head of the layer is taken from the clean run, not that of one head.

    The head's number makes no difference.
    """
    source = _z(model, clean, layer)
    return _with_z(model, corrupted, layer, lambda z: source)


def patch_head_output__residual_stream(model, clean, corrupted, layer, head):
    """The whole residual stream after the layer (hook_resid_post) is taken from the clean run, not one head's z.

    Since everything later depends on it alone, the logits are those of the clean run.
    """
    name = f"blocks.{layer}.hook_resid_post"
    _, cache = model.run_with_cache(clean)
    return model.run_with_hooks(corrupted, fwd_hooks=[(name, lambda resid, hook: cache[name])])


def patch_head_output__last_position_only(model, clean, corrupted, layer, head):
    """The head's z is taken from the clean run at the last position only.

    Only the logits of the last position change.
    """
    return _patched(model, clean, corrupted, layer, head, positions=slice(-1, None))


def patch_head_output__pattern_not_z(model, clean, corrupted, layer, head):
    """The head's attention pattern is taken from the clean run, and is applied to the values of the corrupted run.

    What is moved is from the corrupted text, only the places are those of the clean one.
    """
    name = f"blocks.{layer}.attn.hook_pattern"
    _, cache = model.run_with_cache(clean)

    def edit(pattern, hook):
        pattern = pattern.clone()
        pattern[:, head] = cache[name][:, head]
        return pattern

    return model.run_with_hooks(corrupted, fwd_hooks=[(name, edit)])


def patch_head_output__added(model, clean, corrupted, layer, head):
    """The head's clean z is added to its corrupted z instead of replacing it.

    Patching a run with itself doubles the head's output.
    """
    source = _z(model, clean, layer)
    return _with_z(model, corrupted, layer, lambda z: _put(z, head, z + source))


def patch_head_output__hook_left_behind(model, clean, corrupted, layer, head):
    """The right hook is added with model.add_hook and never removed, so that patches pile up from call to call.

    The model without any patch gives other logits after the call than before it.
    """
    source = _z(model, clean, layer)
    model.add_hook(f"blocks.{layer}.attn.hook_z", lambda z, hook: _put(z, head, source))
    return model(corrupted)


# rank_heads_by_effect -------------------------------------------------------------------------------------


def rank_heads_by_effect__smallest_first(model, tokens):
    """The right effects are listed in rising order, the smallest first.

    The head that matters most stands at the end.
    """
    return sorted(_ranking(model, tokens), key=lambda row: row[2])


def rank_heads_by_effect__sign_swapped(model, tokens):
    """The effect is the intact loss minus the ablated one, and the list is sorted by that, largest first.

    Heads that matter have negative effects and stand at the end.
    """
    return _ranking(model, tokens, effect=lambda ablated, intact: intact - ablated)


def rank_heads_by_effect__first_copy(model, tokens):
    """The loss is averaged over tokens 2 … length of the first copy instead of the second.

    Induction heads have effects near zero.
    """
    return _ranking(model, tokens, columns=lambda length: slice(1, length))


def rank_heads_by_effect__whole_sequence(model, tokens):
    """The loss is averaged over all predicted tokens, both copies and their first tokens included.

    Effects on the second copy are diluted to about a half.
    """
    return _ranking(model, tokens, columns=lambda length: slice(None))


def rank_heads_by_effect__first_token_counted(model, tokens):
    """The loss is averaged over all tokens 1 … length of the second copy, its unpredictable first token included.

    The effects are smaller or noisier than they should be, most of all for short copies.
    """
    return _ranking(model, tokens, columns=lambda length: slice(length, None))


def rank_heads_by_effect__absolute(model, tokens):
    """The effects are absolute values, and the list is sorted by them.

    No effect is negative, and a head whose removal helps looks like one that matters.
    """
    return _ranking(model, tokens, effect=lambda ablated, intact: abs(ablated - intact))


def rank_heads_by_effect__mean_ablation(model, tokens):
    """The heads are mean-ablated instead of zero-ablated.

    The effects are those of `ablate_head(…, kind="mean")`.
    """
    return _ranking(model, tokens, kind="mean")


def rank_heads_by_effect__ratio(model, tokens):
    """The effect is the ablated loss divided by the intact one, instead of their difference.

    A head that does nothing has the effect 1.
    """
    return _ranking(model, tokens, effect=lambda ablated, intact: ablated / intact)


def rank_heads_by_effect__head_before_layer(model, tokens):
    """The rows are (head, layer, effect) instead of (layer, head, effect).

    A row may name a layer that the model does not have.
    """
    return [(head, layer, effect) for layer, head, effect in _ranking(model, tokens)]


def rank_heads_by_effect__last_layer_only(model, tokens):
    """Only the heads of the last layer are listed.

    The list has n_heads rows.
    """
    return [row for row in _ranking(model, tokens) if row[0] == model.cfg.n_layers - 1]


# refute_redundancy ----------------------------------------------------------------------------------------


def refute_redundancy__loss_believed(model, tokens, answers, layer, head):
    """A head whose silence alone raises the loss by less than 1 nat is called redundant: the lead is never measured.

    Only heads that cost 1 nat by themselves are refuted, always with an empty company.
    """
    alone = loss_and_lead(model, tokens, answers, [(layer, head)])[0]
    return [] if alone - loss_and_lead(model, tokens, answers, [])[0] >= 1 else None


def refute_redundancy__backup_taken_for_a_part(model, tokens, answers, layer, head):
    """A head is refuted if some company makes its silence costly, even if its silence alone leaves the lead as it was.

    A head that a backup replaces is redundant, and is refuted here by silencing the backup.
    """
    return _company(model, tokens, answers, (layer, head))


def refute_redundancy__broken_model(model, tokens, answers, layer, head):
    """The company is the pair whose silence costs most loss, though hardly any of the lead is left without it.

    The more of the mechanism is gone, the larger the numbers.
    """
    if _fall(model, tokens, answers, (layer, head)) < 0.75:
        return None
    loss = {place: loss_and_lead(model, tokens, answers, [place])[0] for place in _every(model)}
    return sorted(loss.keys() - {(layer, head)}, key=loss.get)[-2:]


def refute_redundancy__in_its_own_company(model, tokens, answers, layer, head):
    """The head itself may stand in the company, and the rise is counted from the intact loss.

    Silencing the head "too" then changes nothing any more.
    """
    if _fall(model, tokens, answers, (layer, head)) < 0.75:
        return None
    intact, lead = loss_and_lead(model, tokens, answers, [])
    for company in [[], *([(layer, head), other] for other in _every(model) if other != (layer, head))]:
        loss, left = loss_and_lead(model, tokens, answers, [*company, (layer, head)])
        if left >= lead / 2 and loss - intact >= 1:
            return company
    return None


def refute_redundancy__never_redundant(model, tokens, answers, layer, head):
    """No head is ever called redundant: where no company shows a part, an empty list is returned instead of None.

    An idle head is "refuted" by nothing at all.
    """
    return _company(model, tokens, answers, (layer, head)) or []


def refute_redundancy__hooks_left_behind(model, tokens, answers, layer, head):
    """The first measurement adds its hook with model.add_hook and never removes it.

    Every later measurement, and the model after the call, lacks the head.
    """
    lead = loss_and_lead(model, tokens, answers, [])[1]
    model.add_hook(f"blocks.{layer}.attn.hook_z", lambda z, hook: _put(z, head, torch.zeros_like(z)))
    if lead - loss_and_lead(model, tokens, answers, [])[1] < 0.75:
        return None
    return _company(model, tokens, answers, (layer, head))


def refute_redundancy__sign_of_the_fall(model, tokens, answers, layer, head):
    """The lead without the head minus the intact lead is compared with 0.75, so that every head that helps is redundant.

    A fall of 4 logits counts as -4, which is less than 0.75.
    """
    if -_fall(model, tokens, answers, (layer, head)) < 0.75:
        return None
    return _company(model, tokens, answers, (layer, head))


# is_induction_head ----------------------------------------------------------------------------------------


def is_induction_head__first_length_only(
    model, layer, head, bos, lengths=(8, 12, 16, 24), threshold=0.4, seed=0
):
    """Only the first of the lengths is tested, for both stripe and effect.

    The verdict changes with the order of the lengths.
    """
    return _passes(model, layer, head, bos, lengths[:1], threshold, seed)


def is_induction_head__any_length(model, layer, head, bos, lengths=(8, 12, 16, 24), threshold=0.4, seed=0):
    """One length at which stripe and effect are both there is enough, instead of all lengths.

    A head that looks a fixed distance back passes.
    """
    return any(_passes(model, layer, head, bos, (length,), threshold, seed) for length in lengths)


def is_induction_head__stripe_only(model, layer, head, bos, lengths=(8, 12, 16, 24), threshold=0.4, seed=0):
    """Only the induction score is tested, at every length; whether copying needs the head is never asked.

    With a threshold below 0 every head passes.
    """
    return _passes(model, layer, head, bos, lengths, threshold, seed, smallest_effect=-math.inf)


def is_induction_head__effect_only(model, layer, head, bos, lengths=(8, 12, 16, 24), threshold=0.4, seed=0):
    """Only the effect of zero ablation is tested, at every length; where the head looks is never asked.

    The previous-token head passes.
    """
    return _passes(model, layer, head, bos, lengths, -1.0, seed)


def is_induction_head__threshold_ignored(
    model, layer, head, bos, lengths=(8, 12, 16, 24), threshold=0.4, seed=0
):
    """The threshold for the induction score is always 0.4, whatever is passed.

    A threshold above 1 still lets heads pass.
    """
    return _passes(model, layer, head, bos, lengths, 0.4, seed)


def is_induction_head__effect_reversed(
    model, layer, head, bos, lengths=(8, 12, 16, 24), threshold=0.4, seed=0
):
    """The effect is the intact loss minus the ablated one, so the head passes if its removal lowers the loss by 0.05 nats.

    Real induction heads fail.
    """
    return _passes(model, layer, head, bos, lengths, threshold, seed, sign=-1)


def _check_kind(kind):
    if kind not in ("zero", "mean"):
        raise ValueError(f"kind is {kind}")


def _constant(z, kind):
    _check_kind(kind)
    return torch.zeros_like(z) if kind == "zero" else z.mean((0, 1), keepdim=True).expand_as(z)


def _put(z, head, source):
    z = z.clone()
    z[:, :, head] = source[:, :, head]
    return z


def _with_z(model, tokens, layer, edit):
    return model.run_with_hooks(tokens, fwd_hooks=[(f"blocks.{layer}.attn.hook_z", lambda z, hook: edit(z))])


def _with_mean(model, tokens, layer, head, kind, dims):
    if kind != "mean":
        return ablate_head(model, tokens, layer, head, kind)
    return _with_z(model, tokens, layer, lambda z: _put(z, head, z.mean(dims, keepdim=True).expand_as(z)))


def _z(model, tokens, layer):
    _, cache = model.run_with_cache(tokens)
    return cache[f"blocks.{layer}.attn.hook_z"]


def _patched(model, source, target, layer, head, positions=slice(None)):
    source_z = _z(model, source, layer)

    def edit(z):
        z = z.clone()
        z[:, positions, head] = source_z[:, positions, head]
        return z

    return _with_z(model, target, layer, edit)


def _ranking(
    model,
    tokens,
    columns=lambda length: slice(length + 1, None),
    effect=lambda ablated, intact: ablated - intact,
    kind="zero",
):
    def loss_of(logits):
        return loss_per_token(logits, tokens)[:, columns(tokens.shape[1] // 2)].mean().item()

    intact = loss_of(model(tokens))
    rows = [
        (layer, head, effect(loss_of(ablate_head(model, tokens, layer, head, kind)), intact))
        for layer in range(model.cfg.n_layers)
        for head in range(model.cfg.n_heads)
    ]
    return sorted(rows, key=lambda row: -row[2])


def _passes(model, layer, head, bos, lengths, threshold, seed, sign=1, smallest_effect=0.05):
    for length in lengths:
        tokens = repeated_tokens(model.cfg.d_vocab, length, 32, bos, seed).to(model.cfg.device)
        runs = ablate_head(model, tokens, layer, head), model(tokens)
        ablated, intact = (loss_per_token(logits, tokens)[:, length + 1 :].mean().item() for logits in runs)
        if (layer, head) not in find_induction_heads(model, tokens, threshold):
            return False
        if sign * (ablated - intact) < smallest_effect:
            return False
    return True


def _every(model):
    return [(layer, head) for layer in range(model.cfg.n_layers) for head in range(model.cfg.n_heads)]


def _fall(model, tokens, answers, place):
    intact, silenced = (loss_and_lead(model, tokens, answers, gone)[1] for gone in ([], [place]))
    return intact - silenced


def _company(model, tokens, answers, place):
    """The first company of one head, or none, that makes the head's silence cost 1 nat, or None."""
    lead = loss_and_lead(model, tokens, answers, [])[1]
    others = [other for other in _every(model) if other != place]
    for company in ([], *([other] for other in others)):
        loss, left = loss_and_lead(model, tokens, answers, company)
        if left < lead / 2:
            continue
        if loss_and_lead(model, tokens, answers, [*company, place])[0] - loss >= 1:
            return company
    return None
