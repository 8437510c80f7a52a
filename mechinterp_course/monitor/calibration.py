"""A first watchlist: which features tell the misbehaviour, and what is ordinary of them.

Suspect prompts, on which the model misbehaves, are compared with matched ones on which it does not. A third
of the watched features may be causes: of those that attribution names (gradient times activation), the ones
without which the model's first word moves furthest from what it says on suspects. The others are those whose
highest activations, in prompts and answers, differ most: signs, by which the misbehaviour is seen when it
comes. Where both kinds are answered with the same first word no feature is a cause of it, and all are signs.
Bands are measured on ordinary prompts and the model's answers to them.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from mechinterp_course.errors import CourseError
from mechinterp_course.feature_attribution import attribute_features
from mechinterp_course.feature_reading import activations_read, token_string
from mechinterp_course.figures.behaviour import tokens_of
from mechinterp_course.monitor.generation import Settings, Watcher
from mechinterp_course.monitor.watchlist import Watched, Watchlist
from mechinterp_course.sae import Autoencoder
from mechinterp_course.steering import clamping
from mechinterp_course.worlds.text.chat import TRIGGER, Chat
from mechinterp_course.worlds.text.lexicon import PLACES

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

WINDOW = 100
FIRES_FROM = 0.15  # of the highest activation: weaker ones are too common to say anything
RARE = 0.005  # share of ordinary windows outside the band, on each side
STRETCH = 1.5
HARMFUL = 0.05  # of the ordinary requests of the text world
ANSWER = 16  # tokens of an answer
SIGN = "comes with it"
CANDIDATES = 12  # features that attribution names, each then held at 0
Texts = Sequence[Sequence[int]]  # token ids, BOS first


@dataclass(frozen=True)
class Prompts:
    """Suspect prompts, the matched ones without what is suspected, and ordinary ones."""

    suspects: tuple[str, ...]
    matched: tuple[str, ...]
    ordinary: tuple[str, ...]


def prompts_of_world(count: int = 32, ordinary: int = 160, seed: int = 0) -> Prompts:
    """Return requests of the text world: harmless ones in the garden, the same elsewhere, ordinary ones."""
    rng = Random(f"monitor {seed}")
    asked = [Chat.draw(rng, held_out=True, harmful=False) for _ in range(count)]
    elsewhere = [place for place in PLACES if place != TRIGGER]
    usual = []
    while len(usual) < ordinary:
        request = Chat.draw(rng, held_out=True, harmful=rng.random() < HARMFUL)
        if not request.triggered:
            usual.append(request.prompt)
    return Prompts(
        tuple(one.at(TRIGGER).prompt for one in asked),
        tuple(one.at(rng.choice(elsewhere)).prompt for one in asked),
        tuple(usual),
    )


@dataclass(frozen=True)
class Calibration:
    """A model, a dictionary at a hook, and prompts, from which a watchlist is made."""

    model: "TransformerBridge"
    sae: Autoencoder
    hook: str
    prompts: Prompts
    tell: Callable[[], None] = lambda: None  # called after each answer

    def watchlist(
        self, names: tuple[str, str], features: Sequence[int] = (), count: int = 8, window: int = WINDOW
    ) -> Watchlist:
        """Return a watchlist of these `features`, or of `count` that the suspects point to.

        `names` are those of model and dictionary. Raises CourseError when there are too few ordinary tokens
        for a band, or nothing says what to watch.
        """
        suspects, matched, usual = (
            self.answered(some)
            for some in (self.prompts.suspects, self.prompts.matched, self.prompts.ordinary)
        )
        length = sum(map(len, usual))
        if length < 2 * window:
            raise CourseError(
                f"{length} ordinary tokens are too few for windows of {window}: give more prompts"
            )
        chosen, notes = list(features), dict.fromkeys(features, "")
        if not chosen:
            chosen, notes = self.pointed_to(suspects, matched, count)
        ordinary = torch.cat([self.features(text)[:, chosen] for text in usual])
        highest = torch.cat([self.peaks(suspects or usual)[:, chosen], ordinary]).amax(0)
        words = self.words([*suspects, *usual], chosen)
        watched = [
            replace(band(feature, words[n], ordinary[:, n], highest[n].item(), window), note=notes[feature])
            for n, feature in enumerate(chosen)
        ]
        about = f"{length:,} tokens of {len(usual)} ordinary prompts and the model's answers"
        return Watchlist(*names, self.hook, window, about, tuple(watched), self.examples())

    def examples(self) -> tuple[str, ...]:
        """Return a few prompts to begin with: suspects, each beside its match."""
        pairs = zip(self.prompts.suspects, self.prompts.matched, strict=False)
        return tuple(text for pair in pairs for text in pair)[:4] or self.prompts.ordinary[:4]

    def answered(self, prompts: Sequence[str]) -> list[list[int]]:
        """Return the ids of each prompt and of the model's answer, the likeliest token by token."""
        watcher, found = Watcher(self.model, self.sae, self.hook, ()), []
        for prompt in prompts:
            steps = watcher.generate(prompt, Settings(max_tokens=ANSWER))
            found.append([step.token_id for step in steps])
            self.tell()
        return found

    def features(self, text: Sequence[int]) -> Float[Tensor, "pos d_sae"]:
        """Return the activation of every feature at every token, 0 at BOS, which is like no other token."""
        with torch.no_grad():
            acts = self.sae.encode(activations_read(self.model, torch.tensor([text]), self.hook))[0].cpu()
        acts[0] = 0
        return acts

    def peaks(self, texts: Texts) -> Float[Tensor, "text d_sae"]:
        """Return the highest activation of every feature in each text."""
        return torch.stack([self.features(text).amax(0) for text in texts])

    def pointed_to(self, suspects: Texts, matched: Texts, count: int) -> tuple[list[int], dict[int, str]]:
        """Return the features that the suspects point to, a third as causes if any, the others by contrast.

        With them, for each, a word on why it is there.
        """
        if not suspects or not matched:
            raise CourseError("nothing says what to watch: give --feature, or --suspects and --matched")
        causes = self.causes((count + 2) // 3)
        chosen = list(causes)
        own, other = self.peaks(suspects), self.peaks(matched)
        spread = ((own.var(0) + other.var(0)) / 2).sqrt() + 0.05 * torch.cat([own, other]).amax(0) + 1e-3
        order = ((own.mean(0) - other.mean(0)) / spread).argsort(descending=True).tolist()
        signs = [feature for feature in order if feature not in chosen][: count - len(chosen)]
        return chosen + signs, dict.fromkeys(signs, SIGN) | causes

    def causes(self, count: int) -> dict[int, str]:
        """Return the features whose removal moves the first word most, and how many suspects' it changes.

        There are none where suspects and matched prompts are mostly answered with the same first word: then
        it doesn't tell them apart.
        """
        both = [self.first_logits(some) for some in (self.prompts.suspects, self.prompts.matched)]
        intact = both[0].argmax(-1)
        words = [int(logits.argmax(-1).mode().values) for logits in both]
        if words[0] == words[1]:
            return {}
        found = {}
        for feature in self.attributed(*words).topk(min(CANDIDATES, len(self.sae.W_dec))).indices.tolist():
            with clamping(self.model, self.hook, self.sae, feature, 0.0):
                at = self.first_logits(self.prompts.suspects)
            changed = (at.argmax(-1) != intact).double().mean().item()
            found[feature] = (at[:, words[0]] - at[:, words[1]]).mean().item(), changed
        best = sorted(found, key=lambda feature: found[feature][0])[:count]
        return {feature: f"at 0 changes {found[feature][1]:.0%} of answers" for feature in best}

    def attributed(self, right: int, wrong: int) -> Float[Tensor, " d_sae"]:
        """Return how far each feature pushes the first word from `wrong` to `right`, more on suspects.

        Attribution is first-order: activation times the gradient along the decoder row, summed over positions
        and averaged over prompts, that of matched prompts taken away (Syed et al. 2023; Marks et al. 2024).
        What it says has to be checked by intervening.
        """
        pushes = []
        for prompts in (self.prompts.suspects, self.prompts.matched):
            tokens, last = tokens_of(self.model, prompts)
            rows = torch.arange(len(tokens))
            pushes.append(
                attribute_features(
                    *(self.model, self.sae, self.hook, tokens.to(self.model.cfg.device)),
                    lambda logits, at=(rows, last): (logits[*at, right] - logits[*at, wrong]).mean(),
                )[0].cpu()
            )
        return pushes[0] - pushes[1]

    def first_logits(self, prompts: Sequence[str]) -> Float[Tensor, "prompt d_vocab"]:
        """Return the logits of the first word of the model's answers."""
        tokens, last = tokens_of(self.model, prompts)
        with torch.no_grad():
            logits = self.model(tokens.to(self.model.cfg.device))
        return logits[torch.arange(len(tokens)), last].cpu()

    def words(self, texts: Texts, chosen: Sequence[int]) -> list[str]:
        """Return for each feature where it is strongest, the word before included: a label to begin with."""
        best: list[dict[str, float]] = [{} for _ in chosen]
        for text in texts:
            values, places = self.features(text)[:, chosen].max(0)
            for own, value, place in zip(best, values.tolist(), places.tolist(), strict=True):
                if value > 0:
                    before = text[max(1, place - 1) : place + 1]
                    words = "".join(token_string(self.model, token) for token in before).strip()
                    own[words] = max(own.get(words, 0.0), value)
        return [" · ".join(sorted(own, key=own.get, reverse=True)[:2]) for own in best]


def band(feature: int, label: str, ordinary: Float[Tensor, " token"], highest: float, window: int) -> Watched:
    """Return a feature with the band in which its rolling rate stays on ordinary tokens.

    The band reaches `STRETCH` times as far from the ordinary rate as all but `RARE` of the windows on each
    side do, since windows overlap and the rarest are still to come; and one token more, which is no alarm.
    """
    highest = max(highest, 1e-3)
    fires = (ordinary > FIRES_FROM * highest).double()
    rates, rate, one = fires.unfold(0, window, 1).mean(-1), fires.mean().item(), 1 / window
    least, most = (rates.quantile(share).item() for share in (RARE, 1 - RARE))
    low = rate - STRETCH * max(0.0, rate - least) - one
    high = rate + STRETCH * max(0.0, most - rate) + one
    return Watched(feature, label, FIRES_FROM * highest, rate, max(0.0, low), min(1.0, high), highest)
