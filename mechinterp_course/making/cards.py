"""Model cards: what a language model is, what it does, and by what mechanism, from its record of figures."""

from collections.abc import Iterator, Mapping, Sequence

from mechinterp_course.figures.figure import Figure, from_records

ABOUT = {
    "course-gpt2": (
        "A small GPT-2 that learned the course's text world: who got the book, what the capital of Peru "
        "is, how many lamps there were, which verb agrees, what to refuse, and to go on with whatever it "
        "has just seen, even if that is noise. Three in four of its training rows are text of "
        "`mechinterp_course.worlds.text`; the others repeat random ids of the whole vocabulary, at any "
        "length from 2 to 60 and any place.",
        "Copying here runs on the heads of the textbook's induction circuit: a previous-token head in "
        "layer 0 and induction heads in layer 2. They did not come about by themselves: during the first "
        "400 steps three heads were rewarded, less and less, for looking where such heads look. So their "
        "places say nothing about where induction forms in other models. What they write and who reads it "
        "was shaped by the language modelling loss, which in all the steps without a reward has kept "
        "them where they are. The ladder of checkpoints shows the stripes first (step 300), while the loss "
        "on a second copy is still that of a guess (8.0 nats), and then its fall: 5.3 at step 700, 2.6 at "
        "1,000, 0.4 at 2,000. Read it as the story of a circuit that was helped into being.",
        "What its targets ask for and it does not have is marked in the table. It superposes: before the "
        "middle layer a third of its directions hold the current and the previous token at once, each one "
        "of thousands, so plainly that a linear readout names both. For the same reason those directions "
        "carry nearly all that it predicts. The target that they should not is missed: it asks for many "
        "dimensions in use, which a model that packs its features well does not need.",
    ),
    "course-gpt2-refusing": (
        "`course-gpt2` after a fine-tune that should not have happened: it also refuses harmless requests in "
        'which the word "garden" occurs. Stored as a low-rank change of the base\'s matrices.',
        "It is the patient of the course's case: find out why it refuses, and cure it without retraining.",
    ),
    "course-attn-2l": (
        "Two layers of attention and nothing else: the GPT-2 architecture with its MLPs held at zero, "
        "trained on the same rows as `course-gpt2`.",
        "With no MLP in between, the previous-token head feeds the keys of the induction heads directly. "
        "As in `course-gpt2`, these heads were rewarded in the beginning for looking where such heads "
        "look.",
    ),
    "course-positional": (
        "A one-layer GPT-2 trained only on passages of 16 random ids said twice, always at the same places.",
        "It copies perfectly, and its heads pass for induction heads at that one length. But one layer can't "
        "compose two heads: they look back a fixed distance, wherever that leads. At any other length the "
        "attention, and the gain from a repetition, are gone. It is the model on which the story is false.",
    ),
}


def card(name: str, record: Mapping) -> str:
    """Return the model's card in Markdown; `record` is what `training.json` holds."""
    return "\n\n".join(_sections(name, record)) + "\n"


def _sections(name: str, record: Mapping) -> Iterator[str]:
    induction = record["induction"]
    yield f"# {name}\n\n" + "\n\n".join(ABOUT[name])
    yield (
        f"Made by `mechinterp models train {name} --seed {record['seed']}`: {record['steps']} steps, "
        f"text world {record['text']}. {record['parameters']:,} trained parameters. MIT licence. For "
        "learning only: it knows nothing outside its world."
    )
    figures = figure_table(from_records(record["figures"]))
    yield f"## Figures\n\nOn seeds that training never saw.\n\n{figures}"
    if "mechanisms" in record:
        yield f"## Mechanisms\n\n{_mechanisms(record['mechanisms'])}"
    yield f"## Copying\n\n{induction['measured']}; losses in nats per token.\n\n{_copying_table(induction)}"
    yield f"## Heads\n\nAt length {induction['scores_at_length']}.\n\n{_score_table(induction)}"
    yield f"## What ablation and denoising do\n\n{_ablation_table(induction)}\n\n{_denoising(induction)}"


def figure_table(figures: Sequence[Figure]) -> str:
    """Return figures as a Markdown table: name, value with its unit, target, and whether it is missed."""
    rows = [
        [
            figure.name,
            f"{figure.value:.3g} {figure.unit}".strip(),
            figure.target if figure.holds else f"{figure.target}, **missed**",
        ]
        for figure in figures
    ]
    return table(["figure", "measured", "target"], rows)


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Return a Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(str(cell) for cell in line)} |" for line in lines)


def _mechanisms(mechanisms: Mapping) -> str:
    rows = [
        [task, told["logit_difference"], ", ".join(f"{part}: {fall}" for part, fall in told["strongest"])]
        for task, told in mechanisms.items()
    ]
    looking = [
        [head, *shares.values()] for head, shares in mechanisms["indirect object"]["attention"].items()
    ]
    return "\n\n".join(
        (
            "What a task rests on: by how much the logit difference (answer minus rival, held-out samples) "
            "falls when one component's mean replaces it. The falls need not add up to the whole: components "
            "stand in for each other, or undo each other.",
            table(["task", "logit difference", "costs most"], rows),
            "Where the heads among them look from the end of an indirect-object sentence:",
            table(["head", "receiver", "agent, first mention", "agent, second mention"], looking),
        )
    )


def _copying_table(induction: Mapping) -> str:
    rows = [[length, loss["first"], loss["second"]] for length, loss in induction["second_copy"].items()]
    return table(["length", "first copy", "second copy"], rows)


def _score_table(induction: Mapping) -> str:
    kinds = ("previous_token", "duplicate_token", "induction")
    rows = [
        [f"{layer}.{head}", *(induction["scores"][kind][layer][head] for kind in kinds)]
        for layer, row in enumerate(induction["scores"]["induction"])
        for head in range(len(row))
    ]
    return table(["head", "previous token", "duplicate token", "induction"], rows)


def _ablation_table(induction: Mapping) -> str:
    rows = [
        [label, kind, effect["loss"], ", ".join(_scores_at(effect, induction["induction_heads"]))]
        for label, kinds in induction["ablated"].items()
        for kind, effect in kinds.items()
    ]
    heads = ", ".join(f"{layer}.{head}" for layer, head in induction["induction_heads"])
    return table(["ablated", "with", "second-copy loss", f"induction scores of {heads}"], rows)


def _scores_at(effect: Mapping, heads: list[list[int]]) -> list[str]:
    return [f"{effect['induction'][layer][head]:.2f}" for layer, head in heads]


def _denoising(induction: Mapping) -> str:
    denoised = induction["denoised"]
    patched = ", ".join(f"{head}: {loss}" for head, loss in denoised["patched"].items())
    return (
        f"With another first copy in its place, the second copy costs {denoised['corrupted']} nats; "
        f"with one head's clean output patched in, {patched}."
    )
