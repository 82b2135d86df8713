"""A LoRA adapter in training, whatever the objective: settings, the model with it, its saving."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from routing_gym.adapters.base_model import EMBEDDED, load_base_model, load_tokenizer
from routing_gym.adapters.folder import replaced_folder
from routing_gym.adapters.spec import CONFIG_FILE, WEIGHTS_FILE

ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj")
ALL_LINEAR = (*ATTENTION, "gate_proj", "up_proj", "down_proj")
FUSED = dict.fromkeys(("q_proj", "k_proj", "v_proj"), "qkv_proj")
FUSED |= dict.fromkeys(("gate_proj", "up_proj"), "gate_up_proj")


@dataclass(frozen=True)
class LoraSettings:
    """What every training of an adapter has to settle.

    Parameters
    ----------
    base_model
        See `routing_gym.adapters.base_model.resolve_base_model`.
    nf4
        Train on the base in NF4 (QLoRA); False trains on full-precision weights (LoRA).
    rank, alpha, dropout
        LoRA's r, alpha (the update is scaled by alpha / r) and dropout in [0, 1).
    targets
        Names of the linear layers that get an adapter.
    learning_rate
        Peak of the schedule: linear warm-up, then cosine to zero.
    warmup_share
        Share of the updates that warm up, in [0, 1).
    weight_decay
        AdamW's.
    accumulation
        Passes per update.
    checkpoint_steps
        Updates between checkpoints; a killed run loses no more.
    seed
        Determines all that is drawn at random.
    start_from
        Folder of an adapter to go on from, instead of a new one; rank, alpha and targets are then
        that adapter's.

    Raises
    ------
    ValueError
        If a number is out of its range or there are no targets.
    FileNotFoundError
        If `start_from` holds no adapter.
    """

    base_model: str = EMBEDDED
    nf4: bool = True
    rank: int = 8
    alpha: int = 16
    dropout: float = 0.0
    targets: tuple[str, ...] = ALL_LINEAR
    learning_rate: float = 1.5e-3
    warmup_share: float = 0.05
    weight_decay: float = 0.0
    accumulation: int = 1
    checkpoint_steps: int = 10
    seed: int = 0
    start_from: str | None = None

    def __post_init__(self) -> None:
        check_counts(self, "rank", "alpha", "accumulation", "checkpoint_steps")
        for name in ("dropout", "warmup_share"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)}: give a number in [0, 1).")
        if not 0 < self.learning_rate < math.inf:
            raise ValueError(f"learning_rate={self.learning_rate}: give a positive number.")
        if not 0 <= self.weight_decay < math.inf:
            raise ValueError(f"weight_decay={self.weight_decay}: give 0 or more.")
        if not self.targets:
            raise ValueError("targets is empty: name the linear layers to adapt.")
        if self.start_from is not None and not (Path(self.start_from) / WEIGHTS_FILE).is_file():
            raise FileNotFoundError(
                f"start_from={self.start_from!r} holds no {WEIGHTS_FILE}: give the folder of a "
                "trained adapter."
            )


def check_counts(settings: Any, *names: str) -> None:
    """Refuse settings of these names that are below 1."""
    for name in names:
        if getattr(settings, name) < 1:
            raise ValueError(
                f"{name}={getattr(settings, name)}: give a whole number of at least 1."
            )


@dataclass(frozen=True)
class TrainableModel:
    """A base model and the adapter that a trainer of trl is to train on it.

    Parameters
    ----------
    model, tokenizer
        The base, or the base with the adapter to go on from.
    peft_config
        The new adapter's configuration; None where one is there already.
    exact
        Float32 copies of the weights that are there already, by name.
    """

    model: Any
    tokenizer: Any
    peft_config: Any
    exact: dict[str, Any]

    def sharpen(self, model: Any) -> None:
        """Make the trainable weights float32 again in the model that a trainer holds."""
        import torch

        for name, parameter in model.named_parameters():
            if parameter.requires_grad:  # trl makes them bfloat16: imprecise, and slow on a CPU
                parameter.data = self.exact.get(name, parameter.data).to(torch.float32)


def load_model(settings: LoraSettings) -> TrainableModel:
    """Load the base model, with the adapter to go on from where the settings name one.

    Raises
    ------
    ValueError
        If a target names no layer of the model.
    """
    from peft import LoraConfig, PeftModel
    from transformers.trainer_utils import set_seed

    set_seed(settings.seed)
    tokenizer = load_tokenizer(settings.base_model)
    model: Any = load_base_model(settings.base_model, nf4=settings.nf4)
    if settings.start_from is not None:
        model = PeftModel.from_pretrained(model, settings.start_from, is_trainable=True)
        trained = [(n, p) for n, p in model.named_parameters() if p.requires_grad]
        exact = {name: parameter.detach().float().clone() for name, parameter in trained}
        return TrainableModel(model, tokenizer, None, exact)
    lora = LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,
        lora_dropout=settings.dropout,
        target_modules=_layers(model, settings.targets),
        task_type="CAUSAL_LM",
    )
    return TrainableModel(model, tokenizer, lora, {})


def trainer_arguments(settings: LoraSettings, output: Path, *, updates: int) -> dict[str, Any]:
    """Translate what all trainings share into the arguments of trl's trainers."""
    import torch

    on_gpu = torch.cuda.is_available()
    return {
        "output_dir": str(output),
        "gradient_accumulation_steps": settings.accumulation,
        "num_train_epochs": 1,
        "learning_rate": settings.learning_rate,
        "lr_scheduler_type": "cosine",
        "warmup_steps": round(settings.warmup_share * updates),
        "weight_decay": settings.weight_decay,
        "max_grad_norm": 1.0,
        "gradient_checkpointing": False,
        "use_cpu": not on_gpu,
        "bf16": on_gpu and torch.cuda.is_bf16_supported(),
        "report_to": ["tensorboard"],
        "save_steps": settings.checkpoint_steps,
        "save_total_limit": 1,
        "restore_callback_states_from_checkpoint": True,
        "seed": settings.seed,
        "data_seed": settings.seed,
        "dataloader_pin_memory": on_gpu,
    }


