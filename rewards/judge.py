"""The LLM judge: another model's opinion of an answer, without a reference."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from routing_gym.rewards.judge_cost import Spending
from routing_gym.rewards.judge_errors import JudgeError
from routing_gym.rewards.judge_prompts import RATINGS, Prompt, comparison_prompt, rating_prompt
from routing_gym.rewards.judge_run import JudgeRun, Progress, Verdict
from routing_gym.rewards.judge_settings import JudgeSettings
from routing_gym.rewards.metric import Answer, Direction

Winner = Literal["first", "tie", "second"]
SHOWN_FAILURES = 3


@dataclass(frozen=True)
class Rating:
    """A rating by the rubric, or the reason why there is none.

    Parameters
    ----------
    verdict
        A rating of 1 (worst) to 5, its reason and its cost.
    """

    verdict: Verdict

    @property
    def rating(self) -> int | None:
        """1 to 5; None if the judge gave no valid verdict."""
        value = self.verdict.value
        return value if isinstance(value, int) else None

    @property
    def score(self) -> float | None:
        """The rating on [0, 1]: ``(rating - 1) / 4``; None if there is none."""
        low, high = RATINGS[0], RATINGS[-1]
        return None if self.rating is None else (self.rating - low) / (high - low)


@dataclass(frozen=True)
class Preference:
    """Two answers compared in both orders.

    Parameters
    ----------
    forward
        Verdict with the first answer shown as A.
    backward
        Verdict with the second answer shown as A.
    """

    forward: Verdict
    backward: Verdict

    @property
    def failed(self) -> bool:
        """Whether one of the orders has no valid verdict."""
        return self.forward.value is None or self.backward.value is None

    @property
    def winner(self) -> Winner | None:
        """Who wins in both orders; a tie if they disagree; None if an order failed."""
        if self.failed:
            return None
        forward = _winner(self.forward, swapped=False)
        return forward if forward == _winner(self.backward, swapped=True) else "tie"

    @property
    def disagree(self) -> bool:
        """Whether the two orders, both valid, name different winners."""
        return not self.failed and (
            _winner(self.forward, swapped=False) != _winner(self.backward, swapped=True)
        )

    @property
    def favoured(self) -> Literal["A", "B"] | None:
        """The position that wins whoever stands there; None if none does."""
        if self.forward.value == self.backward.value == "A":
            return "A"
        return "B" if self.forward.value == self.backward.value == "B" else None


@dataclass(frozen=True)
class PositionBias:
    """How much the order of two answers decides, over the comparisons that did not fail.

    Parameters
    ----------
    compared
        Their number.
    disagreement
        Share in which the two orders name different winners; nan if there are none.
    favours_first, favours_second
        Shares in which the answer at one position wins in both orders.
    """

    compared: int
    disagreement: float
    favours_first: float
    favours_second: float

    @property
    def rate(self) -> float:
        """Share in which a position wins, whichever: the position-bias rate."""
        return self.favours_first + self.favours_second


class LLMJudge:
    """A language model behind any OpenAI-compatible server, asked to judge answers.

    Pointwise (`rate`, and `score` as a metric): one answer, a rubric, 1 to 5. Pairwise
    (`compare`): two answers in both orders; where the orders disagree it is a tie, because what
    then decides is the position (Wang et al., "Large Language Models are not Fair Evaluators",
    ACL 2024). The judge sees the query, the answer and whether the answer was cut off: no
    reference, and not who answered.

    **Sees** what its model can work out on its own.

    **Is fooled by** what its model believes or cannot compute; by position (measured, see
    `position_bias`), by length and confident style, and by answers of its own family of models
    (Zheng et al. 2023). An answer that gives it orders is marked as data, which makes obedience
    rarer, not impossible.

    Parameters
    ----------
    settings
        Model, server, patience, prices, cache; None reads the YAML file that the environment
        variable ``ROUTING_GYM_JUDGE`` names, so that
        ``"routing_gym.rewards.judge:LLMJudge"`` works in a list of metrics.
    sleep
        Waits for a number of seconds between requests; None sleeps.

    Raises
    ------
    ValueError
        If there are no settings, or they are refused.

    Notes
    -----
    The key is read from the environment at each call and kept nowhere: not in this object, its
    pickle, the cache, a log or an error. Needs ``pip install routing-gym[judge]``.
    """

    name = "judge"
    direction: Direction = "higher"

    def __init__(
        self,
        settings: JudgeSettings | None = None,
        *,
        sleep: Callable[[float], object] | None = None,
    ) -> None:
        self.settings = JudgeSettings.from_environment() if settings is None else settings
        self._sleep = sleep
        self._spending = Spending()

    def __repr__(self) -> str:
        return f"LLMJudge(model={self.settings.model!r}, url={self.settings.url!r})"

    @property
    def spending(self) -> Spending:
        """Everything that this judge was asked, and what it cost."""
        return self._spending

    def score(self, answers: Sequence[Answer]) -> np.ndarray:
        """Score a batch by the rubric: float64 (N,) in [0, 1].

        Raises
        ------
        JudgeError
            As `rate`, or if the judge gave no valid verdict on an answer: nothing is made up.
        """
        scores = [(rating.score, rating.verdict.failure) for rating in self.rate(answers)]
        failures = [f"{i}: {failure}" for i, (_, failure) in enumerate(scores) if failure]
        if failures:
            shown = "; ".join(failures[:SHOWN_FAILURES])
            raise JudgeError(
                f"the judge gave no verdict on {len(failures)} of {len(answers)} answers ({shown})."
                " Start again: with a cache, only these are asked."
            )
        return np.array([score for score, _ in scores], dtype=np.float64)

    def rate(self, answers: Sequence[Answer], *, on_done: Progress | None = None) -> list[Rating]:
        """Rate answers by the rubric.

        Parameters
        ----------
        answers
            Length N.
        on_done
            Called with 1 after each verdict (equal texts have one verdict).

        Returns
        -------
        list[Rating]
            Length N; one whose verdict failed says why.

        Raises
        ------
        JudgeError
            If the server refuses the key (`KeyRefusedError`) or the model, the budget is spent
            (`BudgetError`), or too many verdicts failed one after the other.
        ImportError
            If the extra ``judge`` is not installed.
        ValueError
            If the environment holds no key for a server elsewhere.
        """
        prompts = [rating_prompt(answer, rubric=self.settings.rubric) for answer in answers]
        run = self._run(on_done)
        try:
            return [Rating(verdict) for verdict in run.verdicts(prompts)]
        finally:
            self._spending += run.spending

    def compare(
        self, pairs: Sequence[tuple[Answer, Answer]], *, on_done: Progress | None = None
    ) -> list[Preference]:
        """Compare pairs of answers to one query each, both orders of every pair.

        Parameters
        ----------
        pairs
            Length N.
        on_done
            Called with 1 after each verdict, of which a pair takes two.

        Returns
        -------
        list[Preference]
            Length N.

        Raises
        ------
        ValueError
            If a pair's answers are to different queries; further as `rate`.
        JudgeError, ImportError
            As `rate`.
        """
        prompts = [p for pair in pairs for p in _both_orders(pair)]
        run = self._run(on_done)
        try:
            verdicts = run.verdicts(prompts)
        finally:
            self._spending += run.spending
        return [Preference(*both) for both in zip(verdicts[::2], verdicts[1::2], strict=True)]

    def estimate(
        self, answers: Sequence[Answer] = (), *, pairs: Sequence[tuple[Answer, Answer]] = ()
    ) -> Spending:
        """Estimate, without a request, what rating answers and comparing pairs would take.

        Returns
        -------
        Spending
            Requests that the cache does not spare, and an upper estimate of their tokens and cost.
        """
        prompts = [rating_prompt(answer, rubric=self.settings.rubric) for answer in answers]
        prompts += [p for pair in pairs for p in _both_orders(pair)]
        return self._run(None).estimate(prompts)

    def _run(self, on_done: Progress | None) -> JudgeRun:
        """Start a batch that goes on with this judge's budget."""
        return JudgeRun(
            self.settings, spent=self._spending.cost, sleep=self._sleep, on_done=on_done
        )


def position_bias(preferences: Iterable[Preference]) -> PositionBias:
    """Measure how much the order of the answers decides."""
    valid = [preference for preference in preferences if not preference.failed]
    favoured = [preference.favoured for preference in valid]
    share = 1 / len(valid) if valid else float("nan")
    return PositionBias(
        compared=len(valid),
        disagreement=sum(preference.disagree for preference in valid) * share,
        favours_first=favoured.count("A") * share,
        favours_second=favoured.count("B") * share,
    )


def _both_orders(pair: tuple[Answer, Answer]) -> tuple[Prompt, Prompt]:
    """Prompts with the first, then with the second answer as A."""
    first, second = pair
    return comparison_prompt(first, second), comparison_prompt(second, first)


def _winner(verdict: Verdict, *, swapped: bool) -> Winner:
    """Translate A or B into first or second."""
    if verdict.value == "tie":
        return "tie"
    return "first" if (verdict.value == "A") != swapped else "second"
