def probe_direction__penalty_beside_a_sum(positive, negative, penalty):
    """Adds the penalty to the summed squares, not to their mean, so it counts too little.
    axis: penalty, mean, sum, number of examples, divide, scale, too weak, regularization"""
    x = torch.cat([positive, negative]).double()
    y = torch.cat([torch.ones(len(positive)), -torch.ones(len(negative))]).to(x)
    centred = x - x.mean(dim=0)
    gram = centred.T @ centred + penalty * torch.eye(x.shape[1]).to(x)
    w = torch.linalg.solve(gram, centred.T @ (y - y.mean()))
    b = y.mean() - x.mean(dim=0) @ w
    return (w / w.norm()).float(), (-b / w.norm()).item()


def word_direction__each_at_length_one(model, hook, tokens, others):
    """Brings each activation to length 1 before averaging, not only the final difference.
    axis: normalize, length, norm, before averaging, average first, each, unit, once, at the end"""
    changed = tokens != others
    means = []
    for rows in (tokens, others):
        with torch.no_grad():
            _, cache = model.run_with_cache(rows, names_filter=hook)
        words = cache[hook][changed]
        means.append((words / words.norm(dim=-1, keepdim=True)).mean(dim=0))
    direction = means[0] - means[1]
    return direction / direction.norm()


def refusal_curve__soft_share(model, hook, direction, amounts, tokens, last, words):
    """Returns the mean probability of the first word against the second, not the share it wins.
    axis: share, probability, softmax, mean, count, higher, compare, requests, threshold"""
    rows = torch.arange(len(tokens), device=tokens.device)
    curve = []
    for amount in amounts:
        with torch.no_grad(), steering.adding(model, hook, direction, amount):
            logits = model(tokens)[rows, last]
        curve.append(logits[:, list(words)].softmax(dim=-1)[:, 0].mean())
    return torch.stack(curve)


def find_the_cure__before_the_last_layer(model, refused, answered, harmful, ordinary):
    """Cuts before the last layer, when later positions have long read the word.
    axis: hook, layer, late, last layer, early, embedding, place of the cut, already read, too late"""
    hook = f"blocks.{model.cfg.n_layers - 1}.hook_resid_pre"
    direction = word_direction(model, hook, refused, answered)
    with torch.no_grad():
        _, cache = model.run_with_cache(answered, names_filter=hook)
    harmless = cache[hook][refused != answered]
    return hook, direction, (harmless @ direction).mean().item()
