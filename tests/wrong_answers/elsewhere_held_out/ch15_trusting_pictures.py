def selectivity_beyond_chance__highest_only(responses, shows, orders):
    """Takes the distance of each shuffle's highest AUC from 0.5, so AUCs far below 0.5 are left out.
    axis: either side, both sides, below 0.5, one-sided, absolute, abs, largest statistic, maximum"""
    statistic = (selectivity(responses, shows) - 0.5).abs()
    count = torch.ones_like(statistic)
    for order in orders:
        largest = (selectivity(responses, shows[order]).max() - 0.5).abs()
        count += (largest >= statistic - 1e-6).to(count)
    return count / (len(orders) + 1)


def variance_explained__never_negative(responses, group):
    """Cuts the result at 0, though the adjusted share falls below 0 where groups mean nothing.
    axis: clamp, negative, below 0, cut, below zero, floor, average 0, max(0)"""
    total = (responses - responses.mean(dim=0)).square().sum(dim=0)
    within = torch.zeros_like(total)
    numbers = group.unique()
    for number in numbers:
        members = responses[group == number]
        within += (members - members.mean(dim=0)).square().sum(dim=0)
    n, k = len(responses), len(numbers)
    varies = (responses != responses[:1]).any(dim=0)
    explained = 1 - (within / (n - k)) / (total / (n - 1)).clamp(min=1e-30)
    return torch.where(varies, explained, torch.zeros_like(explained)).clamp(min=0)


def part_direction__difference_of_means(change, other_change):
    """Subtracts the other part's mean change, instead of projecting its direction out of the first one.
    axis: orthogonal, project, projection, subtract, difference, component, along d is 0, other part"""
    direction = other_change.mean(dim=0) - change.mean(dim=0)
    return direction / direction.norm()


def fooling_channel__natural_at_zero(natural, made):
    """Fits natural pictures to exactly 0, with no margin, so many unseen ones come out positive.
    axis: unseen, margin, not given, 80 %, bias, generalize, exactly 0, below zero, held-out"""
    features = torch.cat([natural, made]).double()
    target = torch.cat([torch.zeros(len(natural)), torch.ones(len(made))]).to(features)
    weight = torch.linalg.pinv(features) @ target
    return weight.to(natural.dtype), 0.0
