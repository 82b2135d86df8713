"""Uncertainty: how much a prediction of quality can be trusted."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal, Protocol, get_args

import numpy as np
from scipy.special import entr, expit

from routing_gym.queries.registry import resolve
from routing_gym.rewards.calibration import Calibration
from routing_gym.rewards.metric import TOLERANCE, Answer

Measure = Literal["entropy", "std", "mutual_information"]
UNCERTAINTIES: dict[str, str] = {
    "mc_dropout": "routing_gym.rewards.uncertainty:mc_dropout",
    "ensemble": "routing_gym.rewards.uncertainty:ensemble",
    "token_entropy": "routing_gym.rewards.uncertainty:token_entropy",
}
"""Method -> function that estimates the uncertainty."""
NO_TOKENS = math.log(2)  # nats: an answer of no tokens is as uncertain as a coin


class LogitModel(Protocol):
    """A model of P(right) that can be asked more than once, such as a `QualityModel`."""

    @property
    def num_members(self) -> int:
        """Number of separately trained members."""

    def logits(
        self, features: Any, *, passes: int = 0, rng: np.random.Generator | None = None
    ) -> np.ndarray:
        """Return float (members, N) logits, or (passes, N) with dropout on, drawn from `rng`."""


EntropyReader = Callable[[Any], Sequence[Any]]
UncertaintyMethod = Callable[..., tuple[np.ndarray, np.ndarray]]


class UncertaintyQuantifier:
    """Asks a model several times and measures how far its replies are sure and agree.

    Parameters
    ----------
    model
        What the method asks. "mc_dropout": a `LogitModel`, or a ``torch.nn.Module`` with dropout
        that returns one logit per row. "ensemble": a `LogitModel` of at least two members, or a
        sequence of such modules. "token_entropy": a function of the inputs that returns, for each
        answer, the entropies of its tokens or their mean (nats), such as `recorded_entropies`.
    n_samples
        Passes of MC Dropout, at least 2. An ensemble always asks all of its members, and token
        entropy reads what one generation left.
    method
        Name in `UNCERTAINTIES`, or ``"module:attribute"`` of outside code.
    measure
        What the uncertainty is, of draws p_1 ... p_S of P(right): "entropy" of their mean, in
        nats, [0, ln 2], which holds both the noise of the world and the model's ignorance; "std",
        their standard deviation, [0, 1/2], in the unit of the mean; "mutual_information", the
        entropy of the mean less the mean entropy, in nats, which is the ignorance alone (BALD,
        Houlsby et al., 2011). Token entropy knows "entropy" only.
    calibration
        Applied to every drawn logit; without one it is the plain sigmoid.
    seed
        Fixes the draws: the same inputs always get the same answer, and the global generators
        are left as they were.

    Raises
    ------
    ValueError
        If a name is unknown or `n_samples` is below 2.

    Examples
    --------
    >>> read = lambda answers: [[0.0, 0.2], [2.0, 1.0, 3.0]]
    >>> quantifier = UncertaintyQuantifier(read, method="token_entropy")
    >>> mean, uncertainty = quantifier.predict_with_uncertainty(["sure", "unsure"])
    >>> uncertainty.round(2).tolist()
    [0.1, 2.0]
    """

    def __init__(
        self,
        model: Any,
        n_samples: int = 10,
        *,
        method: str = "mc_dropout",
        measure: Measure = "entropy",
        calibration: Calibration | None = None,
        seed: int = 0,
    ) -> None:
        if n_samples < 2:
            raise ValueError(f"n_samples={n_samples} must be at least 2: one draw has no spread.")
        if measure not in get_args(Measure):
            raise ValueError(f"measure={measure!r} must be one of {get_args(Measure)}.")
        self._ask: UncertaintyMethod = resolve(UNCERTAINTIES, method, kind="uncertainty method")
        self.model = model
        self.n_samples = n_samples
        self.method = method
        self.measure = measure
        self.calibration = calibration
        self.seed = seed

    def predict_with_uncertainty(self, inputs: Any) -> tuple[np.ndarray, np.ndarray]:
        """Predict, and say how far to trust it.

        Parameters
        ----------
        inputs
            What the model takes: features (N, D), or answers for token entropy.

        Returns
        -------
        mean : ndarray
            float64 (N,): average P(right); for token entropy ``exp(-mean entropy)``, in (0, 1],
            which is no probability of being right.
        uncertainty : ndarray
            float64 (N,), at least 0: see `measure`; for token entropy the mean entropy in nats.

        Raises
        ------
        ValueError
            If the model does not suit the method, or returns something else than it should.
        """
        return self._ask(
            self.model,
            inputs,
            n_samples=self.n_samples,
            measure=self.measure,
            calibration=self.calibration,
            rng=np.random.default_rng(self.seed),
        )


def mc_dropout(
    model: Any,
    inputs: Any,
    *,
    n_samples: int,
    measure: Measure,
    calibration: Calibration | None,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """Draw with dropout switched on (Gal & Ghahramani, 2016); see `UncertaintyQuantifier`."""
    if _is_logit_model(model):
        draws = model.logits(inputs, passes=n_samples, rng=rng)
    elif _is_module(model):
        draws = _dropout_passes(model, inputs, n_samples, seed=int(rng.integers(2**63)))
    else:
        raise ValueError(
            f"model of type {type(model).__name__} must be a LogitModel (num_members, logits) or "
            "a torch module for method 'mc_dropout'."
        )
    return summarise(_checked(draws, n_samples), measure=measure, calibration=calibration)


def ensemble(
    model: Any,
    inputs: Any,
    *,
    n_samples: int,
    measure: Measure,
    calibration: Calibration | None,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """Ask every member (Lakshminarayanan et al., 2017); see `UncertaintyQuantifier`."""
    if _is_logit_model(model):
        members = model.num_members
    elif isinstance(model, Sequence) and all(map(_is_module, model)):
        members = len(model)
    else:
        raise ValueError(
            f"model of type {type(model).__name__} must be a LogitModel (num_members, logits) or "
            "a sequence of torch modules for method 'ensemble'."
        )
    if members < 2:
        raise ValueError(
            f"an ensemble of {members} has no spread: give at least 2 members, or use "
            "method='mc_dropout'."
        )
    if _is_logit_model(model):
        draws = model.logits(inputs)
    else:
        draws = np.concatenate([_forward(member, inputs, 1) for member in model])
    return summarise(_checked(draws, members), measure=measure, calibration=calibration)


def token_entropy(
    model: EntropyReader,
    inputs: Any,
    *,
    n_samples: int,
    measure: Measure,
    calibration: Calibration | None,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """Average the entropy of an answer's tokens; see `UncertaintyQuantifier`.

    An answer without tokens gets ln 2.
    """
    if measure != "entropy" or calibration is not None:
        raise ValueError(
            f"measure={measure!r} with calibration={calibration!r} needs draws of P(right), and "
            "method 'token_entropy' has none: use measure='entropy' and no calibration."
        )
    if not callable(model):
        raise ValueError(
            f"model of type {type(model).__name__} must be a function of the answers for method "
            "'token_entropy', such as recorded_entropies."
        )
    rows = [np.atleast_1d(np.asarray(row, dtype=np.float64)) for row in model(inputs)]
    for index, row in enumerate(rows):
        if row.ndim != 1 or not (np.isfinite(row).all() and (row >= -TOLERANCE).all()):
            raise ValueError(
                f"token entropies of answer {index} must be finite numbers of at least 0 (nats), "
                f"one per token, not {row}."
            )
    entropy = np.array([row.mean() if len(row) else NO_TOKENS for row in rows], dtype=np.float64)
    entropy = np.maximum(entropy, 0.0)
    return np.exp(-entropy), entropy


def recorded_entropies(answers: Sequence[Answer]) -> list[tuple[float, ...]]:
    """Return the token entropies that were recorded while the answers were generated.

    Raises
    ------
    ValueError
        If an answer carries none.
    """
    found = [answer.token_entropies for answer in answers]
    if None in found:
        raise ValueError(
            f"answer {found.index(None)} has token_entropies=None: generate it with this "
            "project's adapters, or read it again with adapters.token_signals."
        )
    return [row for row in found if row is not None]


def summarise(
    logits: np.ndarray, *, measure: Measure = "entropy", calibration: Calibration | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Turn draws of logits into a mean and an uncertainty.

    Parameters
    ----------
    logits
        float (S, N), finite: S draws for each of N answers.
    measure, calibration
        As in `UncertaintyQuantifier`.

    Returns
    -------
    tuple of ndarray
        float64 (N,) mean P(right) and float64 (N,) uncertainty.
    """
    draws = expit(logits) if calibration is None else calibration.from_logits(logits)  # (S, N)
    mean = draws.mean(axis=0)
    if measure == "std":
        return mean, draws.std(axis=0)
    total = _entropy(mean)
    if measure == "entropy":
        return mean, total
    return mean, np.maximum(total - _entropy(draws).mean(axis=0), 0.0)


