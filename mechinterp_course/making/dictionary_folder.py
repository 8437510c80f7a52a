"""The card and the record of figures of an embedded dictionary."""

import json
from collections.abc import Mapping
from pathlib import Path

from mechinterp_course.figures.dictionary import OWN, PCA, PROBES, WORDS, Study, figures, study, survey
from mechinterp_course.figures.figure import from_records, to_records
from mechinterp_course.making.cards import figure_table, table
from mechinterp_course.worlds.text.properties import properties

ABOUT = """\
A sparse autoencoder that writes an activation of `{model}` at `{hook}` as a sum of a few of its {d_sae:,} \
features. Nested dictionaries of {widths} features each had to reconstruct alone (Matryoshka BatchTopK), so \
the first features are the general ones. It is stored as a JumpReLU dictionary in fp16.

Beside it lie two rivals that were trained alike: `frozen-decoder`, whose decoder stayed as it was drawn, \
and `untrained-model`, which reads the same place of the model before its first step. A figure that a rival \
reaches as well says nothing about what the model has learned.

Cross-entropy recovered is (ablated − dictionary) / (ablated − clean): losses with every activation at the \
hook, BOS included, replaced by the mean activation, by what the dictionary makes of it, or by nothing."""

PROPERTIES = """\
F1 of the best detector for each property of the world, chosen with its threshold on one half of unseen \
texts and judged on the other. Features, directions and words were told nothing; the linear probe was \
trained on that property. Over whole texts the highest score in the text counts, for the probe that of their \
mean activation."""


HOOKS = """\
The same recipe at each place of the residual stream behind the first layer: how the layer was chosen. "No \
word" are those of the properties found that no single word gives away."""


def write_figures(name: str, out: Path, made: Mapping[str, object]) -> None:
    """Measure the dictionaries in `out`; write `training.json` (how they were `made`, figures) and card."""
    measured = study(name, out)
    record = {
        "name": name,
        **made,
        "figures": to_records(figures(measured)),
        "properties": property_records(measured),
        "hooks": survey(name, out, measured),
    }
    (out / "training.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    (out / "README.md").write_text(card(name, record), encoding="utf-8")


def property_records(measured: Study) -> list[dict]:
    """Return for each property the best feature and the F1 of each kind of detector, the best found first."""
    own = measured.found[OWN]
    records = [
        {
            "property": each.name,
            "feature": int(own.detector[place]),
            "f1": {name: round(float(found.f1[place]), 3) for name, found in measured.found.items()},
        }
        for place, each in enumerate(properties())
    ]
    return sorted(records, key=lambda record: -record["f1"][OWN])


def card(name: str, record: Mapping) -> str:
    """Return the dictionary's card in Markdown; `record` is what `training.json` holds."""
    recipe = record["recipe"]
    widths = ", ".join(map(str, recipe["widths"]))
    about = ABOUT.format(d_sae=recipe["widths"][-1], **recipe | {"widths": widths})
    sections = (
        f"# {name}\n\n{about}",
        f"Made by `mechinterp models train {name} --seed {record['seed']}`: {record['steps']} steps of "
        f"{recipe['batch']:,} tokens for each of the three, drawn from {recipe['rows']:,} rows of "
        f"{recipe['length']}, text world {record['text']}. MIT licence.",
        f"## Figures\n\nOn seeds that training never saw.\n\n{figure_table(from_records(record['figures']))}",
        f"## Hooks\n\n{HOOKS}\n\n{_hook_table(record['hooks'])}",
        f"## Properties\n\n{PROPERTIES}\n\n{_property_table(record['properties'])}",
    )
    return "\n\n".join(sections) + "\n"


def _hook_table(records: list[Mapping]) -> str:
    header = ["hook", "L0", "cross-entropy recovered", "variance unexplained", "dead features"]
    header += ["properties found", "no word"]
    return table(header, [list(record.values()) for record in records])


def _property_table(records: list[Mapping]) -> str:
    kinds = [kind for kind in records[0]["f1"] if kind not in (OWN, PCA, PROBES, WORDS)]
    kinds = [OWN, PCA, *kinds, PROBES, WORDS]
    rows = [[each["property"], each["feature"], *(each["f1"][kind] for kind in kinds)] for each in records]
    return table(["property", "feature", *kinds], rows)
