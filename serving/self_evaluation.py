"""Self-evaluation in the background: rewards for a share of the answers, without any user."""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from routing_gym.serving.backend import TokenSignals
from routing_gym.serving.logs import log, log_exception

if TYPE_CHECKING:
    from routing_gym.rewards.evaluator import SelfEvaluator
    from routing_gym.rewards.reward import RewardFunction
    from routing_gym.serving.bundle import PolicyBundle

QUALITY_ENCODER = "sentence-transformers/all-MiniLM-L6-v2"
_COSTS = ("tokens", "seconds")
_BUSY_POLL, _PATIENCE = 0.05, 5.0  # seconds


@dataclass(frozen=True)
class ServedAnswer:
    """A routed answer, with what was measured while it was written.

    Parameters
    ----------
    decision_id
        Of its decision.
    adapter
        Who answered; no metric reads it.
    query, response
        The texts.
    finished
        False if the answer stopped at its token limit.
    completion_tokens
        0 if not known.
    seconds
        Of the generation.
    signals
        Of its tokens; None where the back end does not measure them.
    """

    decision_id: str
    adapter: str
    query: str
    response: str
    finished: bool = True
    completion_tokens: int = 0
    seconds: float = 0.0
    signals: TokenSignals | None = None


class Evaluator(Protocol):
    """Whatever turns an answer into a reward."""

    def reward(self, answer: ServedAnswer) -> float:
        """Return the reward in [0, 1]; called in a thread of its own."""
        ...


class RewardEstimator:
    """The project's self-evaluator, with the reward that a policy was trained on.

    Metrics that need more than texts, counts, an encoder and what the back end measures (another
    pass of the base model) are left out and the other weights keep their proportions. The form of
    answer that a query asks for is read from its text.

    Parameters
    ----------
    evaluator
        Scores answers.
    reward
        Weighs the scores.
    left_out
        Metrics of the training reward that are left out for want of token signals.
    """

    def __init__(
        self, evaluator: SelfEvaluator, reward: RewardFunction, *, left_out: Sequence[str] = ()
    ) -> None:
        self.left_out = tuple(left_out)
        self._evaluator = evaluator
        self._reward = reward

    @classmethod
    def of_bundle(cls, bundle: PolicyBundle, *, torch: bool, signals: bool) -> RewardEstimator:
        """Build it for a policy; its own encoder embeds the texts if it is the metrics' encoder.

        Parameters
        ----------
        bundle
            The policy.
        torch
            Whether the metrics' encoder may be loaded with torch where the policy has another.
        signals
            Whether answers come with their `TokenSignals`; otherwise the metrics that read them are
            left out.

        Raises
        ------
        ValueError
            If none of the reward's metrics can be scored but costs, or that would need torch.
        """
        from routing_gym.rewards.evaluator import SelfEvaluator
        from routing_gym.rewards.registry import FROM_TOKENS
        from routing_gym.rewards.reward import DEFAULT_WEIGHTS, RewardFunction

        reward = bundle.manifest.reward or DEFAULT_WEIGHTS
        weights = _scored(reward, signals=signals)
        left_out = [name for name in FROM_TOKENS if reward.get(name, 0) > 0 and not signals]
        same = bundle.manifest.encoder.name == QUALITY_ENCODER
        if not (same or torch):
            raise ValueError(
                f"the policy's encoder {bundle.manifest.encoder.name!r} is not the metrics' "
                f"{QUALITY_ENCODER!r}, and without the local back end no other is loaded: set "
                "--self_evaluation_share 0."
            )
        evaluator = SelfEvaluator(tuple(weights), encoder=bundle if same else None)
        return cls(evaluator, RewardFunction(weights), left_out=left_out)

    def warn(self) -> None:
        """Name in the log what is left out, if anything is."""
        if self.left_out:
            log(
                "self-evaluation without token signals",
                level=logging.WARNING,
                left_out=list(self.left_out),
                scored=list(self._reward.weights),
            )

    def scores(self, answer: ServedAnswer) -> dict[str, float]:
        """Score an answer: metric -> score in [0, 1]."""
        from routing_gym.rewards.asked_form import asked_form

        asked, signals = asked_form(answer.query), answer.signals
        return self._evaluator.evaluate(
            query=answer.query,
            response=answer.response,
            finished=answer.finished,
            completion_tokens=answer.completion_tokens,
            seconds=answer.seconds,
            form=asked.form,
            form_size=asked.size,
            token_log_probs=signals.log_probs if signals else None,
            token_entropies=signals.entropies if signals else None,
        )

    def reward(self, answer: ServedAnswer) -> float:
        """Score an answer and weigh the scores."""
        return self.weigh(self.scores(answer))

    def weigh(self, scores: Mapping[str, float]) -> float:
        """Return the reward of an answer with these scores."""
        arrays = {name: np.asarray(score) for name, score in scores.items()}
        return float(self._reward(arrays, self._evaluator.directions))


