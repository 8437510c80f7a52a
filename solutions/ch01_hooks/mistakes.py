"""What people really get wrong in this chapter; each function is one misconception, said in its docstring.

The first sentence defines the behaviour, the second paragraph says how to see it.
"""

from contextlib import contextmanager

import torch

from mechinterp_course.attention import attention_pattern, head_outputs
from mechinterp_course.directions import class_direction
from mechinterp_course.hooks import attached, cache_activations, read_activation, run_until

# read_activation ------------------------------------------------------------------------------------------


def read_activation__not_copied(model, name, inputs):
    """What is returned was changed by what came after: by then a ReLU that works in place has made it its own.

    What is read at a ResNet's bn1 has no negative values. A copy made after the run comes too late.
    """
    kept = {}
    with attached(model, {name: lambda module, inputs, output: kept.update(it=output)}):
        model(inputs)
    return kept["it"]


def read_activation__input_of_the_module(model, name, inputs):
    """The hook keeps the module's input instead of its output.

    What is read at the first module is the picture itself.
    """
    kept = {}
    with attached(model, {name: lambda module, inputs, output: kept.update(it=inputs[0].clone())}):
        model(inputs)
    return kept["it"]


def read_activation__first_of_several(model, name, inputs):
    """The first output is kept, not the last, where the module runs several times in one pass.

    Right everywhere but at a module that is used twice, such as the ReLU of a block.
    """
    kept = []
    with attached(model, {name: lambda module, inputs, output: kept.append(output.clone())}):
        model(inputs)
    return kept[0]


def read_activation__hook_never_removed(model, name, inputs):
    """The hook is never taken away and runs in every later pass.

    The model carries one more hook after every call.
    """
    kept = {}
    module = model.get_submodule(name)
    module.register_forward_hook(lambda module, inputs, output: kept.update(it=output.clone()))
    model(inputs)
    return kept["it"]


def read_activation__hook_stays_when_the_model_raises(model, name, inputs):
    """The hook is removed after the run, but not in a `finally`, so that it stays when the model raises.

    All is well until the first error.
    """
    kept = {}
    module = model.get_submodule(name)
    handle = module.register_forward_hook(lambda module, inputs, output: kept.update(it=output.clone()))
    model(inputs)
    handle.remove()
    return kept["it"]


def read_activation__all_hooks_of_the_module_removed(model, name, inputs):
    """Afterwards all hooks of the module are cleared, those of other people with one's own.

    A hook that was on the module before is gone.
    """
    activation = read_activation(model, name, inputs)
    model.get_submodule(name)._forward_hooks.clear()
    return activation


def read_activation__model_set_to_training(model, name, inputs):
    """The model is run in train mode, so that batch norms use the statistics of the batch.

    A ResNet's activations depend on which pictures are in the batch with them.
    """
    model.train()
    try:
        return read_activation(model, name, inputs)
    finally:
        model.eval()


# attached -------------------------------------------------------------------------------------------------


@contextmanager
def attached__registered_before_the_try(model, functions):
    """The hooks are set before the `try`, so that a wrong path leaves those set before it.

    One misspelt name, and the hooks of the others stay for good.
    """
    handles = []
    for name, function in functions.items():
        handles.append(model.get_submodule(name).register_forward_hook(function))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def attached__hooks_stay_when_the_body_raises(model, functions):
    """The hooks are removed after the `yield` without a `finally`, so that they stay when the block raises.

    All is well until the first error inside a block.
    """
    handles = [model.get_submodule(name).register_forward_hook(f) for name, f in functions.items()]
    yield
    for handle in handles:
        handle.remove()


@contextmanager
def attached__all_hooks_removed(model, functions):
    """At the end all forward hooks of these modules are cleared, those of other people with one's own.

    An outer block on the same module stops working when the inner one ends.
    """
    try:
        for name, function in functions.items():
            model.get_submodule(name).register_forward_hook(function)
        yield
    finally:
        for name in functions:
            model.get_submodule(name)._forward_hooks.clear()


@contextmanager
def attached__exception_swallowed(model, functions):
    """The exception of the block is caught and not raised again.

    An error inside the block goes unnoticed.
    """
    try:
        with attached(model, functions):
            yield
    except Exception:
        pass


@contextmanager
def attached__only_the_last_handle_kept(model, functions):
    """One variable holds the handle, so that only the last of several hooks is removed.

    With one function all is well; with two, one hook stays.
    """
    handle = None
    try:
        for name, function in functions.items():
            handle = model.get_submodule(name).register_forward_hook(function)
        yield
    finally:
        if handle is not None:
            handle.remove()


