"""ONNX models that run: one place for the settings of onnxruntime."""

from __future__ import annotations

from typing import Any


def open_session(content: bytes, *, threads: int = 1, file: str = "the model") -> Any:
    """Start an inference session.

    Parameters
    ----------
    content
        The ONNX file's bytes: what was verified is what runs.
    threads
        Threads of one call, at least 1.
    file
        What to call it in an error.

    Raises
    ------
    ImportError
        If the extra is not installed.
    ValueError
        If the bytes are no model.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise ImportError(
            "a bundle needs onnxruntime, which is not installed: pip install routing-gym[serve]."
        ) from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.enable_mem_pattern = False  # one plan per shape: texts have every length
    options.log_severity_level = 3  # errors: warnings of its optimiser are not the user's
    # threads that wait for the next call would keep the cores of other processes busy
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime raises classes of its own, one per status code
        if not type(error).__module__.startswith("onnxruntime"):
            raise
        reason = " ".join(str(error).split())[:200]
        raise ValueError(f"{file} is no model that onnxruntime runs ({reason}).") from error
    # kept for a fallback to other providers, of which there are none: a third of the memory
    session._model_bytes = None
    return session
