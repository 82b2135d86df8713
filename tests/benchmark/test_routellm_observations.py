"""Guessed tasks: probabilities, learned from known queries alone, and honest about them."""

from __future__ import annotations

import numpy as np
import pytest

from routing_gym.benchmark.routellm_observations import Observations, guessed_tasks


def problem(n: int = 400) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Three tasks around three directions, and half of the queries known."""
    rng = np.random.default_rng(0)
    index = rng.integers(3, size=n)
    vectors = np.eye(8)[index] + rng.normal(scale=0.3, size=(n, 8))
    return vectors.astype(np.float32), np.array(["a", "b", "c"])[index], np.arange(n) % 2 == 0


def guess(vectors: np.ndarray, tasks: np.ndarray, known: np.ndarray) -> np.ndarray:
    groups = np.arange(len(tasks))
    return guessed_tasks(vectors, tasks, known=known, groups=groups, rng=np.random.default_rng(1))


def test_guesses_are_probabilities_and_good() -> None:
    vectors, tasks, known = problem()
    guesses = guess(vectors, tasks, known)
    assert guesses.shape == (400, 3)
    np.testing.assert_allclose(guesses.sum(axis=1), 1, atol=1e-5)
    right = np.array(["a", "b", "c"])[guesses.argmax(axis=1)] == tasks
    assert right[known].mean() > 0.9
    assert right[~known].mean() > 0.9


def test_tasks_of_other_queries_are_not_read() -> None:
    vectors, tasks, known = problem()
    hidden = np.where(known, tasks, "unheard of")
    np.testing.assert_array_equal(guess(vectors, hidden, known), guess(vectors, tasks, known))


def test_known_queries_are_guessed_without_their_own_task() -> None:
    rng = np.random.default_rng(2)
    vectors = rng.normal(size=(300, 250)).astype(np.float32)  # enough to learn any task by heart
    tasks = rng.choice(["a", "b"], size=300)
    guesses = guess(vectors, tasks, np.ones(300, dtype=np.bool_))
    right = np.array(["a", "b"])[guesses.argmax(axis=1)] == tasks
    assert right.mean() == pytest.approx(0.5, abs=0.1)


def test_equal_texts_are_guessed_together() -> None:
    rng = np.random.default_rng(3)
    vectors = np.repeat(rng.normal(size=(150, 140)), 2, axis=0).astype(np.float32)
    tasks = np.repeat(rng.choice(["a", "b"], size=150), 2)
    guesses = guessed_tasks(
        vectors,
        tasks,
        known=np.ones(300, dtype=np.bool_),
        groups=np.repeat(np.arange(150), 2),
        rng=np.random.default_rng(1),
    )
    right = np.array(["a", "b"])[guesses.argmax(axis=1)] == tasks
    assert right.mean() == pytest.approx(0.5, abs=0.12)


def test_fitted_encoders_see_train_texts_only() -> None:
    texts = np.array(["one apple and one pear", "one apple and two pears", "a plane, a train"] * 4)
    observations = Observations(texts)
    observations.start(np.arange(12) % 3 < 2)
    first, widths = observations.of("tfidf+surface")
    assert sum(widths) == first.shape[1]
    changed = texts.copy()
    changed[2::3] = "words that no train text holds"
    other = Observations(changed)
    other.start(np.arange(12) % 3 < 2)
    second, _ = other.of("tfidf+surface")
    np.testing.assert_array_equal(first[0], second[0])
    assert not second[2, : widths[0]].any()
