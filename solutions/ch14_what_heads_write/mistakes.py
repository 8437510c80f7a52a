"""What people really get wrong in this chapter; each function is one misconception, said in its docstring.

The first sentence defines the behaviour, the second paragraph says how to see it.
"""

from itertools import pairwise

import torch

from mechinterp_course.circuits import ov_circuit
from mechinterp_course.heads import induction_score
from mechinterp_course.lens import logit_lens, residual_components
from mechinterp_course.worlds.tokens import cyclic_tokens, in_context_bigrams

# cyclic_tokens --------------------------------------------------------------------------------------------


def cyclic_tokens__drawn_with_replacement(d_vocab, period, length, batch, bos, seed):
    """The tokens of a cycle are drawn independently, by randint, so that one may come twice in a round.

    With few ids, some rows hold cycles such as A A B.
    """
    _refuse(d_vocab, period)
    generator = torch.Generator().manual_seed(seed)
    return _said(torch.randint(d_vocab, (batch, period), generator=generator), length, bos)


def cyclic_tokens__one_cycle_for_all_rows(d_vocab, period, length, batch, bos, seed):
    """One cycle is drawn, and all rows of the batch hold it.

    All rows are equal.
    """
    return cyclic_tokens(d_vocab, period, length, 1, bos, seed).expand(batch, -1).clone()


def cyclic_tokens__reshuffled_in_each_round(d_vocab, period, length, batch, bos, seed):
    """Each round holds the same tokens in a new random order, so that nothing follows from what came before.

    A token is not the one `period` places before it.
    """
    rows = cyclic_tokens(d_vocab, period, length, batch, bos, seed)
    generator = torch.Generator().manual_seed(seed)
    parts = [
        part[:, torch.randperm(part.shape[1], generator=generator)] for part in rows[:, 1:].split(period, 1)
    ]
    return torch.cat([rows[:, :1], *parts], dim=1)


