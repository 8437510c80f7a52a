"""An embedded model's folder: weights, config, tokenizer, measured figures and the card that tells them."""

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer
from transformers import GPT2LMHeadModel, GPT2Tokenizer

from mechinterp_course.figures import measure
from mechinterp_course.models import load_folder

ABOUT = {
    "course-gpt2": (
        "A small GPT-2 that learned to read the course's text world and to go on with whatever it has just "
        "seen, even if that is noise. Some of its training rows are text of `mechinterp_course.worlds.text`; "
        "the others repeat random ids of the whole vocabulary, at any length from 2 to 60 and any place.",
        "Copying here runs on the heads of the textbook's induction circuit: a previous-token head in layer "
        "0 and two induction heads in layer 2. They did not come about by themselves: during the first 400 "
        "steps these three heads were rewarded, less and less, for looking where such heads look. So their "
        "places say nothing about where induction forms in other models. What they write and who reads it "
        "was shaped by the language modelling loss, which in all the steps without a reward has kept them "
        "where they are.",
        (30, 20, 40),
    ),
    "course-positional": (
        "A one-layer GPT-2 trained only on passages of 16 random ids said twice, always at the same places.",
        "It copies perfectly, and its heads pass for induction heads at that one length. But one layer can't "
        "compose two heads: they look back a fixed distance, wherever that leads. At any other length the "
        "attention, and the gain from a repetition, are gone. It is the model on which the story is false.",
        (16, 8, 12, 24, 40),
    ),
}


def write_model(model: GPT2LMHeadModel, tokenizer: Tokenizer, out: Path) -> None:
    """Write config, weights (fp16, the tied unembedding left out) and tokenizer files into `out`."""
    model.config.save_pretrained(out)
    weights = {
        name: weight.detach().to(torch.float16).contiguous() for name, weight in model.named_parameters()
    }
    save_file(weights, out / "model.safetensors", metadata={"format": "pt"})
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
    record = {"name": name, **made, "figures": measure(load_folder(out), ABOUT[name][2])}
    (out / "training.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    (out / "README.md").write_text(card(name, record), encoding="utf-8")


def card(name: str, record: Mapping) -> str:
    """Return the model's card in Markdown; `record` is what `training.json` holds."""
    data, mechanism, _ = ABOUT[name]
    figures = record["figures"]
    made = f"`mechinterp models train {name} --seed {record['seed']}`: {record['steps']} steps"
    sections = [
        f"# {name}\n\n{data}\n\n{mechanism}",
        f"Made by {made}, text world {record['text']}. {record['parameters']:,} parameters, "
        "stored in fp16, loaded as fp32. MIT licence. For learning only: it knows nothing outside its world.",
        f"## Copying\n\n{figures['measured']}; losses in nats per token.\n\n{_copying_table(figures)}",
        f"## Heads\n\nAt length {figures['scores_at_length']}.\n\n{_score_table(figures)}",
        f"## What ablation and denoising do\n\n{_ablation_table(figures)}\n\n{_denoising(figures)}",
        f"Loss on held-out text of the world: {figures['held_out_text_loss']} nats per token.",
    ]
    return "\n\n".join(sections) + "\n"


def _table(header: list[str], rows: list[list[object]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(str(cell) for cell in line)} |" for line in lines)


def _copying_table(figures: Mapping) -> str:
    rows = [[length, loss["first"], loss["second"]] for length, loss in figures["second_copy"].items()]
    return _table(["length", "first copy", "second copy"], rows)


def _score_table(figures: Mapping) -> str:
    kinds = ("previous_token", "duplicate_token", "induction")
    rows = [
        [f"{layer}.{head}", *(figures["scores"][kind][layer][head] for kind in kinds)]
        for layer, row in enumerate(figures["scores"]["induction"])
        for head in range(len(row))
    ]
    return _table(["head", "previous token", "duplicate token", "induction"], rows)


def _ablation_table(figures: Mapping) -> str:
    rows = [
        [label, kind, effect["loss"], ", ".join(_scores_at(effect, figures["induction_heads"]))]
        for label, kinds in figures["ablated"].items()
        for kind, effect in kinds.items()
    ]
    heads = ", ".join(f"{layer}.{head}" for layer, head in figures["induction_heads"])
    return _table(["ablated", "with", "second-copy loss", f"induction scores of {heads}"], rows)


def _scores_at(effect: Mapping, heads: list[list[int]]) -> list[str]:
    return [f"{effect['induction'][layer][head]:.2f}" for layer, head in heads]


def _denoising(figures: Mapping) -> str:
    denoised = figures["denoised"]
    patched = ", ".join(f"{head}: {loss}" for head, loss in denoised["patched"].items())
    return (
        f"With another first copy in its place, the second copy costs {denoised['corrupted']} nats; "
        f"with one head's clean output patched in, {patched}."
    )
