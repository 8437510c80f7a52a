"""Sparse autoencoders: activations written as sums of a few directions, and how good such a sum is.

Everything here takes an autoencoder of sae-lens (`models.load_sae`) or a `SparseAutoencoder` alike: it asks
for `encode`, `decode` and `W_dec`, no more.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from mechinterp_course.hooks import cache, edit
from mechinterp_course.metrics import loss_per_token
from mechinterp_course.sparse_activations import ACTIVATIONS, activation_function

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

Replace = Callable[[Float[Tensor, "batch pos d_in"]], Float[Tensor, "batch pos d_in"]]
ROWS_TOGETHER = 32  # rows of tokens that run through a model together


class Autoencoder(Protocol):
    """What the functions of this module ask of an autoencoder; sae-lens' have it."""

    W_dec: Float[Tensor, "d_sae d_in"]

    def encode(self, activations: Float[Tensor, "... d_in"]) -> Float[Tensor, "... d_sae"]: ...

    def decode(self, feature_acts: Float[Tensor, "... d_sae"]) -> Float[Tensor, "... d_in"]: ...


class SparseAutoencoder(nn.Module):
    """An autoencoder with more features than inputs, of which few are active at a time.

    feature_acts = f((x − b_dec) W_enc + b_enc), reconstruction = feature_acts W_dec + b_dec (Bricken et al.
    2023, "Towards Monosemanticity"). `activation` f is "relu"; "topk", which keeps the `k` largest of each
    token, or "batchtopk", k times the number of tokens of the batch, both after a ReLU (Gao et al. 2024;
    Bussmann et al. 2024); or "jumprelu", which keeps what exceeds `threshold`, one number for each feature
    (Rajamanoharan et al. 2024). Decoder rows begin as random unit vectors and the encoder as their transpose;
    `tied` keeps it so.
    """

    def __init__(
        self,
        d_in: int,
        d_sae: int,
        activation: str = "relu",
        k: int | None = None,
        tied: bool = False,
        seed: int = 0,
    ):
        super().__init__()
        if activation not in ACTIVATIONS:
            raise ValueError(f"activation is {activation!r}, not one of {', '.join(ACTIVATIONS)}")
        if (k is None) == activation.endswith("topk"):
            raise ValueError(f"{activation} {'needs a' if k is None else 'takes no'} k")
        rows = torch.randn(d_sae, d_in, generator=torch.Generator().manual_seed(seed))
        self.activation, self.k, self.tied = activation, k, tied
        self.W_dec = nn.Parameter(rows / rows.norm(dim=1, keepdim=True))
        self.encoder = None if tied else nn.Parameter(self.W_dec.detach().T.clone())
        self.b_enc = nn.Parameter(torch.zeros(d_sae))
        self.b_dec = nn.Parameter(torch.zeros(d_in))
        self.register_buffer("threshold", torch.zeros(d_sae))

    @property
    def W_enc(self) -> Float[Tensor, "d_in d_sae"]:
        """The encoder's weights: a parameter of their own, or the decoder's, transposed."""
        return self.W_dec.T if self.tied else self.encoder

    def pre_activations(self, activations: Float[Tensor, "... d_in"]) -> Float[Tensor, "... d_sae"]:
        """Return what the features' activation function is given."""
        return (activations - self.b_dec) @ self.W_enc + self.b_enc

    def encode(self, activations: Float[Tensor, "... d_in"]) -> Float[Tensor, "... d_sae"]:
        """Return the activation of every feature, never negative."""
        return self.activate(self.pre_activations(activations))

    def activate(self, pre_activations: Float[Tensor, "... d_sae"]) -> Float[Tensor, "... d_sae"]:
        """Return the activations that pre-activations lead to."""
        return activation_function(self.activation, self.k, self.threshold)(pre_activations)

    def decode(self, feature_acts: Float[Tensor, "... d_sae"]) -> Float[Tensor, "... d_in"]:
        """Return the sum of the features' directions, and of the bias."""
        return feature_acts @ self.W_dec + self.b_dec

    def forward(self, activations: Float[Tensor, "... d_in"]) -> Float[Tensor, "... d_in"]:
        """Return the reconstruction."""
        return self.decode(self.encode(activations))


def encode_and_decode(
    activations: Float[Tensor, "... d_in"],
    W_enc: Float[Tensor, "d_in d_sae"],
    b_enc: Float[Tensor, " d_sae"],
    W_dec: Float[Tensor, "d_sae d_in"],
    b_dec: Float[Tensor, " d_in"],
) -> tuple[Float[Tensor, "... d_sae"], Float[Tensor, "... d_in"]]:
    """Return (feature activations, reconstruction) of an autoencoder with a ReLU, given by its weights."""
    feature_acts = ((activations - b_dec) @ W_enc + b_enc).relu()
    return feature_acts, feature_acts @ W_dec + b_dec


