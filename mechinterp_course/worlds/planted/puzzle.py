"""What a solver gets: a model, and inputs on which its behaviour shows. Nothing of the truth."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, Int
from torch import Tensor

from mechinterp_course.worlds.planted.circuit import N_HEADS, Head
from mechinterp_course.worlds.planted.codes import N_CTX
from mechinterp_course.worlds.planted.weights import D_MLP

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge
    from transformers import GPT2Config, PreTrainedTokenizerFast

LENGTH = 16  # tokens of a sample, BOS included


@dataclass(frozen=True)
class Samples:
    """Rows [BOS, different tokens …, one of them again] and what comes `offset` places after its first place.

    `counterfactuals` differ in one token: where the recurring token stood first, another one stands that
    recurs nowhere. So the answer is still in the row, but nothing points to it.
    """

    tokens: Int[Tensor, "batch pos"]
    counterfactuals: Int[Tensor, "batch pos"]
    answers: Int[Tensor, " batch"]


@dataclass(frozen=True)
class Puzzle:
    """A model with a planted circuit, and the task that it does.

    `weights` is a state dict of GPT2LMHeadModel. `bos` is the id of the BOS token; all others are tokens of
    equal standing. The behaviour is public: where the present token has stood before, the model predicts the
    token that stood `offset` places after it.
    """

    weights: dict[str, Float[Tensor, "..."]]
    bos: int
    offset: int

    @property
    def heads(self) -> list[Head]:
        """(layer, head) of every head of the model."""
        layers = sum(name.endswith("c_attn.weight") for name in self.weights)
        return [(layer, head) for layer in range(layers) for head in range(N_HEADS)]

    def samples(self, seed: int, count: int, length: int = LENGTH) -> Samples:
        """`count` rows of `length` tokens, drawn from `seed` and from nothing else; int64, on the CPU.

        Raises ValueError unless `length` is 6 to 64.
        """
        if not 6 <= length <= N_CTX:
            raise ValueError(f"length is 6 to {N_CTX}, not {length}")
        generator = torch.Generator().manual_seed(seed)
        d_vocab = len(self.weights["lm_head.weight"])
        words = torch.tensor([token for token in range(d_vocab) if token != self.bos])
        drawn = torch.stack([words[torch.randperm(len(words), generator=generator)] for _ in range(count)])
        source = torch.randint(1, length - 1 - self.offset, (count, 1), generator=generator)
        tokens = torch.cat([torch.full((count, 1), self.bos), drawn[:, : length - 1]], dim=1)
        tokens[:, -1:] = tokens.gather(1, source)
        unseen = drawn[:, length - 1 : length]
        answers = tokens.gather(1, source + self.offset)
        return Samples(tokens, tokens.scatter(1, source, unseen), answers.squeeze(1))

    def load(self, device: str = "cpu") -> "TransformerBridge":
        """The model as `load_language_model` returns one: a frozen TransformerBridge in compatibility mode.

        Its tokenizer calls token i `t<i>`. torch's random state is neither read nor moved.
        """
        from mechinterp_course.language_models import bridge_from, gpt2_from_weights
        from mechinterp_course.quiet_loading import without_traces

        with without_traces():
            gpt2 = gpt2_from_weights(self._config(), self.weights)
            tokenizer = word_tokenizer(gpt2.config.vocab_size, self.bos)
            return bridge_from("planted", gpt2, tokenizer, device)

    def _config(self) -> "GPT2Config":
        from transformers import GPT2Config

        d_vocab, d_model = self.weights["lm_head.weight"].shape
        return GPT2Config(
            vocab_size=d_vocab,
            n_positions=len(self.weights["transformer.wpe.weight"]),
            n_embd=d_model,
            n_layer=len(self.heads) // N_HEADS,
            n_head=N_HEADS,
            n_inner=D_MLP,
            tie_word_embeddings=False,
            bos_token_id=self.bos,
            eos_token_id=self.bos,
        )


def word_tokenizer(d_vocab: int, bos: int) -> "PreTrainedTokenizerFast":
    """A tokenizer of words between spaces that calls token i `t<i>`; an unknown word is BOS."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import WhitespaceSplit
    from transformers import PreTrainedTokenizerFast

    name = f"t{bos}"
    words = Tokenizer(WordLevel({f"t{token}": token for token in range(d_vocab)}, unk_token=name))
    words.pre_tokenizer = WhitespaceSplit()
    special = {"bos_token": name, "eos_token": name, "pad_token": name}
    # without the last two, TransformerLens looks for the tokenizer on the hub
    return PreTrainedTokenizerFast(
        tokenizer_object=words, **special, name_or_path="planted", add_bos_token=True
    )
