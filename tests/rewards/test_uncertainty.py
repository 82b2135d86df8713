from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from scipy.special import expit, logit
from torch import nn

from routing_gym.queries.registry import resolve
from routing_gym.rewards.calibration import IsotonicCalibration, TemperatureScaling
from routing_gym.rewards.metric import Answer
from routing_gym.rewards.uncertainty import (
    NO_TOKENS,
    UNCERTAINTIES,
    UncertaintyQuantifier,
    recorded_entropies,
    summarise,
)

LN2 = math.log(2)
FEATURES = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32)
MEASURES = ("entropy", "std", "mutual_information")


class TwoMembers:
    """Logits are the first feature, off by -1 and 1 in the two members, or by noise in a pass."""

    num_members = 2

    def logits(
        self, features: Any, *, passes: int = 0, rng: np.random.Generator | None = None
    ) -> np.ndarray:
        if not passes:
            return features[:, 0] + np.array([[-1.0], [1.0]])
        assert rng is not None
        return features[:, 0] + rng.normal(size=(passes, len(features))) * features[:, 1]


class Fixed:
    """Returns one thing whatever it is asked."""

    def __init__(self, logits: np.ndarray, num_members: int = 2) -> None:
        self._logits, self.num_members = logits, num_members

    def logits(self, features: Any, **options: Any) -> np.ndarray:
        return self._logits


def network(*, dropout: float = 0.5, seed: int = 0) -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(
            nn.Linear(3, 64), nn.BatchNorm1d(64), nn.ReLU(), nn.Dropout(dropout), nn.Linear(64, 1)
        )


def answer(*entropies: float) -> Answer:
    return Answer("Why?", "So.", token_entropies=entropies)


def entropy(p: float) -> float:
    return -p * math.log(p) - (1 - p) * math.log(1 - p)


def make(method: str, **options: Any) -> tuple[UncertaintyQuantifier, Any]:
    """A quantifier of each method, and inputs for it."""
    model: Any = recorded_entropies if method == "token_entropy" else TwoMembers()
    inputs: Any = FEATURES
    if method == "token_entropy":
        inputs = [answer(0.1 * i, 0.2 * i) for i in range(6)]
    return UncertaintyQuantifier(model, method=method, **options), inputs


def test_measures_by_hand() -> None:
    # Answer 0: draws .2 and .6; answer 1: both .5; answer 2: 0 and 1, as good as.
    logits = np.array([[logit(0.2), 0.0, -800.0], [logit(0.6), 0.0, 800.0]])
    for measure, expected in {
        "entropy": [entropy(0.4), LN2, LN2],
        "std": [0.2, 0.0, 0.5],
        "mutual_information": [entropy(0.4) - (entropy(0.2) + entropy(0.6)) / 2, 0.0, LN2],
    }.items():
        mean, uncertainty = summarise(logits, measure=measure)  # type: ignore[arg-type]
        np.testing.assert_allclose(mean, [0.4, 0.5, 0.5], atol=1e-12)
        np.testing.assert_allclose(uncertainty, expected, atol=1e-12)


def test_every_draw_is_calibrated() -> None:
    logits = np.array([[2.0, -2.0], [0.0, 4.0]])
    mean, std = summarise(logits, measure="std", calibration=TemperatureScaling(2.0, 1.0))
    draws = expit(np.array([[2.0, 0.0], [1.0, 3.0]]))
    np.testing.assert_allclose(mean, draws.mean(axis=0))
    np.testing.assert_allclose(std, draws.std(axis=0))
    flat = IsotonicCalibration((0.0, 1.0), (0.25, 0.75))
    np.testing.assert_allclose(
        summarise(np.array([[-900.0], [900.0]]), measure="std", calibration=flat), [[0.5], [0.25]]
    )


