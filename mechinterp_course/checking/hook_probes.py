"""What hooks do to small networks, told in plain values: this runs beside an answer, on networks made there.

Nothing here judges: checks make the same calls with the reference and compare.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn

REFUSED = "this step refuses to run"
Rows = Float[Tensor, "row feature"]
Found = tuple[object, ...]


class Step(nn.Module):
    """A linear map of five numbers that notes in `log` that it ran."""

    def __init__(self, name: str, log: list[str], generator: torch.Generator):
        super().__init__()
        self.name, self.log, self.matrix = name, log, torch.randn(5, 5, generator=generator)

    def forward(self, x: Rows) -> Rows:
        self.log.append(self.name)
        return x @ self.matrix


class Winding(nn.Module):
    """A small network: one step runs twice, a ReLU works in place, one module passes on what it is given."""

    def __init__(self, seed: int, fails: bool = False):
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.log, self.fails = [], fails
        steps = (Step(name, self.log, generator) for name in ("first", "twice", "last", "spare"))
        self.first, self.twice, self.last, self.spare = steps
        self.same, self.relu = nn.Identity(), nn.ReLU(inplace=True)

    def forward(self, x: Rows) -> Rows:
        x = self.first(x)
        y = self.relu(self.twice(self.same(x)))
        y = self.relu(self.twice(y))
        if self.fails:
            raise ValueError("this network fails on purpose")
        return self.last(y + x)


def four_rows(seed: int) -> Rows:
    """Return four rows of five numbers for such a network."""
    return torch.randn(4, 5, generator=torch.Generator().manual_seed(seed + 1))


def hooks_on(model: nn.Module) -> int:
    """Return how many hooks hang on a model's modules, of all kinds, and on all modules there are."""
    kinds = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks")
    everywhere = len(nn.modules.module._global_forward_hooks)
    return everywhere + sum(len(getattr(module, kind)) for module in model.modules() for kind in kinds)


def on_winding(function: Callable, seed: int, name: object, *more: object) -> Found:
    """Return (what a function returns for a new network, what ran meanwhile)."""
    network = Winding(seed)
    result = function(network, name, four_rows(seed), *more)
    return result, network.log


def on_failing(function: Callable, seed: int, name: object, *more: object) -> Found:
    """Return (what is raised on a network that fails, hooks left); each module has a hook already."""
    network = Winding(seed, fails=True)
    for module in network.modules():
        module.register_forward_hook(lambda module, inputs, output: None)
    try:
        function(network, name, four_rows(seed), *more)
    except NotImplementedError:  # of a stub
        raise
    except Exception as error:
        return type(error).__name__, hooks_on(network)
    return "nothing", hooks_on(network)


def on_refusing(function: Callable, seed: int, name: str) -> str:
    """Return the message of what is raised where a network's second step raises a RuntimeError of its own."""
    network = Winding(seed)
    network.twice.register_forward_pre_hook(_refuse)
    try:
        function(network, name, four_rows(seed))
    except RuntimeError as error:
        return str(error)
    return "nothing"


def _refuse(module: nn.Module, inputs: tuple) -> None:
    raise RuntimeError(REFUSED)


def beside_others(function: Callable, seed: int, name: object, *more: object) -> Found:
    """Return (hooks left after a call, how often somebody's own hook there was called in and after it)."""
    network, calls = Winding(seed), []
    module = network.get_submodule(name if isinstance(name, str) else next(iter(name)))
    module.register_forward_hook(lambda module, inputs, output: calls.append(1))
    function(network, name, four_rows(seed), *more)
    network(four_rows(seed))
    return hooks_on(network), len(calls)


def calls_inside(attached: Callable, model: nn.Module, names: list[str], inputs: Tensor) -> Found:
    """Return (outputs before, inside and after a block whose hooks negate, what these were called with)."""
    calls = []

    def negate(module: nn.Module, inputs: object, output: Tensor) -> Tensor:
        calls.append([type(module).__name__, isinstance(inputs, tuple), list(output.shape)])
        return -output

    before = model(inputs)
    with attached(model, dict.fromkeys(names, negate)):
        inside = model(inputs)
    return before, inside, model(inputs), calls


def notes_only(attached: Callable, seed: int) -> Found:
    """Return (output inside a block whose hooks return nothing, which of them were called, in order)."""
    network, calls = Winding(seed), []
    functions = {name: lambda *_, name=name: calls.append(name) for name in ("last", "twice", "first")}
    with attached(network, functions):
        output = network(four_rows(seed))
    return output, calls


def after_a_failure(attached: Callable, seed: int, error: str) -> Found:
    """Return (what a block raises, its message, hooks left); somebody sets one hook before it, one inside."""
    network = Winding(seed)
    network.twice.register_forward_hook(lambda *_: None)
    try:
        with attached(network, {"twice": lambda *_: None, "first": lambda *_: None}):
            network.first.register_forward_hook(lambda *_: None)
            raise {"ValueError": ValueError, "KeyboardInterrupt": KeyboardInterrupt}[error]("in the block")
    except NotImplementedError:  # of a stub
        raise
    except BaseException as raised:
        return type(raised).__name__, str(raised), hooks_on(network)
    return "nothing", "", hooks_on(network)


def nested(attached: Callable, seed: int) -> Found:
    """Return how often an outer and an inner hook on one module are called: inside both, one and no block."""
    network, outer, inner = Winding(seed), [], []
    with attached(network, {"first": lambda *_: outer.append(1)}):
        with attached(network, {"first": lambda *_: inner.append(1)}):
            network(four_rows(seed))
        network(four_rows(seed))
    network(four_rows(seed))
    return len(outer), len(inner)


def with_a_wrong_path(attached: Callable, seed: int) -> Found:
    """Return (whether a path that is not there raises, hooks left)."""
    network = Winding(seed)
    try:
        with attached(network, {"first": lambda *_: None, "nowhere.at.all": lambda *_: None, "last": print}):
            return False, hooks_on(network)
    except NotImplementedError:  # of a stub
        raise
    except Exception:
        return True, hooks_on(network)


def silenced_in_place(activation: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    """Return the activation with its first half, along axis 1, set to zero in place."""
    activation[:, : activation.shape[1] // 2] = 0
    return activation


def turned(activation: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    """Return twice the activation, with batch rows in another order."""
    return 2 * activation.roll(1, dims=0)


def logits_after(function: Callable, model: nn.Module, name: str, inputs: Tensor, edit: Callable) -> Tensor:
    """Return the model's output after a call of `function` on it."""
    function(model, name, inputs, edit)
    return model(inputs)


def arguments_after(function: Callable, *arguments: object) -> list[object]:
    """Return the arguments, as a call of `function` leaves them."""
    function(*arguments)
    return list(arguments)
