def toy_loss__weighted_average(output, features, importance):
    """Divides by the sum of the importances: a weighted mean over features instead of a weighted sum.
    axis: sum over features, weighted mean, average, divide, importance, normalized"""
    error = (output - features).square()
    weighted = (importance * error).sum(dim=-1) / importance.sum(dim=-1)
    return weighted.mean(dim=0)


def interference__summed_over_i(W):
    """Sums squared overlaps over the wrong feature axis, so the others are the ones normalized.
    axis: axis, wrong sum, own direction, others, norm, normalized, transposed, which feature"""
    norms = W.norm(dim=-1, keepdim=True)
    unit = torch.where(norms > 0, W / norms.clamp(min=1e-12), torch.zeros_like(W))
    overlaps = torch.einsum("nik,njk->nij", unit, W).square()
    itself = torch.eye(W.shape[1], dtype=torch.bool, device=W.device)
    overlaps = overlaps.masked_fill(itself, 0.0)
    return overlaps.sum(dim=1)


def feature_groups__renumbered(W, least=0.5, threshold=0.15):
    """Returns indices among the features left after the small ones were dropped, not the original ones.
    axis: index, indices, number, original, dropped, small, least, shifted, kept, numbering"""
    W = W[W.norm(dim=-1) >= least]
    unit = W / W.norm(dim=-1, keepdim=True)
    near = (unit @ unit.T).abs() > threshold
    left, groups = set(range(len(W))), []
    while left:
        group, todo = set(), [min(left)]
        while todo:
            one = todo.pop()
            if one not in group:
                group.add(one)
                todo += near[one].nonzero().flatten().tolist()
        left -= group
        members = sorted(group)
        sizes = torch.linalg.svdvals(W[members])
        groups.append((members, int((sizes > threshold * sizes.max()).sum())))
    return groups


def phase_losses__bias_when_present(probability, importance):
    """Takes 1/2, the mean of a feature when it is present, for the best constant, instead of p/2.
    axis: bias, constant, best, 1/2, p/2, mean, present, absent, variance, p²/4"""
    p = probability
    unseen = p / 12 + (1 - p) / 4  # distance to the constant 1/2, where present and where absent
    both = p**2 / 6
    return torch.stack([importance * unseen, unseen, (1 + importance) * both])
