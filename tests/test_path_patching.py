"""Path patching, against a GPT-2 written out by hand and against circuits that were planted."""

from functools import partial

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from mechinterp_course.language_models import bridge_from
from mechinterp_course.path_patching import patch_path, share_of_effect
from mechinterp_course.worlds import planted
from mechinterp_course.worlds.planted.puzzle import word_tokenizer
from mechinterp_course.worlds.planted.solver import answer_logit

HEADS, D_HEAD = 3, 4
SENDER, RECEIVERS = (0, 1), [(2, 0), (2, 2), (3, 1)]
FROZEN = [("heads", "mlps"), ("heads",), ("mlps",), ()]


@pytest.fixture(scope="module")
def tiny():
    """A random GPT-2 whose heads move each other's scores visibly, as it is and as a bridge."""
    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=20, n_positions=16, n_embd=HEADS * D_HEAD, n_layer=4, n_head=HEADS, initializer_range=0.5
    )
    config._attn_implementation = "eager"
    gpt2 = GPT2LMHeadModel(config).eval()
    weights = {name: weight.detach().clone() for name, weight in gpt2.transformer.state_dict().items()}
    return weights, bridge_from("tiny", gpt2, word_tokenizer(20, bos=0))


class ByHand:
    """A GPT-2's forward pass; `edits` change named values on the way: (kind, layer) -> function."""

    def __init__(self, weights: dict[str, torch.Tensor]):
        self.weights = weights

    def linear(self, x, name):
        return x @ self.weights[f"{name}.weight"] + self.weights[f"{name}.bias"]

    def norm(self, x, name):
        x = (x - x.mean(-1, keepdim=True)) / (x.var(-1, keepdim=True, correction=0) + 1e-5).sqrt()
        return x * self.weights[f"{name}.weight"] + self.weights[f"{name}.bias"]

    def run(self, tokens, edits=None):
        """Logits, and every q, k, v, z and MLP output by (kind, layer)."""
        edits, seen = edits or {}, {}

        def note(kind, layer, value):
            seen[kind, layer] = edits.get((kind, layer), lambda value: value)(value)
            return seen[kind, layer]

        batch, pos = tokens.shape
        x = self.weights["wte.weight"][tokens] + self.weights["wpe.weight"][:pos]
        for layer in range(4):
            qkv = self.linear(self.norm(x, f"h.{layer}.ln_1"), f"h.{layer}.attn.c_attn")
            parts = qkv.view(batch, pos, 3, HEADS, D_HEAD).unbind(2)
            q, k, v = (note(kind, layer, part) for kind, part in zip("qkv", parts, strict=True))
            scores = torch.einsum("bqhd,bkhd->bhqk", q, k) / D_HEAD**0.5
            later = torch.ones(pos, pos, dtype=torch.bool).triu(1)
            pattern = scores.masked_fill(later, -torch.inf).softmax(-1)
            z = note("z", layer, torch.einsum("bhqk,bkhd->bqhd", pattern, v))
            x = x + self.linear(z.flatten(2), f"h.{layer}.attn.c_proj")
            hidden = self.linear(self.norm(x, f"h.{layer}.ln_2"), f"h.{layer}.mlp.c_fc")
            hidden = torch.nn.functional.gelu(hidden, approximate="tanh")
            x = x + note("mlps", layer, self.linear(hidden, f"h.{layer}.mlp.c_proj"))
        return self.norm(x, "ln_f") @ self.weights["wte.weight"].T, seen


def with_heads(heads, new):
    """A function that takes these heads from `new`."""

    def edit(value):
        value = value.clone()
        value[:, :, heads] = new[:, :, heads]
        return value

    return edit


def path_by_hand(by_hand, tokens, source, into, frozen):
    _, base = by_hand.run(tokens)
    _, other = by_hand.run(source)
    kinds = {"heads": "z", "mlps": "mlps"}
    held = {
        (kinds[name], layer): lambda _, v=base[kinds[name], layer]: v for name in frozen for layer in range(4)
    }
    patched_z = with_heads([SENDER[1]], other["z", SENDER[0]])(base["z", SENDER[0]])
    _, moved = by_hand.run(tokens, held | {("z", SENDER[0]): lambda _: patched_z})
    edits = {
        (into, layer): with_heads([h for n, h in RECEIVERS if n == layer], moved[into, layer])
        for layer in {layer for layer, _ in RECEIVERS}
    }
    return by_hand.run(tokens, edits)[0]


