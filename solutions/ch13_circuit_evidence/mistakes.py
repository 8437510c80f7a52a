"""What people really get wrong in this chapter; each function is one misconception, said in its docstring.

The first sentence defines the behaviour, the second paragraph says how to see it.
"""

from dataclasses import replace
from itertools import combinations

import torch

from mechinterp_course.attribution_patching import attribute_heads
from mechinterp_course.faithfulness import faithfulness_by_size, run_circuit
from mechinterp_course.metrics import LogitDifference
from mechinterp_course.patching import patch_head_output
from mechinterp_course.refutation import break_circuit
from mechinterp_course.worlds.planted import guessers
from mechinterp_course.worlds.planted.evidence import find_circuit, prove
from mechinterp_course.worlds.planted.puzzle import Puzzle
from mechinterp_course.worlds.planted.solver import answers_without

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


def attribute_heads__cut_between_layers(model, clean, corrupted, right, wrong):
    """Every layer's z is detached on the way, so that lower heads get no gradient through higher ones.

    The last layer is right, the first lacks what it does through later heads.
    """
    with torch.no_grad():
        _, cache = model.run_with_cache(clean)
    kept = []

    def keep(z, hook):
        kept.append(z.detach().clone().requires_grad_(True))
        return kept[-1]

    with torch.enable_grad():
        logits = model.run_with_hooks(corrupted, fwd_hooks=[(name, keep) for name in _z_names(model)])
        row = torch.arange(len(logits))
        value = (logits[row, -1, right] - logits[row, -1, wrong]).mean()
        gradients = torch.autograd.grad(value, kept)
    steps = [cache[name] - z.detach() for name, z in zip(_z_names(model), kept, strict=True)]
    return _dot(steps, gradients)


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
