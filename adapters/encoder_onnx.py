"""A sentence encoder as ONNX: token ids and their mask in, an embedding of length 1 out."""

from __future__ import annotations

import json
import logging
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from routing_gym.adapters.encoder import Encoder
from routing_gym.adapters.onnx_builder import OnnxBuilder
from routing_gym.adapters.transformer_weights import (
    Affine,
    Layer,
    TransformerWeights,
    read_weights,
)

TOKENS, TOKEN_MASK, EMBEDDING = "input_ids", "attention_mask", "embedding"
POOLINGS = ("mean", "cls")
Precision = Literal["float32", "int8"]
_HIDDEN = -1e9  # added to the scores of padding


@dataclass(frozen=True)
class ExportedEncoder:
    """A sentence encoder without torch.

    Parameters
    ----------
    name
        The encoder's.
    model
        The ONNX file: ``input_ids`` and ``attention_mask`` int64 (N, T) in, ``embedding`` float32
        (N, D) out, rows of length 1.
    tokenizer
        ``tokenizer.json``, which truncates to ``max_tokens`` and does not pad.
    width
        D.
    max_tokens
        Most tokens of a text that are read.
    """

    name: str
    model: bytes
    tokenizer: str
    width: int
    max_tokens: int


@dataclass(frozen=True)
class _Layout:
    """Which cells of the grid (N, T) hold one of the M tokens that count.

    Linear maps, nearly all of the work, run over these tokens alone, so that a batch costs what its
    texts hold and not what their longest one would make of it.

    ``mask`` is float32 (N, T), ``length`` (1,) is T, ``columns`` (M,) and ``cells`` (M,) say where
    each token stands in its text and in the flattened grid, ``grid`` (N, T) which token stands
    where.
    """

    mask: str
    length: str
    columns: str
    cells: str
    grid: str


def export_encoder(encoder: Encoder, *, precision: Precision = "float32") -> ExportedEncoder:
    """Export a sentence-transformers model.

    Parameters
    ----------
    encoder
        A model of a family in `routing_gym.adapters.transformer_weights.FAMILIES` that pools by
        the mean or the first token.
    precision
        ``"int8"``: weights of 8 bits, a quarter of the size and about twice as fast; embeddings
        then agree to a cosine of about 0.99 and depend a little on the texts beside them.

    Raises
    ------
    ValueError
        If the model does more than that; the sentence says what.
    ImportError
        If the extra is not installed.
    """
    encoder.load()
    transformer, pooling = _modules(encoder._model)
    max_tokens = int(transformer.max_seq_length or transformer.config.max_position_embeddings)
    weights = read_weights(transformer.auto_model, max_tokens=max_tokens)
    tokenizer = transformer.tokenizer.backend_tokenizer
    copy = type(tokenizer).from_str(tokenizer.to_str())
    copy.no_padding()
    copy.enable_truncation(max_tokens)
    return ExportedEncoder(
        name=encoder.name,
        model=encoder_graph(weights, pooling=pooling, precision=precision),
        # sorted, so that the same encoder gives the same file
        tokenizer=json.dumps(json.loads(copy.to_str()), ensure_ascii=False),
        width=weights.words.shape[1],
        max_tokens=max_tokens,
    )


def encoder_graph(
    weights: TransformerWeights, *, pooling: str, precision: Precision = "float32"
) -> bytes:
    """Put the model together.

    Parameters
    ----------
    weights
        What it has learned.
    pooling
        ``"mean"`` over the tokens of the mask, or ``"cls"``, the first token.
    precision
        Of the weights.
    """
    graph = OnnxBuilder()
    layout = _layout(graph)
    hidden = _embed(graph, weights, layout, precision)
    bias = _attention_bias(graph, weights, layout)
    for layer in weights.layers:
        hidden = _block(graph, layer, hidden, bias, weights, layout)
    pooled = _pool(graph, hidden, layout, pooling)
    norm = graph.node("ReduceL2", pooled, graph.constant([1], np.int64), keepdims=1)
    least = graph.constant(1e-12, np.float32)
    unit = graph.node("Div", pooled, graph.node("Max", norm, least))
    ids = ("int64", ("N", "T"))
    width = weights.words.shape[1]
    model = graph.model(
        {TOKENS: ids, TOKEN_MASK: ids}, {EMBEDDING: ("float32", ("N", width))}, results=[unit]
    )
    return _quantised(model) if precision == "int8" else model


