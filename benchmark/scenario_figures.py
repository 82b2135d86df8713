"""PPO against the best rule and the hindsight bound, with intervals over seeds and queries."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from routing_gym.benchmark.scenario_study import PPO, ScenarioResult
from routing_gym.benchmark.statistics import Interval, PairedBootstrap


@dataclass(frozen=True)
class Comparison:
    """What one label's runs reached on a scenario.

    Parameters
    ----------
    label
        Of the settings.
    iqm
        Interquartile mean over the seeds of the mean test return.
    minus_rule
        Mean test return less the best rule's on the same episodes.
    share, rule_share
        Mean test return over the bound's, of the runs and of the best rule; None without a bound.
    """

    label: str
    iqm: Interval
    minus_rule: Interval
    share: Interval | None
    rule_share: Interval | None


class ScenarioBootstrap:
    """Intervals of one scenario's figures.

    A draw is a resample of seeds and test episodes, plus what one resample of the test split's
    queries moved the figure by. The latter is taken from the pools (`Judging.play_pools`), after
    the part that is noise of their episodes is shrunk away. Training is not repeated on
    resampled queries.

    Parameters
    ----------
    result
        Of the scenario.
    resamples
        Of the bootstrap.
    seed
        Of the bootstrap.
    """

    def __init__(self, result: ScenarioResult, *, resamples: int, seed: int) -> None:
        rng = np.random.default_rng(seed)
        episodes, pools = result.judging.test_episodes, result.judging.pools
        self._result = result
        self._base = PairedBootstrap(episodes, rng=rng, resamples=resamples)
        self._picks = rng.integers(max(pools, 1), size=resamples)

    def compare(self, label: str = PPO) -> Comparison:
        """Measure the runs of one label."""
        result, base = self._result, self._base
        ours, rule = result.returns(label), result.best_rule.test.returns
        our_pools, rule_pools = result.pools(label), result.best_rule_pools
        iqm = base.iqm(ours)
        return Comparison(
            label=label,
            iqm=self._widened(iqm.value, base.means(ours, robust=True), our_pools),
            minus_rule=self._widened(
                float(ours.mean() - rule.mean()),
                base.means(ours) - base.means(rule),
                our_pools - rule_pools,
            ),
            share=self._ratio(ours, our_pools),
            rule_share=self._ratio(rule, rule_pools),
        )

    def rule(self) -> Interval:
        """Measure the best rule."""
        returns = self._result.best_rule.test.returns
        draws = self._base.means(returns)
        return self._widened(float(returns.mean()), draws, self._result.best_rule_pools)

    def _ratio(self, returns: np.ndarray, pools: np.ndarray) -> Interval | None:
        """Divide by the bound; the pools' share is linearised around the test split's ratio."""
        bound, bound_pools = self._result.bound, self._result.bound_pools
        if bound is None or bound_pools is None:
            return None
        ratio = float(returns.mean() / bound.mean())
        draws = self._base.means(returns) / self._base.means(bound)
        return self._widened(ratio, draws, (pools - ratio * bound_pools) / bound.mean())

    def _widened(self, value: float, draws: np.ndarray, pools: np.ndarray) -> Interval:
        """Add the queries' share to the draws of seeds and episodes."""
        if pools.size:
            draws = draws + query_deviations(pools)[self._picks]
        return self._base.interval(value, draws)


def query_deviations(pools: np.ndarray) -> np.ndarray:
    r"""Say how far resampled test splits move a mean, beyond what the noise of episodes explains.

    The pools' means have the variance :math:`\sigma_q^2 + \sigma_e^2 / E`; a one-way analysis of
    variance estimates both parts, and deviations are shrunk so that their variance is the first.

    Parameters
    ----------
    pools
        float (B, E), what E episodes brought on each of B pools, B and E at least 2.

    Returns
    -------
    np.ndarray
        float64 (B,) with mean 0.
    """
    means = pools.mean(axis=1)
    total = float(means.var(ddof=1))
    noise = float(pools.var(axis=1, ddof=1).mean()) / pools.shape[1]
    kept = np.sqrt(max(0.0, 1.0 - noise / total)) if total > 0 else 0.0
    return (means - means.mean()) * kept


def scenario_figures(
    results: Sequence[ScenarioResult], *, resamples: int = 2000, seed: int = 0
) -> dict[str, float | Interval]:
    """Compare PPO with the best rule and the bound, per scenario; see `ScenarioBootstrap`.

    Parameters
    ----------
    results
        Of the scenarios.
    resamples, seed
        Of the bootstrap.

    Returns
    -------
    dict
        ``<scenario>_ppo_iqm``, ``_best_rule``, ``_ppo_minus_best_rule`` (interval), its lower end
        as ``_ppo_minus_best_rule_low``, ``_<label>_minus_best_rule`` of further labels, and
        ``_ppo_over_hindsight`` and ``_best_rule_over_hindsight`` where there is a bound. What has
        no finished run is left out.
    """
    figures: dict[str, float | Interval] = {}
    for result in results:
        bootstrap = ScenarioBootstrap(result, resamples=resamples, seed=seed)
        figures[f"{result.name}_best_rule"] = bootstrap.rule()
        for label in result.runs:
            found, prefix = bootstrap.compare(label), f"{result.name}_{label}"
            figures[f"{prefix}_iqm"] = found.iqm
            figures[f"{prefix}_minus_best_rule"] = found.minus_rule
            figures[f"{prefix}_minus_best_rule_low"] = found.minus_rule.low
            if found.share is not None and found.rule_share is not None:
                figures[f"{prefix}_over_hindsight"] = found.share
                figures[f"{result.name}_best_rule_over_hindsight"] = found.rule_share
    return figures
