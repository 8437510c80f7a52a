"""From a wiring table to the weights of a GPT-2 without MLPs.

With the rows of S_a an orthonormal basis of subspace a, and the slots of A and B random orthonormal bases
within the head, a head with the terms i and the map reads -> writes has

    W_Q = g √(sharpness √d_head) Σ_i strength_i S_query(i)ᵀ A_i       W_V = g S_readsᵀ B
    W_K = g √(sharpness √d_head) Σ_i S_key(i)ᵀ A_i                    W_O = sign Bᵀ S_writes

and noise on top. g undoes LayerNorm: every position carries the same vector of length CONSTANT, all subspaces
are orthogonal to it and to (1, …, 1), and what they hold is less than a thirtieth as long. So LayerNorm
divides by CONSTANT / √d_model up to a part in 2,000, whatever the input and whatever is ablated.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from mechinterp_course.worlds.planted import codes
from mechinterp_course.worlds.planted.circuit import N_HEADS, Head
from mechinterp_course.worlds.planted.codes import N_CTX, N_TOKENS, POSITION_DIMS, TOKEN_DIMS
from mechinterp_course.worlds.planted.wiring import Term, Wiring

D_HEAD = 36
D_MODEL = N_HEADS * D_HEAD
D_MLP = 1
D_VOCAB = N_TOKENS + 1  # and BOS
CONSTANT = 200.0
LAYER_NORM = CONSTANT / math.sqrt(D_MODEL)  # what LayerNorm divides by
ANSWER_LOGIT = 12.0

QK_NOISE, OV_NOISE, EMBED_NOISE = 0.2, 0.027, 0.005  # standard deviation of one weight
QUIET = 0.2  # noise on heads that are wired, as a part of the noise of the others

SUBSPACES = {"constant": 1, "first": 1, "position": POSITION_DIMS} | dict.fromkeys(
    ("token", "twin", "copied", "copied_twin", "answer", "unread"), TOKEN_DIMS
)
UNUSED = dict.fromkeys(("ln_1.weight", "ln_1.bias", "ln_2.weight", "ln_2.bias"), (D_MODEL,)) | {
    "attn.c_attn.bias": (3 * D_MODEL,),
    "attn.c_proj.bias": (D_MODEL,),
    "mlp.c_fc.weight": (D_MODEL, D_MLP),
    "mlp.c_fc.bias": (D_MLP,),
    "mlp.c_proj.weight": (D_MLP, D_MODEL),
    "mlp.c_proj.bias": (D_MODEL,),
}
Subspaces = dict[str, Float[Tensor, "dim d_model"]]


def make_weights(
    wiring: dict[Head, Wiring], n_layers: int, token_ids: list[int], generator: torch.Generator
) -> dict[str, Float[Tensor, "..."]]:
    """A state dict of GPT2LMHeadModel.

    `token_ids` gives the ids of the 64 tokens in the order of their codes, then the id of BOS.
    """
    subspaces = draw_subspaces(generator)
    weights = embeddings(subspaces, token_ids, generator) | unused(n_layers)
    for layer in range(n_layers):
        here = {head: wiring[layer, head] for head in range(N_HEADS) if (layer, head) in wiring}
        weights |= {
            f"transformer.h.{layer}.attn.{name}.weight": weight
            for name, weight in attention(here, subspaces, generator).items()
        }
    return weights


def draw_subspaces(generator: torch.Generator) -> Subspaces:
    """Orthonormal bases of the named subspaces, orthogonal to each other and to (1, …, 1), rotated at random.

    The rotation spares a reader nothing but the sight of ones and zeros: composition scores don't see it.
    """
    directions = torch.randn(D_MODEL, 1 + sum(SUBSPACES.values()), generator=generator)
    directions[:, 0] = 1.0
    basis = torch.linalg.qr(directions).Q.T[1:]
    return dict(zip(SUBSPACES, basis.split(list(SUBSPACES.values())), strict=True))


def embeddings(
    subspaces: Subspaces, token_ids: list[int], generator: torch.Generator
) -> dict[str, Float[Tensor, "row d_model"]]:
    """Token and position embeddings, and the unembedding. BOS has no code: nothing is copied from it."""
    code, order = codes.token_codes(), torch.tensor(token_ids)
    embed = EMBED_NOISE * torch.randn(D_VOCAB, D_MODEL, generator=generator)
    unembed = EMBED_NOISE * torch.randn(D_VOCAB, D_MODEL, generator=generator)
    place = EMBED_NOISE * torch.randn(N_CTX, D_MODEL, generator=generator)
    embed[order[:-1]] += code @ (subspaces["token"] + subspaces["twin"])
    unembed[order[:-1]] += ANSWER_LOGIT * LAYER_NORM * code @ subspaces["answer"]
    place += codes.position_codes() @ subspaces["position"] + CONSTANT * subspaces["constant"]
    place[0] += subspaces["first"][0]
    return {
        "transformer.wte.weight": embed,
        "transformer.wpe.weight": place,
        "lm_head.weight": without_constant(unembed, subspaces),
    }


def attention(
    wiring: dict[int, Wiring], subspaces: Subspaces, generator: torch.Generator
) -> dict[str, Float[Tensor, "..."]]:
    """c_attn and c_proj of one layer, from the wiring of those of its heads that are not noise."""
    shape = (4, N_HEADS, D_MODEL, D_HEAD)
    scale = torch.tensor([LAYER_NORM * QK_NOISE] * 2 + [LAYER_NORM * OV_NOISE, OV_NOISE])
    quiet = torch.tensor([QUIET if head in wiring else 1.0 for head in range(N_HEADS)])
    qkvo = torch.randn(shape, generator=generator) * (scale[:, None] * quiet)[..., None, None]
    qkvo = without_constant(qkvo.transpose(-1, -2), subspaces).transpose(-1, -2)
    for head, wires in wiring.items():
        qkvo[:2, head] += query_and_key(wires, subspaces, within_head_basis(generator))
        qkvo[2:, head] += value_and_output(wires, subspaces, within_head_basis(generator))
    return {
        "c_attn": qkvo[:3].permute(2, 0, 1, 3).reshape(D_MODEL, 3 * D_MODEL),
        "c_proj": qkvo[3].transpose(-1, -2).reshape(D_MODEL, D_MODEL),
    }


def unused(n_layers: int) -> dict[str, Float[Tensor, "..."]]:
    """What a GPT-2 has and these models leave unused: LayerNorm weights of one, all else zero."""
    shapes = {f"h.{layer}.{name}": shape for layer in range(n_layers) for name, shape in UNUSED.items()}
    shapes |= {"ln_f.weight": (D_MODEL,), "ln_f.bias": (D_MODEL,)}
    return {
        f"transformer.{name}": torch.full(shape, 1.0 if "ln_" in name and name.endswith("weight") else 0.0)
        for name, shape in shapes.items()
    }


def query_and_key(
    wires: Wiring, subspaces: Subspaces, slots: Float[Tensor, "d_head d_head"]
) -> Float[Tensor, "2 d_model d_head"]:
    """W_Q and W_K: each term has slots of its own, so terms don't mix."""
    query, key = torch.zeros(2, D_MODEL, D_HEAD)
    for term in wires.attends:
        mine, slots = slots.split([SUBSPACES[term.key], len(slots) - SUBSPACES[term.key]])
        query += read_query(term, subspaces) @ mine
        key += subspaces[term.key].T @ mine
    return LAYER_NORM * math.sqrt(wires.sharpness * math.sqrt(D_HEAD)) * torch.stack([query, key])