def mean_l0(feature_acts: Float[Tensor, "... d_sae"]) -> float:
    """Return how many features are active on a token, on average: those that are not zero."""
    return (feature_acts != 0).sum(dim=-1).double().mean().item()


def feature_density(feature_acts: Float[Tensor, "... d_sae"]) -> Float[Tensor, " d_sae"]:
    """Return the share of tokens on which each feature is active; they sum to the mean L0."""
    return (feature_acts != 0).flatten(end_dim=-2).double().mean(dim=0).float()


def dead_features(feature_acts: Float[Tensor, "... d_sae"]) -> Bool[Tensor, " d_sae"]:
    """Return which features are active on no token at all.

    Only as good as the tokens are many: on 1,000 tokens every feature that fires once in 10,000 looks dead.
    """
    return ~(feature_acts != 0).flatten(end_dim=-2).any(dim=0)


def fraction_of_variance_unexplained(
    activations: Float[Tensor, "... d_in"], reconstruction: Float[Tensor, "... d_in"]
) -> float:
    """Return FVU: the summed squared error over the summed squared distance from the mean activation.

    0 is perfect, 1 as good as saying the mean everywhere, and a reconstruction can be worse. The mean is that
    of these tokens, one for each input; the sums run over tokens and inputs together, so inputs of much
    variance count for more.
    """
    flat = activations.flatten(end_dim=-2)
    error = (flat - reconstruction.flatten(end_dim=-2)).double().square().sum()
    return (error / (flat - flat.mean(dim=0)).double().square().sum()).item()


def cross_entropy_recovered(
    model: "TransformerBridge",
    sae: Autoencoder,
    tokens: Int[Tensor, "batch pos"],
    hook: str,
    ablation: str = "mean",
) -> float:
    """Return `loss_recovered` for an autoencoder's reconstruction at `hook`."""
    return loss_recovered(model, tokens, hook, lambda each: sae.decode(sae.encode(each)), ablation)


def loss_recovered(
    model: "TransformerBridge",
    tokens: Int[Tensor, "batch pos"],
    hook: str,
    reconstruct: Replace,
    ablation: str = "mean",
) -> float:
    """Return (ablated − spliced) / (ablated − clean), mean losses in nats per token.

    "Spliced" has `reconstruct(activation)` in the place of the activation at `hook`, at every position;
    "ablated" the mean activation of these tokens, or zero. 1 is as good as the model itself, 0 no better than
    knowing nothing of the text. Zero is the easier rival: it takes the mean away as well, which no model has
    learned to live without.

    Raises ValueError for another ablation, CourseError for a hook that the model doesn't have.
    """
    if ablation not in ("mean", "zero"):
        raise ValueError(f"ablation is {ablation!r}, not 'mean' or 'zero'")
    rival = mean_activation(model, tokens, hook) * (ablation == "mean")
    clean = spliced_loss(model, tokens, hook, lambda activation: activation)
    spliced = spliced_loss(model, tokens, hook, reconstruct)
    ablated = spliced_loss(model, tokens, hook, rival.expand_as)
    return (ablated - spliced) / (ablated - clean)


@torch.no_grad()
def spliced_loss(
    model: "TransformerBridge",
    tokens: Int[Tensor, "batch pos"],
    hook: str,
    replace: Replace,
) -> float:
    """Return the mean loss in nats per token with what `replace` makes of the activation at `hook`."""
    losses = []
    with edit(model, {hook: replace}):
        for rows in tokens.split(ROWS_TOGETHER):
            losses.append(loss_per_token(model(rows), rows))
    return torch.cat(losses).double().mean().item()


@torch.no_grad()
def mean_activation(
    model: "TransformerBridge", tokens: Int[Tensor, "batch pos"], hook: str
) -> Float[Tensor, " d_in"]:
    """Return the mean activation at `hook`, over all positions of all rows."""
    return collect_activations(model, tokens, hook).mean(dim=(0, 1))


@torch.no_grad()
def collect_activations(
    model: "TransformerBridge", tokens: Int[Tensor, "batch pos"], hook: str
) -> Float[Tensor, "batch pos d_in"]:
    """Return the activations at `hook`, run in batches of rows."""
    found = []
    with cache(model, [hook]) as activations:
        for rows in tokens.split(ROWS_TOGETHER):
            model(rows)
            found.append(activations[hook])
    return torch.cat(found)
