from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from routing_gym.rewards.quality_network import (
    Ensemble,
    NetworkConfig,
    fit_ensemble,
    log_loss,
    rate_share,
)

CONFIG = NetworkConfig(members=3, hidden=16, epochs=15, patience=5, batch_size=64)


def problem(count: int = 600, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Right if two features have the same sign: no single feature tells."""
    features = np.random.default_rng(seed).normal(size=(count, 4)).astype(np.float32)
    return features, (features[:, 0] * features[:, 1] > 0).astype(np.float64)


def by_hand() -> Ensemble:
    """One hidden layer: logit = relu(x0) - 2 relu(-x0) + member."""
    first = np.array([[[1.0, -1.0]]] * 2, dtype=np.float32)
    second = np.array([[[1.0], [-2.0]]] * 2, dtype=np.float32)
    biases = (np.zeros((2, 1, 2), np.float32), np.array([[[0.0]], [[1.0]]], np.float32))
    return Ensemble((first, second), biases, dropout=0.5)


def test_forward_by_hand() -> None:
    logits = by_hand().logits(np.array([[3.0], [-1.0]], dtype=np.float32))
    np.testing.assert_allclose(logits, [[3, -2], [4, -1]])


def test_dropout_by_hand() -> None:
    features = np.full((4000, 1), 3.0, dtype=np.float32)
    drawn = by_hand().sampled_logits(features, passes=3, rng=np.random.default_rng(0))
    assert drawn.shape == (3, 4000)
    assert set(np.unique(drawn[0])) == {0.0, 6.0}  # kept units count double
    assert set(np.unique(drawn[1])) == {1.0, 7.0}  # the second member
    np.testing.assert_allclose(drawn[2].mean(), 3, atol=0.2)


def test_log_loss_by_hand() -> None:
    assert log_loss(np.array([0.0, np.log(3)]), np.array([1, 0])) == pytest.approx(
        -(np.log(0.5) + np.log(0.25)) / 2
    )


def test_numpy_predicts_what_torch_trained() -> None:
    features, labels = problem()
    ensemble = fit_ensemble(features, labels, config=CONFIG, seed=0, epochs=2).ensemble
    hidden = torch.from_numpy(features).expand(3, -1, -1)
    for layer, (weight, bias) in enumerate(zip(ensemble.weights, ensemble.biases, strict=True)):
        hidden = torch.relu(hidden) if layer else hidden
        hidden = torch.baddbmm(torch.from_numpy(bias), hidden, torch.from_numpy(weight))
    np.testing.assert_allclose(ensemble.logits(features), hidden[..., 0].numpy(), atol=1e-5)


def test_learns_an_interaction() -> None:
    features, labels = problem()
    config = dataclasses.replace(CONFIG, epochs=30, learning_rate=0.01)
    fit = fit_ensemble(features, labels, config=config, seed=0, validation=problem(400, seed=1))
    new, truth = problem(400, seed=2)
    assert ((fit.ensemble.logits(new).mean(axis=0) > 0) == truth).mean() > 0.9
    assert fit.epochs == 1 + int(np.argmin(fit.losses))


def test_deterministic_and_leaves_the_global_generator_alone() -> None:
    features, labels = problem(200)
    state = torch.random.get_rng_state()
    one, two, other = (
        fit_ensemble(features, labels, config=CONFIG, seed=seed, epochs=2) for seed in (0, 0, 1)
    )
    assert torch.equal(state, torch.random.get_rng_state())
    for left, right, third in zip(
        one.ensemble.weights, two.ensemble.weights, other.ensemble.weights, strict=True
    ):
        np.testing.assert_array_equal(left, right)
        assert (left != third).any()
    members = one.ensemble.logits(features)
    assert (members[0] != members[1]).any()


def test_learning_rate_by_hand() -> None:
    shares = [rate_share(progress) for progress in (0, 0.05, 0.1, 0.55, 1)]
    np.testing.assert_allclose(shares, [0.04, 0.52, 1, 0.5, 0], atol=1e-12)


def test_best_epoch_is_kept_and_patience_stops() -> None:
    features, labels = problem(100)
    opposite = (features, 1 - labels)  # every step makes it worse
    config = dataclasses.replace(CONFIG, patience=3)
    fit = fit_ensemble(features, labels, config=config, seed=0, validation=opposite)
    assert len(fit.losses) <= fit.epochs + 3
    assert log_loss(fit.ensemble.logits(features).mean(axis=0), 1 - labels) == pytest.approx(
        min(fit.losses)
    )


def test_hidden_features_teach_to_do_without() -> None:
    rng = np.random.default_rng(0)
    truth = rng.integers(2, size=800).astype(np.float64)
    strong, weak = 2 * truth - 1, 2 * truth - 1 + rng.normal(scale=1.0, size=800)
    features = np.stack([strong, weak], axis=1).astype(np.float32)
    without = features * np.array([0, 1], dtype=np.float32)
    config = dataclasses.replace(CONFIG, unmeasured_share=0.2)
    losses = [
        log_loss(
            fit_ensemble(features, truth, config=config, seed=0, optional=groups)
            .ensemble.logits(without)
            .mean(axis=0),
            truth,
        )
        for groups in ([np.array([0])], [])
    ]
    assert losses[0] < losses[1]
    assert losses[0] < 0.5


def test_refusals() -> None:
    features = problem(20)[0]
    with pytest.raises(ValueError, match="hold one class only"):
        fit_ensemble(features, np.ones(20), config=CONFIG, seed=0)
    whole = by_hand()
    with pytest.raises(ValueError, match="make no network"):
        dataclasses.replace(whole, weights=whole.weights[::-1])
    with pytest.raises(ValueError, match="not finite"):
        dataclasses.replace(whole, biases=(whole.biases[0], whole.biases[1] * np.nan))


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("members", 0),
        ("hidden", 0),
        ("dropout", 1.0),
        ("unmeasured_share", -0.1),
        ("learning_rate", 0.0),
        ("weight_decay", -1.0),
    ],
)
def test_settings_are_checked(setting: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"{setting}={value}"):
        NetworkConfig(**{setting: value})  # type: ignore[arg-type]
