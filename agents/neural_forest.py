"""Neural-linear decides what to pay for; in the end forests of all that was paid for join it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from routing_gym.agents.bandit import require_at_least, require_share
from routing_gym.agents.forest import ForestAgent, predict_trees
from routing_gym.agents.neural_linear import NeuralLinearAgent, NeuralLinearConfig
from routing_gym.agents.onnx_graph import OnnxGraph
from routing_gym.agents.onnx_layers import times, tree_means


@dataclass(frozen=True)
class NeuralForestConfig(NeuralLinearConfig):
    """Settings of the neural forest, beside those of neural-linear, which explores.

    Parameters
    ----------
    num_components
        More than the other bandits': trees leave out what tells them nothing.
    revisit
        No: an outcome that is known already is worth nothing to the forests.
    trees
        Of each adapter's forest, at least 1.
    leaf_size
        Least number of outcomes in a leaf, at least 1.
    share
        Share of the components that each question chooses from, in (0, 1].
    forest_weight
        Of the forests in the trained policy's predictions, in [0, 1]; 0 leaves neural-linear.
    """

    num_components: int = 100
    revisit: bool = False
    trees: int = 100
    leaf_size: int = 5
    share: float = 0.6
    forest_weight: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        require_at_least(self, 1, "trees", "leaf_size")
        require_share(self, "forest_weight")
        if not 0 < self.share <= 1:
            raise ValueError(f"share={self.share} must be above 0 and at most 1.")


class NeuralForestAgent(NeuralLinearAgent):
    r"""Explore by Thompson sampling, then let a second learner judge the same outcomes.

    The oracle-efficient scheme of Langford and Zhang, *The epoch-greedy algorithm* (NeurIPS 2007):
    a learner of full strength is called on what exploration has bought, here once, at the end of
    the stream. While it runs, `NeuralLinearAgent` decides. The trained policy takes

    .. math:: \arg\max_a (1 - w) \mu_a^\top \phi(x) + w \hat f_a(x),

    with neural-linear's posterior mean and :math:`\hat f_a` a forest of extremely randomised trees
    (Geurts, Ernst and Wehenkel 2006) on the outcomes of adapter a. Network and trees err on
    different queries, so that their mean errs less (Krogh and Vedelsby, NeurIPS 1995). Changed:
    exploration is not uniform; yet it depends on the context alone, given the outcomes before, so
    that a regression per adapter needs no inverse propensities, which would weigh most what
    exploration had reason to avoid. For an adapter without outcomes neural-linear stands alone.
    """

    name: ClassVar[str] = "neural_forest"
    config_class: ClassVar[type[Any]] = NeuralForestConfig
    config: NeuralForestConfig

    def _begin(self, *, width: int, rng: np.random.Generator) -> None:
        """Begin to explore; there are no forests yet."""
        super()._begin(width=width, rng=rng)
        self._forests: dict[int, dict[str, np.ndarray]] = {}

    def _estimates(self, contexts: np.ndarray) -> np.ndarray:
        """Mix the posterior means with the forests, where they are grown."""
        values = super()._estimates(contexts)
        features, weight = np.asarray(contexts[:, 1:], dtype=np.float32), self.config.forest_weight
        for adapter, trees in self._forests.items():
            values[:, adapter] *= 1 - weight
            values[:, adapter] += weight * predict_trees(trees, features)[:, 0]
        return values

    def estimates_to_onnx(self, graph: OnnxGraph, contexts: str) -> str:
        """Add the posterior means, mixed with the forests, to a graph."""
        values, weight = super().estimates_to_onnx(graph, contexts), self.config.forest_weight
        width = self._projection.width
        features = graph.single(graph.columns(contexts, start=1, stop=width))
        columns = []
        for adapter in range(len(self.adapters)):
            column = graph.columns(values, start=adapter, stop=adapter + 1)
            if adapter in self._forests:
                trees = tree_means(graph, features, self._forests[adapter])
                trees, column = times(graph, trees, weight), times(graph, column, 1 - weight)
                column = graph.node("Add", column, trees)
            columns.append(column)
        return graph.node("Concat", *columns, axis=1)

    def _finish(self) -> None:
        """Grow each adapter's forest on all that was paid for."""
        super()._finish()
        config = self.config
        grower = ForestAgent(trees=config.trees, share=config.share)
        contexts, actions, rewards = (held.numpy() for held in self._replay.held())
        for adapter in np.unique(actions).tolist():
            rows = actions == adapter
            seed = int(self._rng.integers(2**31))
            self._forests[adapter] = grower._grow(
                contexts[rows, 1:], rewards[rows], config.leaf_size, seed
            )

    def _learned(self) -> dict[str, np.ndarray]:
        """Return what explores, and the forests."""
        arrays = super()._learned()
        for adapter, trees in self._forests.items():
            arrays |= {f"forest.{adapter}.{key}": value for key, value in trees.items()}
        return arrays

    def _relearn(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Take them back."""
        super()._relearn(arrays)
        for key, value in arrays.items():
            kind, _, rest = key.partition(".")
            if kind == "forest":
                adapter, _, part = rest.partition(".")
                self._forests.setdefault(int(adapter), {})[part] = value
