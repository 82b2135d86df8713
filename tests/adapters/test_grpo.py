"""GRPO on a tiny model: exact log-probabilities, reward and update; resume; what is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from routing_gym.adapters import grpo_trainer
from routing_gym.adapters.base_model import load_base_model, load_tokenizer
from routing_gym.adapters.generation import generate
from routing_gym.adapters.grpo import GRPOSettings, train_grpo, verified_reward
from routing_gym.adapters.grpo_trainer import Rollout, answer_log_probs
from routing_gym.adapters.merging import merged
from routing_gym.adapters.prompt import render_prompt
from routing_gym.queries.dataset import make_examples
from routing_gym.queries.query import Example, Query

for package in ("trl", "peft", "bitsandbytes", "datasets"):
    pytest.importorskip(package)

QUICK = GRPOSettings(
    nf4=False,
    rank=4,
    alpha=8,
    learning_rate=1e-2,
    warmup_share=0.0,
    checkpoint_steps=2,
    prompts=2,
    generations=4,
    max_tokens=5,
)
EXAMPLES = make_examples(["turns"], 14, seed=5)
SETS = (EXAMPLES[:12], EXAMPLES[12:])


def vowels(query: Query, response: str) -> float:
    """A reward that a random model can earn: the share of vowels."""
    return sum(letter in "aeiou" for letter in response) / max(1, len(response))


def settings(base: Path, **changes: Any) -> GRPOSettings:
    return replace(QUICK, base_model=str(base), **changes)


def read_weights(output: Path) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    weights: dict[str, torch.Tensor] = load_file(output / "adapter" / "adapter_model.safetensors")
    return weights


def loaded(base: Path, adapter: Path) -> Any:
    from peft import PeftModel

    return PeftModel.from_pretrained(load_base_model(str(base)), str(adapter), is_trainable=True)


def test_log_probabilities_are_those_of_the_full_logits(
    tiny_base: Path, tiny_adapters: dict[str, Path]
) -> None:
    model = loaded(tiny_base, tiny_adapters["one"])
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(5, 250, (6, 11), generator=generator)
    mask = torch.ones_like(ids)
    ids[1:3, :7], ids[4:, :7] = ids[0, :7].clone(), ids[3, :7].clone()  # two prompts, mixed below
    mask[3:, :2] = 0  # padding on the left
    mask[1, 9:], mask[4, 8:] = 0, 0  # answers of other lengths
    order = torch.tensor([3, 0, 4, 1, 5, 2])
    ids, mask = ids[order], mask[order]
    ours, entropies = answer_log_probs(model, ids, mask, answer_tokens=4, temperature=0.7)

    positions = (mask.cumsum(dim=1) - 1).clamp(min=0)
    logits = model(input_ids=ids, attention_mask=mask, position_ids=positions).logits / 0.7
    scores = logits[:, 6:-1].log_softmax(dim=-1)
    present = mask[:, 7:]
    expected = scores.gather(-1, ids[:, 7:, None])[..., 0] * present
    torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(entropies, -(scores.exp() * scores).sum(-1) * present)
    assert not entropies.requires_grad

    weights = torch.rand(ours.shape, generator=generator)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    theirs = torch.autograd.grad((expected * weights).sum(), trained)
    for left, right in zip(
        torch.autograd.grad((ours * weights).sum(), trained), theirs, strict=True
    ):
        torch.testing.assert_close(left, right, rtol=1e-3, atol=1e-5)


def test_answers_of_one_token(tiny_base: Path, tiny_adapters: dict[str, Path]) -> None:
    model = loaded(tiny_base, tiny_adapters["one"])
    ids = torch.tensor([[7, 8, 9], [7, 8, 10]])
    log_probs, _ = answer_log_probs(model, ids, torch.ones_like(ids), answer_tokens=1)
    scores = model(input_ids=ids[:1, :2]).logits[0, -1].log_softmax(dim=-1)
    torch.testing.assert_close(log_probs[:, 0], scores[[9, 10]])


class Stage:
    """What a rollout sees of a trainer."""

    def __init__(self, model: Any, tokenizer: Any, update: int) -> None:
        self.model, self.processing_class, self.accelerator = model, tokenizer, self
        self.state = type("State", (), {"global_step": update})

    def unwrap_model(self, model: Any) -> Any:
        return model


def test_a_rollout_depends_on_its_seed_and_its_update_alone(
    tiny_base: Path, tiny_adapters: dict[str, Path]
) -> None:
    model, tokenizer = loaded(tiny_base, tiny_adapters["one"]), load_tokenizer(str(tiny_base))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    budgets = {"Who is taller?\n": 5, "Sort these.\n": 3}
    prompts = [prompt for prompt in budgets for _ in range(3)]

    def draw(seed: int, update: int) -> dict[str, Any]:
        torch.manual_seed(seed + update)  # no global generator has a say
        rollout = Rollout(budgets, generations=3, temperature=1.0, seed=seed)
        return rollout(prompts, Stage(model, tokenizer, update))

    first = draw(1, 0)
    assert first == draw(1, 0)
    assert first["completion_ids"] != draw(1, 1)["completion_ids"]
    assert first["completion_ids"] != draw(2, 0)["completion_ids"]
    assert [len(ids) <= budgets[p] for p, ids in zip(prompts, first["completion_ids"], strict=True)]
    assert first["prompt_ids"] == tokenizer(prompts, add_special_tokens=False)["input_ids"]
    assert len({tuple(ids) for ids in first["completion_ids"]}) > 2
    after = model.state_dict()
    assert all(torch.equal(tensor, after[name]) for name, tensor in before.items())
    assert model.training


@pytest.mark.parametrize(
    ("response", "form_weight", "expected"),
    [
        ("{right}", 0.0, 1.0),
        ("{right}", 0.2, 1.2),
        ("I think the answer is {right}, of course", 0.2, 1.0),
        ("{wrong}", 0.2, 0.0),
        ("", 0.2, 0.0),
    ],
)
def test_the_reward(response: str, form_weight: float, expected: float) -> None:
    example = EXAMPLES[0]
    wrong = "north" if example.target != "north" else "south"
    text = response.format(right=example.target, wrong=wrong)
    assert verified_reward(form_weight)(example.query, text) == pytest.approx(expected)


def test_the_verifier_is_asked_about_the_right_query(
    tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[Query, str]] = []

    def noted(query: Query, response: str) -> float:
        asked.append((query, response))
        return float(len(asked) % 2)

    config = settings(tiny_base)
    measures = train_grpo(*SETS, config=config, output=tmp_path, reward=noted)
    assert [query for query, _ in asked[::4]] == [example.query for example in SETS[0]]
    assert all(asked[i][0] == asked[i - i % 4][0] for i in range(len(asked)))
    assert measures["train_reward"] == measures["late_train_reward"] == pytest.approx(0.5)
    assert measures["informative_share"] == 1.0


def test_a_run_saves_an_adapter_that_answers_otherwise(tiny_base: Path, tmp_path: Path) -> None:
    config = settings(tiny_base)
    measures = train_grpo(*SETS, config=config, output=tmp_path, reward=vowels)
    assert measures["updates"] == 6
    assert 12 * 4 <= measures["generated_tokens"] <= 12 * 4 * 5
    assert measures["trained_tokens"] > measures["generated_tokens"]
    assert 0 < measures["cpu_seconds_per_update"] <= measures["cpu_seconds"]
    assert 0 <= measures["held_out_accuracy"] <= 1
    weights = read_weights(tmp_path)
    assert {tensor.dtype for tensor in weights.values()} == {torch.float16}
    assert all(bool(t.any()) for name, t in weights.items() if "lora_B" in name)
    names = sorted(child.name for child in (tmp_path / "adapter").iterdir())
    assert names == ["adapter_config.json", "adapter_model.safetensors", "training.json"]
    record = json.loads((tmp_path / "adapter" / "training.json").read_text())
    assert (record["method"], record["measures"]) == ("grpo", measures)
    assert record["config"]["generations"] == 4
    assert not list(tmp_path.glob("checkpoint-*"))
    assert list(tmp_path.rglob("events.out.tfevents.*"))

    model, tokenizer = (
        loaded(tiny_base, tmp_path / "adapter").eval(),
        load_tokenizer(str(tiny_base)),
    )
    prompt = render_prompt(tokenizer, "Who is taller?")
    with merged(model):
        (answer,) = generate(model, tokenizer, [prompt], max_new_tokens=[4])
    assert 1 <= answer.completion_tokens <= 4


def test_training_raises_the_reward(tiny_base: Path, tmp_path: Path) -> None:
    examples = make_examples(["turns"], 66, seed=6)
    config = settings(tiny_base, prompts=4, generations=8, checkpoint_steps=100, learning_rate=2e-2)
    measures = train_grpo(
        examples[:64], examples[64:], config=config, output=tmp_path, reward=vowels
    )
    assert measures["late_train_reward"] > measures["train_reward"] + 0.04


def test_equal_rewards_teach_nothing(
    tiny_base: Path, tiny_adapters: dict[str, Path], tmp_path: Path
) -> None:
    from safetensors.torch import load_file

    config = settings(tiny_base, start_from=str(tiny_adapters["one"]))
    measures = train_grpo(
        SETS[0][:4], SETS[1], config=config, output=tmp_path, reward=lambda *_: 0.0
    )
    assert (measures["train_reward"], measures["informative_share"]) == (0.0, 0.0)
    old = load_file(tiny_adapters["one"] / "adapter_model.safetensors")
    assert all(torch.equal(old[name], tensor) for name, tensor in read_weights(tmp_path).items())


@pytest.mark.parametrize("loss", ["dapo", "dr_grpo"])
def test_passes_may_be_smaller_than_an_update(tiny_base: Path, tmp_path: Path, loss: str) -> None:
    weights = []
    for accumulation in (1, 2):
        config = settings(tiny_base, accumulation=accumulation, loss=loss, scale_rewards=False)
        output = tmp_path / str(accumulation)
        measures = train_grpo(SETS[0][:2], SETS[1], config=config, output=output, reward=vowels)
        assert measures["updates"] == 1
        weights.append(read_weights(output))
    for name, tensor in weights[0].items():
        torch.testing.assert_close(tensor, weights[1][name], rtol=1e-2, atol=2e-3)


def test_qlora(tiny_base: Path, tmp_path: Path) -> None:
    config = settings(tiny_base, nf4=True)
    train_grpo(SETS[0][:2], SETS[1], config=config, output=tmp_path, reward=vowels)
    assert all(bool(t.any()) for name, t in read_weights(tmp_path).items() if "lora_B" in name)


class Killed:
    """Log-probabilities that die at one of their passes."""

    def __init__(self, at: int) -> None:
        self.at, self.passes = at, 0

    def __call__(self, *args: Any, **options: Any) -> Any:
        self.passes += 1
        if self.passes == self.at:
            raise KeyboardInterrupt
        return answer_log_probs(*args, **options)


def kill(config: GRPOSettings, output: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Train for six updates and die in the last."""
    monkeypatch.setattr(grpo_trainer, "answer_log_probs", Killed(6))
    with pytest.raises(KeyboardInterrupt):
        train_grpo(*SETS, config=config, output=output, reward=vowels)