@contextmanager
def attached__never_removed(model, functions):
    """The hooks are set and never removed.

    What they do goes on after the block.
    """
    for name, function in functions.items():
        model.get_submodule(name).register_forward_hook(function)
    yield


@contextmanager
def attached__what_hooks_return_is_dropped(model, functions):
    """The functions are called inside a hook of one's own that returns nothing, so that no output is ever replaced.

    Reading works, and no edit has an effect.
    """

    def calling(function):
        def hook(module, inputs, output):
            function(module, inputs, output)

        return hook

    with attached(model, {name: calling(function) for name, function in functions.items()}):
        yield


@contextmanager
def attached__hooks_before_the_module(model, functions):
    """They are set as pre-hooks, which torch calls before the module has run and without its output.

    The function is called with two arguments, and fails.
    """
    handles = []
    try:
        for name, function in functions.items():
            handles.append(model.get_submodule(name).register_forward_pre_hook(function))
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def attached__wrong_paths_skipped(model, functions):
    """A path that the model lacks is skipped, not refused.

    A misspelt name reads and changes nothing, without an error.
    """
    known = dict(model.named_modules())
    with attached(model, {name: function for name, function in functions.items() if name in known}):
        yield


# cache_activations ----------------------------------------------------------------------------------------


def cache_activations__every_hook_has_the_last_name(model, names, inputs):
    """The hooks are made in a loop and look their name up when they are called: all write under the last name.

    The dictionary has one entry, with the activation of whichever module ran last.
    """
    found, functions = {}, {}
    for name in names:
        functions[name] = lambda module, inputs, output: found.update({name: output.clone()})  # noqa: B023
    with attached(model, functions):
        model(inputs)
    return found


def cache_activations__not_copied(model, names, inputs):
    """The tensors themselves are kept, not copies, so that a ReLU that works in place changes them afterwards.

    What is held for a ResNet's bn1 has no negative values.
    """
    found = {}

    def keep(name):
        return lambda module, inputs, output: found.update({name: output})

    with attached(model, {name: keep(name) for name in names}):
        model(inputs)
    return found


def cache_activations__a_run_for_each_name(model, names, inputs):
    """The model is run anew for each name.

    The values are right, and ten layers cost ten runs.
    """
    found = {}
    for name in names:
        found |= cache_activations(model, [name], inputs)
    return found


def cache_activations__first_of_several(model, names, inputs):
    """The first output of a module is kept, not the last, where it runs several times in one pass.

    Right everywhere but at a module that is used twice.
    """
    found = {}

    def quiet(name):
        def hook(module, inputs, output):
            if name not in found:
                found[name] = output.clone()

        return hook

    with attached(model, {name: quiet(name) for name in names}):
        model(inputs)
    return found


def cache_activations__hooks_left(model, names, inputs):
    """The hooks are never taken away.

    The model carries more hooks after every call.
    """
    found = {}

    def keep(name):
        return lambda module, inputs, output: found.update({name: output.clone()})

    for name in names:
        model.get_submodule(name).register_forward_hook(keep(name))
    model(inputs)
    return dict(found)


def cache_activations__hooks_stay_when_the_model_raises(model, names, inputs):
    """The hooks are removed after the run, but not in a `finally`, so that they stay when the model raises.

    All is well until the first error.
    """
    found = {}

    def keep(name):
        return lambda module, inputs, output: found.update({name: output.clone()})

    handles = [model.get_submodule(name).register_forward_hook(keep(name)) for name in names]
    model(inputs)
    for handle in handles:
        handle.remove()
    return found


def cache_activations__none_for_what_did_not_run(model, names, inputs):
    """A module that did not run is in the dictionary, with None, instead of being left out.

    A name is there, and nothing under it.
    """
    return dict.fromkeys(names) | cache_activations(model, names, inputs)


# run_until ------------------------------------------------------------------------------------------------


def run_until__runs_to_the_end(model, name, inputs):
    """The whole model is run and the activation returned afterwards.

    The values are right, and nothing is saved.
    """
    kept = []
    with attached(model, {name: lambda module, inputs, output: kept.append(output.clone())}):
        model(inputs)
    if not kept:
        raise RuntimeError(f"{name} did not run")
    return kept[0]


