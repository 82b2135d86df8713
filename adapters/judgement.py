"""Who judges a pool's answers for the metrics that need the base model: it, here or at a server."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from routing_gym.adapters.http_pool import HttpPool
from routing_gym.adapters.spec import PoolSpec

if TYPE_CHECKING:
    from routing_gym.adapters.pool import AdapterPool

Judge = Callable[[Sequence[str], Sequence[str]], np.ndarray]
LIKELIHOOD, P_TRUE = "base_likelihood", "p_true"


@dataclass(frozen=True)
class BaseJudges:
    """The judges that there are.

    Parameters
    ----------
    of
        Metric (`LIKELIHOOD`, `P_TRUE`) -> ``(queries, responses) -> float64 (n,)``; empty where
        the base model can be asked nowhere.
    note
        Why it is empty; "" if it is not.
    """

    of: dict[str, Judge] = field(default_factory=dict)
    note: str = ""


def base_judges(pool: AdapterPool | HttpPool | PoolSpec) -> BaseJudges:
    """Find who judges a pool's answers.

    Parameters
    ----------
    pool
        The pool; its spec is enough, unless its server is to judge.

    Returns
    -------
    BaseJudges
        Those of a local pool load the base model when they are first called. For a pool at a
        server it is loaded now, once for both, and if it is not available here, the table has to
        do without its metrics.

    Raises
    ------
    ValueError
        If the server is to judge, and only the spec was given.
    """
    spec = pool if isinstance(pool, PoolSpec) else pool.spec
    if spec.server is None:
        return BaseJudges(_local(spec.base_model))
    if spec.server.judge == "none":
        return BaseJudges(note="server.judge is 'none'")
    if spec.server.judge == "local":
        return _loaded(spec.base_model)
    if not isinstance(pool, HttpPool):
        raise ValueError("server.judge='server' needs the open pool: pass what open_pool returns.")
    from routing_gym.adapters.http_judgement import ServerLikelihood, ServerPTrue

    return BaseJudges({LIKELIHOOD: ServerLikelihood(pool), P_TRUE: ServerPTrue(pool)})


def _local(base_model: str, **loaded: Any) -> dict[str, Judge]:
    from routing_gym.adapters.likelihood import BaseLikelihood
    from routing_gym.adapters.p_true import PTrue

    return {LIKELIHOOD: BaseLikelihood(base_model, **loaded), P_TRUE: PTrue(base_model, **loaded)}


def _loaded(base_model: str) -> BaseJudges:
    """Load the base model here, if it is here."""
    from routing_gym.adapters.base_model import load_base_model, load_tokenizer

    try:
        loaded = {"tokenizer": load_tokenizer(base_model), "model": load_base_model(base_model)}
    except OSError as error:
        return BaseJudges(note=str(error))
    return BaseJudges(_local(base_model, **loaded))
