"""Our autoencoder and sae-lens' are the same function: one made into the other, and files that both read."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from mechinterp_course.errors import CourseError
from mechinterp_course.quiet_loading import without_traces
from mechinterp_course.sae import SparseAutoencoder

if TYPE_CHECKING:
    from sae_lens import SAE

ARCHITECTURES = {"relu": "standard", "topk": "topk", "jumprelu": "jumprelu"}
WEIGHTS = ("W_enc", "b_enc", "W_dec", "b_dec")


def to_sae_lens(sae: SparseAutoencoder, model_name: str = "course-gpt2", hook: str = "") -> "SAE":
    """Return an SAE of sae-lens that computes the same, for activations of `model_name` at `hook`.

    Its weights are copies; a tied encoder is written out. Raises CourseError for "batchtopk", which is a way
    to train and depends on the batch: sae-lens, too, keeps such an SAE as one with thresholds
    (`with_threshold`).
    """
    from sae_lens import (
        JumpReLUSAE,
        JumpReLUSAEConfig,
        StandardSAE,
        StandardSAEConfig,
        TopKSAE,
        TopKSAEConfig,
    )
    from sae_lens.saes.sae import SAEMetadata

    if sae.activation not in ARCHITECTURES:
        raise CourseError(
            "what batchtopk keeps depends on the batch: make thresholds of it, `with_threshold`"
        )
    d_sae, d_in = sae.W_dec.shape
    shape = {"d_in": d_in, "d_sae": d_sae, "metadata": SAEMetadata(model_name=model_name, hook_name=hook)}
    made = {
        "relu": lambda: StandardSAE(StandardSAEConfig(**shape)),
        "topk": lambda: TopKSAE(TopKSAEConfig(k=sae.k, **shape)),
        "jumprelu": lambda: JumpReLUSAE(JumpReLUSAEConfig(**shape)),
    }[sae.activation]()
    names = (*WEIGHTS, "threshold") if sae.activation == "jumprelu" else WEIGHTS
    made.load_state_dict({name: getattr(sae, name).detach().clone() for name in names})
    return made


def from_sae_lens(sae: "SAE") -> SparseAutoencoder:
    """Return ours, computing the same as a standard, TopK or JumpReLU SAE of sae-lens; weights are copies.

    Raises CourseError where ours can't compute the same: other architectures, activations normalized while
    running, decoder norms that rescale what TopK compares. An SAE that does not centre by `b_dec` gets an
    encoder bias that makes up for it.
    """
    config = sae.cfg
    names = {architecture: name for name, architecture in ARCHITECTURES.items()}
    rescaled = getattr(config, "rescale_acts_by_decoder_norm", False)
    if config.architecture() not in names or rescaled or _normalizes(config.normalize_activations):
        raise CourseError(f"no autoencoder of ours computes what this {config.architecture()} SAE does")
    ours = SparseAutoencoder(
        config.d_in, config.d_sae, names[config.architecture()], getattr(config, "k", None)
    )
    with torch.no_grad():
        for mine, theirs in zip((ours.encoder, ours.b_enc, ours.W_dec, ours.b_dec), WEIGHTS, strict=True):
            mine.copy_(getattr(sae, theirs))
        if not config.apply_b_dec_to_input:
            ours.b_enc += ours.b_dec @ ours.encoder
        if ours.activation == "jumprelu":
            ours.threshold.copy_(sae.threshold)
    return ours


@torch.no_grad()
def with_threshold(sae: SparseAutoencoder, activations: torch.Tensor) -> SparseAutoencoder:
    """Return a JumpReLU autoencoder with the weights of a BatchTopK one: what it keeps, token by token.

    The threshold, one for all features, is the smallest activation that is kept on these tokens, taken as one
    batch (Bussmann et al. 2024, section 3.1).
    """
    kept = sae.encode(activations)
    ours = SparseAutoencoder(*sae.W_dec.shape[::-1], activation="jumprelu")
    for mine, theirs in zip(
        (ours.encoder, ours.b_enc, ours.W_dec, ours.b_dec),
        (sae.W_enc, sae.b_enc, sae.W_dec, sae.b_dec),
        strict=True,
    ):
        mine.copy_(theirs)
    smallest = kept[kept > 0].min()
    ours.threshold.fill_(torch.nextafter(smallest, torch.zeros_like(smallest)).item())
    return ours


def save(sae: SparseAutoencoder, folder: Path, model_name: str = "course-gpt2", hook: str = "") -> Path:
    """Write an autoencoder in sae-lens' format, and return the folder; `SAE.load_from_disk` opens it."""
    _, config = to_sae_lens(sae, model_name, hook).save_model(folder)
    config.write_text(json.dumps(json.loads(config.read_text()), indent=2) + "\n", encoding="utf-8")
    return Path(folder)


def load(folder: Path) -> SparseAutoencoder:
    """Return ours from a folder in sae-lens' format; see `from_sae_lens` for what can't be read."""
    from sae_lens import SAE

    with without_traces():
        return from_sae_lens(SAE.load_from_disk(folder))


def _normalizes(how: str) -> bool:
    """Whether activations are normalized in each run; sae-lens folds an expected average into the weights."""
    return how not in ("none", "expected_average_only_in")
