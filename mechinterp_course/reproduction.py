"""What GPT-2 small should give, from the literature, and functions that measure it on whatever model is here.

Sets and ranks of heads are compared, not scores, for scores move with prompts and library versions. The
prompts are this course's own; where a paper's number depends on its prompts, the band around it is wide.
"""

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from mechinterp_course import heads
from mechinterp_course.circuits import copying_rate
from mechinterp_course.errors import CourseError
from mechinterp_course.lens import head_logit_attribution
from mechinterp_course.metrics import LogitDifference, copying_gain, loss_per_token
from mechinterp_course.path_sweeps import sweep_senders
from mechinterp_course.worlds.tokens import repeated_tokens

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

Head = tuple[int, int]  # (layer, head)
LENGTH, ROWS = 50, 10  # of the repeated tokens, as in ARENA 1.2
NAMES = """
    Mary John Tom James Anna Paul Laura Peter Emma David Sarah Lucy Jack Alice Kate Sam Ruth Leo Clara Nina
"""
TEMPLATES = (  # A and B in turn, then the one of them who acts: the other one is the answer
    ("Yesterday,", " and", " met in the garden, and", " lent an umbrella to"),
    ("Once", " and", " had finished the dishes,", " passed a towel to"),
    ("While", " and", " waited for the train,", " offered a sandwich to"),
)
ARENA = "ARENA 1.2 (Callum McDougall)"
IOI = "Wang et al. 2022, arXiv 2211.00593"


@dataclass(frozen=True)
class Measurement:
    """What came out, in words, and whether it is what was expected."""

    found: str
    holds: bool


@dataclass(frozen=True)
class Claim:
    """What GPT-2 small should give, who says so, and how it is measured here."""

    name: str
    expected: str
    source: str
    measure: Callable[["Subject"], Measurement]


