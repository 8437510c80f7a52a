"""Transformers with a circuit planted by construction, new for every seed, and the truth beside them.

    >>> from mechinterp_course.worlds import planted
    >>> puzzle, truth = planted.plant(seed=7, family="backup")
    >>> model = puzzle.load()  # a TransformerBridge, like load_language_model("course-gpt2")
    >>> samples = puzzle.samples(seed=0, count=16)
    >>> logits, cache = model.run_with_cache(samples.tokens)
    >>> planted.solve(puzzle) == truth.circuit
    True

The models are GPT-2s without MLPs: 8 heads a layer, d_model 288, 64 tokens and BOS, 64 positions. Each does
one thing: where the present token has stood before, it predicts what stood `offset` (1, 2 or 3) places after.
With e(x) the code of a token, the heads that do this compute, each in a subspace of the residual stream,

    copying   copied[t]  = e(x[t-offset])                                               in some layer
    matching  answer[t]  = e(x[s])  for the s where copied[s] = e(x[t])                 in a later one
    backup    answer[t] += e(x[s])  for the same s, unless the answer is x[s] already   in a later one still

and the logit of token y is 12 · <answer, e(y)>. A head that finds nothing rests at position 0, where BOS has
no code to copy. With offset 1 they are a previous-token head and an induction head.

Families (`FAMILIES`): "pair", copying and matching in two layers; "deep", the same pair somewhere in four;
"backup", with a backup head that is silent until the matching head is ablated, in whatever way: so ablating
either alone costs nothing, and ablating both costs all. Beside the planted head, every role has three decoys:

- two *unread* ones attend exactly as it does and write where nothing reads;
- a *shadow* attends as it does too, and its weights do all that the planted one's do: the shadows make a
  second circuit of their own, with the same composition and copying scores. It answers nothing, because the
  subspace from which it would take the answer is emptied in an earlier layer by an *eraser*: no input reaches
  it. The planted circuit has an idle eraser with the same weights, which looks at BOS and erases nothing.

All other heads are small noise. Tokens are relabelled; the basis of the residual stream and those within the
heads are random. That hides ones and zeros from the eye, and nothing from a composition score.

What is hard, and what is not. A head's attention pattern on intact runs says no more than one in four, since
the look-alikes of a role are drawn alike before one of them is made the real one; whoever could trace tiny
faults of one pattern in another might rule out the unread, but not the shadow. Composition and copying scores
leave the two circuits, one in two. `python -m mechinterp_course.worlds.planted` counts all this. Weights do
settle it for someone who follows every path, erasers included: they are all that the model is. Wired heads
differ from noise by any measure. The task is public, so the offset is no secret. And ablating the eraser
makes the shadow circuit work and the answer *larger*: a head can matter without being needed.
"""

from mechinterp_course.worlds.planted.circuit import FAMILIES, Circuit, Decoy, Family, Head, Truth
from mechinterp_course.worlds.planted.evidence import find_circuit, missing_evidence
from mechinterp_course.worlds.planted.planting import plant, truth_of
from mechinterp_course.worlds.planted.puzzle import Puzzle, Samples
from mechinterp_course.worlds.planted.solver import solve

__all__ = [
    "FAMILIES",
    "Circuit",
    "Decoy",
    "Family",
    "Head",
    "Puzzle",
    "Samples",
    "Truth",
    "find_circuit",
    "missing_evidence",
    "plant",
    "solve",
    "truth_of",
]
