from __future__ import annotations

import numpy as np

from routing_gym.benchmark.synthetic_split import SyntheticProblem


def test_splits_are_repeatable_and_differ() -> None:
    problem = SyntheticProblem(seed=3, dimensions=16, arms=4)
    data = problem.split(50)
    again = SyntheticProblem(seed=3, dimensions=16, arms=4).split(50)
    np.testing.assert_array_equal(data.observations, again.observations)
    assert data.observations.dtype == data.rewards.dtype == np.float32
    assert data.rewards.shape == (50, 4)
    np.testing.assert_allclose(np.linalg.norm(data.observations, axis=1), 1, rtol=1e-5)
    assert (problem.split(50, part=1).rewards != data.rewards).any()
    assert (SyntheticProblem(seed=4, dimensions=16, arms=4).split(50).rewards != data.rewards).any()


def test_chunks_make_up_the_split() -> None:
    problem = SyntheticProblem(seed=0, dimensions=8)
    chunks = list(problem.chunks(25, size=10))
    assert [len(chunk) for chunk in chunks] == [10, 10, 5]
    assert chunks[1].query_ids[0] == "q00000010"
    lean = next(problem.chunks(25, size=10, lean=True))
    assert lean.observations.dtype == np.float16
    assert not lean.costs
    np.testing.assert_array_equal(lean.rewards, chunks[0].rewards)


def test_a_linear_router_learns_almost_everything() -> None:
    problem = SyntheticProblem(seed=1, dimensions=64)
    train, held_out = problem.split(4000), problem.split(1000, part=1)
    weights = np.linalg.lstsq(train.observations, train.rewards, rcond=None)[0]
    actions = (held_out.observations @ weights).argmax(axis=1)
    value = held_out.rewards[np.arange(1000), actions].mean()
    best, oracle = held_out.rewards.mean(axis=0).max(), held_out.rewards.max(axis=1).mean()
    assert (value - best) / (oracle - best) > 0.9


def test_tables_hold_the_split() -> None:
    problem = SyntheticProblem(seed=0, dimensions=8)
    table = problem.table(50)
    data = table.data("train", {"quality": 1.0})
    assert len(data) == 30
    assert data.adapters == problem.adapters
    np.testing.assert_allclose(data.rewards, table.scores["quality"][table.split == "train"])