@dataclass(frozen=True, eq=False)
class Subject:
    """A model with what several claims need: patterns on repeated tokens, and prompts with two names."""

    model: "TransformerBridge"
    seed: int = 0

    @cached_property
    def repeated(self) -> Tensor:
        """BOS, 50 random tokens, the same again; ten rows."""
        bos = self.model.tokenizer.bos_token_id or 0
        tokens = repeated_tokens(self.model.cfg.d_vocab, LENGTH, ROWS, bos, self.seed)
        return tokens.to(self.model.cfg.device)

    @cached_property
    def scores(self) -> dict[str, Float[Tensor, "layer head"]]:
        """Head scores on the repeated tokens, by name; a layer's patterns are held one at a time."""
        rules = {
            "previous-token": heads.previous_token_score,
            "duplicate-token": lambda pattern: heads.duplicate_token_score(pattern, LENGTH),
            "induction": lambda pattern: heads.induction_score(pattern, LENGTH),
        }
        rows: dict[str, list[Tensor]] = {name: [] for name in rules}
        for layer in range(self.model.cfg.n_layers):
            name = heads.pattern_name(layer)
            with torch.no_grad():
                _, cache = self.model.run_with_cache(
                    self.repeated, names_filter=name, stop_at_layer=layer + 1
                )
            for rule, score in rules.items():
                rows[rule].append(score(cache[name]).cpu())
        return {rule: torch.stack(values) for rule, values in rows.items()}

    @cached_property
    def names(self) -> Tensor:
        """Tokens of the names that this tokenizer does not split."""
        split = [self.model.tokenizer.encode(f" {name}", add_special_tokens=False) for name in NAMES.split()]
        whole = [pieces[0] for pieces in split if len(pieces) == 1]
        if len(whole) < 4:
            raise CourseError("this model's tokenizer splits almost every name: its prompts can't be made")
        return torch.tensor(whole)

    @cached_property
    def prompts(self) -> tuple[tuple[Tensor, Tensor], LogitDifference]:
        """(tokens with a repeated name, tokens with three names), and the metric at the end.

        Twelve rows, both orders of the names in every template; templates are padded at the front with BOS.
        """
        rows, others, right, wrong = [], [], [], []
        names = self.names.tolist()
        for number in range(12):
            a, b, c = (names[(number + 5 * k) % len(names)] for k in range(3))
            actor, answer = (b, a) if number % 2 else (a, b)
            rows.append(self._row(number // 2 % len(TEMPLATES), a, b, actor))
            others.append(self._row(number // 2 % len(TEMPLATES), a, b, c))
            right.append(answer)
            wrong.append(actor)
        metric = LogitDifference(torch.tensor(right), torch.tensor(wrong))
        return (self._padded(rows), self._padded(others)), metric

    @cached_property
    def direct(self) -> Float[Tensor, "layer head"]:
        """What each head adds directly to the answer's logit over the other name's, the mean over prompts."""
        (tokens, _), metric = self.prompts
        return head_logit_attribution(self.model, tokens, metric.right, metric.wrong).mean(0).cpu()

    def _row(self, template: int, first: int, second: int, third: int) -> list[int]:
        pieces = [self.model.tokenizer.encode(text, add_special_tokens=False) for text in TEMPLATES[template]]
        start, between, after, end = pieces
        return [*start, first, *between, second, *after, third, *end]

    def _padded(self, rows: list[list[int]]) -> Tensor:
        bos, width = self.model.tokenizer.bos_token_id or 0, 1 + max(map(len, rows))
        return torch.tensor([[bos] * (width - len(row)) + row for row in rows]).to(self.model.cfg.device)


def highest(scores: Float[Tensor, "layer head"], count: int) -> list[Head]:
    """The heads with the highest scores, highest first."""
    found = scores.flatten().topk(min(count, scores.numel())).indices.tolist()
    return [divmod(index, scores.shape[1]) for index in found]


def named(found: Collection[Head]) -> str:
    """Heads as the literature writes them: layer.head."""
    return ", ".join(f"{layer}.{head}" for layer, head in found)


def _exactly(found: list[Head], expected: Collection[Head]) -> Measurement:
    return Measurement(named(found), set(found) == set(expected))


def _among(scores: Float[Tensor, "layer head"], count: int, expected: Collection[Head]) -> Measurement:
    found = highest(scores, count)
    return Measurement(named(found), set(expected) <= set(found))


def _copying(subject: Subject) -> Measurement:
    with torch.no_grad():
        loss = loss_per_token(subject.model(subject.repeated), subject.repeated)
    gain = copying_gain(loss, LENGTH)
    return Measurement(f"{gain:.2f} nats saved, {loss[:, LENGTH + 1 :].mean():.2f} left", gain > 3)


def _logit_difference(subject: Subject) -> Measurement:
    (tokens, _), metric = subject.prompts
    with torch.no_grad():
        each = metric.per_prompt(subject.model(tokens))
    mean, right = each.mean().item(), (each > 0).float().mean().item()
    return Measurement(f"{mean:.2f} logits, {right:.0%} of prompts above 0", 2 <= mean <= 5 and right >= 0.9)


def _name_movers(subject: Subject) -> Measurement:
    return _exactly(highest(subject.direct, 3), [(9, 9), (9, 6), (10, 0)])


def _negative_movers(subject: Subject) -> Measurement:
    return _exactly(highest(-subject.direct, 2), [(10, 7), (11, 10)])


def _s_inhibition(subject: Subject) -> Measurement:
    """Which heads' paths, MLPs recomputed, into the queries of the three strongest movers matter most."""
    (tokens, others), metric = subject.prompts
    movers = [head for head in highest(subject.direct, 3) if head[0] > 0]
    if not movers:
        return Measurement("no head above layer 0 moves names", False)
    sweep = sweep_senders(subject.model, others, tokens, metric, movers, "q", frozen=("heads",))
    if not sweep.complete:
        raise KeyboardInterrupt
    return _exactly(highest(sweep.corrupted - sweep.values, 4), [(7, 3), (7, 9), (8, 6), (8, 10)])


def _mover_copying(subject: Subject) -> Measurement:
    tokens = subject.names.to(subject.model.cfg.device)
    movers = highest(subject.direct, 3)
    rates = [copying_rate(subject.model, head, tokens, top=5, through_mlp=True) for head in movers]
    return Measurement(", ".join(f"{rate:.0%}" for rate in rates), min(rates) >= 0.9)


CLAIMS = (
    Claim("a repetition is copied", "well under the first copy's loss", "no citable value: ours", _copying),
    Claim(
        "five best induction heads",
        "5.1, 5.5, 6.9, 7.2, 7.10",
        ARENA,
        lambda s: _exactly(highest(s.scores["induction"], 5), [(5, 1), (5, 5), (6, 9), (7, 2), (7, 10)]),
    ),
    Claim(
        "best previous-token head",
        "4.11",
        IOI,
        lambda s: _exactly(highest(s.scores["previous-token"], 1), [(4, 11)]),
    ),
    Claim(
        "ten best previous-token heads",
        "2.2, 4.11 among them",
        IOI,
        lambda s: _among(s.scores["previous-token"], 10, [(2, 2), (4, 11)]),
    ),
    Claim(
        "ten best duplicate-token heads",
        "0.1, 0.10, 3.0 among them",
        IOI,
        lambda s: _among(s.scores["duplicate-token"], 10, [(0, 1), (0, 10), (3, 0)]),
    ),
    Claim("indirect object, logit difference", "3.56 logits; 99.3 % right", IOI, _logit_difference),
    Claim("three best name movers", "9.9, 9.6, 10.0", IOI, _name_movers),
    Claim("two most negative movers", "10.7, 11.10", IOI, _negative_movers),
    Claim("paths into the movers' queries", "7.3, 7.9, 8.6, 8.10", IOI, _s_inhibition),
    Claim("the movers copy names (top 5)", "100 %, 94.5 %, 94.5 %", IOI, _mover_copying),
)


def reproduce(model: "TransformerBridge", seed: int = 0) -> Iterator[tuple[Claim, Measurement]]:
    """Every claim with what this model gives, one after the other; tokens are drawn from `seed`."""
    subject = Subject(model, seed)
    for claim in CLAIMS:
        yield claim, claim.measure(subject)
