"""A language model a token at a time: what its watched features do is read, and steered, as it goes.

What is read is the model's own activation at the hook, before anything is changed there. A feature is held at
a value as `steering.clamping` does, the dictionary's error kept; or its direction, of length 1, is added.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, Int
from torch import Tensor

from mechinterp_course.errors import CourseError
from mechinterp_course.hooks import edit
from mechinterp_course.sae import Autoencoder, SparseAutoencoder
from mechinterp_course.sae_formats import from_sae_lens
from mechinterp_course.text_rows import TextRows
from mechinterp_course.worlds.tokenizer import token_ids

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

HOLD, ADD = "hold", "add"


@dataclass(frozen=True)
class Control:
    """Hold a feature's activation at `value`, or add `value` times its unit direction."""

    mode: str
    value: float


Controls = Mapping[int, Control]
Run = Callable[[list[int], object, Controls], tuple[Tensor, object, list[list[float]]]]


@dataclass(frozen=True)
class Settings:
    """How a text is continued; at temperature 0 always with the likeliest token."""

    max_tokens: int = 60
    temperature: float = 0.0
    seed: int = 0


@dataclass(frozen=True)
class Step:
    """One token that the model has read: `activations` are those of the watched features, in their order.

    At BOS, which is like no other token, they are said to be 0.
    """

    position: int
    token_id: int
    text: str
    generated: bool
    activations: tuple[float, ...]


@dataclass
class Watcher:
    """A model with a dictionary at one hook, and the features that are watched; without any it just runs.

    The other features are computed only while one is held, or where what one does depends on the others
    (TopK): a dictionary's weights read anew for each token would cost more than all the rest of watching.
    """

    model: "TransformerBridge"
    sae: Autoencoder
    hook: str
    features: tuple[int, ...]
    narrow: SparseAutoencoder | None = field(init=False)

    def __post_init__(self) -> None:
        self.narrow = _only(self.sae, list(self.features))

    def generate(
        self,
        prompt: str,
        settings: Settings = Settings(),
        controls: Callable[[], Controls] = dict,
    ) -> Iterator[Step]:
        """Yield every token of the prompt, then each one that the model says, until it ends its text.

        `controls` is asked before each token. When they have changed, the text so far is read anew under the
        new ones, so that no trace of the old ones is left in the cache of keys and values.
        """
        with self.reading() as run:
            yield from self._steps(run, self.prompt_ids(prompt), settings, controls)

    @contextmanager
    def reading(self) -> Iterator[Run]:
        """Yield a function (ids, cache, controls) that runs the model, reads the features, and steers.

        It returns the last logits, the cache of keys and values, and the watched activations of these ids.
        Its hook stays on the model as long as the block, since setting one takes as long as reading does; it
        does nothing to what else runs the model meanwhile.
        """
        found: list[list[float]] = []
        now: list[Controls] = []  # empty while somebody else runs the model

        def read_and_steer(activation: Float[Tensor, "1 pos d_in"]) -> Float[Tensor, "1 pos d_in"]:
            if not now or not (self.features or now[0]):
                return activation
            if self.narrow is not None and not now[0]:
                found[:] = self.narrow.encode(activation)[0].tolist()
                return activation
            feature_acts = self.sae.encode(activation)
            found[:] = feature_acts[0][:, list(self.features)].float().tolist()
            return steered(activation, self.sae, feature_acts, now[0])

        def run(
            ids: list[int], cache: object, controls: Controls
        ) -> tuple[Float[Tensor, " d_vocab"], object, list[list[float]]]:
            found[:], now[:] = [[] for _ in ids], [controls]
            try:
                logits, cache = self._forward(ids, cache)
            finally:
                now.clear()
            return logits, cache, list(found)

        with edit(self.model, {self.hook: read_and_steer}):
            yield run

    def _steps(
        self, run: Run, ids: list[int], settings: Settings, controls: Callable[[], Controls]
    ) -> Iterator[Step]:
        given, now, pieces = len(ids), dict(controls()), _Pieces(self.model)
        generator = torch.Generator().manual_seed(settings.seed)
        logits, cache, acts = run(ids, None, now)
        acts[0] = [0.0] * len(self.features)  # BOS is like no other token
        for position, token in enumerate(ids):
            yield Step(position, token, pieces(token), False, tuple(acts[position]))
        for _ in range(min(settings.max_tokens, self.model.cfg.n_ctx - given)):
            if (asked := dict(controls())) != now:
                now = asked
                logits, cache, _ = run(ids, None, now)
            token = _choose(logits, settings.temperature, generator)
            if token == self.model.tokenizer.eos_token_id:
                return
            ids.append(token)
            logits, cache, acts = run([token], cache, now)
            yield Step(len(ids) - 1, token, pieces(token), True, tuple(acts[0]))

    def _forward(self, ids: list[int], cache: object) -> tuple[Float[Tensor, " d_vocab"], object]:
        tokens = torch.tensor([ids], device=self.model.cfg.device)
        how = {"return_type": "logits_and_cache", "past_key_values": cache, "use_cache": True}
        with torch.no_grad():
            logits, cache = self.model(tokens, **how)
        return logits[0, -1].float().cpu(), cache

    def prompt_ids(self, prompt: str) -> list[int]:
        """Return BOS and the prompt's tokens, the last if there are too many."""
        ids = token_ids(self.model.tokenizer.backend_tokenizer, prompt)[-(self.model.cfg.n_ctx - 2) :]
        return [TextRows(self.model).bos, *ids]


