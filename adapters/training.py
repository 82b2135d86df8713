"""QLoRA training of one adapter on the tasks of its domain.

Source: Dettmers et al., QLoRA (arXiv:2305.14314): the base in NF4 with double quantisation, LoRA
(arXiv:2106.09685) on chosen linear layers, here in float32 on a CPU and bfloat16 on a GPU. The
trainer is trl's `SFTTrainer` with the loss on the response only; logits are taken only there.
"""

from __future__ import annotations

import hashlib
import json
import math
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from routing_gym.adapters.base_model import EMBEDDED, load_base_model, load_tokenizer
from routing_gym.adapters.prompt import render_prompt
from routing_gym.adapters.spec import CONFIG_FILE, WEIGHTS_FILE
from routing_gym.queries.query import Example

ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj")
ALL_LINEAR = (*ATTENTION, "gate_proj", "up_proj", "down_proj")
FUSED = dict.fromkeys(("q_proj", "k_proj", "v_proj"), "qkv_proj")
FUSED |= dict.fromkeys(("gate_proj", "up_proj"), "gate_up_proj")


@dataclass(frozen=True)
class AdapterTrainingConfig:
    """Settings of one adapter's training.

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
    batch_size, accumulation
        Examples per pass, and passes per update.
    weight_decay
        AdamW's.
    checkpoint_steps
        Updates between checkpoints; a killed run loses no more.
    seed
        Determines initialisation, order and dropout.
    start_from
        Folder of an adapter to go on from, instead of a new one; rank, alpha and targets are then
        that adapter's.
    """

    base_model: str = EMBEDDED
    nf4: bool = True
    rank: int = 8
    alpha: int = 16
    dropout: float = 0.0
    targets: tuple[str, ...] = ALL_LINEAR
    learning_rate: float = 1.5e-3
    warmup_share: float = 0.05
    batch_size: int = 16
    accumulation: int = 1
    weight_decay: float = 0.0
    checkpoint_steps: int = 10
    seed: int = 0
    start_from: str | None = None

    def __post_init__(self) -> None:
        for name in ("rank", "alpha", "batch_size", "accumulation", "checkpoint_steps"):
            if getattr(self, name) < 1:
                raise ValueError(
                    f"{name}={getattr(self, name)}: give a whole number of at least 1."
                )
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


def train_adapter(
    examples: Sequence[Example],
    held_out: Sequence[Example],
    *,
    config: AdapterTrainingConfig,
    output: Path,
    resume: bool = True,
) -> dict[str, float]:
    """Train one adapter in a single pass over its examples and save it in half precision.

    Parameters
    ----------
    examples
        Training examples, in order; each is seen once.
    held_out
        Examples for the loss at the end; none of them is trained on.
    config
        Settings.
    output
        Run folder: checkpoints and TensorBoard files, and the adapter in ``adapter/``.
    resume
        Go on from the last checkpoint of the run folder, if there is one.

    Returns
    -------
    dict
        ``train_loss`` (nats per response token, mean of the run), ``held_out_loss``, ``updates``,
        ``trainable_parameters``, ``megabytes`` of the saved weights.

    Raises
    ------
    ValueError
        If there are no examples, a checkpoint belongs to other settings or examples, or a target
        names no layer of the model.
    """
    if not examples or not held_out:
        raise ValueError(f"{len(examples)} examples, {len(held_out)} held out: both need some.")
    if not resume:
        _drop_checkpoints(output)
    checkpoint = _last_checkpoint(output)
    _check_resumed(checkpoint, config=config, examples=examples, output=output)
    trainer = _trainer(examples, held_out, config=config, output=output)
    result = trainer.train(resume_from_checkpoint=checkpoint)
    measures = {
        "train_loss": float(result.training_loss),
        "held_out_loss": float(trainer.evaluate()["eval_loss"]),
        "updates": float(trainer.state.global_step),
        "trainable_parameters": float(
            sum(p.numel() for p in trainer.model.parameters() if p.requires_grad)
        ),
    }
    weights = save_half_precision(trainer.model, output / "adapter")
    measures["megabytes"] = weights.stat().st_size / 1e6
    record = {"config": asdict(config), "examples": len(examples), "measures": measures}
    (output / "adapter" / "training.json").write_text(json.dumps(record, indent=1) + "\n")
    _drop_checkpoints(output)
    return measures


def save_half_precision(model: Any, folder: Path) -> Path:
    """Save a PEFT model's adapter in float16, with a config that names no local path.

    Returns
    -------
    Path
        The weights file.
    """
    import torch
    from safetensors.torch import load_file, save_file

    draft = folder.with_name(f".{folder.name}.draft")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    model.save_pretrained(draft)
    halves = {k: v.to(torch.float16) for k, v in load_file(draft / WEIGHTS_FILE).items()}
    save_file(halves, draft / WEIGHTS_FILE, metadata={"format": "pt"})
    description = draft / CONFIG_FILE
    content = json.loads(description.read_text(encoding="utf-8"))
    base = str(content["base_model_name_or_path"])
    content["base_model_name_or_path"] = Path(base).name if Path(base).exists() else base
    description.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    (draft / "README.md").unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)
    draft.rename(folder)
    return folder / WEIGHTS_FILE