def test_a_killed_run_goes_on_to_the_same_adapter(
    tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = settings(tiny_base)
    whole = train_grpo(*SETS, config=config, output=tmp_path / "whole", reward=vowels)
    output = tmp_path / "killed"
    kill(config, output, monkeypatch)
    assert [folder.name for folder in output.glob("checkpoint-*")] == ["checkpoint-4"]
    assert not (output / "adapter").exists()

    counter = Killed(at=0)
    monkeypatch.setattr(grpo_trainer, "answer_log_probs", counter)
    measures = train_grpo(*SETS, config=config, output=output, reward=vowels)
    assert counter.passes == 2
    timed = ("seconds", "cpu_seconds", "cpu_seconds_per_update")
    assert {k: v for k, v in measures.items() if k not in timed} == {
        k: v for k, v in whole.items() if k not in timed
    }
    first, second = read_weights(tmp_path / "whole"), read_weights(output)
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_checkpoint_of_other_settings_is_not_continued(
    tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kill(settings(tiny_base), tmp_path, monkeypatch)
    with pytest.raises(ValueError, match="checkpoint-4 belongs to a run with other settings"):
        train_grpo(*SETS, config=settings(tiny_base, temperature=0.5), output=tmp_path)
    with pytest.raises(ValueError, match="belongs to a run with other settings or examples"):
        train_grpo(SETS[0][::-1], SETS[1], config=settings(tiny_base), output=tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"prompts": 0}, "prompts=0: give a whole number of at least 1"),
        ({"max_tokens": 0}, "max_tokens=0"),
        ({"generations": 1}, "generations=1: give at least 2"),
        ({"temperature": 0.0}, "temperature=0.0: give a positive number"),
        ({"temperature": float("nan")}, "temperature=nan"),
        ({"loss": "ppo"}, "loss='ppo': use one of grpo, bnpo, dr_grpo, dapo"),
        ({"form_weight": -0.1}, "form_weight=-0.1: give 0 or more"),
        ({"accumulation": 3}, "accumulation=3 does not divide the 64 answers"),
        ({"accumulation": 0}, "accumulation=0"),
        ({"learning_rate": 0.0}, "learning_rate=0.0"),
        ({"rank": 0}, "rank=0"),
    ],
)
def test_wrong_settings(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        GRPOSettings(**change)


@pytest.mark.parametrize(
    ("asked", "held_out", "message"),
    [(1, 2, "1 examples, 2 held out: an update takes 2"), (4, 0, "4 examples, 0 held out")],
)
def test_too_few_examples(asked: int, held_out: int, message: str, tmp_path: Path) -> None:
    sets: tuple[list[Example], list[Example]] = (EXAMPLES[:asked], EXAMPLES[12 : 12 + held_out])
    with pytest.raises(ValueError, match=message):
        train_grpo(*sets, config=QUICK, output=tmp_path / "run")
    assert not (tmp_path / "run").exists()
