r"""What a full-information table knows exactly: values and variances of off-policy estimators.

The population is the table: a decision is one of its N rows, drawn uniformly with replacement, and
an adapter drawn from the logging policy on that row; the reward is the table's. Variances are per
decision: divide by the number of decisions. Axis letters: N rows, K adapters.
"""

from __future__ import annotations

import numpy as np


def policy_value(rewards: np.ndarray, target: np.ndarray) -> float:
    """Mean reward of the target policy; `rewards` and `target` float (N, K)."""
    return float((target * rewards).sum(axis=1).mean())


def ips_variance(rewards: np.ndarray, *, logging: np.ndarray, target: np.ndarray) -> float:
    r"""Exact variance of IPS, :math:`E[\sum_a \pi^2 r^2 / \pi_0] - V^2`; (N, K) each."""
    second = _weighted_squares(rewards, logging=logging, target=target)
    return second - policy_value(rewards, target) ** 2


def snips_variance(rewards: np.ndarray, *, logging: np.ndarray, target: np.ndarray) -> float:
    r"""Asymptotic variance of SNIPS, :math:`E[\sum_a \pi^2 (r - V)^2 / \pi_0]`; (N, K) each.

    The delta method for a ratio of means (Owen, "Monte Carlo theory, methods and examples", 2013,
    section 9.2): what N times the variance of SNIPS tends to.
    """
    centred = rewards - policy_value(rewards, target)
    return _weighted_squares(centred, logging=logging, target=target)


def dr_variance(
    rewards: np.ndarray, *, logging: np.ndarray, target: np.ndarray, predictions: np.ndarray
) -> float:
    r"""Exact variance of DR with a fixed model; (N, K) each.

    :math:`Var[v] + E[Var_{\pi_0}(w (r - \hat q))]` with v the target's value on a row: the law of
    total variance.
    """
    residual = rewards - predictions
    second = _weighted_squares(residual, logging=logging, target=target)
    first = (target * residual).sum(axis=1)
    return float((target * rewards).sum(axis=1).var() + second - (first**2).mean())


def efficiency_bound(
    rewards: np.ndarray, *, logging: np.ndarray, target: np.ndarray, cells: np.ndarray
) -> float:
    r"""Semiparametric efficiency bound where the context that is seen is the row's cell.

    .. math:: E\bigl[\sum_a \frac{\pi^2(a \mid c)}{\pi_0(a \mid c)} \sigma^2(c, a)\bigr]
              + Var[v(c)], \qquad v(c) = \sum_a \pi(a \mid c)\, q(c, a)

    with q and :math:`\sigma^2` the table's mean and variance of the reward by cell and adapter: no
    regular estimator from decisions (c, a, r) with known propensities has a smaller asymptotic
    variance (Robins, Rotnitzky & Zhao 1994; Hahn 1998; Dudík, Erhan, Langford & Li, Statistical
    Science 2014). With each row a cell of its own it is the variance of v over the rows: the bound
    for an estimator that could predict the reward of every single answer.

    Parameters
    ----------
    rewards, logging, target
        float (N, K). Both policies are constant within a cell; see `common_cells`.
    cells
        int (N,), from 0.

    Raises
    ------
    ValueError
        If a policy varies within a cell.
    """
    cells = np.asarray(cells)
    for name, policy in (("logging", logging), ("target", target)):
        if np.abs(policy - cell_means(policy, cells)).max() > 1e-9:
            raise ValueError(
                f"{name} varies within a cell: refine cells with common_cells(cells, logging, "
                "target) first."
            )
    means = cell_means(rewards, cells)
    spread = _weighted_squares(rewards - means, logging=logging, target=target)
    return spread + float((target * means).sum(axis=1).var())


def common_cells(cells: np.ndarray, *policies: np.ndarray) -> np.ndarray:
    """Split cells until every policy is constant within each.

    Parameters
    ----------
    cells
        int (N,).
    *policies
        float (N, K) each.

    Returns
    -------
    np.ndarray
        int64 (N,), from 0 without gaps.
    """
    columns = np.column_stack([np.asarray(cells)[:, None], *(np.round(p, 9) for p in policies)])
    return np.unique(columns, axis=0, return_inverse=True)[1].ravel().astype(np.int64)


def cell_means(values: np.ndarray, cells: np.ndarray) -> np.ndarray:
    """Replace each row of `values` (N, K) by the mean over its cell, (N, K)."""
    sums = np.zeros((int(cells.max()) + 1, values.shape[1]))
    np.add.at(sums, cells, values)
    counts = np.bincount(cells, minlength=len(sums))
    return np.asarray((sums / np.maximum(counts, 1)[:, None])[cells])


def _weighted_squares(values: np.ndarray, *, logging: np.ndarray, target: np.ndarray) -> float:
    """E[sum_a pi**2 / pi_0 * values**2]; refuses a target that is not covered."""
    if ((target > 0) & (logging <= 0)).any():
        row, arm = np.argwhere((target > 0) & (logging <= 0))[0]
        raise ValueError(
            f"logging[{row}, {arm}] = 0 where target is {target[row, arm]:.3g}: the variance is "
            "infinite; give a logging policy that covers the target."
        )
    ratio = np.divide(target**2, logging, out=np.zeros(logging.shape), where=logging > 0)
    return float((ratio * values**2).sum(axis=1).mean())
