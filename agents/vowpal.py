"""Vowpal Wabbit's SquareCB and cover, driven like our own bandits; the extra ``peers``."""

from __future__ import annotations

import tempfile
import weakref
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from routing_gym.agents.bandit import (
    BanditConfig,
    Outcomes,
    require_at_least,
    require_not_negative,
    require_positive,
    require_share,
)
from routing_gym.agents.online_bandit import OnlineBandit
from routing_gym.agents.onnx_graph import OnnxGraph, OnnxOutput
from routing_gym.agents.onnx_layers import times, vote
from routing_gym.agents.onnx_vowpal import costs_to_onnx
from routing_gym.agents.policy import apply_mask, full_mask
from routing_gym.agents.value_agent import best_allowed

_MODEL = "vowpal.model"
_MOST_PENDING = 256  # decisions whose outcomes are waited for


@dataclass(frozen=True)
class VowpalConfig(BanditConfig):
    """Settings of Vowpal Wabbit's learner, beside those of every bandit.

    Parameters
    ----------
    learning_rate
        ``--learning_rate``, above 0.
    power_t
        ``--power_t``, at least 0: how fast the learning rate falls; 0 keeps it.
    bits
        ``--bit_precision``, 8 to 30: log2 of the number of weights.
    quadratic
        Whether the products of all pairs of components are features too.
    """

    learning_rate: float = 0.5
    power_t: float = 0.5
    bits: int = 18
    quadratic: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        require_positive(self, "learning_rate")
        require_not_negative(self, "power_t")
        if not 8 <= self.bits <= 30:
            raise ValueError(f"bits={self.bits} is outside 8 to 30.")


@dataclass(frozen=True)
class VowpalSquareCBConfig(VowpalConfig):
    r"""Settings of Vowpal Wabbit's SquareCB.

    Parameters
    ----------
    gamma_scale
        ``--gamma_scale``, above 0: greed at the start.
    gamma_exponent
        ``--gamma_exponent``, at least 0: :math:`\gamma_t = \gamma_0 t^\rho`.
    """

    gamma_scale: float = 10.0
    gamma_exponent: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        require_positive(self, "gamma_scale")
        require_not_negative(self, "gamma_exponent")


@dataclass(frozen=True)
class VowpalCoverConfig(VowpalConfig):
    """Settings of Vowpal Wabbit's online cover.

    Parameters
    ----------
    policies
        ``--cover``, at least 1: policies of the cover.
    psi
        ``--psi``, above 0: how much their disagreement is rewarded.
    epsilon
        ``--epsilon``, in [0, 1]: smallest probability at the start, shared by the actions.
    uniform
        Whether actions that no policy of the cover chooses are explored too; False is
        ``--nounif``, which collects far more reward on small streams.
    """

    policies: int = 4
    psi: float = 0.1
    epsilon: float = 0.05
    uniform: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        require_at_least(self, 1, "policies")
        require_positive(self, "psi")
        require_share(self, "epsilon")