def trainable_parameters(model: Any) -> int:
    """Count the weights that are trained."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def save_half_precision(model: Any, folder: Path) -> Path:
    """Save a PEFT model's adapter in float16, with a config that names no local path.

    Returns
    -------
    Path
        The weights file.
    """
    import torch
    from safetensors.torch import load_file, save_file

    with replaced_folder(folder) as draft:
        model.save_pretrained(draft)
        halves = {k: v.to(torch.float16) for k, v in load_file(draft / WEIGHTS_FILE).items()}
        save_file(halves, draft / WEIGHTS_FILE, metadata={"format": "pt"})
        description = draft / CONFIG_FILE
        content = json.loads(description.read_text(encoding="utf-8"))
        base = str(content["base_model_name_or_path"])
        content["base_model_name_or_path"] = Path(base).name if Path(base).exists() else base
        text = json.dumps(content, indent=1, sort_keys=True) + "\n"
        description.write_text(text, encoding="utf-8")
        (draft / "README.md").unlink(missing_ok=True)
    return folder / WEIGHTS_FILE


def _layers(model: Any, targets: Sequence[str]) -> list[str]:
    """Name the layers to adapt: the targets, or the fused layers that hold them (Phi-3)."""
    present = {name.rsplit(".", 1)[-1] for name, _ in model.named_modules()}
    found = [name if name in present else FUSED.get(name, name) for name in targets]
    missing = sorted(set(found) - present)
    if missing:
        raise ValueError(
            f"targets: the model has no layer {missing[0]!r}; it has "
            f"{', '.join(sorted(name for name in present if name.endswith('_proj')))}."
        )
    return list(dict.fromkeys(found))