def _is_logit_model(model: Any) -> bool:
    """Whether it can be asked as a `LogitModel`; a torch module may call a layer "logits"."""
    return hasattr(model, "num_members") and callable(getattr(model, "logits", None))


def _is_module(model: Any) -> bool:
    """Whether it is a torch module, found out without loading torch."""
    return hasattr(model, "named_modules")


def _entropy(probability: np.ndarray) -> np.ndarray:
    """Entropy of a coin with this probability, in nats."""
    return np.asarray(entr(probability) + entr(1 - probability))


def _checked(draws: Any, count: int) -> np.ndarray:
    """Hold draws to their contract: float64 (S, N), finite."""
    values = np.asarray(draws, dtype=np.float64)
    if values.ndim != 2 or len(values) != count:
        raise ValueError(f"the model returned logits of shape {values.shape}, not ({count}, N).")
    if not np.isfinite(values).all():
        raise ValueError("the model returned logits that are not finite: check the inputs.")
    return values


def _dropout_passes(module: Any, inputs: Any, passes: int, *, seed: int) -> np.ndarray:
    """Logits (passes, N) of a torch module whose dropout layers alone are on."""
    import torch
    from torch import nn

    plain = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d)
    kinds = (*plain, nn.AlphaDropout, nn.FeatureAlphaDropout)
    layers = [part for part in module.modules() if isinstance(part, kinds) and part.p > 0]
    if not layers:
        raise ValueError(
            f"{type(module).__name__} has no dropout layer with p above 0, so that every pass "
            "would be the same: use method='ensemble', or a module with dropout."
        )
    devices = sorted({p.device.index for p in module.parameters() if p.device.type == "cuda"})
    with torch.random.fork_rng(devices=devices):
        torch.default_generator.manual_seed(seed)
        for device in devices:
            torch.cuda.default_generators[device].manual_seed(seed)
        return _forward(module, inputs, passes, training=layers)


