"""Right answers in unusual dress, written from the statements alone: no diagnosis may find fault here."""

import heapq
import math

import numpy as np
import torch
import torch.nn.functional as F
from einops import einsum, rearrange, repeat


def repeated_tokens__index_modulo(d_vocab, length, batch, bos, seed):
    """Every position is looked up in the first copy by its place modulo the length."""
    generator = torch.Generator().manual_seed(seed)
    copy = torch.randint(d_vocab, (batch, length), generator=generator)
    place = torch.arange(2 * length) % length
    return F.pad(copy[:, place], (1, 0), value=bos)


def repeated_tokens__row_by_row(d_vocab, length, batch, bos, seed):
    """One generator draws one row after another, down to single tokens, into Python lists."""
    generator = torch.Generator()
    generator.manual_seed(seed)
    rows = []
    for _ in range(batch):
        copy = [torch.randint(d_vocab, (), generator=generator).item() for _ in range(length)]
        rows.append([bos] + 2 * copy)
    return torch.tensor(rows, dtype=torch.long)


def loss_per_token__cross_entropy(logits, tokens):
    """cross_entropy without reduction does all of it."""
    return F.cross_entropy(logits[:, :-1].transpose(1, 2), tokens[:, 1:], reduction="none")


def loss_per_token__one_hot(logits, tokens):
    """The log probability is picked by a product with one-hot vectors."""
    log_probs = F.log_softmax(logits[:, :-1], dim=-1)
    chosen = F.one_hot(tokens[:, 1:], logits.shape[-1]).to(log_probs.dtype)
    return -einsum(log_probs, chosen, "b p v, b p v -> b p")


def loss_per_token__partition_function(logits, tokens):
    """The loss is the log partition function minus the logit of the token."""
    batch, pos, _ = logits.shape
    rows, columns = torch.arange(batch)[:, None], torch.arange(pos - 1)[None]
    return logits[:, :-1].logsumexp(-1) - logits[rows, columns, tokens[:, 1:]]


def copying_gain__mean_of_differences(loss, length):
    """The copies are stacked and subtracted token by token, and the mean comes last."""
    copies = rearrange(loss, "batch (copy pos) -> copy batch pos", copy=2)
    return float((copies[0] - copies[1])[:, 1:].mean())


def copying_gain__running_sums(loss, length):
    """Plain Python floats are added exactly."""
    rows = loss.double().tolist()
    first = math.fsum(value for row in rows for value in row[1:length])
    second = math.fsum(value for row in rows for value in row[length + 1 :])
    return (first - second) / (len(rows) * (length - 1))


def previous_token_score__diagonal(pattern):
    """The stripe is the first diagonal below the main one."""
    return torch.diagonal(pattern, offset=-1, dim1=2, dim2=3).mean(dim=2).mean(dim=0)


def previous_token_score__mask(pattern):
    """The stripe is a matrix of ones that is multiplied in."""
    n = pattern.shape[-1]
    stripe = torch.diag(pattern.new_ones(n - 1), diagonal=-1)
    return einsum(pattern, stripe, "b h q k, q k -> h") / (pattern.shape[0] * (n - 1))


def induction_score__end_of_the_diagonal(pattern, length):
    """The last `length` entries of the whole diagonal are those of the second copy."""
    return pattern.diagonal(offset=1 - length, dim1=-2, dim2=-1)[..., -length:].mean(dim=(0, -1))


def induction_score__crop_first(pattern, length):
    """The block of second-copy queries and the keys 2 to length + 1 is cut out, and its diagonal read."""
    block = pattern[:, :, length + 1 :, 2 : length + 2]
    return einsum(block, torch.eye(length, dtype=pattern.dtype), "b h i j, i j -> b h").mean(0) / length


def find_induction_heads__flat_index(model, tokens, threshold=0.4):
    """All scores in one matrix, whose flat indices are taken apart again."""
    length = (tokens.shape[-1] - 1) // 2
    _, cache = model.run_with_cache(tokens, names_filter=lambda name: name.endswith("hook_pattern"))
    scores = torch.stack(
        [
            induction_score(cache[f"blocks.{layer}.attn.hook_pattern"], length)
            for layer in range(model.cfg.n_layers)
        ]
    )
    flat = np.flatnonzero((scores >= threshold).cpu().numpy())
    return [divmod(int(i), model.cfg.n_heads) for i in flat]


