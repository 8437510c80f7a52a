def encode_and_decode__bias_after_relu(activations, W_enc, b_enc, W_dec, b_dec):
    """Adds the encoder's bias after the ReLU, so it never switches a feature off.
    axis: b_enc, encoder bias, after, before, ReLU, order, negative, outside"""
    feature_acts = torch.relu((activations - b_dec) @ W_enc) + b_enc
    return feature_acts, feature_acts @ W_dec + b_dec


def constrain_decoder__only_lengthening(W_dec, gradient):
    """Takes out the component along the row only where the step would lengthen the row.
    axis: sign, lengthen, shorten, clamp, component, along, only negative, both directions"""
    unit = W_dec / W_dec.norm(dim=-1, keepdim=True)
    along = (gradient * unit).sum(dim=-1, keepdim=True)
    along = along.clamp(max=0)  # a step goes against the gradient: these are the rows that would grow
    return unit, gradient - along * unit


def fraction_of_variance_unexplained__residual_variance(activations, reconstruction):
    """Uses the variance of the error about its mean, so a constant error costs nothing.
    axis: bias, constant, mean error, variance of the error, residual, centred, offset, squared error"""
    x = activations.reshape(-1, activations.shape[-1])
    error = reconstruction.reshape(-1, activations.shape[-1]) - x
    return (error.var(dim=0).sum() / x.var(dim=0).sum()).item()


def match_features__correlation(found, truth):
    """Uses the correlation of rows (their own mean taken off first) in the place of the cosine.
    axis: correlation, cosine, mean, centred, center, corrcoef, subtract, Pearson"""
    from scipy.optimize import linear_sum_assignment

    both = torch.cat([truth, found]).double()
    alike = torch.corrcoef(both)[: len(truth), len(truth) :]
    rows, columns = linear_sum_assignment(alike.detach().cpu().numpy(), maximize=True)
    partner = torch.full((len(truth),), -1, dtype=torch.int64, device=truth.device)
    cosine = torch.zeros(len(truth), device=truth.device)
    rows, columns = torch.as_tensor(rows).to(truth.device), torch.as_tensor(columns).to(truth.device)
    partner[rows] = columns
    cosine[rows] = alike[rows, columns].float()
    return partner, cosine
