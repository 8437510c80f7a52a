# %% [markdown]
r"""# Hooks

A trained network is a program that nobody wrote. It can be run, and every number in it can be read and changed while it
runs. That is more than anyone can do to a brain, and all of this course rests on it.

The tool is small: a *forward hook*, a function that torch calls when a module has run. It is also treacherous. A hook
that reads the wrong moment, stays too long, or never fires gives no error. It gives numbers.

In this chapter you write the tools that the later chapters use, seven lines at a time, and see each way in which they lie:

1. **Read** what a module returned, when it returned it; many modules in one pass; and no more of the pass than you need.
2. **Leave nothing behind**, whatever happens.
3. **Write**: put something else in an activation's place, and see what follows.
4. **Take attention apart** by hand: what each head looks at and what it writes.
5. **Find a direction** for something the network knows, remove it, and see on pictures it has never seen what is lost.

You need PyTorch and an idea of what convolutions and attention do. The chapter takes about two hours. All of
it runs on a ResNet and on a language model by the same functions, and at the end on a module of your own."""

# %% tags=["given"]
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from mechinterp_course import attention, directions, hooks
from mechinterp_course.checking import expect, expect_close, expect_equal, expect_raises
from mechinterp_course.checking import hook_probes as probes

MAPS, LOGITS = {"dims": "batch channel row column"}, {"dims": "batch class"}
ROWS, PATTERN = {"dims": "row feature"}, {"dims": "batch head query key"}
ALL_RAN = ["first", "twice", "twice", "last"]  # of the small network in `probes`


# %% tags=["demo"]
from mechinterp_course import plots
from mechinterp_course.activation_plots import plot_strongest_maps
from mechinterp_course.figures.selectivity import held_out, normalized
from mechinterp_course.models import load_language_model, load_vision_model
from mechinterp_course.worlds import images

resnet = load_vision_model("course-resnet18")


def toys(count, seed):
    """Pictures of toys, as many of each class, that no training has seen."""
    first = held_out(seed, 0)
    return images.gather(images.sample(first + n, images.NAMES[n % 16]) for n in range(count))


batch = toys(64, seed=1)
pixels = normalized(resnet, batch.images)
right = (resnet(pixels).argmax(dim=-1) == batch.labels).float().mean().item()
print(
    f"{len(resnet.classes)} kinds of toys, such as {', '.join(resnet.classes[:4])}; {right:.0%} of 64 named right"
)

# %% [markdown]
r"""`course-resnet18` is torchvision's ResNet-18, trained on small pictures of toys. Put `load_vision_model("resnet18")` there and
everything below runs on ImageNet's, except what compares with the toys' own labels.

The first three things it does to a picture are a convolution, a batch norm and a ReLU: `conv1`, `bn1`, `relu`. A batch norm
shifts and scales, so about as much of what it returns should lie below zero as above. The ReLU then sets what is below to
zero. Hang a hook on each, and look."""

# %% [markdown] tags=["predict"] name="negative_share" choices=["none", "about a quarter", "about half", "nearly all"]
r"""How much of what the hook on `bn1` sees is negative?"""

# %% tags=["demo"]
seen = {}
first_hook = resnet.bn1.register_forward_hook(lambda module, inputs, output: seen.update(bn1=output))
second_hook = resnet.relu.register_forward_hook(lambda module, inputs, output: seen.update(relu=output))
resnet(pixels)
first_hook.remove(), second_hook.remove()
by_hand = resnet.bn1(resnet.conv1(pixels))
shares = {name: (values < 0).float().mean().item() for name, values in {**seen, "by hand": by_hand}.items()}
for name, share in shares.items():
    print(f"{name:8} {share:4.0%} is negative")
print("both hooks hold the same numbers:", torch.equal(seen["bn1"], seen["relu"]))
answer = "none" if shares["bn1"] == 0 else "about a quarter" if shares["bn1"] < 0.4 else "about half"

# %% [markdown]
r"""Nothing at all is negative, and the two hooks agree to the last bit. Run the two layers by hand, and more than half is.

Nobody lied. The hook on `bn1` was called at the right moment and was given the right tensor. It kept the *tensor*, not its
numbers. Then came `nn.ReLU(inplace=True)`, as in all of torchvision's ResNets, and wrote over them. That is the pattern of
the chapter: no error, no warning, a plausible number."""

# %% [markdown] exercise="read_activation" minutes=8 difficulty=1 reference="hooks.read_activation" withhold=["read_activation", "cache_activations", "run_until", "cache"]
r"""## Read an activation

Run `model(inputs)` once, and return what the module at path `name` returned in it, such as `"layer2.0.bn1"`:

- *as it was when the module returned it*: what later layers do to that tensor in place must not show;
- if the module runs several times in the pass, what it returned the last time.

The hook is yours, so it is gone afterwards, even if the model raises (the exception goes through). Other people's
hooks stay. `model.get_submodule(name)` finds a module by its path."""

# %% [markdown] tags=["hint"]
r"""`handle = module.register_forward_hook(hook)` calls `hook(module, inputs, output)` after each run of the module, and
`handle.remove()` takes that hook away. A hook that returns None leaves the output alone."""

# %% [markdown] tags=["hint"]
r"""Keep `output.clone()`. Put the run into `try:` and the removal into `finally:`."""


# %%
def read_activation(model: nn.Module, name: str, inputs: Tensor) -> Float[Tensor, "..."]:
    """What the module at that path returned in `model(inputs)`."""
    # BEGIN SOLUTION
    kept = []
    handle = model.get_submodule(name).register_forward_hook(
        lambda module, inputs, output: kept.append(output.clone())
    )
    try:
        model(inputs)
    finally:
        handle.remove()
    return kept[-1]
    # END SOLUTION


# %% tags=["given"]
def expect_clean(student, draw, exercise, name, *more):
    """Pass if exceptions go through, own hooks are gone after each call, and somebody else's stay."""
    seed, function, reference = draw.seed(), getattr(student, exercise), getattr(hooks, exercise)
    raised, left = student.run(probes.on_failing, function, seed, "last", *more)
    after = student.run(probes.beside_others, function, seed, name, *more)
    expected = probes.beside_others(reference, seed, name, *more)
    expect_equal(raised, "ValueError", what="exceptions")
    expect_equal(left, 7, what="hooks after the model has raised, of which seven are somebody else's")
    expect_equal(list(after), list(expected), what="counts of hooks left and of somebody else's calls")


