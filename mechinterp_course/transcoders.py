"""Transcoders: dictionaries that read what goes into an MLP and write what comes out of it.

A transcoder (Dunefsky et al. 2024, "Transcoders find interpretable LLM feature circuits") has the shape of a
sparse autoencoder and another target, so that its features are steps of a computation and not parts of a
state. sae-lens 6 loads and runs transcoders, and its trainer rebuilds what it reads; here that trainer is
given inputs and targets side by side, and an SAE that tells them apart.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, Int
from safetensors.torch import load_file
from torch import Tensor

from mechinterp_course.dictionary_variants import inference_threshold
from mechinterp_course.hooks import cache, edit
from mechinterp_course.metrics import loss_per_token
from mechinterp_course.quiet_loading import without_traces
from mechinterp_course.sae import fraction_of_variance_unexplained, mean_l0
from mechinterp_course.sae_comparison import Passed
from mechinterp_course.sae_lens_training import Run, trained_by_sae_lens

if TYPE_CHECKING:
    from sae_lens.saes.transcoder import JumpReLUTranscoder
    from transformer_lens.model_bridge import TransformerBridge

Transcode = Callable[[Float[Tensor, "batch pos d_in"]], Float[Tensor, "batch pos d_out"]]
ROWS_TOGETHER = 32  # rows of tokens that run through a model together


def mlp_hooks(layer: int) -> tuple[str, str]:
    """Return the hooks of what a layer's MLP reads and of what it writes.

    It reads the residual stream after LayerNorm; the LayerNorm's weights are folded into the MLP's.
    """
    return f"blocks.{layer}.ln2.hook_normalized", f"blocks.{layer}.hook_mlp_out"


@torch.no_grad()
def mlp_activations(
    model: "TransformerBridge", tokens: Int[Tensor, "batch pos"], layer: int
) -> tuple[Float[Tensor, "token d_in"], Float[Tensor, "token d_out"]]:
    """Return what an MLP reads and what it writes, a row for each token of each row of tokens."""
    hooks, found = mlp_hooks(layer), []
    with cache(model, hooks) as activations:
        for rows in tokens.split(ROWS_TOGETHER):
            model(rows)
            found.append([activations[hook].flatten(end_dim=1) for hook in hooks])
    return tuple(map(torch.cat, zip(*found, strict=True)))


@torch.no_grad()
def transcoder_recovered(
    model: "TransformerBridge", tokens: Int[Tensor, "batch pos"], layer: int, transcode: Transcode
) -> float:
    """Return (ablated − spliced) / (ablated − clean), mean losses in nats per token.

    "Spliced" has `transcode(what the layer's MLP reads)` in the place of what that MLP writes, at every
    position; "ablated" the mean, over all positions of all rows, of what it writes. The MLP reads the
    same in the intact model, since nothing before it is changed.
    """
    reads, writes = mlp_hooks(layer)
    with cache(model, (reads, writes)) as activations:
        clean = loss_per_token(model(tokens), tokens).double().mean()
    losses = []
    for written in (transcode(activations[reads]), activations[writes].mean(dim=(0, 1))):
        with edit(model, {writes: lambda activation, put=written: put.expand_as(activation).clone()}):
            losses.append(loss_per_token(model(tokens), tokens).double().mean())
    spliced, ablated = losses
    return ((ablated - spliced) / (ablated - clean)).item()


def train_transcoder(
    inputs: Float[Tensor, "token d_in"],
    targets: Float[Tensor, "token d_out"],
    d_sae: int,
    run: Run,
    k: int = 16,
    frozen_decoder: bool = False,
) -> "JumpReLUTranscoder":
    """Return a transcoder that sae-lens' trainer has trained with BatchTopK, ready for use.

    It is sae-lens' own `JumpReLUTranscoder`, frozen, with one threshold for all features. Targets are scaled
    to a mean norm of √d_out while training, and the factor is folded into the decoder. `d_in` and `d_out` are
    equal, as they are for an MLP. The threshold is measured once the training is over: sae-lens' running mean
    still remembers the beginning of so short a run. With `frozen_decoder` the decoder's rows stay as drawn.
    """
    scale = targets.shape[1] ** 0.5 / targets.norm(dim=1).mean()
    start = targets.mean(dim=0) * scale
    sides = torch.cat([inputs, targets * scale], dim=1)
    sae = trained_by_sae_lens(sides, run, lambda: _pairing(inputs.shape[1], d_sae, k, start, frozen_decoder))
    transcoder = _for_inference(sae, scale)
    batches = [
        part @ transcoder.W_enc + transcoder.b_enc for part in inputs[: 8 * run.batch].split(run.batch)
    ]
    transcoder.threshold.fill_(inference_threshold(batches, k))
    return transcoder


def _pairing(d_in: int, d_sae: int, k: int, start: Float[Tensor, " d_out"], frozen: bool):
    """A BatchTopK SAE of sae-lens that takes inputs and targets side by side in each row."""
    from sae_lens import BatchTopKTrainingSAE, BatchTopKTrainingSAEConfig
    from sae_lens.saes.sae import TrainStepOutput

    class PairingSAE(BatchTopKTrainingSAE):
        def training_forward_pass(self, step_input):
            inputs, target = step_input.sae_in.split(self.cfg.d_in, dim=-1)
            feature_acts, hidden_pre = self.encode_with_hidden_pre(inputs)
            out = self.decode(feature_acts)
            error = self.mse_loss_fn(out, target).sum(dim=-1).mean()
            extra = self.calculate_topk_aux_loss(target, out, hidden_pre, step_input.dead_neuron_mask)
            self.update_topk_threshold(feature_acts)
            return TrainStepOutput(
                target, out, feature_acts, hidden_pre, error + extra, {"mse_loss": error, "auxiliary": extra}
            )

    sae = PairingSAE(
        BatchTopKTrainingSAEConfig(
            d_in=d_in, d_sae=d_sae, k=k, apply_b_dec_to_input=False, rescale_acts_by_decoder_norm=not frozen
        )
    )
    sae.b_dec.data.copy_(start)
    sae.W_dec.requires_grad_(not frozen)
    return sae


def _for_inference(sae, scale: float) -> "JumpReLUTranscoder":
    """sae-lens' transcoder with the weights that its training SAE would be saved with."""
    from sae_lens.saes.transcoder import JumpReLUTranscoder, JumpReLUTranscoderConfig

    with TemporaryDirectory() as folder, without_traces():
        weights = load_file(sae.save_inference_model(Path(folder))[0])
    weights["W_dec"], weights["b_dec"] = weights["W_dec"] / scale, weights["b_dec"] / scale
    d_sae, d_out = weights["W_dec"].shape
    config = JumpReLUTranscoderConfig(d_in=sae.cfg.d_in, d_out=d_out, d_sae=d_sae, apply_b_dec_to_input=False)
    with torch.random.fork_rng(devices=[]):
        transcoder = JumpReLUTranscoder(config)
    transcoder.load_state_dict(weights)
    return transcoder.requires_grad_(False).eval()