class VowpalAgent(OnlineBandit):
    """A ``--cb_explore_adf`` learner of Vowpal Wabbit; the cost of an action is minus its reward.

    The context is shared and each adapter is an action whose only feature is its number; their
    products (``-q sa --ignore_linear s``) make one linear model per adapter, as in our own linear
    bandits. (``--cb_explore K`` means the same and is faster, but its learner hardly beats the best
    single adapter on the same streams.) Vowpal Wabbit's distribution is normalised to sum to 1 in
    double precision; adapters are drawn from that, and that propensity is what is logged and what
    Vowpal Wabbit learns from. The trained policy takes the most probable adapter.
    """

    config: Any
    _close: Any = None

    @abstractmethod
    def _exploration(self) -> str:
        """Return the options of the exploration algorithm."""

    def probabilities(
        self, observations: np.ndarray, *, mask: np.ndarray | None = None
    ) -> np.ndarray:
        """Return float64 (N, K), all mass on the allowed adapter of the highest probability."""
        return best_allowed(self._distributions(self._contexts(observations)), mask)

    def _costs_to_onnx(self, graph: OnnxGraph, observations: str, *policies: int) -> list[str]:
        """Add the predicted costs of the policies at these offsets, float64 (N, K) each."""
        return costs_to_onnx(
            graph,
            self._projection.to_onnx(graph, observations),
            workspace=self._workspace,
            parse=self._examples,
            width=self._projection.width,
            quadratic=self.config.quadratic,
            offsets=policies,
        )

    def choose_one(self, context: np.ndarray, *, rng: np.random.Generator) -> tuple[int, float]:
        """Draw from Vowpal Wabbit's distribution; what was parsed is kept for `learn_one`."""
        examples = self._examples(context)
        shares = self._workspace.predict(examples)
        self._keep(context, examples)
        level, mass = float(rng.random()) * sum(shares), 0.0
        for action, share in enumerate(shares):
            mass += share
            if level < mass:
                return action, share / sum(shares)
        action = max(range(len(shares)), key=shares.__getitem__)  # unreachable but for rounding
        return action, shares[action] / sum(shares)

    def learn_one(
        self, context: np.ndarray, action: int, *, reward: float, propensity: float
    ) -> None:
        """Label the examples, from `choose_one` if the context is the same object, and learn."""
        kept, examples = self._pending.pop(id(context), (None, None))
        if kept is not context or examples is None:
            examples = self._examples(context)
        self._teach(examples, action, reward=reward, propensity=propensity)
        self.outcomes += 1

    def _begin(self, *, width: int, rng: np.random.Generator) -> None:
        """Start an untrained learner."""
        config = self.config
        self._open(
            f"--cb_explore_adf {self._exploration()} -q sa --ignore_linear s --noconstant "
            f"--learning_rate {config.learning_rate!r} --power_t {config.power_t!r} "
            f"--bit_precision {config.bits} --random_seed {int(rng.integers(1, 2**31))}"
            + (" --interactions ssa" if config.quadratic else "")
        )

    def _open(self, options: str) -> None:
        """Make the learner."""
        if self._close is not None:
            self._close()
        self._workspace = vowpal_workspace(f"{options} --quiet")
        self._close = weakref.finalize(self, self._workspace.finish)  # at exit it is too late
        self._actions = "\n".join(f"|a {action}" for action in range(len(self.adapters)))
        self._pending: dict[int, tuple[np.ndarray, list[Any]]] = {}
        self._saved: bytes | None = None

    def _behave(self, contexts: np.ndarray, allowed: np.ndarray) -> np.ndarray:
        """Return Vowpal Wabbit's distributions; forbidden adapters' mass goes to the others."""
        allowed = full_mask(allowed, (len(contexts), len(self.adapters)))
        return apply_mask(self._distributions(contexts), allowed)

    def _distributions(self, contexts: np.ndarray) -> np.ndarray:
        """Return float64 (N, K), rows sum to 1."""
        shares = np.empty((len(contexts), len(self.adapters)))
        for row, context in enumerate(contexts):
            examples = self._examples(context)
            shares[row] = self._workspace.predict(examples)
            self._workspace.finish_example(examples)
        return shares / shares.sum(axis=1, keepdims=True)

    def _learn(self, batch: Outcomes) -> None:
        """Learn from one outcome after the other."""
        actions = batch.actions.tolist()
        propensities = batch.probabilities[np.arange(len(actions)), actions].tolist()
        rows = zip(batch.contexts, actions, batch.rewards.tolist(), propensities, strict=True)
        for context, action, reward, propensity in rows:
            self._teach(self._examples(context), action, reward=reward, propensity=propensity)

    def _teach(self, examples: list[Any], action: int, *, reward: float, propensity: float) -> None:
        """Label the chosen action and learn."""
        # float(): the repr of a numpy number would be taken for no label at all
        examples[action + 1].set_label_string(f"0:{-float(reward)!r}:{float(propensity)!r}")
        self._workspace.learn(examples)
        self._workspace.finish_example(examples)
        self._saved = None

    def _learned(self) -> dict[str, np.ndarray]:
        """Return Vowpal Wabbit's model file."""
        if self._saved is None:
            with tempfile.TemporaryDirectory() as folder:
                file = Path(folder) / "model"
                self._workspace.save(str(file))
                self._saved = file.read_bytes()
        return {_MODEL: np.frombuffer(self._saved, dtype=np.uint8).copy()}

    def _relearn(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Load the model file, which carries its options."""
        content = arrays[_MODEL].tobytes()
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "model"
            file.write_bytes(content)
            self._open(f"--initial_regressor {file}")
        self._saved = content

    def _examples(self, context: np.ndarray) -> list[Any]:
        """Make the shared example, in which component i is feature i, and the actions'.

        A mapping is quicker to take in than a text for the one, a text quicker for the others.
        """
        shared = self._workspace.example({"s": dict(enumerate(context.tolist()))})
        shared.set_label_string("shared")
        shared.setup_example()
        return [shared, *self._workspace.parse(self._actions)]

    def _keep(self, context: np.ndarray, examples: list[Any]) -> None:
        """Keep parsed examples until their outcome comes; the oldest make room."""
        stale = [self._pending.pop(id(context))] if id(context) in self._pending else []
        if len(self._pending) >= _MOST_PENDING:
            stale.append(self._pending.pop(next(iter(self._pending))))
        for _, old in stale:
            self._workspace.finish_example(old)
        self._pending[id(context)] = (context, examples)


class VowpalSquareCBAgent(VowpalAgent):
    r"""Vowpal Wabbit's SquareCB: ``--cb_explore_adf --squarecb``.

    Foster and Rakhlin, *Beyond UCB: optimal and efficient contextual bandits with regression
    oracles* (ICML 2020), algorithm 1: with predicted costs c and b the best of them,

    .. math:: p(a) = \frac{1}{K + \gamma_t (c_a - c_b)} \;\; (a \ne b), \qquad
        p(b) = 1 - \sum_{a \ne b} p(a).

    The oracle is Vowpal Wabbit's online regression, linear per action, by adaptive, normalised and
    invariant gradient steps (``--cb_type mtr``: importance-weighted, the only one that it offers
    for SquareCB); :math:`\gamma_t` grows with the outcomes. Our own, on exact ridge regressions, is
    `routing_gym.agents.squarecb`.
    """

    name: ClassVar[str] = "vw_squarecb"
    config_class: ClassVar[type[Any]] = VowpalSquareCBConfig
    config: VowpalSquareCBConfig

    def _exploration(self) -> str:
        """Choose SquareCB."""
        config = self.config
        return (
            f"--squarecb --gamma_scale {config.gamma_scale!r} "
            f"--gamma_exponent {config.gamma_exponent!r}"
        )

    def to_onnx(self, graph: OnnxGraph, observations: str) -> OnnxOutput:
        """Add minus the predicted costs, which rank as the probabilities do, to a graph."""
        return OnnxOutput(graph.node("Neg", *self._costs_to_onnx(graph, observations, 0)), "values")


class VowpalCoverAgent(VowpalAgent):
    """Vowpal Wabbit's online cover: ``--cb_explore_adf --cover m``.

    Agarwal, Hsu, Kale, Langford, Li and Schapire, *Taming the monster: a fast and simple algorithm
    for contextual bandits* (ICML 2014), algorithm 5: m policies, each trained by cost-sensitive
    steps on costs from which ``psi`` over the mass that the policies before it leave an action is
    taken; an action is drawn in proportion to the policies that choose it, above a smallest
    probability that falls with the outcomes.
    """

    name: ClassVar[str] = "vw_cover"
    config_class: ClassVar[type[Any]] = VowpalCoverConfig
    config: VowpalCoverConfig

    def _exploration(self) -> str:
        """Choose cover."""
        config = self.config
        return f"--cover {config.policies} --psi {config.psi!r} --epsilon {config.epsilon!r}" + (
            "" if config.uniform else " --nounif"
        )

    def to_onnx(self, graph: OnnxGraph, observations: str) -> OnnxOutput:
        """Add the policies' votes, which rank as the probabilities do, to a graph."""
        # Vowpal Wabbit leaves the second of the cover's places unused
        places = [0, *range(2, self.config.policies + 1)]
        costs = self._costs_to_onnx(graph, observations, *places)
        votes = [vote(graph, graph.node("Neg", cost)) for cost in costs]
        share = 1 / len(votes)
        return OnnxOutput(times(graph, graph.node("Sum", *votes), share), "values")


def vowpal_workspace(options: str) -> Any:
    """Make a learner of Vowpal Wabbit.

    Parameters
    ----------
    options
        As on its command line.

    Raises
    ------
    ImportError
        If the extra is not installed.
    """
    try:
        from vowpalwabbit import Workspace
    except ImportError as error:
        raise ImportError(
            "Vowpal Wabbit is not installed: pip install routing-gym[peers]."
        ) from error
    return Workspace(options)