def expect_untouched(student, function, *arguments):
    """Pass if a call leaves the tensors that it is given as they were."""
    left = student.run(probes.arguments_after, function, *arguments)
    same = [torch.equal(a, b) for a, b in zip(left, arguments, strict=True) if isinstance(b, Tensor)]
    expect(all(same), "The call changes what it was given in place: work on copies (`clone`).")


# %% tags=["check"] points=2
def check_agrees_with_the_reference(student, draw):
    """read_activation agrees with the reference on a ResNet and a language model that you have not seen"""
    model, pixels = draw.vision_model(), draw.normal(2, 3, 32, 40)
    others = ["layer2.0.bn1", "layer3.1.bn2", "layer1.0.relu", "layer4.0.downsample.1"]
    for name in ("bn1", draw.choice(others)):
        activation = hooks.read_activation(model, name, pixels)
        expect_close(student.read_activation(model, name, pixels), activation, **MAPS)
    model, tokens = draw.language_model("course-positional"), draw.tokens(2, 7, 100)
    pattern = hooks.read_activation(model, "blocks.0.attn.hook_pattern", tokens)
    found = student.read_activation(model, "blocks.0.attn.hook_pattern", tokens)
    expect_close(found, pattern, **PATTERN)
    expect_untouched(student, student.read_activation, model, "blocks.0.attn.hook_pattern", tokens)


# %% tags=["check", "hidden"] points=2
def check_keeps_what_was_returned(student, draw):
    """in a small network the result is what the module returned the last time it ran, before it was changed in place, in one run"""
    for name in ("first", "twice", "same", "last"):
        seed = draw.seed()
        found, log = student.run(probes.on_winding, student.read_activation, seed, name)
        expect_close(found, probes.on_winding(hooks.read_activation, seed, name)[0], **ROWS)
        expect_equal(log, ALL_RAN, what="modules that ran")


# %% tags=["check", "hidden"] points=1
def check_leaves_nothing(student, draw):
    """its hook is gone after each call, also when the model raises, which is not hidden; somebody else's hooks stay"""
    expect_clean(student, draw, "read_activation", draw.choice(["twice", "first"]))


# %% tags=["demo"]
for name in ("bn1", "relu", "layer4.1.bn2", "layer4"):
    activation = read_activation(resnet, name, pixels)
    print(f"{name:13} {(activation < 0).float().mean():4.0%} is negative, shape {list(activation.shape)}")

# %% [markdown]
r"""Now `bn1` says the truth. So does `layer4.1.bn2`, of which a hook without a copy would have shown something stranger still:
the block adds its input to that tensor in place, and then applies the ReLU, so that the name `bn2` would have stood over the
output of the whole block.

(A block's `layer1.0.relu` runs twice, after each of its batch norms: its activation is two tensors, and you get the last.)

## Nothing left behind

Suppose somebody tries something out on the next line, and it fails: a hook that halves what the first convolution returns,
then a typo. It happens many times a day. They mend the typo and go on; the halving was never removed."""

# %% [markdown] tags=["predict"] name="hook_left_behind" unit="percent" tolerance=5
r"""How many percent of the 64 toys does the model name right after that? (Before, nearly all.)"""

# %% tags=["demo"]
leftover = resnet.conv1.register_forward_hook(lambda module, inputs, output: output / 2)
try:
    resnet(pixels).argmax(dim=-1).eq(batch.lables)  # the typo
except AttributeError as error:
    print("AttributeError:", error)
after = (resnet(pixels).argmax(dim=-1) == batch.labels).float().mean().item()
print(f"accuracy {right:.0%} before, {after:.0%} in every cell from now on")
leftover.remove()
answer = 100 * after

# %% [markdown]
r"""The model still works, only worse. Every figure drawn from here on would be of another network. So hooks belong into a
`with`, which cleans up when its block ends, however it ends. Write it once; never write `register_forward_hook` elsewhere."""

# %% [markdown] exercise="attached" minutes=12 difficulty=2 reference="hooks.attached" withhold=["attached", "_hooked"]
r"""## Hooks that go away

Write a context manager. Inside `with attached(model, {"layer1": f, "layer3.0": g}):` torch calls `f` and `g` as forward
hooks of these modules, that is as `f(module, inputs, output)`. Outside it does not.

- When the block ends, normally or by an exception, exactly these hooks are taken away. The exception goes through.
- Hooks that others set, before or inside the block, stay, also on the same modules; blocks can be nested.
- If the model lacks one of the modules, an exception is raised and no hook is left on any of them.
- What a function returns, unless it is None, takes the output's place, as torch does it."""

# %% [markdown] tags=["hint"]
r"""With `@contextmanager`, all before `yield` happens when the block begins and all after it when it ends. An exception in the
block is raised *at the `yield`*, so what must happen anyway stands in a `finally`."""

# %% [markdown] tags=["hint"]
r"""Begin with an empty list of handles *before* the `try`, register inside it, `yield` inside it, and remove each handle in the
`finally`. Then a path that does not exist cleans up what was registered before it."""


# %%
@contextmanager
def attached(model: nn.Module, functions: dict[str, Callable]) -> Iterator[None]:
    """Forward hooks by the paths of their modules, inside the block only."""
    # BEGIN SOLUTION
    handles = []
    try:
        for name, function in functions.items():
            handles.append(model.get_submodule(name).register_forward_hook(function))
        yield
    finally:
        for handle in handles:
            handle.remove()
    # END SOLUTION


# %% tags=["check"] points=2
def check_calls_inside_and_only_there(student, draw):
    """inside the block the hooks of a ResNet and a small network are called and replace outputs, outside they are not"""
    model, pixels = draw.vision_model(), draw.normal(2, 3, 32, 40)
    names = ["bn1", draw.choice(["layer2.1.bn2", "layer3.0.conv1", "layer1.0"])]
    found = student.run(probes.calls_inside, student.attached, model, names, pixels)
    expected = probes.calls_inside(hooks.attached, model, names, pixels)
    for got, logits in zip(found[:3], expected[:3], strict=True):
        expect_close(got, logits, **LOGITS)
    expect_equal(list(found[3]), list(expected[3]), what="calls")
    seed = draw.seed()
    output, calls = student.run(probes.notes_only, student.attached, seed)
    expected = probes.notes_only(hooks.attached, seed)
    expect_close(output, expected[0], **ROWS)
    expect_equal(calls, expected[1], what="calls")


# %% tags=["check"] points=2
def check_removes_its_own_hooks_when_the_body_raises(student, draw):
    """an exception goes through the block, its hooks are gone after it, and hooks of others stay"""
    for error in ("ValueError", "KeyboardInterrupt"):
        raised, message, left = student.run(probes.after_a_failure, student.attached, draw.seed(), error)
        expect_equal([raised, message], [error, "in the block"], what="exceptions")
        expect(
            left == 2, f"Hooks on the model after the block: {left}. Two of somebody else's should be left."
        )