def run_until__hides_every_exception(model, name, inputs):
    """An error of the model's own does not come out: whatever happens is taken for one's own exception, or hides it.

    A model that fails before the module says nothing of why.
    """
    kept = []

    def leave(module, inputs, output):
        kept.append(output.clone())
        raise StopIteration

    try:
        with attached(model, {name: leave}):
            model(inputs)
    except Exception:
        pass
    if not kept:
        raise RuntimeError(f"{name} did not run")
    return kept[0]


def run_until__any_runtime_error(model, name, inputs):
    """The way out is a plain RuntimeError, so that a RuntimeError of the model itself is taken for it.

    Where the model fails, "did not run" is all that one learns.
    """
    found = []

    def leave(module, inputs, output):
        found.append(output.clone())
        raise RuntimeError("seen enough")

    try:
        with attached(model, {name: leave}):
            model(inputs)
    except RuntimeError:
        pass
    if not found:
        raise RuntimeError(f"{name} did not run")
    return found[0]


def run_until__stops_before_the_module(model, name, inputs):
    """What the module was given is returned, not what it makes of it.

    One layer too early.
    """

    class Enough(Exception):
        pass

    def leave(module, inputs):
        raise Enough(inputs[0].clone())

    handle = model.get_submodule(name).register_forward_pre_hook(leave)
    try:
        model(inputs)
    except Enough as enough:
        return enough.args[0]
    finally:
        handle.remove()
    raise RuntimeError(f"{name} did not run")


def run_until__hook_left(model, name, inputs):
    """The hook that stops the run is never removed, so that the model can't be run any more.

    The next run of the model raises.
    """

    class Enough(Exception):
        pass

    def leave(module, inputs, output):
        raise Enough(output.clone())

    model.get_submodule(name).register_forward_hook(leave)
    try:
        model(inputs)
    except Enough as enough:
        return enough.args[0]
    raise RuntimeError(f"{name} did not run")


def run_until__none_if_it_never_runs(model, name, inputs):
    """A module that does not run gives the model's output instead of a RuntimeError.

    A misspelt or unused path goes unnoticed.
    """
    outputs = []
    handle = model.register_forward_hook(lambda module, inputs, output: outputs.append(output))
    try:
        return run_until(model, name, inputs)
    except RuntimeError:
        if not outputs:
            raise
        return outputs[0]
    finally:
        handle.remove()


def run_until__last_of_several(model, name, inputs):
    """The whole model is run, and what the module returned the last time is returned, not the first.

    Another activation at a module that is used twice, and nothing is saved.
    """
    times = []
    with attached(model, {name: lambda module, inputs, output: times.append(output.clone())}):
        model(inputs)
    if not times:
        raise RuntimeError(f"{name} did not run")
    return times[-1]


# run_edited -----------------------------------------------------------------------------------------------


def run_edited__hook_returns_nothing(model, name, inputs, edit):
    """The hook calls the edit and does not return what it made, so that torch keeps the output as it was.

    No edit has an effect, unless it works in place by accident.
    """

    def hook(module, inputs, output):
        edit(output.clone())

    with attached(model, {name: hook}):
        return model(inputs)


def run_edited__not_copied(model, name, inputs, edit):
    """The edit is given the output itself, so that one that works in place changes what other parts still need.

    Wrong at a module that passes its input on, such as an identity or a view.
    """
    with attached(model, {name: lambda module, inputs, output: edit(output)}):
        return model(inputs)


def run_edited__edits_the_input(model, name, inputs, edit):
    """The edit is applied to what the module is given, and the module runs on that.

    One layer too early.
    """
    module = model.get_submodule(name)
    handle = module.register_forward_pre_hook(lambda module, inputs: (edit(inputs[0].clone()),))
    try:
        return model(inputs)
    finally:
        handle.remove()


def run_edited__first_time_only(model, name, inputs, edit):
    """The edit acts the first time that the module runs, and not again.

    Right everywhere but at a module that is used twice.
    """
    done = []

    def hook(module, inputs, output):
        done.append(1)
        return edit(output.clone()) if len(done) == 1 else None

    with attached(model, {name: hook}):
        return model(inputs)


def run_edited__hook_left(model, name, inputs, edit):
    """The hook is never removed, so that the model stays edited.

    Every later run gives the edited output.
    """
    model.get_submodule(name).register_forward_hook(lambda module, inputs, output: edit(output.clone()))
    return model(inputs)


