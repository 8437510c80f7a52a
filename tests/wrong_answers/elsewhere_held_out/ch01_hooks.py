def read_activation__copied_late(model, name, inputs):
    """Clones the output only after the pass, when in-place layers have already changed it.
    axis: clone, copy, in place, in-place, later, after the pass, hook, too late"""
    seen = {}

    def keep(module, inputs, output):
        seen["output"] = output

    handle = model.get_submodule(name).register_forward_hook(keep)
    try:
        model(inputs)
    finally:
        handle.remove()
    return seen["output"].clone()


def run_until__falls_through(model, name, inputs):
    """If the module never runs, returns the model's own output instead of raising RuntimeError.
    axis: RuntimeError, never ran, did not run, model's output, without having run, raise"""

    class Reached(Exception):
        pass

    def stop(module, inputs, output):
        raise Reached(output)

    try:
        with attached(model, {name: stop}):
            return model(inputs)
    except Reached as reached:
        return reached.args[0]


def class_direction__standardized(positive, negative):
    """Divides every feature by its standard deviation before taking the difference of means.
    axis: standard deviation, standardize, z-score, scale, divide, whiten, features weighted"""
    both = torch.cat([positive, negative])
    spread = both.std(dim=0).clamp(min=1e-8)
    difference = (positive.mean(dim=0) - negative.mean(dim=0)) / spread
    return difference / difference.norm()


def remove_direction__axes_not_put_back(activation, direction, axis):
    """Moves the feature axis back by the same movedim as to the end, so inner axes end up permuted.
    axis: axes, movedim, permuted, shape, order of axes, moved back, transposed, inverse"""
    unit = direction / direction.norm()
    last = activation.movedim(axis, -1)
    without = last - (last @ unit)[..., None] * unit
    return without.movedim(axis, -1)