# %% tags=["check", "hidden"] points=2
def check_nests_and_refuses_wrong_paths(student, draw):
    """blocks nest on one module, and where one path is wrong an exception is raised and no hook is left"""
    outer, inner = student.run(probes.nested, student.attached, draw.seed())
    expect_equal([outer, inner], [2, 1], what="calls of the outer and the inner hook")
    raised, left = student.run(probes.with_a_wrong_path, student.attached, draw.seed())
    expect(raised is True, "A path that the model doesn't have raised nothing.")
    expect(left == 0, f"After a block with a wrong path {left} hooks are left on the model.")


# %% [markdown] exercise="cache_activations" minutes=8 difficulty=2 needs=["attached"] reference="hooks.cache_activations" withhold=["cache_activations", "cache"]
r"""## Many at once

From here on hooks are safe. A run of a large model is dear, so read all you want in one. Run `model(inputs)` **once**, and
return a dictionary with what each of the modules in `names` returned, by its path; each as `read_activation` would have it. A
module that did not run is not in it. (`attached` cleans up.)"""

# %% [markdown] tags=["hint"]
r"""Each hook must know its name. A `lambda` written in a loop looks `name` up when it is *called*, after the loop, and finds
the last one. Make the hook in a function that takes the name, or write `lambda *args, name=name: …`."""


# %%
def cache_activations(model: nn.Module, names: list[str], inputs: Tensor) -> dict[str, Float[Tensor, "..."]]:
    """What each of these modules returned in one run of `model(inputs)`."""
    # BEGIN SOLUTION
    found = {}

    def keep(name):
        def hook(module, inputs, output):
            found[name] = output.clone()

        return hook

    with attached(model, {name: keep(name) for name in names}):
        model(inputs)
    return found
    # END SOLUTION


# %% tags=["given"]
def expect_same_cache(found, expected):
    """Pass if two dictionaries hold equal tensors under the same names."""
    expect(isinstance(found, dict), "The result is not a dictionary.")
    expect_equal(sorted(found), sorted(expected), what="names")
    for name, activation in expected.items():
        dims = ("batch", "channel", "row", "column")[: activation.dim()]
        expect_close(found[name], activation, " ".join(dims))


# %% tags=["check"] points=2
def check_agrees_with_the_reference(student, draw):
    """cache_activations agrees with the reference for several layers of a ResNet that you have not seen"""
    model, pixels = draw.vision_model(), draw.normal(2, 3, 32, 40)
    names = [draw.choice(["fc", "avgpool"]), "bn1", draw.choice(["layer2.0.bn1", "layer3.1.bn2"]), "conv1"]
    expected = hooks.cache_activations(model, names, pixels)
    expect_same_cache(student.cache_activations(model, names, pixels), expected)
    expect_untouched(student, student.cache_activations, model, ["conv1"], pixels)


# %% tags=["check", "hidden"] points=2
def check_takes_one_run(student, draw):
    """the model runs once for all names, each gets what its module returned last, and a module that did not run is left out"""
    for names in (["last", "twice", "first"], ["same", "spare", "twice"], ["spare"], []):
        seed = draw.seed()
        found, log = student.run(probes.on_winding, student.cache_activations, seed, names)
        expect_same_cache(found, probes.on_winding(hooks.cache_activations, seed, names)[0])
        expect_equal(log, ALL_RAN, what="modules that ran")


# %% tags=["check", "hidden"] points=1
def check_leaves_nothing(student, draw):
    """its hooks are gone after each call, also when the model raises, which is not hidden; somebody else's hooks stay"""
    seed, names = draw.seed(), ["twice", "first"]
    raised, left = student.run(probes.on_failing, student.cache_activations, seed, names)
    after = student.run(probes.beside_others, student.cache_activations, seed, names)
    expect_equal([raised, left], ["ValueError", 7], what="exceptions, and hooks left (seven are not yours)")
    expected = probes.beside_others(hooks.cache_activations, seed, names)
    expect_equal(list(after), list(expected), what="counts of hooks left and of somebody else's calls")


# %% tags=["demo"]
stages = ["conv1", "layer1", "layer2", "layer3", "layer4"]
maps = cache_activations(resnet, stages, pixels[:4])
for name, activation in maps.items():
    _, channels, side, _ = activation.shape
    positive = (activation > 0).float().mean()
    print(f"{name:7} {channels:3} channels of {side:2} × {side:2}, {positive:4.0%} above zero")
plot_strongest_maps(batch.images[:4], maps, [batch.samples[n].name for n in range(4)])

# %% [markdown]
r"""Each column shows the channel of that stage that answers most to the picture, relative to what it answers to all four. The first
stages still show the picture, edge by edge. `layer4` has four numbers a channel: it says little about where, and much about
what. Such maps are where chapters on vision begin. They say where a channel is active, and neither what for nor whether
anybody listens."""

# %% [markdown] exercise="run_until" minutes=10 difficulty=3 needs=["attached"] reference="hooks.run_until" withhold=["run_until", "read_activation", "activations", "reading"]
r"""## No further than needed

To see `layer1`, three quarters of a ResNet need not be computed. Return what the module at path `name` returned **the
first time** it ran in `model(inputs)`, and let nothing run after that.

- The only way out of somebody else's `forward` is an exception. Yours must not be mistaken for another: if the model
  itself raises before it gets there, that exception goes through.
- If the model ends without having run the module, raise `RuntimeError`.
- No hook is left (`attached` sees to it)."""

# %% [markdown] tags=["hint"]
r"""Define an exception class of your own, let the hook raise it, and catch just that class around the `with`."""


# %%
def run_until(model: nn.Module, name: str, inputs: Tensor) -> Float[Tensor, "..."]:
    """What the module at that path returned first; nothing after it was computed."""
    # BEGIN SOLUTION
    found = []

    class Enough(Exception):
        pass

    def leave(module, inputs, output):
        found.append(output.clone())
        raise Enough

    try:
        with attached(model, {name: leave}):
            model(inputs)
    except Enough:
        return found[0]
    raise RuntimeError(f"{name} did not run")
    # END SOLUTION