def steered(
    activation: Float[Tensor, "batch pos d_in"],
    sae: Autoencoder,
    feature_acts: Float[Tensor, "batch pos d_sae"],
    controls: Controls,
) -> Float[Tensor, "batch pos d_in"]:
    """Return the activation under the controls; without any, as it is."""
    held = feature_acts.clone() if controls else feature_acts
    for feature, control in controls.items():
        if control.mode == HOLD:
            held[..., feature] = control.value
        else:
            row = sae.W_dec[feature]
            activation = activation + control.value * row / row.norm()
    if any(control.mode == HOLD for control in controls.values()):
        activation = activation + sae.decode(held) - sae.decode(feature_acts)
    return activation


@torch.no_grad()
def _only(sae: Autoencoder, features: list[int]) -> SparseAutoencoder | None:
    """Return a dictionary of these features alone that activates them alike; None where there is none."""
    try:
        whole = sae if isinstance(sae, SparseAutoencoder) else from_sae_lens(sae)
    except (AttributeError, CourseError):
        return None  # a dictionary of another kind
    if whole.activation not in ("relu", "jumprelu"):
        return None
    narrow = SparseAutoencoder(whole.W_dec.shape[1], len(features), whole.activation)
    narrow.encoder.copy_(whole.W_enc[:, features])
    narrow.W_dec.copy_(whole.W_dec[features])
    narrow.b_dec.copy_(whole.b_dec)
    narrow.b_enc.copy_(whole.b_enc[features])
    narrow.threshold.copy_(whole.threshold[features])
    return narrow.to(sae.W_dec.device)


def _choose(logits: Float[Tensor, " d_vocab"], temperature: float, generator: torch.Generator) -> int:
    if temperature == 0:
        return int(logits.argmax())
    shares = (logits / temperature).softmax(-1)
    drawn: Int[Tensor, " 1"] = torch.multinomial(shares, 1, generator=generator)
    return int(drawn)


class _Pieces:
    """The text that each token adds; a character of several tokens comes with its last one."""

    def __init__(self, model: "TransformerBridge"):
        self.tokenizer, self.open = model.tokenizer, []

    def __call__(self, token: int) -> str:
        self.open.append(token)
        piece = self.tokenizer.decode(self.open)
        if piece.endswith("\ufffd") and len(self.open) < 4:
            return ""
        self.open = []
        return piece
