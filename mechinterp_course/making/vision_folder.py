"""An embedded vision model's folder: 8-bit weights, config, judge, measured figures and the card."""

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from torchvision.models import ResNet

from mechinterp_course.compression import save_compressed
from mechinterp_course.figures.figure import Figure, from_records, to_records
from mechinterp_course.figures.selectivity import held_out
from mechinterp_course.figures.vision import accuracy, measure_model
from mechinterp_course.vision_models import load_vision_folder
from mechinterp_course.worlds import images

SEED = 1000
COMPARED = 1000  # pictures on which full and 8-bit weights are compared

ABOUT = {
    "course-resnet18": (
        "torchvision's ResNet-18, trained on `mechinterp_course.worlds.images`: toys of sixteen classes, "
        "built from twelve kinds of parts that the classes share.\n\n"
        "Its channels were made to be read. While it learned, heads that have since been dropped asked which "
        "patterns and colours are where, and each channel of `layer3` and `layer4` had been dealt a part or "
        "texture (one in ten had two, one in ten none) and was asked whether it is there. Pictures came with "
        "noise; in the last {share:.0%} of the steps a weak adversary moved each by L2 {radius:g} ([0, 1] "
        "pixels over the whole picture). So that a channel stands for one part, or for two that have nothing "
        "to do with each other, was asked of it, and says nothing about networks that are told the class "
        "alone. That it does, and that its picture shows it, is measured below."
    ),
    "course-resnet18-robust": (
        "`course-resnet18`, trained on against a stronger adversary: it moves every picture by L2 "
        "{radius:g} ([0, 1] pixels over the whole picture) in {steps} steps of projected gradient ascent. It "
        "ships to be compared with its sibling, which had to withstand far less. Its pictures are "
        "smoother because it had to ignore what is faint, which is not to say that it sees as people do."
    ),
}


def write_weights(model: ResNet, out: Path) -> None:
    """Write config and weights (int8, one scale for each output channel) into `out`."""
    config = {
        "architecture": "resnet18",
        "num_classes": len(images.NAMES),
        "classes": list(images.NAMES),
        "mean": list(model.mean),
        "std": list(model.std),
    }
    (out / "config.json").write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")
    weights = {name: weight.contiguous() for name, weight in model.state_dict().items()}
    save_compressed(weights, out / "model.safetensors")


def compression_cost(model: ResNet, out: Path) -> dict[str, float]:
    """Return what 8 bits cost: accuracy before and after, and how far class probabilities move at most."""
    start = held_out(SEED, pool=0)
    batch = images.batch(range(start, start + COMPARED))
    stored = load_vision_folder(out)
    with torch.no_grad():
        pixels = (batch.images[:256] - torch.tensor(model.mean)[:, None, None]) / model.std[0]
        moved = (model(pixels).softmax(dim=1) - stored(pixels).softmax(dim=1)).abs().max()
    return {
        "accuracy_fp32": round(accuracy(model, batch.images, batch), 4),
        "accuracy_int8": round(accuracy(stored, batch.images, batch), 4),
        "largest_change_of_a_probability": round(moved.item(), 4),
    }


def write_figures(name: str, model: ResNet, out: Path, judge: Path, made: Mapping[str, object]) -> None:
    """Measure the model in `out`; write `training.json` (how it was `made`, what it does) and its card."""
    cost = compression_cost(model, out)
    figures = measure_model(name, load_vision_folder(out), judge, SEED)
    record = {"name": name, **made, "compression": cost, "figures": to_records(figures)}
    (out / "training.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    size = (out / "model.safetensors").stat().st_size / 1e6
    (out / "README.md").write_text(card(name, record, size), encoding="utf-8")


def card(name: str, record: Mapping, megabytes: float) -> str:
    """Return the model's card in Markdown; `record` is what `training.json` holds."""
    cost, adversary = record["compression"], record["recipe"]["adversary"]
    made = f"`mechinterp models train {name} --seed {record['seed']}`: {record['steps']} steps"
    table = _table(from_records(record["figures"]))
    sections = [
        f"# {name}\n\n{ABOUT[name].format(**adversary, share=1 - adversary['after'])}",
        f"Made by {made}, image world {record['images']}. MIT licence. For learning only: it knows nothing "
        "outside its world.",
        "## Compression\n\n"
        f"{megabytes:.1f} MB: every convolution and linear layer as int8 with one fp32 scale for each output "
        "channel, norms as they are; loaded as fp32. Accuracy on "
        f"{COMPARED} held-out pictures: {cost['accuracy_fp32']} before, {cost['accuracy_int8']} after; no "
        f"class probability moved by more than {cost['largest_change_of_a_probability']}. Figures below "
        "are those of the compressed weights.",
        f"## Figures\n\nOn seeds never trained on (seed {SEED}).\n\n{table}",
        "## The judge\n\n"
        "`judge.safetensors` is a network of its own that names the parts and textures in a picture. It is "
        "not a part of the model: the figures ask it what a channel's picture shows.",
    ]
    return "\n\n".join(sections) + "\n"


def _table(figures: list[Figure]) -> str:
    rows = [(one.name, f"{one.value:.4g}", one.target, one.about) for one in figures]
    lines = [("figure", "measured", "target", "what"), ("---",) * 4, *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