def run_edited__returns_the_activation(model, name, inputs, edit):
    """What is returned is the edited activation, not the output of the model that runs on with it.

    Another shape than the model's output.
    """
    return edit(read_activation(model, name, inputs))


def run_edited__edit_added(model, name, inputs, edit):
    """What the edit makes is added to the output instead of taking its place.

    An edit to zeros changes nothing.
    """
    with attached(model, {name: lambda module, inputs, output: output + edit(output.clone())}):
        return model(inputs)


# head_outputs ---------------------------------------------------------------------------------------------


def head_outputs__heads_interleaved(z, W_O, n_heads):
    """Heads are split so that neighbouring columns belong to different heads: (d_head head) instead of (head d_head).

    The sum over heads is still right, and no head's part is.
    """
    order = torch.arange(z.shape[-1]).view(-1, n_heads).T.flatten()
    return head_outputs(z[:, :, order], W_O[order], n_heads)


def head_outputs__matrix_split_otherwise(z, W_O, n_heads):
    """z is split by heads and the rows of W_O as if heads were interleaved, so that they don't belong together.

    The sum over heads is not z @ W_O.
    """
    order = torch.arange(z.shape[-1]).view(-1, n_heads).T.flatten()
    return head_outputs(z, W_O[order], n_heads)


def head_outputs__heads_before_positions(z, W_O, n_heads):
    """The result is [batch, head, pos, d_model]: heads stand before positions.

    The axes `pos` and `head` are exchanged.
    """
    return head_outputs(z, W_O, n_heads).transpose(1, 2)


def head_outputs__summed(z, W_O, n_heads):
    """The heads are summed, so that what is returned is the layer's output and not each head's part.

    The head axis is missing.
    """
    return z @ W_O


def head_outputs__every_head_through_all_rows(z, W_O, n_heads):
    """Each head's z meets the mean of all heads' matrices instead of its own rows.

    What heads write depends on their z only, not on their own output matrix.
    """
    mean = W_O.unflatten(0, (n_heads, -1)).mean(dim=0)
    return z.unflatten(-1, (n_heads, -1)) @ mean


def head_outputs__divided_among_heads(z, W_O, n_heads):
    """Each head's part is divided by the number of heads, as if the layer took their mean.

    The sum over heads is too small by a factor `n_heads`.
    """
    return head_outputs(z, W_O, n_heads) / n_heads


# attention_pattern ----------------------------------------------------------------------------------------


def _scores(q, k):
    return torch.einsum("bqhd,bkhd->bhqk", q, k) / q.shape[-1] ** 0.5


def _future(scores):
    return torch.ones_like(scores, dtype=torch.bool).triu(1)


def attention_pattern__softmax_over_queries(q, k):
    """The softmax runs over queries instead of keys.

    Columns sum to one, rows don't.
    """
    scores = _scores(q, k)
    return scores.masked_fill(_future(scores), -torch.inf).softmax(dim=2)


def attention_pattern__not_scaled(q, k):
    """The scores are not divided by the square root of d_head.

    Attention is too sharp.
    """
    return attention_pattern(q * q.shape[-1] ** 0.5, k)


def attention_pattern__divided_by_d_head(q, k):
    """The scores are divided by d_head instead of its square root.

    Attention is too even.
    """
    return attention_pattern(q / q.shape[-1] ** 0.5, k)


def attention_pattern__masked_after_the_softmax(q, k):
    """Later keys are set to zero after the softmax, when they have had their share already.

    Rows sum to less than one.
    """
    scores = _scores(q, k)
    return scores.softmax(dim=-1).masked_fill(_future(scores), 0.0)


def attention_pattern__zero_for_minus_infinity(q, k):
    """Forbidden scores are set to 0 instead of minus infinity, so that later keys still get a share.

    There is attention above the diagonal.
    """
    scores = _scores(q, k)
    return scores.masked_fill(_future(scores), 0.0).softmax(dim=-1)


def attention_pattern__finite_mask(q, k):
    """Forbidden scores are set to a large negative number instead of minus infinity.

    When all that a query may see scores lower still, it attends to what comes after it.
    """
    scores = _scores(q, k)
    return scores.masked_fill(_future(scores), -1e9).softmax(dim=-1)


def attention_pattern__no_mask(q, k):
    """There is no causal mask.

    Every query sees all keys.
    """
    return _scores(q, k).softmax(dim=-1)