def _quantised(model: bytes) -> bytes:
    """Give the linear maps weights of 8 bits; their inputs are rounded to 8 bits as they come."""
    try:
        import onnx
        from onnxruntime.quantization import QuantType, quantize_dynamic
    except ImportError as error:
        raise ImportError(
            "int8 needs onnx and onnxruntime: pip install routing-gym[export]."
        ) from error
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)  # it advises steps that static quantisation needs
    try:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "model.onnx"
            quantize_dynamic(
                onnx.load_from_string(model),
                file,
                op_types_to_quantize=["MatMul"],
                per_channel=True,
                weight_type=QuantType.QInt8,
                extra_options={"MatMulConstBOnly": True},
            )
            return file.read_bytes()
    finally:
        root.setLevel(level)


def _modules(model: Any) -> tuple[Any, str]:
    """Return the transformer and the pooling of a model that does no more than both."""
    names = [type(module).__name__ for module in model]
    if names[:2] != ["Transformer", "Pooling"] or set(names[2:]) - {"Normalize"}:
        raise ValueError(
            f"the encoder consists of {names}: the export knows Transformer, Pooling, Normalize."
        )
    pooling = model[1].pooling_mode
    if pooling not in POOLINGS:
        raise ValueError(f"the encoder pools by {pooling!r}: the export knows mean and cls.")
    if model.default_prompt_name:
        raise ValueError(
            f"the encoder puts its prompt {model.default_prompt_name!r} before each text: the "
            "export knows encoders without a default prompt."
        )
    return model[0], pooling


def _layout(graph: OnnxBuilder) -> _Layout:
    """Find the tokens that count."""
    length = graph.node("Shape", TOKENS, start=1, end=2)
    rows, columns = graph.nodes(
        "Split", graph.node("NonZero", TOKEN_MASK), outputs=2, num_outputs=2
    )
    first = graph.constant([0], np.int64)
    rows, columns = (graph.node("Squeeze", part, first) for part in (rows, columns))
    cells = graph.node("Add", graph.node("Mul", rows, length), columns)
    flat = graph.node("Reshape", TOKEN_MASK, graph.constant([-1], np.int64))
    seen = graph.node("CumSum", flat, graph.constant(0, np.int64))
    before = graph.node("Sub", seen, graph.constant(1, np.int64))
    place = graph.node("Max", before, graph.constant(0, np.int64))  # of padding: any token's
    grid = graph.node("Reshape", place, graph.node("Shape", TOKENS))
    return _Layout(graph.cast(TOKEN_MASK, "float32"), length, columns, cells, grid)


def _embed(
    graph: OnnxBuilder, weights: TransformerWeights, layout: _Layout, precision: Precision
) -> str:
    """Look words and positions up: (M, H)."""
    cells = graph.node("Reshape", TOKENS, graph.constant([-1], np.int64))
    words = _words(graph, weights.words, _packed(graph, cells, layout), precision)
    positions = graph.node("Gather", graph.constant(weights.positions), layout.columns)
    return _norm(graph, graph.node("Add", words, positions), weights.norm, weights.epsilon)


def _words(graph: OnnxBuilder, table: np.ndarray, ids: str, precision: Precision) -> str:
    """Look words up: (M, H); with 8 bits every word has a scale of its own."""
    if precision == "float32":
        return graph.node("Gather", graph.constant(table), ids)
    scale = np.maximum(np.abs(table).max(axis=1, keepdims=True) / 127, 1e-12).astype(np.float32)
    rounded = graph.constant(np.round(table / scale), np.int8)
    rows = graph.cast(graph.node("Gather", rounded, ids), "float32")
    return graph.node("Mul", rows, graph.node("Gather", graph.constant(scale), ids))


def _packed(graph: OnnxBuilder, cells: str, layout: _Layout) -> str:
    """Keep the tokens that count: (N T, ...) to (M, ...)."""
    return graph.node("Gather", cells, layout.cells)


