from __future__ import annotations

import numpy as np
import pytest

from routing_gym.benchmark.off_policy_models import (
    REWARD_MODELS,
    RIDGE_PENALTIES,
    LeaveOneOutRidge,
    cross_fit,
    cross_fit_cells,
    principal_components,
    query_folds,
)
from tests.agents.problems import identity


def log_arrays(n: int = 600, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows, actions and rewards of the uniform policy on the identity problem."""
    data = identity("train")
    rng = np.random.default_rng(seed)
    rows = rng.integers(len(data), size=n)
    actions = rng.integers(data.num_adapters, size=n)
    return rows, actions, data.rewards[rows, actions].astype(np.float64)


def test_a_query_stays_in_one_fold() -> None:
    queries = [f"q{i % 30}" for i in range(200)]
    folds = query_folds(queries, folds=5, rng=np.random.default_rng(0))
    for query in set(queries):
        assert len({fold for name, fold in zip(queries, folds, strict=True) if name == query}) == 1
    assert sorted(set(folds.tolist())) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("model", [name for name in REWARD_MODELS if name != "mean"])
def test_models_learn_the_identity_problem(model: str) -> None:
    data = identity("train")
    rows, actions, rewards = log_arrays()
    folds = query_folds([str(row) for row in rows], folds=4, rng=np.random.default_rng(0))
    predictions = cross_fit(
        model,
        data.observations[rows],
        actions=actions,
        rewards=rewards,
        folds=folds,
        num_adapters=data.num_adapters,
    )
    truth = data.rewards[rows]
    explained = 1 - ((predictions - truth) ** 2).sum() / ((truth - truth.mean(0)) ** 2).sum()
    assert explained > 0.8
    assert predictions.min() >= rewards.min()
    assert predictions.max() <= rewards.max()


@pytest.mark.parametrize("shape", [(80, 6), (12, 20)])
def test_the_ridge_is_scikit_learns(shape: tuple[int, int]) -> None:
    from sklearn.linear_model import RidgeCV

    rng = np.random.default_rng(0)
    features = rng.normal(size=shape) + 2
    targets = features[:, 0] + rng.normal(size=shape[0])
    own = LeaveOneOutRidge().fit(features, targets)
    peer = RidgeCV(alphas=RIDGE_PENALTIES).fit(features, targets)
    assert own.penalty == pytest.approx(peer.alpha_)
    other = rng.normal(size=(5, shape[1]))
    np.testing.assert_allclose(own.predict(other), peer.predict(other))


def test_means_need_no_contexts_and_never_see_their_own_fold() -> None:
    actions = np.array([0, 0, 1, 1])
    rewards = np.array([1.0, 0.0, 0.5, 0.7])
    folds = np.array([0, 1, 0, 1])
    found = cross_fit("mean", None, actions=actions, rewards=rewards, folds=folds, num_adapters=2)
    # fold 0 learns from rewards 0 (adapter 0) and 0.7 (adapter 1), each drawn towards 0.35
    np.testing.assert_allclose(found[0], [0.175, 0.525])
    np.testing.assert_allclose(found[2], found[0])
    np.testing.assert_allclose(found[1], [(1 + 0.75) / 2, (0.5 + 0.75) / 2])


def test_noise_is_not_memorised() -> None:
    rng = np.random.default_rng(0)
    observations, rewards = rng.normal(size=(300, 5)), rng.random(300)
    folds = query_folds([str(i) for i in range(300)], folds=5, rng=rng)
    actions = np.zeros(300, dtype=int)
    predictions = cross_fit(
        "boosting", observations, actions=actions, rewards=rewards, folds=folds, num_adapters=2
    )
    assert abs(np.corrcoef(predictions[:, 0], rewards)[0, 1]) < 0.2


def test_cell_means_against_a_loop() -> None:
    rng = np.random.default_rng(0)
    shape, size = (3, 4, 2), (2, 50)
    cells, actions = rng.integers(4, size=size), rng.integers(2, size=size)
    folds, rewards = rng.integers(3, size=size), rng.random(size)
    found = cross_fit_cells(
        cells, actions=actions, rewards=rewards, folds=folds, shape=shape, prior=2.0
    )
    assert found.shape == (2, *shape)
    for log, fold, cell, arm in np.ndindex(2, *shape):
        fit = folds[log] != fold
        overall = rewards[log][fit].mean()
        own = fit & (actions[log] == arm)
        mean = (rewards[log][own].sum() + 2 * overall) / (own.sum() + 2)
        here = own & (cells[log] == cell)
        expected = (rewards[log][here].sum() + 2 * mean) / (here.sum() + 2)
        assert found[log, fold, cell, arm] == pytest.approx(expected)


def test_principal_components_keep_the_variance() -> None:
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(100, 2)) @ rng.normal(size=(2, 10)) + 3
    kept = principal_components(rows, 2)
    assert kept.shape == (100, 2)
    assert kept.var(axis=0).sum() == pytest.approx(rows.var(axis=0).sum())
    assert principal_components(rows, 50).shape == (100, 10)
    with pytest.raises(ValueError, match="count=0"):
        principal_components(rows, 0)


def test_wrong_settings_are_refused() -> None:
    rows, actions, rewards = log_arrays(20)
    arrays = {"actions": actions, "rewards": rewards, "folds": rows % 2, "num_adapters": 4}
    with pytest.raises(ValueError, match="model='rigde' is unknown: choose one of ridge"):
        cross_fit("rigde", None, **arrays)
    with pytest.raises(ValueError, match="model='ridge' needs the contexts"):
        cross_fit("ridge", None, **arrays)
    with pytest.raises(ValueError, match="folds=9 must be at least 2 and at most the 2"):
        query_folds(["a", "b", "a"], folds=9, rng=np.random.default_rng(0))
