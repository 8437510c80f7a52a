"""An embedded language model's folder: weights, config, tokenizer, measured figures and the card."""

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer
from transformers import GPT2LMHeadModel, GPT2Tokenizer

from mechinterp_course.compression import save_compressed
from mechinterp_course.figures import induction, mechanisms
from mechinterp_course.figures.figure import to_records
from mechinterp_course.figures.language import figures_of
from mechinterp_course.language_models import load_folder
from mechinterp_course.making.cards import card


def write_model(model: GPT2LMHeadModel, tokenizer: Tokenizer, out: Path, compressed: bool = False) -> None:
    """Write config, weights (the tied unembedding left out) and tokenizer files into `out`.

    Weights are stored in fp16, or `compressed` to a byte each.
    """
    model.config.save_pretrained(out)
    weights = {name: weight.detach().contiguous() for name, weight in model.named_parameters()}
    if compressed:
        save_compressed(weights, out / "model.safetensors")
    else:
        halves = {name: weight.to(torch.float16) for name, weight in weights.items()}
        save_file(halves, out / "model.safetensors", metadata={"format": "pt"})
    (out / "model.safetensors").chmod(0o644)  # as other files: the grader's workers read it too
    tokenizer.model.save(str(out))
    GPT2Tokenizer(
        vocab=str(out / "vocab.json"),
        merges=str(out / "merges.txt"),
        add_prefix_space=True,
        model_max_length=model.config.n_positions,
    ).save_pretrained(out)


def write_figures(name: str, out: Path, made: Mapping[str, object]) -> None:
    """Measure the model in `out`; write `training.json` (how it was `made`, what it does) and its card."""
    model = load_folder(out)
    record = {
        "name": name,
        **made,
        "figures": to_records(figures_of(name, model)),
        "induction": induction.measure(model, induction.LENGTHS[name]),
    }
    if name == "course-gpt2":
        record["mechanisms"] = mechanisms.measure(model)
    (out / "training.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    (out / "README.md").write_text(card(name, record), encoding="utf-8")
