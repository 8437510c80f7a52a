"""Files laid out as the public ones are, with small random weights."""

import hashlib
import io
import json
import pickle
import tarfile
from pathlib import Path

import torch
from safetensors.torch import save
from torchvision.models import resnet18
from transformers import GPT2Config, GPT2LMHeadModel, GPTNeoXConfig, GPTNeoXForCausalLM, PreTrainedModel

from mechinterp_course.layout import embedded_data

HOOK = "blocks.8.hook_resid_pre"
D_MODEL, D_SAE = 24, 96
SPECIAL = {"bos_token_id": 0, "eos_token_id": 0}
TOKENIZER_FILES = ("vocab.json", "merges.txt", "tokenizer.json", "tokenizer_config.json")


def gpt2() -> GPT2LMHeadModel:
    """Return a GPT-2 with nine narrow layers: enough for the release's hook."""
    torch.manual_seed(0)
    size = {"n_positions": 32, "n_embd": D_MODEL, "n_layer": 9, "n_head": 2}
    return GPT2LMHeadModel(GPT2Config(vocab_size=_vocabulary(), **size, **SPECIAL)).eval()


def pythia() -> GPTNeoXForCausalLM:
    """Return a narrow model of Pythia's architecture."""
    torch.manual_seed(4)
    size = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = GPTNeoXConfig(vocab_size=_vocabulary(), max_position_embeddings=32, **size, **SPECIAL)
    return GPTNeoXForCausalLM(config).eval()


def _vocabulary() -> int:
    return len(json.loads((embedded_data("course-gpt2") / "vocab.json").read_text(encoding="utf-8")))


def language_model_repository(model: PreTrainedModel, folder: Path) -> dict[str, bytes]:
    """Return the files of a language model's repository, among them some that loading doesn't need."""
    model.save_pretrained(folder)
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    files |= {name: (embedded_data("course-gpt2") / name).read_bytes() for name in TOKENIZER_FILES}
    return files | {"pytorch_model.bin": b"not needed", "onnx/config.json": b"{}", "README.md": b"# A card"}


def sae_weights() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    shapes = {"W_enc": (D_MODEL, D_SAE), "b_enc": (D_SAE,), "W_dec": (D_SAE, D_MODEL), "b_dec": (D_MODEL,)}
    return {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}


def sae_repository() -> dict[str, bytes]:
    """Return the files of the release behind `gpt2-small-res-jb` at one hook, in the layout before 6.0."""
    config = {
        "model_name": "gpt2-small",
        "hook_point": HOOK,
        "hook_point_layer": 8,
        "hook_point_head_index": None,
        "dataset_path": "Skylion007/openwebtext",
        "context_size": 128,
        "d_in": D_MODEL,
        "d_sae": D_SAE,
        "dtype": "torch.float32",
        "device": "mps",
    }
    return {
        f"{HOOK}/cfg.json": json.dumps(config).encode(),
        f"{HOOK}/sae_weights.safetensors": save(sae_weights()),
        f"{HOOK}/sparsity.safetensors": save({"sparsity": torch.zeros(D_SAE)}),
        "blocks.7.hook_resid_pre/sae_weights.safetensors": b"another dictionary",
    }


def resnet18_file() -> tuple[str, bytes]:
    """Return (name, content) of a weight file whose name carries the first digits of its SHA-256."""
    torch.manual_seed(2)
    stored = io.BytesIO()
    torch.save(resnet18().state_dict(), stored)
    return f"resnet18-{hashlib.sha256(stored.getvalue()).hexdigest()[:8]}.pth", stored.getvalue()


def cifar10_batches() -> dict[str, bytes]:
    """Return CIFAR-10's files with three images in each batch, as its Python version pickles them."""
    names = [*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"]
    generator = torch.Generator().manual_seed(3)
    batches = {}
    for name in names:
        images = torch.randint(0, 256, (3, 3072), generator=generator, dtype=torch.uint8).numpy()
        batches[name] = pickle.dumps({"data": images, "labels": [0, 3, 9], "batch_label": name})
    classes = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
    return batches | {"batches.meta": pickle.dumps({"label_names": classes})}


def cifar10_archive(batches: dict[str, bytes]) -> bytes:
    """Return the tar.gz that holds the batches in the folder they are published in."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for name, content in batches.items():
            entry = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return packed.getvalue()