def _trainer(
    examples: Sequence[Example],
    held_out: Sequence[Example],
    *,
    config: AdapterTrainingConfig,
    output: Path,
) -> Any:
    """Build trl's trainer."""
    import torch
    from peft import LoraConfig, PeftModel
    from transformers.trainer_utils import set_seed
    from trl import SFTTrainer

    set_seed(config.seed)
    tokenizer = load_tokenizer(config.base_model)
    model: Any = load_base_model(config.base_model, nf4=config.nf4)
    lora: LoraConfig | None = None
    if config.start_from is not None:
        model = PeftModel.from_pretrained(model, config.start_from, is_trainable=True)
    else:
        lora = LoraConfig(
            r=config.rank,
            lora_alpha=config.alpha,
            lora_dropout=config.dropout,
            target_modules=_layers(model, config.targets),
            task_type="CAUSAL_LM",
        )
    trainable = () if lora else [(n, p) for n, p in model.named_parameters() if p.requires_grad]
    exact = {name: parameter.detach().float().clone() for name, parameter in trainable}
    trainer = _response_trainer(SFTTrainer)(
        model=model,
        args=_arguments(config, output, examples=len(examples)),
        train_dataset=_dataset(examples, tokenizer),
        eval_dataset=_dataset(held_out, tokenizer),
        processing_class=tokenizer,
        peft_config=lora,
    )
    for name, parameter in trainer.model.named_parameters():
        if parameter.requires_grad:  # trl makes them bfloat16: imprecise, and slow on a CPU
            parameter.data = exact.get(name, parameter.data).to(torch.float32)
    return trainer


def _check_resumed(
    checkpoint: str | None,
    *,
    config: AdapterTrainingConfig,
    examples: Sequence[Example],
    output: Path,
) -> None:
    """Refuse to go on from a checkpoint of other settings; note the settings of a new run."""
    texts = "\n".join(f"{e.query.text}\t{e.target}" for e in examples)
    settings = json.loads(json.dumps(asdict(config)))
    settings |= {"examples": hashlib.sha256(texts.encode()).hexdigest()}
    settings.pop("checkpoint_steps")
    note = output / "settings.json"
    if checkpoint and note.is_file() and json.loads(note.read_text()) != settings:
        raise ValueError(
            f"{checkpoint} belongs to a run with other settings or examples: give another output, "
            "or do not resume (--resume false)."
        )
    output.mkdir(parents=True, exist_ok=True)
    note.write_text(json.dumps(settings, indent=1) + "\n", encoding="utf-8")


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


def _arguments(config: AdapterTrainingConfig, output: Path, *, examples: int) -> Any:
    """Translate the settings into trl's."""
    import torch
    from trl import SFTConfig

    updates = -(-examples // (config.batch_size * config.accumulation))
    on_gpu = torch.cuda.is_available()
    return SFTConfig(
        output_dir=str(output),
        per_device_train_batch_size=config.batch_size,
        per_device_eval_batch_size=config.batch_size,
        gradient_accumulation_steps=config.accumulation,
        num_train_epochs=1,
        train_sampling_strategy="group_by_length",
        learning_rate=config.learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=round(config.warmup_share * updates),
        weight_decay=config.weight_decay,
        max_grad_norm=1.0,
        completion_only_loss=True,
        max_length=512,
        gradient_checkpointing=False,
        use_cpu=not on_gpu,
        bf16=on_gpu and torch.cuda.is_bf16_supported(),
        logging_steps=5,
        report_to=["tensorboard"],
        save_steps=config.checkpoint_steps,
        save_total_limit=1,
        seed=config.seed,
        data_seed=config.seed,
        dataloader_pin_memory=on_gpu,
    )


def _dataset(examples: Sequence[Example], tokenizer: Any) -> Any:
    """Render examples as prompts and completions that end."""
    from datasets import Dataset

    return Dataset.from_list(
        [
            {
                "prompt": render_prompt(tokenizer, example.query.text),
                "completion": example.target + tokenizer.eos_token,
            }
            for example in examples
        ]
    )


def _response_trainer(trainer: Any) -> Any:
    """Make trl's trainer take logits only at the response (its fused kernel is slow on a CPU)."""

    class ResponseTrainer(trainer):  # type: ignore[misc]
        """Cross-entropy of the response tokens, from logits of those positions alone."""

        def compute_loss(
            self,
            model: Any,
            inputs: dict[str, Any],
            return_outputs: bool = False,
            num_items_in_batch: Any = None,
        ) -> Any:
            """Return the mean nats per response token, of the update where accumulated."""
            loss, count = response_loss(model, inputs)
            loss = loss / (count if num_items_in_batch is None else num_items_in_batch)
            return (loss, {"loss": loss}) if return_outputs else loss

    return ResponseTrainer


def response_loss(model: Any, inputs: dict[str, Any]) -> tuple[Any, int]:
    """Sum the cross-entropy of the labelled tokens.

    Parameters
    ----------
    model
        A PEFT causal language model.
    inputs
        ``input_ids``, ``attention_mask`` and ``labels`` (-100 where nothing is predicted), int64
        (N, T) tensors.

    Returns
    -------
    tuple
        The sum in nats (a scalar tensor) and the number of labelled tokens.
    """
    import torch

    causal = model.get_base_model()
    hidden = causal.base_model(
        input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"], use_cache=False
    ).last_hidden_state  # (N, T, D)
    labels = inputs["labels"][:, 1:]  # (N, T - 1)
    chosen = labels != -100
    logits = causal.get_output_embeddings()(hidden[:, :-1][chosen]).float()  # (labelled, V)
    loss = torch.nn.functional.cross_entropy(logits, labels[chosen], reduction="sum")
    return loss, int(chosen.sum())


def _drop_checkpoints(output: Path) -> None:
    """Remove a run's checkpoints."""
    for checkpoint in output.glob("checkpoint-*"):
        shutil.rmtree(checkpoint)


def _last_checkpoint(output: Path) -> str | None:
    """Find the newest complete checkpoint of a run folder."""
    complete = [
        (int(folder.name.split("-")[1]), folder)
        for folder in output.glob("checkpoint-*")
        if (folder / "trainer_state.json").is_file() and (folder / WEIGHTS_FILE).is_file()
    ]
    return str(max(complete)[1]) if complete else None