@pytest.mark.parametrize("frozen", FROZEN, ids=str)
@pytest.mark.parametrize("into", ["q", "k", "v"])
def test_a_patched_path_agrees_with_a_gpt2_written_out_by_hand(tiny, into, frozen):
    weights, model = tiny
    tokens, source = torch.randint(20, (2, 3, 9), generator=torch.Generator().manual_seed(1))
    by_hand = ByHand(weights)
    expected = path_by_hand(by_hand, tokens, source, into, frozen).log_softmax(-1)
    patched = patch_path(model, tokens, source, SENDER, RECEIVERS, into, frozen).log_softmax(-1)
    torch.testing.assert_close(patched, expected, atol=2e-4, rtol=1e-4)
    intact = by_hand.run(tokens)[0].log_softmax(-1)
    assert (expected - intact).abs().max() > 0.01  # else there would be nothing to agree on


def test_what_is_frozen_makes_a_difference(tiny):
    _, model = tiny
    tokens, source = torch.randint(20, (2, 3, 9), generator=torch.Generator().manual_seed(1))
    logits = [patch_path(model, tokens, source, SENDER, RECEIVERS, "k", frozen) for frozen in FROZEN]
    for i, one in enumerate(logits):
        assert all((one - other).abs().max() > 0.01 for other in logits[:i])


def test_a_path_from_the_same_tokens_changes_nothing_and_no_hook_stays(tiny):
    _, model = tiny
    tokens = torch.randint(20, (3, 9), generator=torch.Generator().manual_seed(2))
    before = model(tokens)
    torch.testing.assert_close(patch_path(model, tokens, tokens, SENDER, RECEIVERS, "v"), before)
    assert torch.equal(model(tokens), before)


@pytest.mark.parametrize(
    ("receivers", "into", "frozen", "message"),
    [
        ([(1, 0)], "z", (), 'through "q", "k" or "v"'),
        ([(1, 0)], "k", ("attention",), 'frozen names "heads", "mlps"'),
        ([(0, 0)], "k", (), "receivers are in layers above 0"),
        ([], "k", (), "receivers are in layers above 0"),
    ],
)
def test_a_path_that_is_none_is_refused(tiny, receivers, into, frozen, message):
    tokens = torch.zeros(1, 4, dtype=torch.long)
    with pytest.raises(ValueError, match=message):
        patch_path(tiny[1], tokens, tokens, SENDER, receivers, into, frozen)


def shares(family: str, sender: str, receivers: list[str]) -> dict[str, float]:
    """What part of a planted head's effect goes into the q, k and v of others, on counterfactual inputs."""
    puzzle, truth = planted.plant(0, family)
    model, samples = puzzle.load(), puzzle.samples(0, 16)
    heads = {role: getattr(truth.circuit, role) for role in (sender, *receivers)}
    share = partial(
        share_of_effect,
        model,
        samples.tokens,
        samples.counterfactuals,
        heads[sender],
        [heads[role] for role in receivers],
        metric=lambda logits: answer_logit(logits, samples),
    )
    return {into: share(into) for into in "qkv"}


@pytest.mark.parametrize("family", ["pair", "deep"])
def test_a_planted_copying_head_acts_through_the_keys_of_the_matching_head_directly(family):
    measured = shares(family, "copying", ["matching"])
    assert measured["k"] > 0.95 and abs(measured["q"]) < 0.05 and abs(measured["v"]) < 0.05


def test_with_a_backup_the_path_through_both_carries_what_neither_does_alone():
    alone, together = (shares("backup", "copying", to) for to in (["matching"], ["matching", "backup"]))
    assert abs(alone["k"]) < 0.1 and together["k"] > 0.95


def test_a_head_without_effect_has_none_to_share():
    puzzle, _ = planted.plant(0)
    model, tokens = puzzle.load(), puzzle.samples(0, 4).tokens
    with pytest.raises(ValueError, match="there is no effect to share"):
        share_of_effect(
            model, tokens, tokens, (0, 0), [(1, 0)], "k", metric=lambda logits: logits.sum().item()
        )