@pytest.mark.parametrize("method", UNCERTAINTIES)
class TestContract:
    def test_registered(self, method: str) -> None:
        found = resolve(UNCERTAINTIES, method, kind="uncertainty method")
        assert found.__name__ == method
        known, inputs = make(method)
        quantifier = UncertaintyQuantifier(known.model, method=UNCERTAINTIES[method])
        assert quantifier.predict_with_uncertainty(inputs)[0].shape == (6,)

    def test_one_mean_and_one_uncertainty_per_answer(self, method: str) -> None:
        quantifier, inputs = make(method)
        mean, uncertainty = quantifier.predict_with_uncertainty(inputs)
        assert mean.shape == uncertainty.shape == (6,)
        assert mean.dtype == uncertainty.dtype == np.float64
        assert ((mean >= 0) & (mean <= 1)).all()
        assert (uncertainty >= 0).all()
        for part in quantifier.predict_with_uncertainty(inputs[:0]):
            assert part.shape == (0,)

    def test_uncertainty_is_not_constant(self, method: str) -> None:
        for measure in MEASURES if method != "token_entropy" else MEASURES[:1]:
            quantifier, inputs = make(method, measure=measure)
            _, uncertainty = quantifier.predict_with_uncertainty(inputs)
            assert len(np.unique(uncertainty.round(6))) == 6

    def test_deterministic_and_global_generators_untouched(self, method: str) -> None:
        torch.manual_seed(3)
        np.random.seed(3)  # noqa: NPY002 - the global generator is what must stay as it is
        before = np.random.get_state()[1].copy(), torch.get_rng_state()  # noqa: NPY002
        (first, inputs), (second, _) = make(method), make(method)
        mean, uncertainty = first.predict_with_uncertainty(inputs)
        for quantifier in (first, second):
            again = quantifier.predict_with_uncertainty(inputs)
            np.testing.assert_array_equal(again, (mean, uncertainty))
        np.testing.assert_array_equal(before[0], np.random.get_state()[1])  # noqa: NPY002
        assert torch.equal(before[1], torch.get_rng_state())


def test_mc_dropout_asks_for_passes_and_gives_a_generator() -> None:
    asked = {}

    class Recorder(TwoMembers):
        def logits(self, features: Any, **options: Any) -> np.ndarray:
            asked.update(options)
            return super().logits(features, **options)

    quantifier = UncertaintyQuantifier(Recorder(), 7, seed=5, measure="std")
    mean, std = quantifier.predict_with_uncertainty(FEATURES)
    assert asked["passes"] == 7
    noise = np.random.default_rng(5).normal(size=(7, 6))
    draws = expit(FEATURES[:, 0] + noise * FEATURES[:, 1])
    np.testing.assert_allclose(mean, draws.mean(axis=0))
    np.testing.assert_allclose(std, draws.std(axis=0))
    other = UncertaintyQuantifier(TwoMembers(), 7, seed=6).predict_with_uncertainty(FEATURES)
    assert (other[0] != mean).all()


def test_ensemble_asks_each_member_once() -> None:
    quantifier = UncertaintyQuantifier(TwoMembers(), method="ensemble", measure="std")
    mean, std = quantifier.predict_with_uncertainty(np.zeros((1, 2)))
    assert mean == pytest.approx([0.5])
    assert std == pytest.approx([expit(1) - 0.5])


def test_token_entropy_by_hand() -> None:
    answers = [answer(0.0, 0.0), answer(1.0, 0.5, 0.0), answer(2.0), answer()]
    quantifier = UncertaintyQuantifier(recorded_entropies, method="token_entropy")
    mean, uncertainty = quantifier.predict_with_uncertainty(answers)
    np.testing.assert_allclose(uncertainty, [0, 0.5, 2, NO_TOKENS])
    np.testing.assert_allclose(mean, np.exp([0, -0.5, -2, -LN2]))


def test_token_entropy_takes_any_function() -> None:
    def lengths(texts: Sequence[str]) -> list[float]:
        return [len(text) / 10 for text in texts]

    quantifier = UncertaintyQuantifier(lengths, method="token_entropy")
    _, uncertainty = quantifier.predict_with_uncertainty(["a", "abc"])
    np.testing.assert_allclose(uncertainty, [0.1, 0.3])


@pytest.mark.parametrize("training", [True, False])
def test_module_keeps_its_mode_and_its_statistics(training: bool) -> None:
    module = network().train(training)
    module[1].eval()
    modes = [part.training for part in module.modules()]
    state = {name: value.clone() for name, value in module.state_dict().items()}
    mean, uncertainty = UncertaintyQuantifier(module).predict_with_uncertainty(FEATURES)
    assert [part.training for part in module.modules()] == modes
    assert all(torch.equal(value, state[name]) for name, value in module.state_dict().items())
    assert len(np.unique(mean)) == len(np.unique(uncertainty)) == 6


