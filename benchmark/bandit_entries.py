"""Who takes part in the contest of bandits, and over which settings each is tuned."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Any

from routing_gym.benchmark.bandit_peers import (
    Competitor,
    ContextualBanditsLinUCB,
    Learner,
    MabwiserLinUCB,
    OneByOne,
    Settings,
    VowpalText,
    VowpalWithoutFeatures,
    own_learner,
)

Maker = Callable[[Settings, int, int, int], Learner]


def competitors() -> tuple[Competitor, ...]:
    """Return all entries, installed or not; every grid has six settings."""
    linear = _grid("alpha", (0.1, 0.3, 1.0), "ridge", (0.3, 1.0))
    inverse_gap = _grid("gamma", (10.0, 30.0, 100.0), "ridge", (0.3, 1.0))
    vw_gap = _grid("learning_rate", (0.5, 2.0, 8.0), "gamma_scale", (10.0, 30.0))
    vw_cover = _grid("learning_rate", (0.5, 2.0, 8.0), "psi", (0.1, 1.0))
    vw = "vowpalwabbit"
    return (
        Competitor("linucb", "our LinUCB", "", 1, _own("linucb"), linear),
        Competitor("linucb_16", "our LinUCB", "", 16, _own("linucb"), tuned_as="linucb"),
        Competitor("linucb_64", "our LinUCB", "", 64, _own("linucb"), tuned_as="linucb"),
        Competitor("squarecb", "our SquareCB", "", 1, _own("squarecb"), inverse_gap),
        Competitor("vw_squarecb", "VW SquareCB", vw, 1, _own("vw_squarecb"), vw_gap),
        Competitor(
            "vw_squarecb_16",
            "VW SquareCB",
            vw,
            16,
            _one_by_one("vw_squarecb"),
            tuned_as="vw_squarecb",
        ),
        Competitor(
            "vw_squarecb_text",
            "VW SquareCB from text",
            vw,
            1,
            _peer(VowpalText),
            tuned_as="vw_squarecb",
        ),
        Competitor(
            "vw_squarecb_k",
            "VW SquareCB, --cb_explore K",
            vw,
            1,
            _peer(VowpalWithoutFeatures),
            vw_gap,
        ),
        Competitor("vw_cover", "VW cover", vw, 1, _own("vw_cover"), vw_cover),
        Competitor(
            "contextualbandits_linucb",
            "contextualbandits LinUCB",
            "contextualbandits",
            1,
            _peer(ContextualBanditsLinUCB),
            linear,
        ),
        Competitor(
            "contextualbandits_linucb_16",
            "contextualbandits LinUCB",
            "contextualbandits",
            16,
            _peer(ContextualBanditsLinUCB),
            tuned_as="contextualbandits_linucb",
        ),
        Competitor(
            "mabwiser_linucb", "mabwiser LinUCB", "mabwiser", 1, _peer(MabwiserLinUCB), linear
        ),
    )


def _grid(
    first: str, values: tuple[float, ...], second: str, others: tuple[float, ...]
) -> tuple[Settings, ...]:
    """Cross the values of two settings."""
    return tuple({first: one, second: other} for one, other in product(values, others))


def _own(agent: str) -> Maker:
    """Make agents of the registry."""

    def make(settings: Settings, arms: int, width: int, seed: int) -> Learner:
        return own_learner(agent, settings, arms=arms, width=width, seed=seed)

    return make


def _one_by_one(agent: str) -> Maker:
    """Make agents that have no quicker way with many than one after the other."""

    def make(settings: Settings, arms: int, width: int, seed: int) -> Learner:
        learner = own_learner(agent, settings, arms=arms, width=width, seed=seed)
        return OneByOne(learner, arms=arms)

    return make


def _peer(learner: Any) -> Maker:
    """Make learners of other libraries."""

    def make(settings: Settings, arms: int, width: int, seed: int) -> Learner:
        made: Learner = learner(settings, arms=arms, width=width, seed=seed)
        return made

    return make
