from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import docstring_parser
import pytest
import yaml

from routing_gym.serving.exploration import Exploration
from routing_gym.serving.settings import ServeConfig, policy_of

ROOT = Path(__file__).resolve().parents[2]


def test_the_defaults_are_safe() -> None:
    config = ServeConfig()
    assert (config.host, config.log_text, config.log_required) == ("127.0.0.1", False, True)
    assert config.exploration_override is None
    assert config.evaluated_share == 0.1
    assert ServeConfig(backend="openai").evaluated_share == 0.0
    assert ServeConfig(backend="openai", self_evaluation_share=0.5).evaluated_share == 0.5


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"port": 70000}, "port=70000 is not allowed"),
        ({"port": -1}, "port=-1"),
        ({"host": ""}, "host=''"),
        ({"max_body_bytes": 0}, "max_body_bytes=0"),
        ({"max_prompt_chars": 0}, "max_prompt_chars=0"),
        ({"max_messages": 0}, "max_messages=0"),
        ({"max_batch": 0}, "max_batch=0"),
        ({"max_batch": 300}, "decision_queue=256 .* at least max_batch=300"),
        ({"concurrency": 0}, "concurrency=0"),
        ({"queue_size": -1}, "queue_size=-1"),
        ({"default_max_tokens": 4096}, "default_max_tokens=4096 .* 1 to max_tokens=1024"),
        ({"request_timeout": 0}, "request_timeout=0"),
        ({"first_token_timeout": float("nan")}, "first_token_timeout=nan"),
        ({"decision_timeout": float("inf")}, "decision_timeout=inf"),
        ({"drain_seconds": -1}, "drain_seconds=-1"),
        ({"self_evaluation_share": 1.5}, "self_evaluation_share=1.5"),
        ({"drift_half_life": 0}, "drift_half_life=0"),
        ({"seed": -1}, "seed=-1"),
        ({"bundles": {"a b": Path("x")}}, "bundles='a b'"),
        ({"demo_frames": ("https://a.example; script-src *",)}, "demo_frames='https://a.example; "),
        ({"demo_frames": ("https://a.example/page",)}, "without a path"),
        ({"exploration": "epsilon", "epsilon": 2.0}, "epsilon=2.0"),
        ({"exploration": "softmax", "exploration_temperature": 0.0}, "temperature=0.0"),
    ],
)
def test_bad_values_are_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ServeConfig(**wrong)


def test_the_exploration_can_be_overridden() -> None:
    config = ServeConfig(exploration="epsilon", epsilon=0.2)
    assert config.exploration_override == Exploration("epsilon", epsilon=0.2)


def test_every_setting_is_documented_and_the_file_is_of_settings() -> None:
    assert ServeConfig.__doc__ is not None
    documented = {entry.arg_name for entry in docstring_parser.parse(ServeConfig.__doc__).params}
    known = {field.name for field in fields(ServeConfig)}
    assert documented == known
    content = yaml.safe_load((ROOT / "configs" / "serve.yaml").read_text("utf-8"))
    assert content.keys() <= known


@pytest.mark.parametrize(
    ("model", "policy"),
    [
        ("router", "ppo"),
        ("router:ppo", "ppo"),
        ("router:knn", "knn"),
        ("code", None),
        ("x:y", None),
    ],
)
def test_model_names_ask_for_policies(model: str, policy: str | None) -> None:
    assert policy_of(model, policies=("ppo", "knn")) == policy


def test_an_unknown_policy_is_named_with_the_nearest() -> None:
    with pytest.raises(ValueError, match=r"served are ppo, knn; did you mean 'ppo'\?"):
        policy_of("router:pp", policies=("ppo", "knn"))
    with pytest.raises(ValueError, match="no such policy"):
        policy_of("router:", policies=("ppo", "knn"))