def _attention_bias(graph: OnnxBuilder, weights: TransformerWeights, layout: _Layout) -> str:
    """Return what is added to the scores: (N, 1 or heads, 1 or T, T)."""
    away = graph.node("Sub", graph.constant(1.0, np.float32), layout.mask)
    hidden = graph.node("Mul", away, graph.constant(_HIDDEN, np.float32))
    bias = graph.node("Unsqueeze", hidden, graph.constant([1, 2], np.int64))
    if weights.bias is None:
        return bias
    ends = graph.node("Concat", layout.length, layout.length, axis=0)
    start, axes = graph.constant([0, 0], np.int64), graph.constant([2, 3], np.int64)
    distances = graph.node("Slice", graph.constant(weights.bias), start, ends, axes)
    return graph.node("Add", bias, distances)


def _block(
    graph: OnnxBuilder,
    layer: Layer,
    hidden: str,
    bias: str,
    weights: TransformerWeights,
    layout: _Layout,
) -> str:
    """Add one block: (M, H) to (M, H)."""
    attended = _attend(graph, layer, hidden, bias, weights.heads, layout)
    attended = _affine(graph, attended, layer.output)
    hidden = _norm(
        graph, graph.node("Add", attended, hidden), layer.attention_norm, weights.epsilon
    )
    wide = _affine(graph, hidden, layer.up)
    wide = graph.node("Gelu" if weights.activation == "gelu" else "Relu", wide)
    narrow = _affine(graph, wide, layer.down)
    return _norm(graph, graph.node("Add", narrow, hidden), layer.norm, weights.epsilon)


def _attend(
    graph: OnnxBuilder, layer: Layer, hidden: str, bias: str, heads: int, layout: _Layout
) -> str:
    """Add the attention of all heads, which alone needs the grid: (M, H) to (M, H)."""
    width = len(layer.attention.bias) // 3
    joint = graph.node("Gather", _affine(graph, hidden, layer.attention), layout.grid)
    shape = graph.constant([0, 0, 3 * heads, width // heads], np.int64)
    apart = graph.node("Transpose", graph.node("Reshape", joint, shape), perm=[0, 2, 1, 3])
    queries, keys, values = graph.nodes("Split", apart, outputs=3, axis=1, num_outputs=3)
    keys = graph.node("Transpose", keys, perm=[0, 1, 3, 2])
    scores = graph.node("Add", graph.node("MatMul", queries, keys), bias)  # (N, heads, T, T)
    shares = graph.node("Softmax", scores, axis=-1)
    attended = graph.node("Transpose", graph.node("MatMul", shares, values), perm=[0, 2, 1, 3])
    cells = graph.node("Reshape", attended, graph.constant([-1, width], np.int64))
    return _packed(graph, cells, layout)


def _pool(graph: OnnxBuilder, hidden: str, layout: _Layout, pooling: str) -> str:
    """Reduce (M, H) to (N, H)."""
    cells = graph.node("Gather", hidden, layout.grid)  # (N, T, H)
    if pooling == "cls":
        return graph.node("Gather", cells, graph.constant(0, np.int64), axis=1)
    one = graph.constant([1], np.int64)
    row = graph.node("Unsqueeze", layout.mask, one)  # (N, 1, T)
    total = graph.node("Squeeze", graph.node("MatMul", row, cells), one)
    count = graph.node("ReduceSum", layout.mask, one, keepdims=1)
    return graph.node("Div", total, graph.node("Max", count, graph.constant(1e-9, np.float32)))


def _affine(graph: OnnxBuilder, tensor: str, layer: Affine) -> str:
    """Apply a linear map to the last axis."""
    scaled = graph.node("MatMul", tensor, graph.constant(layer.weight))
    return graph.node("Add", scaled, graph.constant(layer.bias))


def _norm(graph: OnnxBuilder, tensor: str, norm: Affine, epsilon: float) -> str:
    """Normalise the last axis."""
    scale, shift = graph.constant(norm.weight), graph.constant(norm.bias)
    return graph.node("LayerNormalization", tensor, scale, shift, axis=-1, epsilon=epsilon)