# %% tags=["check"] points=2
def check_agrees_with_the_reference(student, draw):
    """run_until agrees with the reference on a ResNet that you have not seen"""
    model, pixels = draw.vision_model(), draw.normal(2, 3, 32, 40)
    for name in ("layer1.0.bn1", draw.choice(["bn1", "layer1.0.relu", "layer2.0.downsample.0"])):
        expected = hooks.run_until(model, name, pixels)
        expect_close(student.run_until(model, name, pixels), expected, **MAPS)
    expect_untouched(student, student.run_until, model, "bn1", pixels)


# %% tags=["check", "hidden"] points=2
def check_stops_there(student, draw):
    """nothing runs after the module has run for the first time, even where the rest of the model would fail"""
    seed, ran = draw.seed(), {"first": 1, "twice": 2, "same": 1, "last": 4}
    runs = {name: student.run(probes.on_winding, student.run_until, seed, name) for name in ran}
    for name, (found, log) in runs.items():
        expect_close(found, probes.on_winding(hooks.run_until, seed, name)[0], **ROWS)
        expect_equal(log, ALL_RAN[: ran[name]], what="modules that ran")
    raised, left = student.run(probes.on_failing, student.run_until, draw.seed(), "twice")
    expect_equal([raised, left], ["nothing", 7], what="exceptions, and hooks left (seven are not yours)")


# %% tags=["check", "hidden"] points=2
def check_hides_no_other_exception(student, draw):
    """what the model raises before it gets there goes through, and a module that never runs is a RuntimeError"""
    raised, left = student.run(probes.on_failing, student.run_until, draw.seed(), "last")
    expect_equal([raised, left], ["ValueError", 7], what="exceptions, and hooks left (seven are not yours)")
    raised = student.run(probes.on_refusing, student.run_until, draw.seed(), "last")
    expect_equal([raised], [probes.REFUSED], what="messages of a RuntimeError that the model raises itself")
    spare = probes.on_winding, student.run_until, draw.seed(), "spare"
    expect_raises("RuntimeError", lambda: student.run(*spare), "A module that never runs has no activation.")


# %% tags=["demo"]
from time import perf_counter

for name in ("layer1", "layer2", "layer3", "layer4"):
    began = perf_counter()
    run_until(resnet, name, pixels)
    print(f"up to {name}: {perf_counter() - began:.2f} s for 64 pictures")

# %% [markdown]
r"""Now the other half of what a hook can do. What it returns takes the place of the output, and the rest of the network goes on
from there as if the module had said so. That is an *intervention*, and the only kind of evidence in this course that is about
causes."""

# %% [markdown] exercise="run_edited" minutes=8 difficulty=2 needs=["attached"] reference="hooks.run_edited" withhold=["run_edited", "edit"]
r"""## Put something else in its place

Return what `model(inputs)` returns when the output of the module at path `name` is replaced by `edit(output)`, each time
that the module runs.

- `edit` is somebody else's function, and may work in place: `activation[:, 3] = 0`. Give it a copy. A module's output can
  be the very tensor that another part of the network still needs.
- Nothing else changes, and no hook is left."""

# %% [markdown] tags=["hint"]
r"""A hook that returns None changes nothing, silently. `lambda module, inputs, output: edit(output.clone())` returns."""


# %%
def run_edited(model: nn.Module, name: str, inputs: Tensor, edit: Callable) -> Tensor:
    """The model's output with `edit` applied to what one module returns."""
    # BEGIN SOLUTION

    def replace(module, inputs, output):
        return edit(output.clone())

    with attached(model, {name: replace}):
        return model(inputs)
    # END SOLUTION


# %% tags=["check"] points=2
def check_agrees_with_the_reference(student, draw):
    """run_edited agrees with the reference on a ResNet and a language model that you have not seen, and leaves them as they were"""
    model, pixels = draw.vision_model(), draw.normal(3, 3, 32, 40)
    name = draw.choice(["layer1", "layer2.0.bn2", "maxpool"])
    case = model, name, pixels, draw.choice([probes.silenced_in_place, probes.turned])
    expect_close(student.run_edited(*case), hooks.run_edited(*case), **LOGITS)
    after = student.run(probes.logits_after, student.run_edited, *case)
    expect_close(after, model(pixels), **LOGITS)
    model, tokens = draw.language_model("course-positional"), draw.tokens(3, 6, 100)
    case = model, "blocks.0.attn.hook_pattern", tokens, probes.turned
    expect_close(student.run_edited(*case), hooks.run_edited(*case), "batch pos d_vocab")
    expect_untouched(student, student.run_edited, *case)


# %% tags=["check", "hidden"] points=3
def check_edits_copies_each_time(student, draw):
    """the edit acts each time the module runs, and on nothing else, even if it works in place on a tensor that is shared"""
    for name in ("first", "twice", "same", "last"):
        for edit in (probes.silenced_in_place, probes.turned):
            seed = draw.seed()
            found, log = student.run(probes.on_winding, student.run_edited, seed, name, edit)
            expect_close(found, probes.on_winding(hooks.run_edited, seed, name, edit)[0], **ROWS)
            expect_equal(log, ALL_RAN, what="modules that ran")


# %% tags=["check", "hidden"] points=1
def check_leaves_nothing(student, draw):
    """its hook is gone after each call, also when the model raises, which is not hidden; somebody else's hooks stay"""
    expect_clean(student, draw, "run_edited", draw.choice(["twice", "same"]), probes.turned)


# %% [markdown]
r"""A first use. Each of ResNet's eight blocks adds something to what it is given (its *residual stream*). `bn2` is the last step
before the addition, so a zero there silences the block's own work, and what came in passes on."""


# %% tags=["demo"]
def accuracy(logits, labels=batch.labels):
    return (logits.argmax(dim=-1) == labels).float().mean().item()


blocks = [f"layer{stage}.{block}" for stage in (1, 2, 3, 4) for block in (0, 1)]
alone = {block: accuracy(run_edited(resnet, f"{block}.bn2", pixels, torch.zeros_like)) for block in blocks}
for block, share in alone.items():
    print(f"without the work of {block}: {share:.0%} right")

# %% [markdown] tags=["predict"] name="blocks_together" choices=["at least 90 %", "from 50 to 90 %", "below 50 %"]
r"""The work of no block seems to matter much. Silence the first blocks of all four stages at once (`layer1.0`, `layer2.0`,
`layer3.0`, `layer4.0`). How many toys are named right?"""


# %% tags=["demo"]
together = {}
for which in (0, 1):
    chosen = [block for block in blocks if block.endswith(str(which))]
    with attached(resnet, {f"{block}.bn2": lambda *args: torch.zeros_like(args[-1]) for block in chosen}):
        together[which] = accuracy(resnet(pixels))
    lost = sum(right - alone[block] for block in chosen)
    print(f"{', '.join(chosen)} together: {together[which]:.0%} right; the single losses sum to {lost:.0%}")