def _scored(reward: Mapping[str, float], *, signals: bool) -> dict[str, float]:
    """Keep the weights of what can be scored while serving."""
    from routing_gym.rewards.registry import DEFAULT_METRICS, FROM_TOKENS

    known = {name: weight for name, weight in reward.items() if weight > 0}
    able = [name for name in DEFAULT_METRICS if signals or name not in FROM_TOKENS]
    weights = {name: weight for name, weight in known.items() if name in able}
    # Costs alone would call the shortest answer the best, whatever it says.
    if not set(weights) - set(_COSTS):
        raise ValueError(
            f"reward={known} has no metric that can be scored while serving"
            f"{'' if signals else ' without token signals'} and is not a cost: known are "
            f"{', '.join(name for name in able if name not in _COSTS)}; set "
            "--self_evaluation_share 0."
        )
    return weights


class BackgroundEvaluation:
    """Scores a sampled share of the answers when there is nothing else to do.

    Giving way is decided here and not left to the system's priorities: a thread of low priority
    that holds the interpreter's lock would hold up all others.

    Parameters
    ----------
    evaluator
        Scores.
    share
        Share of the offered answers that is taken, in [0, 1].
    size
        Answers that may wait; further ones are not scored.
    busy
        Whether the server has more important work; then the next answer waits.
    deliver
        Is called in the event loop with each answer and its reward.
    seed
        Of the sampling; None samples differently every time.
    """

    def __init__(
        self,
        evaluator: Evaluator,
        *,
        share: float,
        size: int,
        busy: Callable[[], bool],
        deliver: Callable[[ServedAnswer, float], None],
        seed: int | None = None,
    ) -> None:
        self._evaluator = evaluator
        self._share = share
        self._busy = busy
        self._deliver = deliver
        self._rng = np.random.default_rng(seed)
        self._waiting: queue.Queue[ServedAnswer | None] = queue.Queue(size)
        self._stopping = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start the thread; to be called in the event loop."""
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._work, name="self-evaluation", daemon=True)
        self._thread.start()

    async def close(self) -> None:
        """Stop after the answer that is being scored; those that wait are not scored."""
        self._stopping.set()
        if self._thread is not None:
            await asyncio.to_thread(self._thread.join, 10)
            self._thread = None

    def offer(self, answer: ServedAnswer) -> bool:
        """Take an answer if it is drawn and there is room; tell whether it was taken."""
        if self._stopping.is_set() or not answer.query.strip() or self._rng.random() >= self._share:
            return False
        try:
            self._waiting.put_nowait(answer)
        except queue.Full:
            return False
        return True

    def _work(self) -> None:
        """Score answers until told to stop."""
        while not self._stopping.is_set():
            try:
                answer = self._waiting.get(timeout=0.2)
            except queue.Empty:
                continue
            patience = time.monotonic() + _PATIENCE  # a server that never rests is scored as well
            while self._busy() and time.monotonic() < patience:
                if self._stopping.wait(_BUSY_POLL):
                    break
            if answer is not None and not self._stopping.is_set():
                self._score(answer)

    def _score(self, answer: ServedAnswer) -> None:
        """Score one answer; an evaluator's failure costs only its reward."""
        try:
            reward = self._evaluator.reward(answer)
        except Exception as error:
            log_exception("self-evaluation failed", error, decision_id=answer.decision_id)
            return
        try:
            assert self._loop is not None
            self._loop.call_soon_threadsafe(self._deliver, answer, min(1.0, max(0.0, reward)))
        except RuntimeError:  # the loop has been closed
            self._stopping.set()
