"""sae-lens' own trainer on activations in memory: small runs of any of its architectures, in a line."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING
from unittest.mock import patch

import torch
from jaxtyping import Float
from torch import Tensor

from mechinterp_course.quiet_loading import without_traces

if TYPE_CHECKING:
    from sae_lens import SAE, TrainingSAE

DEAD_AFTER = 60  # steps without firing
NORM_FROM = 20  # batches from which the norm of activations is estimated


@dataclass(frozen=True)
class Run:
    """A small run: `steps` batches of `batch` tokens drawn at random, Adam, the rate falling at the end."""

    steps: int = 300
    batch: int = 1024
    learning_rate: float = 2e-3
    seed: int = 0


ARCHITECTURES = {  # name: (class in sae_lens, what its configuration needs beside sizes)
    "standard": ("StandardTrainingSAE", {"l1_coefficient": 2.0}),
    "topk": ("TopKTrainingSAE", {"k": 16}),
    "batchtopk": ("BatchTopKTrainingSAE", {"k": 16}),
    "jumprelu": ("JumpReLUTrainingSAE", {"l0_coefficient": 2.0}),
    "matryoshka": ("MatryoshkaBatchTopKTrainingSAE", {"k": 16, "matryoshka_widths": [32, 128, 512]}),
}


def train_with_sae_lens(
    activations: Float[Tensor, "token d_in"], architecture: str, d_sae: int, run: Run, **config
) -> "SAE":
    """Return an SAE that sae-lens has trained on these activations, ready for use on raw activations.

    `config` overrides what `ARCHITECTURES` says of an architecture. Activations are scaled to a mean norm of
    √d_in while training, and the factor is folded into the weights. Prints nothing; the global random state
    is left alone.
    """

    def make() -> "TrainingSAE":
        return new_training_sae(architecture, activations.shape[1], d_sae, **config)

    with torch.random.fork_rng(devices=[]), without_traces():
        return for_inference(trained_by_sae_lens(activations, run, make))


def trained_by_sae_lens(
    rows: Float[Tensor, "token row"], run: Run, make: Callable[[], "TrainingSAE"]
) -> "TrainingSAE":
    """Return the SAE that `make` makes, after a run of sae-lens' trainer on rows drawn from these.

    Prints nothing; the global random state is left alone, and `make` finds it seeded.
    """
    from sae_lens.config import SAETrainerConfig
    from sae_lens.training.sae_trainer import SAETrainer

    settings = SAETrainerConfig(
        n_batches_for_norm_estimate=NORM_FROM,
        total_training_samples=run.steps * run.batch,
        train_batch_size_samples=run.batch,
        lr=run.learning_rate,
        lr_end=0.0,
        lr_warm_up_steps=run.steps // 15,
        lr_decay_steps=run.steps // 3,
        dead_feature_window=DEAD_AFTER,
    )
    with torch.random.fork_rng(devices=[]), without_traces(), _no_bars():
        torch.manual_seed(run.seed)
        return SAETrainer(settings, make(), batches(rows, run)).fit()


def new_training_sae(architecture: str, d_in: int, d_sae: int, **config) -> "TrainingSAE":
    """Return an SAE as sae-lens trains it, its weights drawn from torch's global generator."""
    import sae_lens

    name, defaults = ARCHITECTURES[architecture]
    settings = {"d_in": d_in, "d_sae": d_sae, "normalize_activations": "expected_average_only_in"}
    configuration = getattr(sae_lens, f"{name}Config")(**settings | defaults | config)
    return getattr(sae_lens, name)(configuration)


def batches(activations: Float[Tensor, "token d_in"], run: Run) -> Iterator[Float[Tensor, "batch d_in"]]:
    """Yield batches of tokens drawn at random, without end."""
    generator = torch.Generator().manual_seed(run.seed)
    while True:
        yield activations[torch.randint(len(activations), (run.batch,), generator=generator)].float()


def for_inference(sae: "TrainingSAE") -> "SAE":
    """Return the SAE as sae-lens loads it once saved: frozen, and BatchTopK with thresholds."""
    from sae_lens import SAE

    with TemporaryDirectory() as folder:
        sae.save_inference_model(Path(folder))
        return SAE.load_from_disk(folder).requires_grad_(False).eval()


@contextmanager
def _no_bars() -> Iterator[None]:
    """Leave out sae-lens' progress bars, which it has no option for; in a notebook they are widgets."""
    from sae_lens.training import activation_scaler, sae_trainer
    from tqdm import tqdm

    without = partial(tqdm, disable=True)
    with patch.object(sae_trainer, "tqdm", without), patch.object(activation_scaler, "tqdm", without):
        yield
