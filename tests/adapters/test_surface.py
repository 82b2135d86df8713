from __future__ import annotations

import numpy as np

from routing_gym.adapters.surface import (
    FEATURES,
    SurfaceEncoder,
    SurfaceKernelEncoder,
    surface_features,
)

NAMES = [name for name, _, _ in FEATURES]


def described(text: str) -> dict[str, float]:
    return dict(zip(NAMES, surface_features([text])[0], strict=True))


def test_features_by_hand() -> None:
    found = described("Ann has 3 cats.\nIs 1,250.5 not more than 3?")
    assert found["log words"] == np.log1p(7)
    assert found["log lines"] == np.log1p(2)
    assert found["log numbers"] == np.log1p(3)
    assert found["log different numbers"] == np.log1p(2)
    assert found["log largest number"] == np.log1p(1250.5)
    assert found["negations"] == np.log1p(1)
    assert found["question marks"] == np.log1p(1)
    assert found["log longest line"] == np.log1p(27)
    assert found["log words of the last sentence"] == np.log1p(4)


def test_odd_texts_are_described() -> None:
    vectors = SurfaceEncoder().encode(["", "\n", "…", "1" * 400, "x" * 10_000, "日本語"])
    assert np.isfinite(vectors).all()
    assert (np.linalg.norm(vectors, axis=1) <= 5.001).all()


def test_kernel_features_approximate_the_kernel() -> None:
    rng = np.random.default_rng(0)
    words = np.array(["cat", "No", "17", "3.5", "reasonably", "(x)", "?\n", "is."])
    texts = [" ".join(rng.choice(words, rng.integers(1, 40))) for _ in range(30)]
    plain = SurfaceEncoder().encode(texts).astype(np.float64)
    waves = SurfaceKernelEncoder().encode(texts).astype(np.float64)
    squared = ((plain[:, None] - plain[None]) ** 2).sum(axis=2)
    np.testing.assert_allclose(waves @ waves.T, np.exp(-squared / 2 / 1.7**2), atol=0.2)
    assert np.abs(waves @ waves.T - np.exp(-squared / 2 / 1.7**2)).mean() < 0.04
