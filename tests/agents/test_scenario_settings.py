"""Settings of PPO on the scenarios: read as YAML gives them, refused in words."""

from __future__ import annotations

from typing import Any

import pytest

from routing_gym.agents.scenario_settings import ALGORITHM_NAMES, ScenarioPPOConfig


def test_settings_are_read_as_yaml_gives_them() -> None:
    config = ScenarioPPOConfig.from_mapping({"hidden_sizes": [32, 16], "reward_scale": 1})
    assert config.hidden_sizes == (32, 16)
    assert config.reward_scale == 1.0
    assert type(config.reward_scale) is float
    assert config.rollout == config.num_envs * config.steps_per_update


def test_the_learning_rate_falls_to_a_tenth() -> None:
    config = ScenarioPPOConfig(learning_rate=1e-2)
    assert [config.scheduled_rate(left) for left in (1.0, 0.5, 0.0)] == pytest.approx(
        [1e-2, 5.5e-3, 1e-3]
    )


@pytest.mark.parametrize("algorithm", ALGORITHM_NAMES)
def test_every_algorithm_has_settings(algorithm: Any) -> None:
    imitation = 0 if algorithm == "recurrent_ppo" else 10
    assert ScenarioPPOConfig(algorithm=algorithm, imitation_steps=imitation)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"learning_rte": 1.0}, "unknown setting 'learning_rte'.*did you mean 'learning_rate'"),
        ({"learning_rate": "1e-3"}, "learning_rate='1e-3' must be of type float"),
        ({"learning_rate": True}, "must be of type float"),
        ({"epochs": 1.5}, "epochs=1.5 must be of type int"),
        ({"hidden_sizes": 64}, "hidden_sizes=64 must be of type tuple"),
        ({"hidden_sizes": [0]}, "whole numbers above 0"),
        ({"algorithm": "dqn"}, "algorithm='dqn' must be one of"),
        ({"algorithm": "recurrent_ppo"}, "cannot imitate: set imitation_steps=0"),
        ({"batch_size": 1}, "batch_size=1 does not fit"),
        ({"total_steps": 10}, "less than one update"),
        ({"num_envs": 0}, "num_envs=0 is too small"),
        ({"learning_rate": 0.0}, "learning_rate=0.0"),
        ({"clip_range": 1.0}, "clip_range=1.0"),
        ({"discount": 0.0}, "discount=0.0"),
        ({"gae_lambda": 1.5}, "gae_lambda=1.5"),
        ({"entropy_coefficient": -1.0}, "entropy_coefficient=-1.0 is negative"),
        ({"reward_scale": 0.0}, "reward_scale=0.0 is not above 0"),
    ],
)
def test_refuses_bad_settings(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ScenarioPPOConfig.from_mapping(settings)