answer = "at least 90 %" if together[0] >= 0.9 else "from 50 to 90 %" if together[0] >= 0.5 else "below 50 %"

# %% [markdown]
r"""Of the four second blocks, hardly anything is missed. The four first blocks are spared one at a time and not all at once. "I
silenced it and nothing happened" is a statement about that part *in the company of all others*. The chapter on circuit
evidence is about what follows from that.

## The same functions on a transformer

Nothing in your functions knows what a picture is. `course-gpt2` is a language model of GPT-2's architecture, wrapped in a
TransformerLens bridge; it is an `nn.Module` with paths of its own. At these paths a layer's queries, keys and `z` come as
GPT-2 computes them: for all heads side by side."""

# %% tags=["demo"]
gpt2 = load_language_model("course-gpt2")
n_heads = gpt2.cfg.n_heads
text = "The baker gave the cake to the driver and the baker gave the"
tokens = gpt2.to_tokens(text)
words = [gpt2.tokenizer.decode([token]).strip() or "BOS" for token in tokens[0]]
parts = [f"blocks.2.attn.{part}" for part in ("hook_q", "hook_k", "hook_z", "o", "hook_pattern")]
read = cache_activations(gpt2, parts, tokens)
for path, activation in read.items():
    print(f"{path:28} {list(activation.shape)}")

# %% [markdown] exercise="head_outputs" minutes=8 difficulty=2 reference="attention.head_outputs"
r"""## What each head writes

An attention layer multiplies the joined `z`, `[batch, pos, n_heads * d_head]`, by one matrix $W_O$, `[n_heads * d_head,
d_model]`. Head $h$ owns the $h$-th stretch of `d_head` columns of `z`, and the same stretch of rows of $W_O$. So the layer's
output is a sum over heads ([Elhage et al. 2021](https://transformer-circuits.pub/2021/framework/index.html)), and one can
ask what each head adds.

Return that: `[batch, pos, head, d_model]`, in the dtype of `z`. Its sum over heads must be `z @ W_O`."""

# %% [markdown] tags=["hint"]
r"""`rearrange(z, "batch pos (head d_head) -> batch pos head d_head", head=n_heads)`: in the brackets, the left name counts
slowest, so head 0 gets the first stretch."""

# %% [markdown] tags=["hint"]
r"""Split the rows of $W_O$ in the same way, then
`einsum(z, W_O, "batch pos head d_head, head d_head d_model -> batch pos head d_model")`."""


# %%
def head_outputs(
    z: Float[Tensor, "batch pos head_d_head"], W_O: Float[Tensor, "head_d_head d_model"], n_heads: int
) -> Float[Tensor, "batch pos head d_model"]:
    """What each head adds to the residual stream."""
    # BEGIN SOLUTION
    d_head = z.shape[-1] // n_heads
    stretches = [slice(head * d_head, (head + 1) * d_head) for head in range(n_heads)]
    return torch.stack([z[:, :, part] @ W_O[part] for part in stretches], dim=2)
    # END SOLUTION


# %% tags=["given"]
def a_layer(draw):
    """Joined z, its output matrix, and the number of heads, all sizes drawn."""
    batch, pos, head, d_head, d_model = draw.integer(1, 3), 4, draw.integer(2, 6), draw.integer(5, 8), 7
    return draw.normal(batch, pos, head * d_head), draw.normal(head * d_head, d_model), head


# %% tags=["check"] points=2
def check_agrees_with_the_reference(student, draw):
    """head_outputs agrees with the reference for layers of several sizes, square ones too"""
    for _ in range(3):
        z, W_O, n_heads = a_layer(draw)
        expected = attention.head_outputs(z, W_O, n_heads)
        expect_close(student.head_outputs(z, W_O, n_heads), expected, "batch pos head d_model")
    z, W_O = draw.normal(2, 5, 24).double(), draw.normal(24, 24).double()
    expected = attention.head_outputs(z, W_O, 4)
    expect_close(student.head_outputs(z, W_O, 4), expected, "batch pos head d_model")
    expect_untouched(student, student.head_outputs, z, W_O, 4)


# %% tags=["check", "hidden"] points=2
def check_sums_to_the_layer(student, draw):
    """the sum over heads is z @ W_O, and a head whose stretch of z is zero writes nothing"""
    z, W_O, n_heads = a_layer(draw)
    silent, d_head = draw.integer(0, n_heads - 1), z.shape[-1] // n_heads
    z[:, :, silent * d_head : (silent + 1) * d_head] = 0
    found = student.head_outputs(z, W_O, n_heads)
    fits = isinstance(found, Tensor) and found.shape == (len(z), 4, n_heads, 7)
    expect(fits, "The result is not a tensor [batch, pos, head, d_model].")
    expect_close(found.sum(dim=2), z @ W_O, "batch pos d_model")
    expect_close(found[:, :, silent], torch.zeros_like(found[:, :, 0]), "batch pos d_model")
    loud = found.abs().sum(dim=(0, 1, 3)) > 0
    expect_equal(int(loud.sum()), n_heads - 1, what="heads that write something")


# %% tags=["demo"]
W_O = rearrange(gpt2.blocks[2].attn.W_O, "head d_head d_model -> (head d_head) d_model")
written = head_outputs(read["blocks.2.attn.hook_z"], W_O, n_heads)
missing = read["blocks.2.attn.o"] - written.sum(dim=2) - gpt2.blocks[2].attn.b_O
print(f"the heads' sum and the bias differ from the layer's own output by {missing.abs().max():.0e}")
for head, size in enumerate(written[0, -1].norm(dim=-1).tolist()):
    print(f"head {head} writes a vector of length {size:5.2f} at the last word")

# %% [markdown] exercise="attention_pattern" minutes=10 difficulty=2 reference="attention.attention_pattern"
r"""## Where each head looks

A long vector is not an important one: what matters is who reads it. And what a head writes depends on where it looked.
From queries `q` and keys `k`, each `[batch, pos, head, d_head]`, return the attention pattern `[batch, head, query, key]`:

$$\text{pattern} = \mathrm{softmax}_\text{key}\left(\frac{q \cdot k}{\sqrt{d_\text{head}}}\right), \qquad
\text{and no query sees a key that comes after it.}$$

Each row is a distribution over the keys up to its own position. It stays one for scores of any size, in the dtype of `q`."""

# %% [markdown] tags=["hint"]
r"""`einsum(q, k, "batch query head d_head, batch key head d_head -> batch head query key")` are the scores, before the division."""

