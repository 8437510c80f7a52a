"""What the embedded dictionary is held to, and beside it what simpler things reach on the same activations.

Rivals: principal directions, as many as features fire at a time; a dictionary trained alike whose decoder
stayed random; one trained alike on the model before its training. Where properties are sought, also linear
probes, which are told what to look for, and single words, which need no look into the model.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, Int
from torch import Tensor

from mechinterp_course.catalogue import embedded
from mechinterp_course.figures import detection
from mechinterp_course.figures.detection import Examples, Found
from mechinterp_course.figures.directions import (
    FITTED_ON,
    Principal,
    Recovered,
    Replace,
    activations_at,
    held_out_rows,
    principal_directions,
    recovered,
)
from mechinterp_course.figures.figure import Figure
from mechinterp_course.figures.induction import HELD_OUT
from mechinterp_course.making.dictionary_recipes import (
    PARTS,
    SURVEY,
    DictionaryRecipe,
    Part,
    activations,
    dictionary_recipe,
    load_untrained,
)
from mechinterp_course.models import load_language_model

if TYPE_CHECKING:
    from sae_lens import SAE
    from transformer_lens.model_bridge import TransformerBridge

ROWS = 64  # on which losses are measured
ROWS_FOR_RARE = 2048  # on which features may fire at all: the rare ones fire once in some hundred rows
TEXTS = 2400  # in which properties are sought
GOOD = 0.9  # an F1 from which on a detector counts as having found a property
BATCH = 8192  # activations encoded at a time


@dataclass(frozen=True)
class Quality:
    """How faithfully a bottleneck passes activations on, on held-out text: `l0` numbers hold each of them.

    `unexplained` is the share of variance it loses; `dead` the share of its features that never fire.
    """

    l0: float
    unexplained: float
    recovered: Recovered
    dead: float = 0.0


@dataclass(frozen=True)
class Study:
    """Everything measured of a dictionary and its rivals, by name."""

    qualities: dict[str, Quality]
    found: dict[str, Found]


OWN, PCA = "dictionary", "principal directions"
NAMES = {"": OWN, "frozen-decoder": "frozen random decoder", "untrained-model": "untrained model"}
PROBES, WORDS = "linear probes", "single words"
UNSUPERVISED = (PCA, *(name for name in NAMES.values() if name != OWN))


def measure(name: str, seed: int = 1000) -> list[Figure]:
    """Return the figures of the embedded dictionary, with targets where the course sets some."""
    return list(figures(study(name, embedded(name).path, seed)))


def study(name: str, folder: Path, seed: int = 1000) -> Study:
    """Return what was measured of the dictionaries in `folder`, on texts that no training has drawn."""
    recipe = dictionary_recipe(name)
    model, untrained = load_language_model(recipe.model), load_untrained(recipe.model)
    examples = detection.draw_examples(model, recipe.hook, TEXTS, seed)
    qualities, found = {}, {}
    for part in PARTS:
        reader, sae, seen = model, load_part(folder, part), examples
        if part.untrained:
            reader, seen = untrained, detection.draw_examples(untrained, recipe.hook, TEXTS, seed)
        quality = quality_of_features(reader, sae, recipe.hook, seed)
        qualities[NAMES[part.folder]] = replace(quality, dead=dead_share(reader, sae, recipe, seed))
        found[NAMES[part.folder]] = detection.best_detectors(features(sae, seen.activations), seen)
    rank = round(qualities[OWN].l0)
    principal = fit_principal(model, recipe.hook, seed)
    qualities[PCA] = quality_of_principal(model, principal, rank, recipe.hook, seed)
    return Study(qualities, found | _found_by_others(principal, rank, examples))


def survey(name: str, folder: Path, measured: Study, seed: int = 1000) -> list[dict]:
    """Return what the dictionary and those at other hooks reached: a record for each hook."""
    recipe = dictionary_recipe(name)
    model = load_language_model(recipe.model)
    words = measured.found[WORDS]  # the same wherever one looks into the model
    records = [_surveyed(recipe.hook, measured.qualities[OWN], measured.found[OWN], words)]
    for part in SURVEY:
        sae = load_part(folder, part)
        quality = quality_of_features(model, sae, part.hook, seed)
        quality = replace(quality, dead=dead_share(model, sae, recipe.at(part), seed))
        examples = detection.draw_examples(model, part.hook, TEXTS, seed)
        found = detection.best_detectors(features(sae, examples.activations), examples)
        records.append(_surveyed(part.hook, quality, found, words))
    return records


def _surveyed(hook: str, quality: Quality, found: Found, words: Found) -> dict:
    return {
        "hook": hook,
        "l0": round(quality.l0, 1),
        "recovered": round(quality.recovered.of_mean, 3),
        "unexplained": round(quality.unexplained, 3),
        "dead": round(quality.dead, 3),
        "properties": properties_found(found),
        "beyond words": properties_found(found, beyond=words),
    }


def _found_by_others(principal: Principal, rank: int, examples: Examples) -> dict[str, Found]:
    scores = (examples.activations - principal.mean) @ principal.directions[:rank].T
    return {
        PCA: detection.best_directions(scores, examples),
        PROBES: detection.linear_probes(examples),
        WORDS: detection.best_words(examples),
    }


def load_part(folder: Path, part: Part) -> "SAE":
    """Return one of the dictionaries in the folder of an embedded one, in fp32, frozen."""
    from sae_lens import SAE

    return SAE.load_from_disk(folder / part.folder, dtype="float32").requires_grad_(False).eval()


def features(sae: "SAE", activations: Float[Tensor, "token d_model"]) -> Float[Tensor, "token d_sae"]:
    """Return feature activations in fp16: they are many."""
    return torch.cat([sae.encode(part).half() for part in activations.split(BATCH)])


def fit_principal(model: "TransformerBridge", hook: str, seed: int) -> Principal:
    """Return the principal directions of held-out rows other than those that are measured on."""
    rows = held_out_rows(model, seed + FITTED_ON, ROWS)
    return principal_directions(activations_at(model, rows, hook))


def quality_of_features(model: "TransformerBridge", sae: "SAE", hook: str, seed: int) -> Quality:
    """Return the quality of a dictionary at `hook`, its dead features aside."""
    rows = held_out_rows(model, seed, ROWS)
    fires = sae.encode(activations_at(model, rows, hook).flatten(end_dim=-2)) > 0
    mean = fit_principal(model, hook, seed).mean
    return Quality(
        l0=fires.sum(-1).float().mean().item(),
        unexplained=unexplained(model, rows, hook, sae),
        recovered=recovered(model, rows, hook, mean, sae),
    )


def quality_of_principal(
    model: "TransformerBridge", principal: Principal, rank: int, hook: str, seed: int
) -> Quality:
    """Return the quality of the first `rank` principal directions at `hook`."""
    rows = held_out_rows(model, seed, ROWS)

    def project(activations: Float[Tensor, "... d_model"]) -> Float[Tensor, "... d_model"]:
        return principal.project(activations, rank)

    passed = recovered(model, rows, hook, principal.mean, project)
    return Quality(rank, unexplained(model, rows, hook, project), passed)


def unexplained(
    model: "TransformerBridge", rows: Int[Tensor, "batch pos"], hook: str, replace: Replace
) -> float:
    """Return the share of the activations' variance that is lost when `replace` takes their place."""
    activations = activations_at(model, rows, hook).flatten(end_dim=-2)
    spread = activations - activations.mean(dim=0)
    return ((replace(activations) - activations).square().sum() / spread.square().sum()).item()