def test_module_averages_to_the_plain_prediction() -> None:
    # Only a last linear layer follows the dropout: the mean logit is that of the plain network.
    module = network(dropout=0.2).eval()
    draws = UncertaintyQuantifier(module, 2000, measure="std").predict_with_uncertainty(FEATURES)
    with torch.no_grad():
        plain = expit(module(torch.as_tensor(FEATURES))[:, 0].numpy())
    np.testing.assert_allclose(draws[0], plain, atol=0.03)
    assert (draws[1] > 0.01).all()


def test_module_is_deterministic_in_the_seed_and_leaves_the_generator() -> None:
    module = network()
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first, again, other = (
        UncertaintyQuantifier(module, seed=seed).predict_with_uncertainty(FEATURES)
        for seed in (0, 0, 1)
    )
    assert torch.equal(before, torch.get_rng_state())
    np.testing.assert_array_equal(first, again)
    assert (first[0] != other[0]).all()


def test_mode_is_restored_after_a_failure() -> None:
    module = network().train()
    with pytest.raises(RuntimeError):
        UncertaintyQuantifier(module).predict_with_uncertainty(FEATURES[:, :2])
    assert all(part.training for part in module.modules())


def test_modules_as_an_ensemble() -> None:
    members = [network(seed=seed) for seed in range(3)]
    quantifier = UncertaintyQuantifier(members, method="ensemble", measure="std")
    mean, std = quantifier.predict_with_uncertainty(torch.as_tensor(FEATURES, dtype=torch.float64))
    with torch.no_grad():
        draws = [expit(m.eval()(torch.as_tensor(FEATURES))[:, 0].double().numpy()) for m in members]
    np.testing.assert_allclose(mean, np.mean(draws, axis=0), atol=1e-6)
    np.testing.assert_allclose(std, np.std(draws, axis=0), atol=1e-6)


def test_a_layer_called_logits_makes_no_logit_model() -> None:
    class Named(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.dropout, self.logits = nn.Dropout(0.5), nn.Linear(3, 1)

        def forward(self, features: torch.Tensor) -> torch.Tensor:
            return self.logits(self.dropout(features))[:, 0]

    mean, _ = UncertaintyQuantifier(Named()).predict_with_uncertainty(FEATURES)
    assert mean.shape == (6,)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_samples": 1}, "n_samples=1 must be at least 2"),
        ({"measure": "variance"}, "measure='variance' must be one of"),
        ({"method": "mc_droput"}, "unknown uncertainty method 'mc_droput'.*did you mean"),
    ],
)
def test_refused_settings(options: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        UncertaintyQuantifier(TwoMembers(), **options)


@pytest.mark.parametrize(
    ("model", "method", "message"),
    [
        (network(dropout=0.0), "mc_dropout", "has no dropout layer"),
        (nn.Sequential(nn.Dropout(), nn.Linear(3, 2)), "mc_dropout", "one logit per row"),
        (object(), "mc_dropout", "type object must be a LogitModel"),
        (Fixed(np.zeros((3, 6))), "mc_dropout", r"logits of shape \(3, 6\), not \(10, N\)"),
        (Fixed(np.full((10, 6), np.nan)), "mc_dropout", "not finite"),
        (Fixed(np.zeros(6)), "ensemble", r"logits of shape \(6,\), not \(2, N\)"),
        (Fixed(np.zeros((1, 6)), 1), "ensemble", "ensemble of 1 has no spread"),
        ([network()], "ensemble", "ensemble of 1 has no spread"),
        (network(), "ensemble", "a sequence of torch modules"),
        (TwoMembers(), "token_entropy", "must be a function of the answers"),
        (lambda _: [[0.1], [-0.5]], "token_entropy", "of answer 1 must be finite"),
        (lambda _: [[np.nan]], "token_entropy", "of answer 0 must be finite"),
        (lambda _: [[[0.1]]], "token_entropy", "one per token"),
    ],
)
def test_refused_models(model: Any, method: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        UncertaintyQuantifier(model, method=method).predict_with_uncertainty(FEATURES)


def test_token_entropy_has_no_draws() -> None:
    for options in ({"measure": "std"}, {"calibration": TemperatureScaling(1.0)}):
        quantifier = UncertaintyQuantifier(
            recorded_entropies,
            method="token_entropy",
            **options,  # type: ignore[arg-type]
        )
        with pytest.raises(ValueError, match="method 'token_entropy' has none"):
            quantifier.predict_with_uncertainty([answer(0.1)])


def test_answers_without_entropies_are_refused() -> None:
    with pytest.raises(ValueError, match="answer 1 has token_entropies=None"):
        recorded_entropies([answer(0.1), Answer("Why?", "So.")])
