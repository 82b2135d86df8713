"""The weights of an encoder of the BERT family, by their role instead of a library's names."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

_LAYERS = {
    "bert": (
        "encoder.layer.{}.attention.self.query",
        "encoder.layer.{}.attention.self.key",
        "encoder.layer.{}.attention.self.value",
        "encoder.layer.{}.attention.output.dense",
        "encoder.layer.{}.attention.output.LayerNorm",
        "encoder.layer.{}.intermediate.dense",
        "encoder.layer.{}.output.dense",
        "encoder.layer.{}.output.LayerNorm",
    ),
    "mpnet": (
        "encoder.layer.{}.attention.attn.q",
        "encoder.layer.{}.attention.attn.k",
        "encoder.layer.{}.attention.attn.v",
        "encoder.layer.{}.attention.attn.o",
        "encoder.layer.{}.attention.LayerNorm",
        "encoder.layer.{}.intermediate.dense",
        "encoder.layer.{}.output.dense",
        "encoder.layer.{}.output.LayerNorm",
    ),
    "distilbert": (
        "transformer.layer.{}.attention.q_lin",
        "transformer.layer.{}.attention.k_lin",
        "transformer.layer.{}.attention.v_lin",
        "transformer.layer.{}.attention.out_lin",
        "transformer.layer.{}.sa_layer_norm",
        "transformer.layer.{}.ffn.lin1",
        "transformer.layer.{}.ffn.lin2",
        "transformer.layer.{}.output_layer_norm",
    ),
}
_LAYERS |= {"roberta": _LAYERS["bert"], "xlm-roberta": _LAYERS["bert"]}
FAMILIES = tuple(_LAYERS)
"""Families of encoders whose weights are read, as ``model_type`` names them."""
ACTIVATIONS = ("gelu", "relu")


@dataclass(frozen=True)
class Affine:
    """weight (in, out) and bias (out,), float32; of a layer norm both are (H,)."""

    weight: np.ndarray
    bias: np.ndarray


@dataclass(frozen=True)
class Layer:
    """One block: attention, a norm, two linear maps with an activation between, a norm.

    ``attention`` is (H, 3 H), queries, keys and values side by side, the queries divided by the
    root of a head's width.
    """

    attention: Affine
    output: Affine
    attention_norm: Affine
    up: Affine
    down: Affine
    norm: Affine


@dataclass(frozen=True)
class TransformerWeights:
    """All that turns token ids into the last hidden states.

    Parameters
    ----------
    words
        float32 (vocabulary, H).
    positions
        float32 (T, H), for the first T tokens, the first token type added.
    norm
        Of the sum of both.
    layers
        The blocks.
    heads
        Attention heads.
    activation
        ``"gelu"`` (exact) or ``"relu"``.
    epsilon
        Of the norms.
    bias
        float32 (1, heads, T, T), added to the attention's scores; None where there is none.
    """

    words: np.ndarray
    positions: np.ndarray
    norm: Affine
    layers: tuple[Layer, ...]
    heads: int
    activation: str
    epsilon: float
    bias: np.ndarray | None


def read_weights(model: Any, *, max_tokens: int) -> TransformerWeights:
    """Take a model of transformers apart.

    Parameters
    ----------
    model
        Of a family in ``FAMILIES``.
    max_tokens
        T, tokens that will ever be read.

    Raises
    ------
    ValueError
        If the family, the activation or the kind of positions is another.
    """
    config = model.config
    family = config.model_type
    activation = getattr(config, "hidden_act", getattr(config, "activation", ""))
    if family not in FAMILIES or activation not in ACTIVATIONS:
        raise ValueError(
            f"the encoder is a {family!r} with activation {activation!r}: the export knows "
            f"{', '.join(FAMILIES)} with {' or '.join(ACTIVATIONS)}; choose such an encoder."
        )
    if getattr(config, "position_embedding_type", "absolute") not in (None, "absolute"):
        raise ValueError("the encoder's positions are relative keys: the export knows absolute.")
    state = {key: value.float().numpy() for key, value in model.state_dict().items()}
    heads, count = config.num_attention_heads, config.num_hidden_layers
    return TransformerWeights(
        words=state["embeddings.word_embeddings.weight"],
        positions=_positions(state, family, max_tokens, padding=config.pad_token_id),
        norm=_affine(state, "embeddings.LayerNorm"),
        layers=tuple(_layer(state, family, number, heads) for number in range(count)),
        heads=heads,
        activation=activation,
        epsilon=1e-12 if family == "distilbert" else config.layer_norm_eps,
        bias=_bias(model, max_tokens) if family == "mpnet" else None,
    )


def _affine(state: dict[str, np.ndarray], name: str) -> Affine:
    """Read a linear map or a norm."""
    return Affine(state[f"{name}.weight"].T, state[f"{name}.bias"])


def _layer(state: dict[str, np.ndarray], family: str, number: int, heads: int) -> Layer:
    """Read one block."""
    parts = [_affine(state, name.format(number)) for name in _LAYERS[family]]
    scale = np.float32((len(parts[0].bias) // heads) ** -0.5)
    queries = Affine(parts[0].weight * scale, parts[0].bias * scale)
    attention = Affine(
        np.concatenate([queries.weight, parts[1].weight, parts[2].weight], axis=1),
        np.concatenate([queries.bias, parts[1].bias, parts[2].bias]),
    )
    return Layer(attention, *parts[3:])


def _positions(
    state: dict[str, np.ndarray], family: str, max_tokens: int, *, padding: int
) -> np.ndarray:
    """Return (T, H), what is added to the words."""
    table = state["embeddings.position_embeddings.weight"]
    # these families count positions from behind the padding's id
    start = padding + 1 if family in ("roberta", "xlm-roberta") else 2 * (family == "mpnet")
    positions = table[start : start + max_tokens]
    types = state.get("embeddings.token_type_embeddings.weight")
    return positions if types is None else positions + types[0]


def _bias(model: Any, max_tokens: int) -> np.ndarray:
    """Compute MPNet's bias, which depends on the distance of two tokens."""
    import torch

    with torch.no_grad():
        bias: np.ndarray = model.encoder.compute_position_bias(
            torch.zeros(1, max_tokens, 1)
        ).numpy()
    return bias