@dataclass(frozen=True)
class Affine:
    """x ↦ x W + b: the best linear stand-in for an MLP, or the best of a given rank."""

    W: Float[Tensor, "d_in d_out"]
    b: Float[Tensor, " d_out"]

    def __call__(self, inputs: Float[Tensor, "... d_in"]) -> Float[Tensor, "... d_out"]:
        return inputs @ self.W + self.b


def best_affine(
    inputs: Float[Tensor, "token d_in"], targets: Float[Tensor, "token d_out"], rank: int | None = None
) -> Affine:
    """Return the affine map of least squared error; with `rank`, the best whose outputs have that rank.

    The latter is reduced-rank regression: principal directions of the full map's outputs, so what "PCA of
    equal rank" is to an autoencoder (Izenman 1975). Squared weights cost 1e-4 of the inputs' mean variance (a
    ridge), so that inputs which never vary on their own have an answer, too.
    """
    x, y = (each - each.mean(dim=0) for each in (inputs.double(), targets.double()))
    ridge = 1e-4 * x.square().mean() * len(x) * torch.eye(x.shape[1]).to(x)
    W = torch.linalg.solve(x.T @ x + ridge, x.T @ y)
    if rank is not None:
        axes = torch.linalg.svd(x @ W, full_matrices=False)[2][:rank]
        W = W @ axes.T @ axes
    b = targets.double().mean(dim=0) - inputs.double().mean(dim=0) @ W
    return Affine(W.to(inputs), b.to(inputs))


@torch.no_grad()
def passed_on(
    model: "TransformerBridge", tokens: Int[Tensor, "batch pos"], layer: int, transcode: Transcode
) -> Passed:
    """Return what a stand-in passes on of an MLP: L0 if it has features, variance lost, loss recovered."""
    inputs, targets = mlp_activations(model, tokens, layer)
    return Passed(
        mean_l0(transcode.encode(inputs)) if hasattr(transcode, "encode") else None,
        fraction_of_variance_unexplained(targets, transcode(inputs)),
        transcoder_recovered(model, tokens, layer, transcode),
    )
