"""How the embedded dictionary and its rivals are made, and what they read."""

from dataclasses import dataclass, replace
from random import Random
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, Int
from tokenizers import Tokenizer
from torch import Tensor
from transformers import AutoTokenizer

from mechinterp_course.catalogue import embedded
from mechinterp_course.errors import CourseError
from mechinterp_course.half_precision import fast_products
from mechinterp_course.language_models import bridge_from
from mechinterp_course.making.recipes import untrained_model
from mechinterp_course.making.rows import repeat_row, text_row
from mechinterp_course.making.training import recipe_of
from mechinterp_course.quiet_loading import without_traces
from mechinterp_course.worlds import text
from mechinterp_course.worlds.tokenizer import END_OF_TEXT, token_ids

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

TOGETHER = 32  # rows run through the model together


@dataclass(frozen=True)
class DictionaryRecipe:
    """How a dictionary is made: what it reads, its size, how many features fire, how long it learns.

    It reads `rows` rows of `length` tokens, of which a share `even` holds texts of every kind alike and a
    share `repeats` random ids said again and again. Each step sees `batch` of their activations, drawn from
    all of them: neighbours in a text are alike, and a batch of few texts lets the features of others die.
    `widths` are those of the nested dictionaries that each have to reconstruct (Matryoshka): the last is
    `d_sae`.
    """

    model: str = "course-gpt2"
    hook: str = "blocks.3.hook_resid_pre"
    widths: tuple[int, ...] = (32, 128, 512, 1536)
    k: float = 20.0
    rows: int = 4096
    length: int = 128
    even: float = 1 / 4
    repeats: float = 1 / 8
    batch: int = 1024
    steps: int = 700
    learning_rate: float = 1e-3
    warmup: int = 100
    falling: float = 0.3  # the last part of the steps, in which the rate falls to zero

    @property
    def d_sae(self) -> int:
        return self.widths[-1]

    def at(self, part: "Part") -> "DictionaryRecipe":
        """Return the recipe of a part: the same, at the part's own hook if it has one."""
        return replace(self, hook=part.hook or self.hook)


RECIPES = {"course-sae": DictionaryRecipe()}


@dataclass(frozen=True)
class Part:
    """One of the dictionaries that are trained together, and its folder in that of the embedded one."""

    folder: str = ""
    frozen_decoder: bool = False
    untrained: bool = False
    hook: str | None = None


PARTS = (Part(), Part("frozen-decoder", frozen_decoder=True), Part("untrained-model", untrained=True))
SCRATCH = "other-hooks"  # measured and thrown away
SURVEY = tuple(
    Part(f"{SCRATCH}/{hook}", hook=hook)
    for hook in ("blocks.1.hook_resid_pre", "blocks.2.hook_resid_pre", "blocks.3.hook_resid_post")
)


def load_untrained(name: str) -> "TransformerBridge":
    """Return an embedded language model as it was before its first step, with the tokenizer it ships with."""
    tokenizer = AutoTokenizer.from_pretrained(embedded(name).path)
    with without_traces():
        model = untrained_model(recipe_of(name), tokenizer.backend_tokenizer, seed=0)
        return bridge_from(f"{name}, untrained", model, tokenizer)


def dictionary_recipe(name: str) -> DictionaryRecipe:
    """Return the recipe of an embedded dictionary; raises CourseError when there is none."""
    if name not in RECIPES:
        raise CourseError(
            f"no recipe is called {name!r}; `mechinterp models list` names {', '.join(RECIPES)}"
        )
    return RECIPES[name]


def activations(
    model: "TransformerBridge", recipe: DictionaryRecipe, seed: int, rows: int
) -> Float[Tensor, "token d_model"]:
    """Return the activations in fp16 at the recipe's hook, on `rows` rows that `seed` settles."""
    layer = int(recipe.hook.split(".")[1])
    found = []
    tokens = rows_of(model.tokenizer.backend_tokenizer, recipe, seed, rows).to(model.cfg.device)
    for part in tokens.split(TOGETHER):
        with fast_products(part.device):
            _, cache = model.run_with_cache(part, names_filter=recipe.hook, stop_at_layer=layer + 1)
        found.append(cache[recipe.hook].flatten(end_dim=-2).half())
    return torch.cat(found)


def rows_of(
    tokenizer: Tokenizer, recipe: DictionaryRecipe, seed: int, rows: int
) -> Int[Tensor, "row length"]:
    """Return rows of token ids in the recipe's proportions."""
    rng = Random(f"dictionary {seed}")
    found = []
    for kind in rng.choices(
        ("text", "even", "repeat"), (1 - recipe.even - recipe.repeats, recipe.even, recipe.repeats), k=rows
    ):
        own = rng.getrandbits(48)
        if kind == "even":
            found.append(even_row(tokenizer, recipe.length, own))
        else:
            make = repeat_row if kind == "repeat" else text_row
            found.append(make(tokenizer, recipe.length, own).ids)
    return torch.tensor(found)


def even_row(tokenizer: Tokenizer, length: int, seed: int) -> list[int]:
    """Return `length` ids of texts of every kind alike, each begun by BOS: rare kinds have features too."""
    rng, bos, ids = Random(f"even {seed}"), tokenizer.token_to_id(END_OF_TEXT), []
    while len(ids) < length:
        kind = rng.choice(tuple(text.TASKS.values()))
        ids += [bos, *token_ids(tokenizer, kind.draw(rng).text)]
    return ids[:length]