def dead_share(model: "TransformerBridge", sae: "SAE", recipe: DictionaryRecipe, seed: int) -> float:
    """Return the share of features that fire on no token of unseen rows of the kinds that it learned from."""
    fired = torch.zeros(sae.cfg.d_sae, dtype=torch.bool)
    for part in activations(model, recipe, HELD_OUT + seed, ROWS_FOR_RARE).split(BATCH):
        fired |= (sae.encode(part.float()) > 0).any(dim=0)
    return 1 - fired.float().mean().item()


def properties_found(found: Found, beyond: Found | None = None) -> int:
    """Return how many properties a detector finds, and where told, `beyond` finds not."""
    good = found.f1 >= GOOD
    return int((good if beyond is None else good & (beyond.f1 < GOOD)).sum())


def figures(measured: Study) -> Iterator[Figure]:
    """Yield the figures of the dictionary, then those of its rivals."""
    own = measured.qualities[OWN]
    texts = f"{ROWS} rows of 128 tokens of unseen text"
    yield Figure("active features (L0)", own.l0, at_most=25.0, about=f"mean on {texts}")
    yield Figure(
        "cross-entropy recovered", own.recovered.of_mean, at_least=0.95, about=f"from mean ablation, {texts}"
    )
    yield Figure("cross-entropy recovered, from zero ablation", own.recovered.of_zero, about=texts)
    yield Figure("variance unexplained", own.unexplained, about=texts)
    yield Figure(
        "dead features",
        own.dead,
        at_most=0.1,
        about=f"never fire in {ROWS_FOR_RARE} unseen rows as in training",
    )
    yield from _rival_qualities(measured)
    yield from _properties(measured)


def _rival_qualities(measured: Study) -> Iterator[Figure]:
    for name in UNSUPERVISED:
        quality = measured.qualities[name]
        yield Figure(f"{name}: numbers kept (L0)", quality.l0)
        yield Figure(f"{name}: cross-entropy recovered", quality.recovered.of_mean)
        yield Figure(f"{name}: variance unexplained", quality.unexplained)
        yield Figure(f"{name}: dead features", quality.dead)
    rivals = max(measured.qualities[name].recovered.of_mean for name in UNSUPERVISED[:2])
    yield Figure(
        "cross-entropy recovered beyond principal directions and the frozen decoder",
        measured.qualities[OWN].recovered.of_mean - rivals,
        at_least=0.0,
    )


def _properties(measured: Study) -> Iterator[Figure]:
    words = measured.found[WORDS]
    about = f"of {len(words.f1)}, with an F1 of at least {GOOD} on {TEXTS // 2} unseen texts"
    beyond = {name: properties_found(found, beyond=words) for name, found in measured.found.items()}
    found = properties_found(measured.found[OWN])
    yield Figure("properties found by one feature", found, at_least=20, about=about)
    yield Figure("of these, none that a single word gives away", beyond[OWN], about=about)
    yield Figure(
        "properties that no word gives away, found beyond the best rival",
        beyond[OWN] - max(beyond[name] for name in UNSUPERVISED),
        at_least=1,
    )
    for name in (*UNSUPERVISED, PROBES, WORDS):
        yield Figure(f"{name}: properties found", properties_found(measured.found[name]), about=about)
        if name != WORDS:
            yield Figure(f"{name}: of these, none that a single word gives away", beyond[name], about=about)
