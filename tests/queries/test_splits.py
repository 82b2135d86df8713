from __future__ import annotations

from collections import Counter

import pytest

from routing_gym.queries.splits import SPLIT_SHARES, SPLITS, assign_split, normalise


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("Who is  Ann's father?", "who is ann s father"),
        ("  A\tB\n", "a b"),
        ("Straße", "strasse"),
        ("ﬁle", "file"),
        ("3,5 + 2", "3 5 2"),
        ("?!", ""),
    ],
)
def test_normalise(text: str, normal: str) -> None:
    assert normalise(text) == normal
    assert normalise(normal) == normal


def test_equal_texts_stay_together() -> None:
    assert assign_split("Who is it?") == assign_split("who  is IT")


def test_shares_are_met() -> None:
    counts = Counter(assign_split(f"text {i}") for i in range(4000))
    for name, share in zip(SPLITS, SPLIT_SHARES, strict=True):
        assert counts[name] / 4000 == pytest.approx(share, abs=0.03)


def test_seeds_are_independent() -> None:
    texts = [f"text {i}" for i in range(400)]
    same = sum(assign_split(t, seed=0) == assign_split(t, seed=1) for t in texts)
    assert 0.3 < same / 400 < 0.6  # .60² + .15² + .25² = .445
    assert [assign_split(t, seed=5) for t in texts] == [assign_split(t, seed=5) for t in texts]


@pytest.mark.parametrize("share", [0, 1, 2])
def test_one_share_takes_all(share: int) -> None:
    shares = (float(share == 0), float(share == 1), float(share == 2))
    assert {assign_split(str(i), shares=shares) for i in range(50)} == {SPLITS[share]}


@pytest.mark.parametrize("shares", [(0.5, 0.5, 0.5), (1.2, -0.1, -0.1), (0, 0, 0)])
def test_wrong_shares(shares: tuple[float, float, float]) -> None:
    with pytest.raises(ValueError, match="must be non-negative and sum to 1"):
        assign_split("x", shares=shares)
