"""The base class of everything that decides, and of what it leaves on disk."""

from __future__ import annotations

import difflib
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeVar

import numpy as np

from routing_gym.agents.artefact import Artefact, read_artefact, write_artefact
from routing_gym.agents.onnx_graph import OnnxGraph, OnnxOutput
from routing_gym.agents.policy import Decision, choose
from routing_gym.envs.data import RoutingData

Feedback = Literal["full", "bandit", "none"]
Self = TypeVar("Self", bound="Agent")


@dataclass(frozen=True)
class NoOptions:
    """The configuration of an agent that has nothing to configure."""


class Agent(ABC):
    """Learns on one split to choose adapters, and decides on any other.

    Subclasses implement ``_fit``, ``probabilities`` (or, for predictors of rewards, ``values`` of
    ``ValueAgent``), ``_state`` and ``_restore``.

    Parameters
    ----------
    config
        An instance of the class's ``config_class``; None takes its defaults.
    **options
        Single fields of the configuration, which replace those of ``config``.

    Attributes
    ----------
    name
        The agent's key in the registry and in every result.
    feedback
        What training shows: ``"full"`` every adapter's reward on a query, ``"bandit"`` the chosen
        adapter's alone, ``"none"`` nothing.
    privileged
        Whether deciding needs more than the embedding (the task's name, the outcomes). Such an
        agent is a yardstick: it answers ``decide_on(data)`` and refuses ``decide(observations)``.
    adapters
        The adapter names that the actions stand for; empty until trained.
    num_features
        D of the embeddings it was trained on; 0 until trained.
    metadata
        What ``save`` was told to keep beside the policy (the table's fingerprint, the encoder).

    Raises
    ------
    ValueError
        If an option is unknown; the nearest known one is named.
    """

    name: ClassVar[str]
    feedback: ClassVar[Feedback]
    privileged: ClassVar[bool] = False
    config_class: ClassVar[type[Any]] = NoOptions
    config: Any

    def __init__(self, config: Any | None = None, **options: Any) -> None:
        base = self.config_class() if config is None else config
        if not isinstance(base, self.config_class):
            raise ValueError(
                f"config is a {type(base).__name__}: agent {self.name!r} takes a "
                f"{self.config_class.__name__}."
            )
        known = [field.name for field in fields(self.config_class)]
        for option, value in options.items():
            if option not in known:
                raise ValueError(_unknown_option(self.name, option, known))
            if isinstance(value, list):  # what YAML and JSON make of a tuple
                options[option] = tuple(value)
        self.config = replace(base, **options)
        self.adapters: tuple[str, ...] = ()
        self.num_features = 0
        self.metadata: dict[str, Any] = {}

    def train(
        self,
        train: RoutingData,
        *,
        validation: RoutingData,
        seed: int,
        log_dir: Path | None = None,
        progress: bool = False,
    ) -> None:
        """Learn a policy; a second call starts anew.

        Parameters
        ----------
        train
            What is learned from. An agent with bandit feedback looks only at cells that it chose.
        validation
            Chooses hyperparameters and the moment to stop; never fitted to.
        seed
            Determines the whole run, on one machine and one number of threads.
        log_dir
            Folder for TensorBoard files and ``curves.csv``; None writes nothing.
        progress
            Whether to show a progress bar on stderr.

        Raises
        ------
        ValueError
            If the two splits differ in adapters or in the width of the embeddings.
        """
        if validation.adapters != train.adapters:
            raise ValueError(
                f"validation has adapters {validation.adapters}, train has {train.adapters}: take "
                "both splits from one table."
            )
        width = train.observations.shape[1]
        _check_observations(validation.observations, width, argument="validation.observations")
        self.adapters = train.adapters
        self.num_features = width
        self._fit(train, validation=validation, seed=seed, log_dir=log_dir, progress=progress)

    def decide(
        self,
        observations: np.ndarray,
        *,
        rng: np.random.Generator | None = None,
        mask: np.ndarray | None = None,
    ) -> Decision:
        """Choose one adapter per query from its embedding.

        Parameters
        ----------
        observations
            float32 (N, D), query embeddings.
        rng
            Draws the adapters; None takes each query's most probable adapter.
        mask
            bool (K,) or (N, K), True where an adapter may be chosen; None allows all.

        Raises
        ------
        ValueError
            If a shape does not fit the trained policy, or the agent is privileged.
        RuntimeError
            If the agent has not been trained.
        """
        return choose(self.probabilities(observations, mask=mask), rng=rng, mask=mask)

    def decide_on(
        self,
        data: RoutingData,
        *,
        rng: np.random.Generator | None = None,
        mask: np.ndarray | None = None,
    ) -> Decision:
        """Choose one adapter per query of a split; privileged agents see all of it.

        Parameters
        ----------
        data
            The split to decide on, N queries.
        rng
            Draws the adapters; None takes each query's most probable adapter.
        mask
            bool (K,) or (N, K), True where an adapter may be chosen; None allows all.

        Raises
        ------
        ValueError
            If the split has other adapters than the agent was trained on.
        RuntimeError
            If the agent has not been trained.
        """
        self._check_adapters(data)
        return self.decide(data.observations, rng=rng, mask=mask)

    @abstractmethod
    def probabilities(
        self, observations: np.ndarray, *, mask: np.ndarray | None = None
    ) -> np.ndarray:
        """Return the policy itself, before a choice is made.

        Parameters
        ----------
        observations
            float32 (N, D), query embeddings.
        mask
            bool (K,) or (N, K), True where an adapter may be chosen. Policies that rank adapters
            need it here; for the others ``decide`` applies it to the result.

        Returns
        -------
        np.ndarray
            float64 (N, K), rows sum to 1.
        """

    def to_onnx(self, graph: OnnxGraph, observations: str) -> OnnxOutput:
        """Add what ``probabilities`` computes to a graph; see `policy_to_onnx` for a whole model.

        Parameters
        ----------
        graph
            Takes the nodes.
        observations
            Name of the tensor float32 (N, D).

        Raises
        ------
        ValueError
            If the agent cannot be exported.
        """
        raise ValueError(f"agent {self.name!r} has no export to ONNX: implement its to_onnx.")

    def save(self, folder: Path | str, *, metadata: Mapping[str, Any] | None = None) -> None:
        """Write the policy as ``agent.json`` and ``weights.safetensors``; whole or not at all.

        Parameters
        ----------
        folder
            Replaced if it holds a saved agent or nothing.
        metadata
            JSON values kept beside the policy; None keeps those it was loaded with.

        Raises
        ------
        ValueError
            If the folder holds anything else.
        RuntimeError
            If the agent has not been trained.
        """
        self._check_trained()
        values, arrays = self._state()
        write_artefact(
            Path(folder),
            Artefact(
                agent=self.name,
                adapters=self.adapters,
                num_features=self.num_features,
                config=asdict(self.config),
                state=values,
                metadata=dict(self.metadata if metadata is None else metadata),
                arrays=arrays,
            ),
        )

    @classmethod
    def load(cls: type[Self], folder: Path | str) -> Self:
        """Read a policy that ``save`` wrote.

        Raises
        ------
        FileNotFoundError
            If the folder holds no saved agent.
        ValueError
            If it was edited or truncated, or holds an agent of another name.
        """
        artefact = read_artefact(Path(folder))
        if artefact.agent != cls.name:
            raise ValueError(
                f"{folder} holds agent {artefact.agent!r}, not {cls.name!r}: load it with "
                "routing_gym.agents.load_agent."
            )
        agent = cls(**artefact.config)
        agent.adapters = artefact.adapters
        agent.num_features = artefact.num_features
        agent.metadata = dict(artefact.metadata)
        agent._restore(artefact.state, artefact.arrays)
        return agent

    @abstractmethod
    def _fit(
        self,
        train: RoutingData,
        *,
        validation: RoutingData,
        seed: int,
        log_dir: Path | None,
        progress: bool,
    ) -> None:
        """Learn from checked splits."""

    @abstractmethod
    def _state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Return what was learned: JSON values and arrays."""

    @abstractmethod
    def _restore(self, values: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
        """Take back what ``_state`` returned."""

    def _check_trained(self) -> None:
        """Refuse to use a policy that does not exist yet."""
        if not self.adapters:
            raise RuntimeError(f"agent {self.name!r} is not trained: call train or load first.")

    def _check_adapters(self, data: RoutingData) -> None:
        """Refuse data whose actions mean other adapters."""
        self._check_trained()
        if data.adapters != self.adapters:
            raise ValueError(
                f"data has adapters {data.adapters}, agent {self.name!r} was trained on "
                f"{self.adapters}: use a table of the same pool, or train again."
            )

    def _checked(self, observations: np.ndarray) -> np.ndarray:
        """Return observations as float32 (N, D), or refuse them."""
        self._check_trained()
        return _check_observations(observations, self.num_features)


def _check_observations(
    observations: np.ndarray, width: int, *, argument: str = "observations"
) -> np.ndarray:
    """Return float32 (N, D) or raise a ValueError that names the fault."""
    observations = np.asarray(observations, dtype=np.float32)
    if observations.ndim != 2 or observations.shape[1] != width:
        raise ValueError(
            f"{argument} has shape {observations.shape}, not (N, {width}): give one embedding per "
            "row, from the encoder of the training table."
        )
    finite = np.isfinite(observations).all(axis=1)
    if not finite.all():
        raise ValueError(f"{argument}[{int(np.argmin(finite))}] is not finite: encode it again.")
    return observations


def _unknown_option(agent: str, option: str, known: list[str]) -> str:
    """Word the error for an option that the configuration lacks."""
    close = difflib.get_close_matches(option, known, n=1)
    hint = f"; did you mean {close[0]!r}?" if close else "."
    return f"unknown option {option!r} of agent {agent!r}: known are {', '.join(known)}{hint}"
