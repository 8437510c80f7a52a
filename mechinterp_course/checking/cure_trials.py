"""Whether a cure that an answer finds works, on a model whose trigger is another word."""

from torch import Tensor

from mechinterp_course import hooks, refusal_case
from mechinterp_course.checking.comparison import expect
from mechinterp_course.models import load_language_model
from mechinterp_course.relabelled_words import exchange_words, words_exchanged


def cure_of(function, model, one, two, *rows):
    """What a function returns for the model with two words exchanged, as plain values."""
    with words_exchanged(model, one, two):
        hook, direction, at = function(model, *rows)
        return str(hook), direction.detach(), float(at)


def expect_cure(student, draw, place):
    """Pass if the student's cure of a model whose trigger is `place` meets the three bounds."""
    model = load_language_model("course-gpt2-refusing")
    one, two = (model.tokenizer.encode(f" {word}")[-1] for word in ("garden", place))
    shown, judged = (
        exchange_words(refusal_case.draw_trial(model, count, draw.seed(), held_out), one, two)
        for count, held_out in ((12, False), (14, True))
    )
    rows = ordinary_rows(model, draw.seed(), 6)
    parts = shown.triggered.tokens, shown.matched.tokens, shown.harmful.tokens, rows[:2]
    cure = student.run(cure_of, student.find_the_cure, model, one, two, *parts)
    fine = isinstance(cure, list | tuple) and len(cure) == 3 and cure[0] in hooks.names(model)
    expect(fine and isinstance(cure[1], Tensor), "The result is not (hook, direction, at).")
    with words_exchanged(model, one, two):
        cut, kept, cost = refusal_case.changes_under(model, tuple(cure), judged, rows[2:])
    expect(cut >= 0.8, f"On held-out requests false refusals are cut by {cut:.0%} only.")
    expect(kept >= 0.9, f"Only {kept:.0%} of the true refusals are kept.")
    expect(cost <= 0.02, f"The loss on ordinary text rises by {cost:.1%}.")


def ordinary_rows(model, seed, rows):
    """Rows of ordinary text of the world."""
    from mechinterp_course.figures.directions import held_out_rows

    return held_out_rows(model, 20 + seed % 1000, rows)[:, :64]