def attention_pattern__own_position_masked(q, k):
    """The mask hides the query's own position as well: the diagonal is forbidden too.

    The first row has nothing to look at.
    """
    scores = _scores(q, k)
    hidden = torch.ones_like(scores, dtype=torch.bool).triu(0)
    hidden[..., 0, 0] = False
    return scores.masked_fill(hidden, -torch.inf).softmax(dim=-1)


def attention_pattern__past_masked(q, k):
    """The mask is upside down: earlier keys are hidden and later ones seen.

    All attention is on or above the diagonal.
    """
    scores = _scores(q, k)
    return scores.masked_fill(_future(scores).transpose(-1, -2), -torch.inf).softmax(dim=-1)


def attention_pattern__queries_and_keys_exchanged(q, k):
    """The roles of queries and keys are exchanged.

    Right only where both are the same.
    """
    return attention_pattern(k, q)


# class_direction ------------------------------------------------------------------------------------------


def class_direction__not_normalized(positive, negative):
    """The difference of the means is returned at its own length.

    Its length is not 1.
    """
    return positive.mean(dim=0) - negative.mean(dim=0)


def class_direction__from_positive_to_negative(positive, negative):
    """The direction points from the positive class to the negative one.

    The sign is wrong.
    """
    return class_direction(negative, positive)


def class_direction__difference_of_sums(positive, negative):
    """Rows are summed instead of averaged, so that the larger class counts more.

    Repeating the rows of one class changes the direction.
    """
    difference = positive.sum(dim=0) - negative.sum(dim=0)
    return difference / difference.norm()


def class_direction__means_normalized_first(positive, negative):
    """Each mean is brought to length 1 before they are subtracted.

    Shifting both classes alike changes the direction.
    """
    one, other = positive.mean(dim=0), negative.mean(dim=0)
    difference = one / one.norm() - other / other.norm()
    return difference / difference.norm()


def class_direction__rows_normalized_first(positive, negative):
    """Each example is brought to length 1 before the means are taken.

    Examples with long activations count no more than short ones.
    """
    return class_direction(
        positive / positive.norm(dim=1, keepdim=True), negative / negative.norm(dim=1, keepdim=True)
    )


def class_direction__mean_of_positive(positive, negative):
    """Only the mean of the positive class is used, and nothing is subtracted.

    What both classes have in common fills the direction.
    """
    mean = positive.mean(dim=0)
    return mean / mean.norm()


def class_direction__normalized_by_the_sum(positive, negative):
    """The difference is divided by the sum of its absolute values instead of its length.

    The absolute values, not the squares, sum to one.
    """
    difference = positive.mean(dim=0) - negative.mean(dim=0)
    return difference / difference.abs().sum()


# remove_direction -----------------------------------------------------------------------------------------


def _component(activation, unit, axis):
    last = activation.movedim(axis, -1)
    return ((last @ unit)[..., None] * unit).movedim(-1, axis)


def remove_direction__not_normalized(activation, direction, axis):
    """The direction is used at its own length, so that too much or too little is taken out.

    Right for directions of length 1 only.
    """
    return activation - _component(activation, direction, axis)


def remove_direction__normalized_once(activation, direction, axis):
    """The component is divided by the length of the direction once, not twice.

    Right for directions of length 1 only.
    """
    return activation - _component(activation, direction, axis) / direction.norm()


def remove_direction__added(activation, direction, axis):
    """The component is added instead of subtracted.

    There is twice as much along the direction as before.
    """
    return activation + _component(activation, direction / direction.norm(), axis)


def remove_direction__reflected(activation, direction, axis):
    """The component is subtracted twice, so that it is turned round instead of taken out.

    The length of the activation has not changed.
    """
    return activation - 2 * _component(activation, direction / direction.norm(), axis)


def remove_direction__component_kept(activation, direction, axis):
    """The component is returned, not what is left without it.

    All that was orthogonal is gone.
    """
    return _component(activation, direction / direction.norm(), axis)


def remove_direction__direction_subtracted(activation, direction, axis):
    """The unit vector itself is subtracted everywhere, whatever the activation's component along it.

    What is orthogonal to the direction changes, too.
    """
    shape = [1] * activation.dim()
    shape[axis] = -1
    return activation - (direction / direction.norm()).view(shape)


def remove_direction__mean_component(activation, direction, axis):
    """The mean component is taken out everywhere, instead of each place's own.

    Something along the direction is left at every place.
    """
    unit = direction / direction.norm()
    last = activation.movedim(axis, -1)
    return (last - (last @ unit).mean() * unit).movedim(-1, axis)