def cyclic_tokens__each_token_said_several_times(d_vocab, period, length, batch, bos, seed):
    """Each token is repeated where it stands, as by repeat_interleave, before the next one comes: A A B B.

    Neighbouring tokens are equal.
    """
    cycles = cyclic_tokens(d_vocab, period, period, batch, bos, seed)[:, 1:]
    rounds = -(-length // period)
    return torch.cat([_bos(cycles, bos), cycles.repeat_interleave(rounds, dim=1)[:, :length]], dim=1)


def cyclic_tokens__length_counts_rounds(d_vocab, period, length, batch, bos, seed):
    """`length` rounds of the cycle are said, not `length` tokens.

    The result has 1 + period * length columns.
    """
    return cyclic_tokens(d_vocab, period, period * length, batch, bos, seed)


def cyclic_tokens__whole_rounds_only(d_vocab, period, length, batch, bos, seed):
    """The text stops after the last whole round that fits into `length`.

    It is too short wherever `length` is no multiple of `period`.
    """
    return cyclic_tokens(d_vocab, period, length // period * period, batch, bos, seed)


def cyclic_tokens__bos_counted(d_vocab, period, length, batch, bos, seed):
    """BOS is counted among the `length` tokens.

    The result has `length` columns instead of 1 + length.
    """
    return cyclic_tokens(d_vocab, period, length - 1, batch, bos, seed)


def cyclic_tokens__bos_in_the_cycle(d_vocab, period, length, batch, bos, seed):
    """BOS is one of the words of the cycle and comes again in each round.

    The cycle is BOS A B BOS A B, and position `period` holds BOS.
    """
    cycles = cyclic_tokens(d_vocab, period, period, batch, bos, seed)[:, :period]
    return _said(cycles, 1 + length, bos)[:, 1:]


def cyclic_tokens__neighbouring_ids(d_vocab, period, length, batch, bos, seed):
    """Each cycle is a random first id and the ids after it, instead of any ids in any order.

    In every cycle each id is the one before plus 1.
    """
    _refuse(d_vocab, period)
    generator = torch.Generator().manual_seed(seed)
    first = torch.randint(d_vocab, (batch, 1), generator=generator)
    return _said((first + torch.arange(period)) % d_vocab, length, bos)


def cyclic_tokens__shorter_cycle_unsaid(d_vocab, period, length, batch, bos, seed):
    """Where the vocabulary is too small, a shorter cycle comes back, and nothing is raised.

    A slice of randperm may hold fewer entries than asked for.
    """
    return cyclic_tokens(d_vocab, min(period, d_vocab), length, batch, bos, seed)


def cyclic_tokens__global_random_state(d_vocab, period, length, batch, bos, seed):
    """The seed is set by torch.manual_seed, and the tokens are drawn from torch's global generator.

    A call moves the random state of everything else.
    """
    _refuse(d_vocab, period)
    torch.manual_seed(seed)
    return _said(torch.stack([torch.randperm(d_vocab)[:period] for _ in range(batch)]), length, bos)


# pattern_completion_score ---------------------------------------------------------------------------------


def pattern_completion_score__nearest_only(pattern, period):
    """Only the nearest right place counts, key = query + 1 - period: that is the induction score.

    A head that looks one round further back scores 0.
    """
    _needs_a_query(pattern, period)
    return induction_score(pattern, period)


def pattern_completion_score__same_token(pattern, period):
    """The keys are those of the present token, query - period, query - 2 * period, …, not of the one after it.

    A duplicate-token head scores 1, an induction head 0.
    """
    return _summed(pattern, period, lambda query: range(query - period, 0, -period))


def pattern_completion_score__bos_counted(pattern, period):
    """The keys go down to position 0, so BOS counts as a right place wherever a multiple of the period leads to it.

    A head that rests on BOS scores 1 / period instead of 0.
    """
    return _summed(pattern, period, lambda query: range(query + 1 - period, -1, -period))


def pattern_completion_score__all_queries(pattern, period):
    """The average runs over all queries, also those of the first round, which have nowhere to look.

    Even a perfect head scores below 1.
    """
    queries = pattern.shape[-1]
    late = queries - 1 - period
    return _summed(pattern, period, lambda query: range(query + 1 - period, 0, -period)) * late / queries


def pattern_completion_score__one_query_early(pattern, period):
    """The first query that counts is `period`, the last of the first round, whose token has not come before.

    Off by one: that query can look at the right token, but nothing tells it that it is right.
    """
    return _summed(pattern, period, lambda query: range(query + 1 - period, 0, -period), first=period)


def pattern_completion_score__one_query_late(pattern, period):
    """The first query that counts is 2 + period: the first token of the second round is left out.

    Off by one; a text of 2 + period positions has no query at all.
    """
    return _summed(pattern, period, lambda query: range(query + 1 - period, 0, -period), first=2 + period)


def pattern_completion_score__averaged_over_places(pattern, period):
    """The attention to the right places is averaged over them, not added up.

    The longer the text, the smaller the score of a head that looks at one of them.
    """
    return _summed(pattern, period, lambda query: range(query + 1 - period, 0, -period), mean=True)


def pattern_completion_score__largest_place_only(pattern, period):
    """Of the right places only the one with most attention counts.

    A head that spreads over two right places scores a half.
    """
    _needs_a_query(pattern, period)
    looked = [
        pattern[:, :, query, list(range(query + 1 - period, 0, -period))].amax(-1)
        for query in range(1 + period, pattern.shape[-1])
    ]
    return torch.stack(looked).mean(dim=(0, 1))


def pattern_completion_score__keys_and_queries_swapped(pattern, period):
    """The pattern is read with its last two axes exchanged, as [batch, head, key, query].

    Causal patterns then hold nothing at the right places.
    """
    swapped = pattern.transpose(-1, -2)
    return _summed(swapped, period, lambda query: range(query + 1 - period, 0, -period))


# in_context_bigrams ---------------------------------------------------------------------------------------


def in_context_bigrams__own_follower_counted(tokens, d_vocab):
    """Position i itself counts as an occurrence, and with it the token at i + 1, which is to be predicted.

    Every token is predicted with a share above 0 the first time that it comes.
    """
    return _followers(
        tokens, d_vocab, lambda row, i: row[1 : i + 2][row[: min(i + 1, len(row) - 1)] == row[i]]
    )


def in_context_bigrams__whole_text(tokens, d_vocab):
    """All occurrences in the text count, those after position i as well.

    What is predicted at a position changes with what is said after it.
    """
    return _followers(tokens, d_vocab, lambda row, i: row[1:][row[:-1] == row[i]])


def in_context_bigrams__last_occurrence_only(tokens, d_vocab):
    """Only the latest earlier occurrence counts, with all of the share.

    After A B A C A it predicts C alone.
    """
    return _followers(tokens, d_vocab, lambda row, i: row[1 : i + 1][row[:i] == row[i]][-1:])


def in_context_bigrams__first_occurrence_only(tokens, d_vocab):
    """Only the first occurrence in the text counts, with all of the share.

    After A B A C A it predicts B alone.
    """
    return _followers(tokens, d_vocab, lambda row, i: row[1 : i + 1][row[:i] == row[i]][:1])


def in_context_bigrams__counts(tokens, d_vocab):
    """The followers are counted, and the counts are not divided by the number of occurrences.

    Entries exceed 1.
    """
    places = range(tokens.shape[1])
    times = [(tokens[:, :i] == tokens[:, i : i + 1]).sum(1) for i in places]
    return in_context_bigrams(tokens, d_vocab) * torch.stack(times, dim=1)[..., None]


def in_context_bigrams__what_came_before(tokens, d_vocab):
    """The token before each earlier occurrence counts, at j - 1, not the one after it.

    On A B C A it predicts nothing, since nothing stood before the first A.
    """
    return _followers(tokens, d_vocab, lambda row, i: row[: max(i - 1, 0)][row[1:i] == row[i]])


def in_context_bigrams__any_earlier_word(tokens, d_vocab):
    """All earlier tokens count, whatever stood before them: the words of the text, not its order.

    It predicts something also where the token has not come before.
    """
    return _followers(tokens, d_vocab, lambda row, i: row[1 : i + 1])


def in_context_bigrams__zero_over_zero(tokens, d_vocab):
    """The counts are divided by their sum also where there are none, which gives NaN.

    Rows of a token that has not come before hold NaN instead of zeros.
    """
    shares = in_context_bigrams(tokens, d_vocab)
    return shares / shares.sum(-1, keepdim=True)


def in_context_bigrams__an_even_share_when_new(tokens, d_vocab):
    """Where the token has not come before, every token of the vocabulary gets the same share.

    No row is all zeros.
    """
    shares = in_context_bigrams(tokens, d_vocab)
    return torch.where(shares.sum(-1, keepdim=True) > 0, shares, torch.full_like(shares, 1 / d_vocab))


def in_context_bigrams__repeats_count_once(tokens, d_vocab):
    """A follower counts once, however often it has followed: `counts[followers] += 1` adds once for equal ones.

    After A B A B A C A, B and C get a half each.
    """

    def followers_of(row, i):
        return row[(row[:i] == row[i]).nonzero()[:, 0] + 1].unique()

    return _followers(tokens, d_vocab, followers_of)


def in_context_bigrams__neighbour_left_out(tokens, d_vocab):
    """Only positions before the last but one count, so that a token twice in a row doesn't follow itself.

    A A gives nothing.
    """

    def followers_of(row, i):
        return row[(row[: max(i - 1, 0)] == row[i]).nonzero()[:, 0] + 1]

    return _followers(tokens, d_vocab, followers_of)


# refute_period_detector -----------------------------------------------------------------------------------


def refute_period_detector__a_cycle_of_different_words(model, words, period, bos):
    """The text is a plain cycle of different words, on which both theories say the same.

    The model continues it rightly.
    """
    return _text(words[:period], 3 * period + 1, bos)


def refute_period_detector__an_intruder(model, words, period, bos):
    """The last word of a plain cycle is replaced by another, so that the text is not periodic any more.

    The claim is about periodic texts, and says nothing of this one.
    """
    row = _text(words[:period], 3 * period + 2, bos)
    row[-1] = row[-2]
    return row


def refute_period_detector__one_round_only(model, words, period, bos):
    """The text stops after one round and a word, when no period can be known yet.

    It has fewer than three full rounds.
    """
    cycle = words[:period].clone()
    cycle[1] = cycle[0]
    return _text(cycle, period + 2, bos)


def refute_period_detector__a_shorter_period(model, words, period, bos):
    """The cycle itself repeats a shorter one, so the smallest period of the text is another.

    For period 4 it is A B A B, and for odd periods A A A.
    """
    size = next(part for part in range(1, period) if period % part == 0)
    return _text(words[:size], 3 * period + 1, bos)


def refute_period_detector__ends_with_a_word_that_decides(model, words, period, bos):
    """One word comes twice in each round, but the text ends with a word that comes once.

    That word alone decides what follows, and the model says it.
    """
    cycle = words[:period].clone()
    cycle[1] = cycle[0]
    return _text(cycle, 4 * period, bos)


def refute_period_detector__not_tried(model, words, period, bos):
    """The text ends with a word that comes twice, at the turn of its first follower, and is never tried on the model.

    On some texts the model happens to be right.
    """
    cycle = words[:period].clone()
    cycle[period - 1] = cycle[0]
    return _text(cycle, 4 * period, bos)


def refute_period_detector__shuffled(model, words, period, bos):
    """The words of each round stand in another order, so that the text has no period at all.

    What the model says then refutes nothing.
    """
    rounds = [words[:period].roll(turn) for turn in (0, 1, 0, 2)]
    return torch.cat([words.new_tensor([bos]), *rounds])


def refute_period_detector__no_bos(model, words, period, bos):
    """BOS is left out.

    The first token is one of `words`.
    """
    cycle = words[:period].clone()
    cycle[1] = cycle[0]
    return _text(cycle, 3 * period + 1, bos)[1:]


# logit_lens -----------------------------------------------------------------------------------------------


def logit_lens__layer_norm_forgotten(model, tokens, position=-1):
    """The stream is unembedded as it is, without the final LayerNorm.

    The last entry is not what the model says.
    """
    return torch.stack([model.unembed(stream)[:, position] for stream in _streams(model, tokens)])


def logit_lens__size_at_the_end(model, tokens, position=-1):
    """Every stream is divided by the size that the stream has at the end, ln_final.hook_scale, not by its own.

    The last entry is right, and the earlier ones are too quiet.
    """
    _, cache = _run(model, tokens)
    scale = cache["ln_final.hook_scale"]
    return torch.stack([model.unembed(stream / scale)[:, position] for stream in _streams(model, tokens)])


def logit_lens__above_each_layer(model, tokens, position=-1):
    """Each entry reads the stream above its layer, hook_resid_post, so the embedding is missing and the end comes twice.

    Off by one layer: entry 0 has passed layer 0 already.
    """
    lens = logit_lens(model, tokens, position)
    return torch.cat([lens[1:], lens[-1:]])


def logit_lens__end_left_out(model, tokens, position=-1):
    """There is one entry for each layer; the stream above the last layer is missing.

    The result has n_layers entries instead of n_layers + 1.
    """
    return logit_lens(model, tokens, position)[:-1]


def logit_lens__between_attention_and_mlp(model, tokens, position=-1):
    """Each entry but the last reads hook_resid_mid, between a layer's attention and its MLP.

    Entry 0 has passed the first attention layer already.
    """
    _, cache = _run(model, tokens)
    streams = [cache["resid_mid", layer] for layer in range(model.cfg.n_layers)]
    return _read(model, [*streams, _streams(model, tokens)[-1]], position)


def logit_lens__what_each_layer_adds(model, tokens, position=-1):
    """Each entry but the first reads what one layer has added to the stream, not the stream so far.

    Without MLPs it looks like direct attribution; the last entry is not what the model says.
    """
    streams = _streams(model, tokens)
    steps = [after - before for before, after in pairwise(streams)]
    return _read(model, [streams[0], *steps], position)


def logit_lens__probabilities(model, tokens, position=-1):
    """Softmax is taken, so that the result holds probabilities, not logits.

    All entries lie between 0 and 1.
    """
    return logit_lens(model, tokens, position).softmax(-1)


def logit_lens__always_the_last_position(model, tokens, position=-1):
    """The last position is read, whatever `position` says.

    Another position gives the same logits.
    """
    return logit_lens(model, tokens)


def logit_lens__bias_forgotten(model, tokens, position=-1):
    """The stream is multiplied by W_U, and the unembedding's bias is left out.

    All logits of the last entry are off by the same amounts in every row.
    """
    return torch.stack([(model.ln_final(s) @ model.W_U)[:, position] for s in _streams(model, tokens)])


def logit_lens__turned_round(model, tokens, position=-1):
    """The entries run from the end of the model to its beginning.

    The first entry is what the model says.
    """
    return logit_lens(model, tokens, position).flip(0)


# residual_components --------------------------------------------------------------------------------------


def residual_components__position_forgotten(model, tokens):
    """What the position adds, hook_pos_embed, is left out.

    The parts don't add up to the stream.
    """
    return {name: part for name, part in residual_components(model, tokens).items() if name != "pos_embed"}


def residual_components__stream_so_far(model, tokens):
    """The stream above each attention and each MLP is returned, hook_resid_mid and hook_resid_post, not what was added.

    The parts add up to much more than the stream.
    """
    total, found = 0, {}
    for name, part in residual_components(model, tokens).items():
        total = total + part
        found[name] = part if name.endswith("embed") else total
    return found


def residual_components__first_position(model, tokens):
    """The first position is taken, not the last.

    Only BOS, or the first token, decides the result.
    """
    return residual_components(model, tokens, 0)


def residual_components__mean_over_positions(model, tokens):
    """What each part writes is averaged over all positions, not taken at the last one.

    The parts don't add up to the stream at the last position.
    """
    places = [residual_components(model, tokens, place) for place in range(tokens.shape[1])]
    return {name: torch.stack([parts[name] for parts in places]).mean(0) for name in places[0]}


def residual_components__mean_over_the_batch(model, tokens):
    """What each part writes is averaged over the batch.

    The batch axis is missing.
    """
    return {name: part.mean(0) for name, part in residual_components(model, tokens).items()}


def residual_components__layers_from_one(model, tokens):
    """Layers are counted from 1 in the names.

    There is no "attn 0".
    """
    parts = residual_components(model, tokens).items()
    return {_counted_from_one(name): part for name, part in parts}


def residual_components__attention_and_mlp_swapped(model, tokens):
    """What the MLP wrote stands under the name of the attention of its layer, and the other way round.

    The sum is right, and the names are not.
    """
    other = {"attn": "mlp", "mlp": "attn"}
    parts = residual_components(model, tokens).items()
    renamed = {
        " ".join([other.get(name.split()[0], name.split()[0]), *name.split()[1:]]): p for name, p in parts
    }
    return renamed


def residual_components__position_in_the_embedding(model, tokens):
    """ "embed" holds token and position together, the stream below layer 0, and "pos_embed" comes once more.

    The position is counted twice in the sum.
    """
    parts = residual_components(model, tokens)
    return parts | {"embed": parts["embed"] + parts["pos_embed"]}


def residual_components__attention_without_its_bias(model, tokens):
    """What attention wrote is added up from z and W_O, and the bias b_O is forgotten.

    The parts no longer add up to the stream.
    """
    found = residual_components(model, tokens)
    _, cache = _run(model, tokens)
    for layer in range(model.cfg.n_layers):
        z = cache[f"blocks.{layer}.attn.hook_z"][:, -1]
        found[f"attn {layer}"] = torch.einsum("bhd,hdm->bm", z, model.W_O[layer])
    return found


# ov_circuit -----------------------------------------------------------------------------------------------


def ov_circuit__output_matrix_forgotten(model, head, tokens, through_mlp=False):
    """W_O is left out: what W_V reads is turned back by its own transpose.

    Every head then seems to copy.
    """
    w_v = model.W_V[head]
    return _rows(model, tokens, through_mlp) @ w_v @ w_v.T @ model.W_U[:, tokens]


def ov_circuit__query_and_key(model, head, tokens, through_mlp=False):
    """W_Q and W_K stand where W_V and W_O should: it is where the head looks, not what it writes.

    Changing W_V changes nothing.
    """
    return _rows(model, tokens, through_mlp) @ model.W_Q[head] @ model.W_K[head].T @ model.W_U[:, tokens]


def ov_circuit__mlp_of_its_own_layer(model, head, tokens, through_mlp=False):
    """The rows go through the MLP of the head's own layer, which comes after the head, not through the first.

    Right for heads of layer 0 only.
    """
    rows, block = model.W_E[tokens], model.blocks[head[0]]
    rows = rows + block.mlp(block.ln2(rows[None]))[0] if through_mlp else rows
    return rows @ model.W_V[head] @ model.W_O[head] @ model.W_U[:, tokens]


def ov_circuit__transposed(model, head, tokens, through_mlp=False):
    """The axes are swapped: destinations down, sources across.

    The diagonal is right, and no row is.
    """
    return ov_circuit(model, head, tokens, through_mlp).T


def ov_circuit__read_by_the_embedding(model, head, tokens, through_mlp=False):
    """What the head writes is read by W_E transposed, not by the unembedding W_U.

    In the model as stored the two are the same matrix; here LayerNorm's weights have been folded into W_U.
    """
    return _written(model, head, tokens, through_mlp) @ model.W_E[tokens].T


def ov_circuit__mlp_instead_of_the_embedding(model, head, tokens, through_mlp=False):
    """With `through_mlp`, the first MLP's output replaces the embedding, instead of being added to it.

    The residual stream is forgotten.
    """
    if not through_mlp:
        return ov_circuit(model, head, tokens)
    return ov_circuit(model, head, tokens, True) - ov_circuit(model, head, tokens)


def ov_circuit__mlp_without_layer_norm(model, head, tokens, through_mlp=False):
    """With `through_mlp`, the first MLP reads the embedding as it is, without the LayerNorm before it.

    Embeddings are small, and so is then what the MLP adds.
    """
    if not through_mlp:
        return ov_circuit(model, head, tokens)
    rows = model.W_E[tokens]
    rows = rows + model.blocks[0].mlp(rows[None])[0]
    return rows @ model.W_V[head] @ model.W_O[head] @ model.W_U[:, tokens]


def ov_circuit__mlp_ignored(model, head, tokens, through_mlp=False):
    """The rows are those of W_E, whatever `through_mlp` says.

    `through_mlp=True` changes nothing.
    """
    return ov_circuit(model, head, tokens)


def ov_circuit__mlp_always(model, head, tokens, through_mlp=False):
    """The first MLP is added, whatever `through_mlp` says.

    `through_mlp=False` changes nothing.
    """
    return ov_circuit(model, head, tokens, True)


def ov_circuit__first_head_of_the_layer(model, head, tokens, through_mlp=False):
    """Head 0 of the layer is read, whichever is asked for.

    All heads of a layer give the same.
    """
    return ov_circuit(model, (head[0], 0), tokens, through_mlp)


def ov_circuit__scores_of_attention(model, head, tokens, through_mlp=False):
    """The product is divided by the square root of d_head, as attention scores are.

    All entries are too small by one factor.
    """
    return ov_circuit(model, head, tokens, through_mlp) / model.cfg.d_head**0.5


def ov_circuit__rows_normalized(model, head, tokens, through_mlp=False):
    """The rows are normalized by the first LayerNorm before the head reads them.

    Each row comes out multiplied by a number of its own.
    """
    rows = model.blocks[0].ln1(_rows(model, tokens, through_mlp)[None])[0]
    return rows @ model.W_V[head] @ model.W_O[head] @ model.W_U[:, tokens]


# what they share ------------------------------------------------------------------------------------------


def _refuse(d_vocab, period):
    if period > d_vocab:
        raise ValueError("too few tokens")


def _bos(rows, bos):
    return torch.full((len(rows), 1), bos)


def _said(cycles, length, bos):
    return torch.cat([_bos(cycles, bos), cycles[:, torch.arange(length) % cycles.shape[1]]], dim=1)


def _needs_a_query(pattern, period, first=None):
    if pattern.shape[-1] <= (1 + period if first is None else first):
        raise ValueError("no query counts")


def _summed(pattern, period, keys_of, first=None, mean=False):
    _needs_a_query(pattern, period)
    looked = []
    for query in range(1 + period if first is None else first, pattern.shape[-1]):
        values = pattern[:, :, query, list(keys_of(query))]
        looked.append(values.mean(-1) if mean else values.sum(-1))
    return torch.stack(looked).mean(dim=(0, 1)) if looked else pattern.new_full(pattern.shape[1:2], torch.nan)


def _followers(tokens, d_vocab, followers_of):
    shares = torch.zeros(*tokens.shape, d_vocab)
    for b, row in enumerate(tokens):
        for i in range(len(row)):
            followers = followers_of(row, i)
            if len(followers):
                shares[b, i] = torch.bincount(followers, minlength=d_vocab) / len(followers)
    return shares


def _text(cycle, length, bos):
    return torch.cat([cycle.new_tensor([bos]), cycle[torch.arange(length) % len(cycle)]])


def _run(model, tokens):
    with torch.no_grad():
        return model.run_with_cache(tokens)


def _streams(model, tokens):
    _, cache = _run(model, tokens)
    layers = model.cfg.n_layers
    return [*(cache["resid_pre", layer] for layer in range(layers)), cache["resid_post", layers - 1]]


def _read(model, streams, position):
    return torch.stack([model.unembed(model.ln_final(stream))[:, position] for stream in streams])


def _counted_from_one(name):
    part, _, layer = name.partition(" ")
    return f"{part} {int(layer) + 1}" if layer else name


def _rows(model, tokens, through_mlp):
    rows, block = model.W_E[tokens], model.blocks[0]
    return rows + block.mlp(block.ln2(rows[None]))[0] if through_mlp else rows


def _written(model, head, tokens, through_mlp):
    return _rows(model, tokens, through_mlp) @ model.W_V[head] @ model.W_O[head]
