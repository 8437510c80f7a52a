"""Solvers that do too little: what looking, reading weights, and single ablations give on their own.

Each returns a Circuit that always names a backup: where none was planted, that part of the guess is idle.
"""

from mechinterp_course.circuits import composition_scores, copying_scores
from mechinterp_course.worlds.planted.circuit import Circuit
from mechinterp_course.worlds.planted.puzzle import Puzzle
from mechinterp_course.worlds.planted.solver import LENGTH, ROWS, answers_without


def by_attention_patterns(puzzle: Puzzle, seed: int = 0) -> Circuit:
    """Names the heads whose attention on intact runs is the most like that of the planted ones.

    Copying: `offset` back. Matching: from the last position to the answer. Backup: among the heads above,
    from the last position to BOS.
    """
    model, samples = puzzle.load(), puzzle.samples(seed, ROWS, LENGTH)
    _, cache = model.run_with_cache(samples.tokens)
    source = (samples.tokens == samples.answers[:, None]).float()
    back, found, rest = {}, {}, {}
    for layer, head in puzzle.heads:
        pattern = cache["pattern", layer][:, head]
        back[layer, head] = pattern.diagonal(-puzzle.offset, -2, -1)[:, 1:].mean()
        found[layer, head] = (pattern[:, -1] * source).sum(-1).mean()
        rest[layer, head] = pattern[:, -1, 0].mean()
    matching = max(found, key=found.get)
    above = {head: score for head, score in rest.items() if head[0] > matching[0]}
    return Circuit(max(back, key=back.get), matching, max(above, key=above.get, default=None))


def by_weights(puzzle: Puzzle) -> Circuit:
    """Names the pair of heads with the largest product of K-composition and the second one's copying score.

    Backup: the head above that comes next, with the same copying head.
    """
    model = puzzle.load()
    scores = composition_scores(model, "k") * copying_scores(model).clamp(min=0)
    pairs = {
        (first, second): scores[*first, *second].item()
        for first in puzzle.heads
        for second in puzzle.heads
        if first[0] < second[0]
    }
    copying, matching = max(pairs, key=pairs.get)
    above = {b: s for (a, b), s in pairs.items() if a == copying and b[0] > matching[0]}
    return Circuit(copying, matching, max(above, key=above.get, default=None))


def by_single_ablation(puzzle: Puzzle, seed: int = 0) -> Circuit:
    """Names the heads whose ablation costs most, each on its own: the lower of the first two copies.

    Backup: the third.
    """
    model, samples = puzzle.load(), puzzle.samples(seed, ROWS, LENGTH)
    answers = answers_without(model, samples, [[head] for head in puzzle.heads])
    ranked = [head for _, head in sorted(zip(answers, puzzle.heads, strict=True))]
    return Circuit(*sorted(ranked[:2]), ranked[2])