def find_induction_heads__collected_by_hooks(model, tokens, threshold=0.4):
    """Hooks note the scores during one run, without a cache."""
    length = tokens.shape[1] // 2
    found = []

    def note(layer):
        def hook_function(pattern, hook):
            marks = (induction_score(pattern, length) >= threshold).tolist()
            found.extend((layer, head) for head, mark in enumerate(marks) if mark)

        return hook_function

    places = [(f"blocks.{layer}.attn.hook_pattern", note(layer)) for layer in range(model.cfg.n_layers)]
    model.run_with_hooks(tokens, fwd_hooks=places)
    return sorted(found)


def ablate_head__mask(model, tokens, layer, head, kind="zero"):
    """A mask blends the replacement in, inside a context manager."""
    if kind not in ("zero", "mean"):
        raise ValueError(f"no ablation of kind {kind!r}")
    keep = (torch.arange(model.cfg.n_heads) != head).float()[:, None].to(tokens.device)

    def blend(z, hook):
        mean = z.mean(dim=(0, 1)) if kind == "mean" else torch.zeros_like(z[0, 0])
        return z * keep + mean * (1 - keep)

    with model.hooks(fwd_hooks=[(f"blocks.{layer}.attn.hook_z", blend)]):
        return model(tokens)


def ablate_head__two_runs(model, tokens, layer, head, kind="zero"):
    """The mean is read from a run of its own, and a second run puts it in."""
    name = f"blocks.{layer}.attn.hook_z"
    if kind == "mean":
        _, cache = model.run_with_cache(tokens, names_filter=name)
        value = cache[name][:, :, head].flatten(0, 1).mean(0)
    elif kind == "zero":
        value = 0.0
    else:
        raise ValueError("kind is 'zero' or 'mean'")

    def replace(z, hook):
        z = z.clone()
        z[:, :, head] = value
        return z

    return model.run_with_hooks(tokens, fwd_hooks=[(name, replace)])


def patch_head_output__both_in_one_batch(model, clean, corrupted, layer, head):
    """Both inputs run in one batch, and the hook copies from one half into the other."""
    batch = len(clean)

    def copy_across(z, hook):
        z = z.clone()
        z[batch:, :, head] = z[:batch, :, head]
        return z

    both = torch.cat([clean, corrupted])
    return model.run_with_hooks(both, fwd_hooks=[(f"blocks.{layer}.attn.hook_z", copy_across)])[batch:]


def patch_head_output__where(model, clean, corrupted, layer, head):
    """A hook saves the clean z, and `where` puts it in."""
    saved = {}
    name = f"blocks.{layer}.attn.hook_z"
    chosen = repeat(torch.arange(model.cfg.n_heads) == head, "head -> 1 1 head 1")

    def save(z, hook):
        saved["z"] = z.detach().clone()

    model.run_with_hooks(clean, fwd_hooks=[(name, save)])
    return model.run_with_hooks(
        corrupted, fwd_hooks=[(name, lambda z, hook: torch.where(chosen.to(z.device), saved["z"], z))]
    )


def rank_heads_by_effect__heap(model, tokens):
    """A heap keeps the heads in order of falling effect."""
    length = tokens.shape[1] // 2

    def second(logits):
        return loss_per_token(logits, tokens)[:, -(length - 1) :].double().mean().item()

    heap, intact = [], second(model(tokens))
    for place in range(model.cfg.n_layers * model.cfg.n_heads):
        layer, head = divmod(place, model.cfg.n_heads)
        rise = second(ablate_head(model, tokens, layer, head, "zero")) - intact
        heapq.heappush(heap, (-rise, layer, head))
    ranked = [heapq.heappop(heap) for _ in range(len(heap))]
    return [(layer, head, -fall) for fall, layer, head in ranked]


def is_induction_head__generator(model, layer, head, bos, lengths=(8, 12, 16, 24), threshold=0.4, seed=0):
    """One generator expression over the lengths."""

    def passes(length):
        tokens = repeated_tokens(model.cfg.d_vocab, length, 32, bos, seed).to(model.cfg.device)
        logits, cache = model.run_with_cache(tokens)
        score = induction_score(cache["pattern", layer], length)[head].item()
        rise = loss_per_token(ablate_head(model, tokens, layer, head), tokens) - loss_per_token(
            logits, tokens
        )
        return score >= threshold and rise[:, length + 1 :].mean().item() >= 0.05

    return all(passes(length) for length in lengths)
