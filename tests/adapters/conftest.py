from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("transformers")
pytest.importorskip("peft")

from tests.adapters.tiny import save_tiny_adapter, save_tiny_model


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Llama with its tokenizer."""
    return save_tiny_model(tmp_path_factory.mktemp("models") / "tiny-llama")


@pytest.fixture(scope="session")
def tiny_adapters(tmp_path_factory: pytest.TempPathFactory, tiny_base: Path) -> dict[str, Path]:
    """Two adapters that differ, one on every linear layer and one on attention alone."""
    folder = tmp_path_factory.mktemp("adapters")
    return {
        "one": save_tiny_adapter(folder / "one", tiny_base, seed=1),
        "two": save_tiny_adapter(folder / "two", tiny_base, seed=2, targets=("q_proj", "v_proj")),
    }
