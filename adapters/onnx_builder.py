"""ONNX models put together node by node; the extra ``export``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

OPSET, TREE_OPSET, IR_VERSION = 20, 3, 10
_TYPES = {"float32": "FLOAT", "float64": "DOUBLE", "int64": "INT64", "bool": "BOOL"}
Shape = Sequence[int | str]


class OnnxBuilder:
    """Nodes and constants that become a model.

    Raises
    ------
    ImportError
        If the extra is not installed.
    """

    def __init__(self) -> None:
        try:
            import onnx
        except ImportError as error:
            raise ImportError(
                "export needs onnx, which is not installed: pip install routing-gym[export]."
            ) from error
        self._onnx = onnx
        self._nodes: list[Any] = []
        self._constants: list[Any] = []

    def node(self, operator: str, *inputs: str, domain: str = "", **attributes: Any) -> str:
        """Add one node.

        Parameters
        ----------
        operator
            Of ONNX, such as ``"MatMul"``.
        *inputs
            Names of tensors.
        domain
            Of the operator; empty is ONNX's own.
        **attributes
            Of the operator.

        Returns
        -------
        str
            The name of its output.
        """
        return self.nodes(operator, *inputs, outputs=1, domain=domain, **attributes)[0]

    def nodes(
        self, operator: str, *inputs: str, outputs: int, domain: str = "", **attributes: Any
    ) -> list[str]:
        """Add one node with several outputs and return their names."""
        name = f"{operator.lower()}_{len(self._nodes)}"
        names = [name] if outputs == 1 else [f"{name}_{i}" for i in range(outputs)]
        make = self._onnx.helper.make_node
        self._nodes.append(make(operator, inputs, names, domain=domain, **attributes))
        return names

    def constant(self, values: Any, dtype: Any = None) -> str:
        """Add an array (or a number) and return its name."""
        array = np.asarray(values, dtype=dtype)
        array = np.ascontiguousarray(array).reshape(array.shape)  # a number stays one
        name = f"constant_{len(self._constants)}"
        self._constants.append(self._onnx.numpy_helper.from_array(array, name))
        return name

    def cast(self, tensor: str, dtype: str) -> str:
        """Cast to ``"float32"``, ``"float64"``, ``"int64"`` or ``"bool"``."""
        return self.node("Cast", tensor, to=self._type(dtype))

    def model(
        self,
        inputs: Mapping[str, tuple[str, Shape]],
        outputs: Mapping[str, tuple[str, Shape]],
        *,
        results: Sequence[str],
    ) -> bytes:
        """Return the file.

        Parameters
        ----------
        inputs, outputs
            Name -> type and shape; a text in a shape names a free axis.
        results
            The tensors that become the outputs, in their order.

        Raises
        ------
        ValueError
            If the graph is not valid.
        """
        onnx = self._onnx
        last = [
            onnx.helper.make_node("Identity", [result], [name])
            for result, name in zip(results, outputs, strict=True)
        ]
        graph = onnx.helper.make_graph(
            [*self._nodes, *last],
            "graph",
            [self._description(*item) for item in inputs.items()],
            [self._description(*item) for item in outputs.items()],
            initializer=self._constants,
        )
        sets = [("", OPSET), ("ai.onnx.ml", TREE_OPSET)]
        model = onnx.helper.make_model(
            graph,
            opset_imports=[onnx.helper.make_opsetid(*entry) for entry in sets],
            producer_name="routing-gym",
        )
        model.ir_version = IR_VERSION
        try:
            onnx.checker.check_model(model, full_check=True)
        except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
            raise ValueError(f"the exported graph is not valid ONNX: {error}") from error
        content: bytes = model.SerializeToString()
        return content

    def _description(self, name: str, description: tuple[str, Shape]) -> Any:
        """Describe an input or output."""
        dtype, shape = description
        return self._onnx.helper.make_tensor_value_info(name, self._type(dtype), list(shape))

    def _type(self, dtype: str) -> int:
        """Return ONNX's number of a type."""
        return int(getattr(self._onnx.TensorProto, _TYPES[dtype]))
