"""Arguments over all that each statement allows: other sizes, dtypes, thresholds and models than the checks draw.

`mechinterp certify` draws 1,000 of these to see whether a change to a solution that no check notices changes
anything at all. `<exercise>(draw)` returns the positional arguments of one call. Where many answers are right,
`<exercise>__trial(student, draw)` says whether one is, on draws wider than the checks'.
"""

from mechinterp_course.checking import expect, expect_equal
from mechinterp_course.worlds import planted


def run_circuit(draw):
    model, order = _a_model(draw)
    clean, corrupted, _, _ = _prompts(draw, model)
    kind = draw.choice(["resample", "mean", "zero", "mean", "median"])
    other = None if draw.integer(1, 4) == 1 else corrupted
    return model, clean, order[: draw.integer(0, len(order))], kind, other


def faithfulness_by_size(draw):
    model, order = _a_model(draw)
    clean, corrupted = _texts(draw, model)
    last = model(clean)[:, -1]  # its own best and worst words: what is divided by is far from zero
    words = last.argmax(-1), last.argmin(-1)
    kind = draw.choice(["resample", "mean", "zero"])
    return model, clean, corrupted, *words, order[: draw.integer(0, 4)], kind


def attribute_heads(draw):
    model, _ = _a_model(draw)
    return model, *_prompts(draw, model)


def break_circuit(draw):
    model, order = _a_model(draw)
    kind = draw.choice(["resample", "mean", "zero"])
    return model, *_prompts(draw, model), order[: draw.integer(0, 2)], kind


def find_circuit__trial(student, draw):
    """One more model of any family: the planted heads, and experiments that a repetition bears out."""
    puzzle, truth = planted.plant(
        draw.seed() << 31 | draw.seed(), draw.choice(["pair", "pair", "pair", "backup", "deep"])
    )
    circuit, evidence = student.find_circuit(puzzle.weights, puzzle.bos, puzzle.offset)
    circuit = {role: head and tuple(head) for role, head in circuit.items()}
    expect_equal(circuit, vars(truth.circuit), what="roles")
    evidence = [([tuple(head) for head in heads], left) for heads, left in evidence]
    expect(len(evidence) <= 40, "More than 40 experiments.")
    missing = planted.missing_evidence(puzzle, circuit, evidence)
    expect(missing is None, missing or "")


def _a_model(draw):
    """Mostly the model of two layers, with its heads in a drawn order."""
    model = draw.language_model("course-positional" if draw.integer(1, 5) == 1 else "course-attn-2l")
    heads = [(layer, head) for layer in range(model.cfg.n_layers) for head in range(model.cfg.n_heads)]
    return model, [head for _, head in sorted((draw.seed(), head) for head in heads)]


def _prompts(draw, model):
    clean, corrupted = _texts(draw, model)
    return clean, corrupted, *_words(draw, model, len(clean))


def _texts(draw, model):
    batch, pos, d_vocab = draw.integer(1, 3), draw.integer(2, 9), model.cfg.d_vocab
    return draw.tokens(batch, pos, d_vocab), draw.tokens(batch, pos, d_vocab)


def _words(draw, model, batch):
    return tuple(draw.tokens(1, batch, model.cfg.d_vocab)[0] for _ in range(2))
