"""QLoRA on tiny models: one step on every architecture, resume, exact loss, what is saved."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from routing_gym.adapters import training
from routing_gym.adapters.base_model import load_base_model, load_tokenizer
from routing_gym.adapters.generation import generate
from routing_gym.adapters.lora import ALL_LINEAR
from routing_gym.adapters.prompt import render_prompt
from routing_gym.adapters.spec import WEIGHTS_FILE
from routing_gym.adapters.training import (
    AdapterTrainingConfig,
    response_loss,
    train_adapter,
)
from tests.adapters.tiny import ARCHITECTURES, TARGETS, save_tiny_model, toy_examples

for package in ("trl", "bitsandbytes", "datasets"):
    pytest.importorskip(package)

QUICK = AdapterTrainingConfig(
    rank=4, alpha=8, batch_size=2, checkpoint_steps=2, learning_rate=1e-2, warmup_share=0.0
)

SETS = (toy_examples(12), toy_examples(2, offset=20))


def settings(base: Path, **changes: Any) -> AdapterTrainingConfig:
    return replace(QUICK, base_model=str(base), **changes)


def read_weights(output: Path) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    weights: dict[str, torch.Tensor] = load_file(output / "adapter" / "adapter_model.safetensors")
    return weights


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_qlora_step_and_a_generation(architecture: str, tmp_path: Path) -> None:
    from peft import PeftModel

    base = save_tiny_model(tmp_path / "base", architecture)
    output = tmp_path / "run"
    measures = train_adapter(
        toy_examples(2),
        toy_examples(2, offset=10),
        config=settings(base, nf4=True, targets=TARGETS[architecture]),
        output=output,
    )
    assert measures["updates"] == 1
    weights = read_weights(output)
    assert {name.split(".")[-3] for name in weights} == set(TARGETS[architecture])
    assert all(bool(t.any()) for name, t in weights.items() if "lora_B" in name)

    model = PeftModel.from_pretrained(
        load_base_model(str(base), nf4=True), str(output / "adapter")
    ).eval()
    tokenizer = load_tokenizer(str(base))
    prompt = render_prompt(tokenizer, "What comes after 3?")
    (answer,) = generate(model, tokenizer, [prompt], max_new_tokens=[4])
    assert 1 <= answer.completion_tokens <= 4


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_default_targets_adapt_every_linear_layer(architecture: str, tmp_path: Path) -> None:
    base = save_tiny_model(tmp_path / "base", architecture)
    train_adapter(
        toy_examples(2), toy_examples(2), config=settings(base, nf4=False), output=tmp_path / "run"
    )
    adapted = {name.split(".")[-3] for name in read_weights(tmp_path / "run")}
    assert adapted == set(TARGETS[architecture])


def test_what_is_saved(tiny_base: Path, tmp_path: Path) -> None:
    measures = train_adapter(
        toy_examples(4), toy_examples(2, offset=10), config=settings(tiny_base), output=tmp_path
    )
    weights = read_weights(tmp_path)
    assert {tensor.dtype for tensor in weights.values()} == {torch.float16}
    assert len(weights) == 2 * 2 * len(ALL_LINEAR)
    assert sum(t.numel() for t in weights.values()) == measures["trainable_parameters"]
    names = sorted(child.name for child in (tmp_path / "adapter").iterdir())
    assert names == ["adapter_config.json", "adapter_model.safetensors", "training.json"]
    assert str(tiny_base.parent) not in (tmp_path / "adapter" / "adapter_config.json").read_text()
    size = (tmp_path / "adapter" / "adapter_model.safetensors").stat().st_size
    assert measures["megabytes"] == pytest.approx(size / 1e6)
    assert not list(tmp_path.glob("checkpoint-*"))
    assert list(tmp_path.rglob("events.out.tfevents.*"))
    record = json.loads((tmp_path / "adapter" / "training.json").read_text())
    assert (record["examples"], record["measures"]) == (4, measures)


def test_training_lowers_the_loss(tiny_base: Path, tmp_path: Path) -> None:
    config = settings(tiny_base, nf4=False, checkpoint_steps=100)
    held_out = toy_examples(4, offset=3)
    runs = [
        train_adapter(toy_examples(count), held_out, config=config, output=tmp_path / str(count))
        for count in (2, 40)
    ]
    assert runs[1]["held_out_loss"] < runs[0]["held_out_loss"] - 0.5


class Killed:
    """A response loss that dies at one of its passes."""

    def __init__(self, at: int) -> None:
        self.at, self.passes = at, 0

    def __call__(self, *args: Any) -> Any:
        self.passes += 1
        if self.passes == self.at:
            raise KeyboardInterrupt
        return response_loss(*args)


def kill(
    config: AdapterTrainingConfig,
    output: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    at: int,
    resume: bool = True,
) -> None:
    """Train on twelve examples, six updates, and die in one of them."""
    monkeypatch.setattr(training, "response_loss", Killed(at))
    with pytest.raises(KeyboardInterrupt):
        train_adapter(*SETS, config=config, output=output, resume=resume)


def test_a_killed_run_goes_on_to_the_same_adapter(
    tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = settings(tiny_base)
    train_adapter(*SETS, config=config, output=tmp_path / "whole")
    output = tmp_path / "killed"
    kill(config, output, monkeypatch, at=6)
    assert [folder.name for folder in output.glob("checkpoint-*")] == ["checkpoint-4"]
    assert not (output / "adapter").exists()
    (output / "checkpoint-5").mkdir()  # begun, never finished

    counter = Killed(at=0)
    monkeypatch.setattr(training, "response_loss", counter)
    measures = train_adapter(*SETS, config=config, output=output)
    assert counter.passes == 2 + 1  # updates 5 and 6, and the evaluation
    assert measures["updates"] == 6
    whole, resumed = read_weights(tmp_path / "whole"), read_weights(output)
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


@pytest.mark.parametrize("change", [{"seed": 1}, {"learning_rate": 1e-3}, {"rank": 2}])
def test_a_checkpoint_of_other_settings_is_not_continued(
    tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any]
) -> None:
    kill(settings(tiny_base), tmp_path, monkeypatch, at=4)
    with pytest.raises(ValueError, match="checkpoint-2 belongs to a run with other settings"):
        train_adapter(*SETS, config=settings(tiny_base, **change), output=tmp_path)


def test_a_checkpoint_of_other_examples_is_not_continued(
    tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kill(settings(tiny_base), tmp_path, monkeypatch, at=4)
    with pytest.raises(ValueError, match="belongs to a run with other settings or examples"):
        train_adapter(toy_examples(11), SETS[1], config=settings(tiny_base), output=tmp_path)


def test_a_fresh_start_forgets_the_old_checkpoints(
    tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kill(settings(tiny_base), tmp_path, monkeypatch, at=6)  # leaves checkpoint-4
    other = settings(tiny_base, seed=1)
    kill(other, tmp_path, monkeypatch, at=4, resume=False)  # leaves its own checkpoint-2
    counter = Killed(at=0)
    monkeypatch.setattr(training, "response_loss", counter)
    train_adapter(*SETS, config=other, output=tmp_path)
    assert counter.passes == 4 + 1


def test_training_can_start_from_an_adapter(
    tiny_base: Path, tiny_adapters: dict[str, Path], tmp_path: Path
) -> None:
    from safetensors.torch import load_file

    config = settings(tiny_base, start_from=str(tiny_adapters["two"]), learning_rate=1e-6)
    train_adapter(toy_examples(2), toy_examples(2), config=config, output=tmp_path)
    old = load_file(tiny_adapters["two"] / "adapter_model.safetensors")
    new = read_weights(tmp_path)
    assert set(old) == set(new)
    for name, tensor in old.items():
        torch.testing.assert_close(new[name], tensor, atol=1e-3, rtol=0)
    with pytest.raises(FileNotFoundError, match="start_from='nowhere' holds no adapter_model"):
        settings(tiny_base, start_from="nowhere")


def test_a_run_can_start_afresh(tiny_base: Path, tmp_path: Path) -> None:
    stale = tmp_path / "checkpoint-7"
    stale.mkdir()
    (stale / "trainer_state.json").write_text("of an older run")
    (stale / WEIGHTS_FILE).write_text("of an older run")
    examples = toy_examples(2)
    config = settings(tiny_base)
    measures = train_adapter(examples, examples, config=config, output=tmp_path, resume=False)
    assert measures["updates"] == 1


def test_the_seed_determines_the_adapter(tiny_base: Path, tmp_path: Path) -> None:
    runs = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        config = settings(tiny_base, seed=seed, dropout=0.1)
        train_adapter(toy_examples(4), toy_examples(2), config=config, output=tmp_path / name)
        runs.append(read_weights(tmp_path / name))
    assert all(torch.equal(runs[0][name], runs[1][name]) for name in runs[0])
    assert not all(torch.equal(runs[0][name], runs[2][name]) for name in runs[0])


def test_the_loss_is_that_of_the_full_logits(
    tiny_base: Path, tiny_adapters: dict[str, Path]
) -> None:
    from peft import PeftModel

    base = load_base_model(str(tiny_base))
    model = PeftModel.from_pretrained(base, str(tiny_adapters["one"]), is_trainable=True)
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(5, 250, (3, 12), generator=generator)
    mask = torch.ones_like(tokens)
    mask[1, 9:] = 0
    labels = tokens.masked_fill(mask == 0, -100)
    labels[:, :4] = -100
    labels[2, :11] = -100
    inputs = {"input_ids": tokens, "attention_mask": mask, "labels": labels}
    loss, count = response_loss(model, inputs)
    assert count == int((labels[:, 1:] != -100).sum()) == 8 + 5 + 1
    expected = model(**inputs).loss
    assert float(loss) / count == pytest.approx(float(expected), rel=1e-5)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    ours = torch.autograd.grad(loss / count, trained)
    theirs = torch.autograd.grad(expected, trained)
    for left, right in zip(ours, theirs, strict=True):
        torch.testing.assert_close(left, right, rtol=1e-4, atol=1e-6)


def test_the_prompt_is_not_trained_on(tiny_base: Path, tmp_path: Path) -> None:
    config = settings(tiny_base, nf4=False)
    examples = toy_examples(2)
    trainer = training._trainer(examples, examples, config=config, output=tmp_path)
    tokenizer = load_tokenizer(str(tiny_base))
    rows = [row for batch in trainer.get_train_dataloader() for row in batch["labels"]]
    trained_on = sorted(tokenizer.decode(row[row != -100]) for row in rows)
    assert trained_on == sorted(example.target + "</s>" for example in examples)


def test_accumulation_takes_the_same_step(tiny_base: Path, tmp_path: Path) -> None:
    """Two passes of two examples make the update that one pass of four makes."""
    weights = []
    for batch_size, accumulation in ((4, 1), (2, 2)):
        output = tmp_path / str(accumulation)
        config = settings(tiny_base, nf4=False, batch_size=batch_size, accumulation=accumulation)
        measures = train_adapter(toy_examples(4), toy_examples(2), config=config, output=output)
        assert measures["updates"] == 1
        weights.append(read_weights(output))
    for name, tensor in weights[0].items():
        torch.testing.assert_close(tensor, weights[1][name], rtol=1e-2, atol=2e-3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rank": 0}, "rank=0: give a whole number of at least 1"),
        ({"alpha": 0}, "alpha=0"),
        ({"batch_size": 0}, "batch_size=0"),
        ({"accumulation": -1}, "accumulation=-1"),
        ({"checkpoint_steps": 0}, "checkpoint_steps=0"),
        ({"dropout": 1.0}, r"dropout=1.0: give a number in \[0, 1\)"),
        ({"dropout": -0.1}, "dropout=-0.1"),
        ({"dropout": float("nan")}, "dropout=nan"),
        ({"warmup_share": 1.5}, "warmup_share=1.5"),
        ({"learning_rate": 0.0}, "learning_rate=0.0: give a positive number"),
        ({"learning_rate": -1e-3}, "learning_rate=-0.001"),
        ({"learning_rate": float("nan")}, "learning_rate=nan"),
        ({"learning_rate": float("inf")}, "learning_rate=inf"),
        ({"weight_decay": -0.1}, "weight_decay=-0.1"),
        ({"targets": ()}, "targets is empty: name the linear layers"),
    ],
)
def test_wrong_settings(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        AdapterTrainingConfig(**change)


@pytest.mark.parametrize("empty", [0, 1])
def test_no_examples(empty: int, tmp_path: Path) -> None:
    sets = [toy_examples(2), toy_examples(2)]
    sets[empty] = []
    with pytest.raises(ValueError, match="both need some"):
        train_adapter(*sets, config=QUICK, output=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_unknown_targets_are_refused(tiny_base: Path, tmp_path: Path) -> None:
    config = settings(tiny_base, nf4=False, targets=("query_key_value",))
    with pytest.raises(ValueError, match="query_key_value"):
        train_adapter(toy_examples(2), toy_examples(2), config=config, output=tmp_path / "run")