def read_query(term: Term, subspaces: Subspaces) -> Float[Tensor, "d_model dim"]:
    """What a term multiplies with the key's subspace."""
    read = term.strength * subspaces[term.query].T
    if term.query == "constant":
        return read / CONSTANT
    return read @ codes.turn_back(term.back) if term.query == "position" else read


def value_and_output(
    wires: Wiring, subspaces: Subspaces, slots: Float[Tensor, "d_head d_head"]
) -> Float[Tensor, "2 d_model d_head"]:
    """W_V, and W_O transposed."""
    value = LAYER_NORM * subspaces[wires.reads].T @ slots[:TOKEN_DIMS]
    return torch.stack([value, wires.sign * subspaces[wires.writes].T @ slots[:TOKEN_DIMS]])


def within_head_basis(generator: torch.Generator) -> Float[Tensor, "d_head d_head"]:
    """A random orthogonal matrix: it cancels in W_Q W_Kᵀ and in W_V W_O."""
    return torch.linalg.qr(torch.randn(D_HEAD, D_HEAD, generator=generator)).Q


def without_constant(
    rows: Float[Tensor, "*rows d_model"], subspaces: Subspaces
) -> Float[Tensor, "*rows d_model"]:
    """The rows without their parts along the constant vector and (1, …, 1), which noise must leave alone."""
    constant = subspaces["constant"]
    rows = rows - rows.mean(-1, keepdim=True)
    return rows - rows @ constant.T * constant