def _forward(module: Any, inputs: Any, passes: int, *, training: Sequence[Any] = ()) -> np.ndarray:
    """Logits (passes, N) of a torch module in evaluation mode, except the parts in `training`."""
    import torch

    weight = next(module.parameters(), torch.zeros(0))
    rows = torch.as_tensor(inputs, device=weight.device)
    rows = rows.to(weight.dtype) if rows.is_floating_point() else rows
    with _modes_kept(module), torch.inference_mode():
        module.eval()
        for part in training:
            part.training = True
        found = [module(rows) for _ in range(passes)]
    logits = torch.stack(found).double().cpu().numpy()  # (passes, N) or (passes, N, 1)
    if logits.shape[1:] not in ((len(rows),), (len(rows), 1)):
        raise ValueError(
            f"{type(module).__name__} returned shape {logits.shape[1:]} for {len(rows)} rows: it "
            "must return one logit per row, (N,) or (N, 1)."
        )
    return np.asarray(logits.reshape(passes, len(rows)))


@contextmanager
def _modes_kept(module: Any) -> Iterator[None]:
    """Give every part of a module back the mode that it had, whatever happens."""
    modes = [(part, part.training) for part in module.modules()]
    try:
        yield
    finally:
        for part, mode in modes:
            part.training = mode