# %% [markdown] tags=["hint"]
r"""Forbidden scores must become $-\infty$ *before* the softmax: zeros there would still get a share, and zeros after it leave rows
that don't sum to one. `torch.ones(n, n, dtype=torch.bool).triu(1)` is True where the key comes after the query."""


# %%
def attention_pattern(
    q: Float[Tensor, "batch query head d_head"], k: Float[Tensor, "batch key head d_head"]
) -> Float[Tensor, "batch head query key"]:
    """The causal attention pattern of every head."""
    # BEGIN SOLUTION
    scores = q.transpose(1, 2) @ k.permute(0, 2, 3, 1) / q.shape[-1] ** 0.5
    position = torch.arange(q.shape[1], device=q.device)
    seen = position[:, None] >= position
    return torch.where(seen, scores, -torch.inf).softmax(dim=-1)
    # END SOLUTION


# %% tags=["check"] points=2
def check_agrees_with_the_reference(student, draw):
    """attention_pattern agrees with the reference on queries and keys of several sizes"""
    for dtype in (torch.float32, torch.float64, torch.float32):
        shape = draw.integer(1, 2), draw.integer(5, 8), draw.integer(3, 4), draw.integer(9, 16)
        q, k = draw.normal(*shape).to(dtype), draw.normal(*shape).to(dtype)
        expected = attention.attention_pattern(q, k)
        expect_close(student.attention_pattern(q, k), expected, "batch head query key")
    expect_untouched(student, student.attention_pattern, q, k)


# %% tags=["check", "hidden"] points=2
def check_knows_simple_patterns(student, draw):
    """equal scores are shared among the keys seen, one match outweighs each other key by exp(√d_head), scores of any size leave a distribution"""
    pos, d_head = draw.integer(4, 7), draw.choice([4, 9, 16])
    even = torch.ones(pos, pos).tril() / torch.arange(1.0, pos + 1)[:, None]
    flat = student.attention_pattern(torch.zeros(1, pos, 2, d_head), draw.normal(1, pos, 2, d_head))
    expect_close(flat, even.expand(1, 2, pos, pos), "batch head query key")
    q, k = torch.ones(1, pos, 1, d_head), torch.zeros(1, pos, 1, d_head)
    k[:, 1] = 1  # the second key matches every query: its score is d_head / √d_head
    odds = torch.ones(pos, pos).tril()
    odds[1:, 1] = torch.tensor(d_head**0.5).exp()
    expected = (odds / odds.sum(dim=1, keepdim=True))[None, None]
    expect_close(student.attention_pattern(q, k), expected, "batch head query key")
    certain = (k.squeeze() == 1).all(dim=1).float().expand(pos, pos).clone()
    certain[0] = torch.eye(pos)[0]
    expect_close(student.attention_pattern(1000 * q, k), certain[None, None], "batch head query key")
    low = student.attention_pattern(-1e10 * q, torch.ones_like(q))  # below what stands in for minus infinity
    expect_close(low, even[None, None], "batch head query key")


# %% tags=["check", "hidden"] points=2
def check_equals_a_models_own(student, draw):
    """from the queries and keys of a language model it gives the pattern that the model itself used"""
    model, tokens = draw.language_model("course-attn-2l"), draw.tokens(2, 7, 900)
    paths = [f"blocks.1.attn.{part}" for part in ("hook_q", "hook_k", "hook_pattern")]
    activations = hooks.cache_activations(model, paths, tokens)
    q, k = (activations[path].unflatten(-1, (model.cfg.n_heads, -1)) for path in paths[:2])
    found = student.attention_pattern(q, k)
    expect_close(found, activations[paths[2]], "batch head query key")


# %% tags=["demo"]
q, k = (read[path].unflatten(-1, (n_heads, -1)) for path in parts[:2])
pattern = attention_pattern(q, k)
off = (pattern - read["blocks.2.attn.hook_pattern"]).abs().max()
print(f"your pattern differs from the model's own by {off:.0e} at most")
ending = pattern[0, :, -1].max(dim=-1)
for head, (share, key) in enumerate(zip(ending.values.tolist(), ending.indices.tolist(), strict=True)):
    print(
        f"head {head} looks from the last word, “{words[-1]}”, mostly ({share:.2f}) at “{words[key]}”, word {key}"
    )
plots.plot_attention(pattern[0], [f"head 2.{head}" for head in range(n_heads)])

# %% [markdown]
r"""The sentence repeats itself, and some heads look from the last word at one that *followed* it before. Heads that do so whatever
the words are called induction heads; `ch03_induction_heads` is about them. A pattern is where a head looks, not what it does:
patterns suggest.

## A direction

What does a network know at some layer? Often the first answer is the simplest: take activations of examples with some
property and of examples without, and subtract the means. If a linear reader can use the property at all, that direction is
hard to beat as a first guess ([Marks & Tegmark 2023](https://arxiv.org/abs/2310.06824) for truth,
[Arditi et al. 2024](https://arxiv.org/abs/2406.11717) for refusal)."""

# %% [markdown] exercise="class_direction" minutes=5 difficulty=1 reference="directions.class_direction"
r"""## From one class to the other

`positive` is `[example, feature]`, `negative` the same with a number of rows of its own. Return the vector of length 1, by
feature, that points from the mean of the negative rows to the mean of the positive ones."""

# %% [markdown] tags=["hint"]
r"""Average first, subtract then, and normalize last: `difference / difference.norm()`."""


# %%
def class_direction(
    positive: Float[Tensor, "example feature"], negative: Float[Tensor, "other feature"]
) -> Float[Tensor, " feature"]:
    """The unit vector from one class mean to the other."""
    # BEGIN SOLUTION
    step = positive.sum(dim=0) / len(positive) - negative.sum(dim=0) / len(negative)
    return step / step.square().sum().sqrt()
    # END SOLUTION


# %% tags=["check"] points=2
def check_agrees_with_the_reference(student, draw):
    """class_direction agrees with the reference on classes of different sizes and spreads"""
    for _ in range(3):
        feature, shift = draw.integer(3, 9), draw.normal(1)
        positive = 2 * draw.normal(draw.integer(2, 6), feature) + shift
        negative = draw.normal(draw.integer(7, 12), feature) - 3
        expected = directions.class_direction(positive, negative)
        expect_close(student.class_direction(positive, negative), expected, "feature")
    expect_untouched(student, student.class_direction, positive, negative)


