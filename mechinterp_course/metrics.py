"""What a model does, seen from outside: losses, and what a repetition saves."""

from jaxtyping import Float, Int
from torch import Tensor


def loss_per_token(
    logits: Float[Tensor, "batch pos d_vocab"], tokens: Int[Tensor, "batch pos"]
) -> Float[Tensor, "batch pos-1"]:
    """Cross-entropy of every next-token prediction, in nats: entry i is -log p(token i+1 | tokens 0..i).

    The first token has no prediction, so there is one entry fewer than there are tokens.
    """
    log_probs = logits[:, :-1].log_softmax(dim=-1)
    return -log_probs.gather(dim=-1, index=tokens[:, 1:, None]).squeeze(-1)


def copying_gain(loss: Float[Tensor, "batch pos-1"], length: int) -> float:
    """How many nats per token the first copy saves on the second, for losses on `repeated_tokens`.

    The mean loss over tokens 2..length of the first copy, minus the mean over the same tokens of the second.
    The first token of a copy is left out on both sides, because nothing announces that a copy begins.
    """
    first, second = loss[:, 1:length], loss[:, length + 1 : 2 * length]
    return (first.mean() - second.mean()).item()
