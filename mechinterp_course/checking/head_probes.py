"""What the checks of heads ask: which have the stripe, which are in doubt, which company is a proof."""

from mechinterp_course import heads, patching, redundancy
from mechinterp_course.checking.comparison import expect
from mechinterp_course.language_models import load_language_model
from mechinterp_course.worlds import planted
from mechinterp_course.worlds import tokens as token_world


def by_effect(model, length):
    """The heads with an induction score above 0.4, and the others, each by falling effect of ablation."""
    start = model.tokenizer.bos_token_id
    tokens = token_world.repeated_tokens(model.cfg.d_vocab, length, 8, start, seed=0).to(model.cfg.device)
    found, ranking = heads.find_induction_heads(model, tokens), patching.rank_heads_by_effect(model, tokens)
    places = [row[:2] for row in ranking]
    return [place for place in places if place in found], [place for place in places if place not in found]


def verdicts_on(student, draw, questions):
    """What is_induction_head says to each list of arguments; which is asked when is drawn."""
    order = sorted((draw.seed(), place) for place in range(len(questions)))
    said = {place: student.is_induction_head(*questions[place]) for _, place in order}
    return [said[place] for place in range(len(questions))]


def expect_company(company, head, case):
    """Pass if half the lead is left without this company, and silencing `head` too costs 1 nat."""
    listed = isinstance(company, list | tuple) and all(isinstance(each, list | tuple) for each in company)
    listed = listed and all([type(number) for number in each] == [int, int] for each in company)
    expect(listed, "The result is neither None nor a list of heads (layer, head).")
    company = [tuple(each) for each in company]
    layers, across = case[0].cfg.n_layers, case[0].cfg.n_heads
    known = all(0 <= layer < layers and 0 <= place < across for layer, place in company)
    expect(known and len(company) <= 2, "The company is not at most two heads of the model.")
    expect(head not in company, "The head stands in its own company.")
    lead = redundancy.loss_and_lead(*case, [])[1]
    loss, left = redundancy.loss_and_lead(*case, company)
    expect(
        left > 0.499 * lead, f"Without this company {left / lead:.2f} of the lead is left: less than half."
    )
    rise = redundancy.loss_and_lead(*case, [*company, head])[0] - loss
    expect(
        rise > 0.999,
        f"With this company silenced, silencing the head raises the loss by {rise:.2f} nats only.",
    )


def expect_verdict(answer, head, case):
    """Pass if a head that lowers the lead is refuted by a company, and one that doesn't by none."""
    fall = redundancy.loss_and_lead(*case, [])[1] - redundancy.loss_and_lead(*case, [head])[1]
    if fall < 0.75:
        expect(answer is None, f"Silencing the head lowers the lead by {fall:.2f} logits: the claim is true.")
    else:
        expect(
            answer is not None,
            f"Silencing the head lowers the lead by {fall:.2f} logits: the claim is false.",
        )
        expect_company(answer, head, case)


def lines_to_recite(draw, model, rows=16):
    """A model, lines recited two or three times and a part of a time more, and the tokens that follow."""
    length, bos = draw.integer(6, 10), model.tokenizer.bos_token_id
    end = length * draw.integer(2, 3) + draw.integer(2, length - 1)
    lines = token_world.cyclic_tokens(model.cfg.d_vocab, length, end + 1, rows, bos, draw.seed()).to(
        model.cfg.device
    )
    return model, lines[:, :-1], lines[:, -1]


def hardly_heard(draw, name):
    """Cases, and the head of each that carries lead and hardly any loss; only one single head is its company.

    They are the same lines and the same model, with heads that have moved on by one place in their layers.
    """
    order, device = draw.head_order(name), draw.device
    model = draw.language_model(name)
    cases = iter(lambda: lines_to_recite(draw, model), None)
    lines = next(case[1:] for case in cases if len(_single_companies(case)) == 1)
    for shift in range(len(order[0])):
        case = load_language_model(name, device, [row[shift:] + row[:shift] for row in order]), *lines
        yield case, _quietest(case)


def _quietest(case):
    return next(row[2] for row in clear_heads(case) if row[1] > 1)


def _single_companies(case):
    """The heads whose silence makes the quietest head heard."""
    head, (_, lead) = _quietest(case), redundancy.loss_and_lead(*case, [])
    found = []
    for other in heads_of(case[0]):
        loss, left = redundancy.loss_and_lead(*case, [other])
        heard = redundancy.loss_and_lead(*case, [other, head])[0] - loss >= 1
        found += [other] if other != head and left >= lead / 2 and heard else []
    return found


def heads_of(model):
    """Every (layer, head) of a model."""
    return [(layer, head) for layer in range(model.cfg.n_layers) for head in range(model.cfg.n_heads)]


def clear_heads(case):
    """The heads of the model about whose fall of the lead there is no doubt: (rise, fall, head), by rise."""
    loss, lead = redundancy.loss_and_lead(*case, [])
    alone = [(*redundancy.loss_and_lead(*case, [place]), place) for place in heads_of(case[0])]
    rows = [(each - loss, lead - left, place) for each, left, place in alone]
    return sorted(row for row in rows if not 0.5 < row[1] < 1)


def on_planted(function, weights, bos, offset, *head):
    """What `function` says of one head of a planted model, and the model's logits after the call."""
    puzzle = planted.Puzzle(weights, bos, offset)
    model, samples = puzzle.load(), puzzle.samples(seed=0, count=8, length=12)
    answer = function(model, samples.tokens, samples.answers, *head)
    return answer, model(samples.tokens)