# %% tags=["check", "hidden"] points=2
def check_obeys_its_laws(student, draw):
    """known means give a known direction, exchanging the classes turns it round, and shifts, scales and repeated rows leave it"""
    known = student.class_direction(torch.tensor([[4.0, 4.0], [2.0, 6.0]]), torch.tensor([[0.0, 1.0]]))
    expect_close(known, torch.tensor([0.6, 0.8]), "feature")
    positive, negative = draw.normal(4, 6) + 1, draw.normal(7, 6)
    direction = directions.class_direction(positive, negative)
    expect_close(student.class_direction(negative, positive), -direction, "feature")
    shifted = student.class_direction(3 * positive + 5, 3 * negative + 5)
    expect_close(shifted, direction, "feature")
    repeated = student.class_direction(torch.cat([positive] * 3), negative)
    expect_close(repeated, direction, "feature")


# %% [markdown] exercise="remove_direction" minutes=8 difficulty=2 reference="directions.remove_direction"
r"""## Take it out

Return `activation` without its component along `direction`, in the same shape:

$$a - (a \cdot u)\, u, \qquad u = \frac{d}{\lVert d \rVert}.$$

`axis` says which axis of the activation holds the features: 1 in a convolution's output `[batch, channel, row, column]`, $-1$
in a residual stream. The component is removed at every other index by itself. `direction` may have any length except 0. The
activation that you are given stays as it is."""

# %% [markdown] tags=["hint"]
r"""`activation.movedim(axis, -1) @ u` is the component along u, at every other index. Add an axis at its end to multiply it by u."""


# %%
def remove_direction(
    activation: Float[Tensor, "..."], direction: Float[Tensor, " feature"], axis: int
) -> Float[Tensor, "..."]:
    """The activation without its component along the direction."""
    # BEGIN SOLUTION
    shape = [1] * activation.dim()
    shape[axis] = -1
    d = direction.reshape(shape)
    share = (activation * d).sum(dim=axis, keepdim=True) / (d * d).sum()
    return activation - share * d
    # END SOLUTION


# %% tags=["check"] points=2
def check_agrees_with_the_reference(student, draw):
    """remove_direction agrees with the reference along any axis, for directions of any length"""
    for axis, shape in ((1, (2, 5, 3, 4)), (-1, (3, 4, 6)), (0, (4, 2)), (1, (4, 4, 4)), (0, (4, 4, 4))):
        activation, direction = draw.normal(*shape), draw.integer(2, 9) / 3 * draw.normal(shape[axis])
        expected = directions.remove_direction(activation, direction, axis)
        found, dims = (
            student.remove_direction(activation, direction, axis),
            ["batch", "channel", "row", "column"],
        )
        expect_close(found, expected, " ".join(dims[: len(shape)]), atol=1e-5)
    expect_untouched(student, student.remove_direction, activation, direction, axis)


# %% tags=["check", "hidden"] points=2
def check_obeys_its_laws(student, draw):
    """nothing along it is left, twice is once, what is orthogonal stays, and neither length nor sign of the direction matters"""
    activation, direction = draw.normal(3, 6, 2, 4), 5 * draw.normal(6)
    dims = "batch channel row column"
    once = student.remove_direction(activation, direction, 1)
    expect_close(once, directions.remove_direction(activation, direction, 1), dims)
    expect_close(student.remove_direction(once, direction, 1), once, dims)
    expect_close(student.remove_direction(activation, direction / -20, 1), once, dims)
    hand = student.remove_direction(torch.tensor([[5.0, 10.0], [4.0, -3.0]]), torch.tensor([6.0, 8.0]), -1)
    expect_close(hand, torch.tensor([[-1.6, 1.2], [4.0, -3.0]]), "row feature")


# %% [markdown]
r"""Twelve kinds of parts make up the toys; three of the sixteen have a roof. Take the direction from toys without a roof to toys
with one, on one set of pictures. Remove it from every place of a stage. Then name *other* pictures, never used for anything,
and count separately those with a roof and those without. Beside it, a direction drawn at random."""

# %% tags=["demo"]
study, fresh = toys(256, seed=2), toys(128, seed=3)
study_pixels, fresh_pixels = normalized(resnet, study.images), normalized(resnet, fresh.images)
study_stages = cache_activations(resnet, ["layer2", "layer3", "layer4"], study_pixels)


def without(kind, stage, direction=None):
    """Accuracy on fresh pictures with and without a part of that kind, when its direction is removed at a stage."""
    column = images.KINDS.index(kind)
    pooled, has = study_stages[stage].mean(dim=(2, 3)), study.kinds[:, column]
    direction = class_direction(pooled[has], pooled[~has]) if direction is None else direction
    logits = run_edited(resnet, stage, fresh_pixels, lambda a: remove_direction(a, direction, axis=1))
    shows = fresh.kinds[:, column]
    return accuracy(logits[shows], fresh.labels[shows]), accuracy(logits[~shows], fresh.labels[~shows])


# %% [markdown] tags=["predict"] name="roof_layer3" choices=["most roofed toys are lost", "some roofed toys are lost", "no roofed toy is lost"]
r"""At `layer4`, where the last decision is near, something may well happen. First say: what happens to the toys with a roof
when their direction is removed at `layer3`?"""

# %% tags=["demo"]
removed = {stage: without("roof", stage) for stage in study_stages}
generator = torch.Generator().manual_seed(0)
removed["layer4, at random"] = without("roof", "layer4", torch.randn(512, generator=generator))
print("right, of toys", "with a roof", "without", sep="  ")
for stage, (roofed, others) in removed.items():
    print(f"{stage:18} {roofed:6.0%} {others:9.0%}")
kept = removed["layer3"][0]
outcomes = ["most roofed toys are lost", "some roofed toys are lost", "no roofed toy is lost"]
answer = outcomes[(kept > 0.5) + (kept >= 0.99)]

# %% [markdown]
r"""At `layer4` one direction of 512 goes, and most toys with a roof lose their names; the others keep theirs, and a direction drawn at
random costs nothing (a weak rival: a random direction holds little of what varies there). So at that place this direction
carries what the rest of the model uses to tell these toys. One stage earlier the same recipe does nothing.
Is there no roof in `layer3`? There is, or `layer4` could not have it. It is not *one* direction there, or not the one between
the means. And try other parts before you believe in the recipe:"""

# %% tags=["demo"]
by_kind = {kind: without(kind, "layer4") for kind in images.KINDS}
for kind, (with_it, others) in sorted(by_kind.items(), key=lambda item: item[1][0]):
    print(f"{kind:8} removed at layer4: {with_it:4.0%} of toys with it right, {others:4.0%} of the others")

# %% [markdown]
r"""For several parts nothing happens at all. Perhaps a toy that has lost its window is still known by its wheels; perhaps the
difference of means is not what the last layer reads. This table does not say which. It does say that one success (the roof,
which was *chosen* for this chapter) is no method.

The same three functions, on sentences. The verb must agree with its subject, across a distractor: "the bakers with the red
boat *work*". The direction is from singular to plural subjects, where the verb comes next; the fresh sentences use
constructions that the model has never been trained on."""

# %% tags=["demo"]
from mechinterp_course.worlds import text as text_world


def word_id(word):
    return gpt2.to_tokens(" " + word, prepend_bos=False)[0, 0]


def margins(stage, direction):
    """Logit of the right form of the verb minus that of the other, with a direction removed at every word."""
    found = []
    for sample in unseen:
        prompt = gpt2.to_tokens(sample.prompt)
        logits = run_edited(gpt2, stage, prompt, lambda a: remove_direction(a, direction, axis=-1))
        found.append(logits[0, -1, word_id(sample.answer)] - logits[0, -1, word_id(sample.rival)])
    return torch.stack(found)


known = [text_world.sample("agreement", 10**6 + n) for n in range(120)]
unseen = [text_world.sample("agreement", 10**6 + n, held_out=True) for n in range(60)]
plural = torch.tensor([sample.number == "plural" for sample in known])
layers = [f"blocks.{layer}" for layer in range(gpt2.cfg.n_layers)]
ends = [cache_activations(gpt2, layers, gpt2.to_tokens(sample.prompt)) for sample in known]
noise = torch.randn(gpt2.cfg.d_model, generator=torch.Generator().manual_seed(0))
results = {"one at random, " + layers[-1]: margins(layers[-1], noise)}
for layer in layers:
    last_word = torch.stack([read[layer][0, -1] for read in ends])
    results[layer] = margins(layer, class_direction(last_word[plural], last_word[~plural]))
for name, margin in results.items():
    correct = (margin > 0).float().mean()
    print(f"removed: {name:23} {correct:4.0%} of verbs right, logit difference {margin.mean():5.2f}")

# %% [markdown]
r"""The same shape: after the last block one direction of 192 takes most of the logit difference away, one at random takes nothing,
and before the last block the recipe does little. What differs is worth as much. Most verbs are still right, so this direction
is not all that the model knows of number.

## A module of your own

Your functions have been right on a ResNet and on a transformer. Here is a third module, as anyone might write it; change it as
you like."""


# %% tags=["demo"]
class Mine(nn.Module):
    """Three ways to use a layer, all of them common."""

    def __init__(self):
        super().__init__()
        self.called, self.shared, self.by_method = (nn.Linear(6, 6) for _ in range(3))

    def forward(self, x):
        x = nn.functional.relu(self.called(x))  # a function: there is no module to hook
        for _ in range(3):
            x = x + self.shared(x)  # one module, three activations
        return self.by_method.forward(x)  # the method itself, past `__call__`


torch.manual_seed(0)
mine, rows = Mine().requires_grad_(False), torch.randn(8, 6)
usual = mine(rows)
for name in ("called", "shared", "by_method"):
    edited = run_edited(mine, name, rows, torch.zeros_like)
    kept, same = name in cache_activations(mine, [name], rows), torch.equal(edited, usual)
    print(f"{name:10} cached: {kept!s:6} zeroed: output {'stays the same' if same else 'changes'}")

# %% [markdown]
r"""Zeros in place of the last layer, and the output stays the same. The layer isn't idle: it computes the whole output. But hooks
live in `module(...)`, that is in `__call__`, and `module.forward(...)` goes past it. A hook that never fires gives no error,
and an ablation that never happened looks exactly like an ablation without effect.

So before you believe that something does not matter, see your intervention arrive: that the hook was called, how often, and
that the activation *after* the edit is what you meant. The library's `read_activation` raises for a module that did not run, and
`cache_activations` leaves it out. `mechinterp_course.hooks` has grown-up forms of what you wrote: `hooks.cache` and `hooks.edit`
refuse edits that return nothing or another shape, and know TransformerLens' names for activations.

## What you may claim now

| claim | what you have | what would overturn it |
|---|---|---|
| this module returned that | a copy made when it returned, of the run you name | a tensor kept without a copy; a module that runs several times |
| this is the model's own behaviour | hooks in a `with` only | one hook left behind, by you or anyone |
| this part matters here | an edit that arrived, and what changed | the edit is off anything the model has seen: zeros are not nothing |
| this part does not matter | *not much*: it was not missed in the company of the others | silencing others with it; a hook that never fired |
| the head looks there | the pattern, equal to the model's own | it says nothing about what the head does |
| this direction carries that | difference of means on one set, removed on another, beside a random direction | other directions along which as much varies (another part's, a principal one); other parts; a linear reader that still finds it |

You may not claim that the network "represents roofs by this direction". You removed it at one stage, for one part of twelve, which
was chosen because it works; at an earlier stage nothing happened."""

# %% [markdown] tags=["rubric"] name="report_an_intervention"
r"""## In your own words

Report one intervention of this chapter in at most 200 words, so that somebody else can repeat it and could find you wrong: what
was read or replaced, where and when in the pass; on which inputs, and which of them were held out; what changed, as a number
beside a control; how you know that the edit arrived; and one thing that it does not show.

Levels:

- 0: says that a part "does" or "represents" something, with no edit or no number.
- 1: poor. Names the edit and its effect, without a control or without saying on which inputs it was found.
- 2: fair. Names module, edit, inputs, effect and control; the inputs on which the effect is measured are others than those
  on which the direction or part was found.
- 3: excellent. As 2, and shows that the edit arrived; says what a null result would or would not have meant; names a
  limit that the chapter's own numbers show (a stage, a part or a joint ablation in which the story changes)."""

# %% [markdown] tags=["interview"] name="hook_shows_no_negatives"
r"""A colleague hooks `bn1` of a ResNet, plots the outputs and writes: "batch norm returns no negative values, so the ReLU after it is
useless. Removing the ReLU by a hook on it changed nothing." What went wrong, and how do you find out?

A strong answer: the hook kept a reference, and the in-place ReLU wrote over it (clone in the hook; run the two layers by hand;
compare with `inplace=False`); a hook on the ReLU runs after it, and its output *is* the overwritten tensor, so returning the input
from the hook returns what is already rectified, and the edit did nothing (hook before it with a copy, or replace the module);
check that the intervention arrived by reading what comes next; count how often the hook was called, since the ReLU of a block
runs twice; and look for hooks left from earlier cells."""
