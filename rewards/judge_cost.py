"""What judging costs: tokens, money, a budget."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields

from routing_gym.rewards.judge_errors import BudgetError
from routing_gym.rewards.judge_settings import JudgeSettings

BYTES_PER_TOKEN = 3.0  # English has about four: an estimate errs upwards
MESSAGE_TOKENS = 8  # role and separators


@dataclass(frozen=True)
class Tokens:
    """Tokens of one or more requests.

    Parameters
    ----------
    prompt, completion
        Counts, at least 0.
    """

    prompt: int = 0
    completion: int = 0

    def __add__(self, other: Tokens) -> Tokens:
        return Tokens(self.prompt + other.prompt, self.completion + other.completion)


@dataclass(frozen=True)
class Spending:
    """What a judge has asked for so far, or would ask for.

    Parameters
    ----------
    verdicts
        Verdicts wanted, each text once; a comparison takes two.
    cached
        Those of them that the cache held, which cost nothing.
    failed
        Those of them that came to nothing.
    requests
        Asks that the server answered, whether or not with a valid verdict.
    unmetered
        Those of them whose answer named no tokens; they are charged by estimate.
    prompt_tokens, completion_tokens
        Tokens of the requests.
    cost
        Money, in the currency of the given prices.
    """

    verdicts: int = 0
    cached: int = 0
    failed: int = 0
    requests: int = 0
    unmetered: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost: float = 0.0

    def __add__(self, other: Spending) -> Spending:
        names = [spec.name for spec in fields(Spending)]
        return Spending(*(getattr(self, name) + getattr(other, name) for name in names))


def price(tokens: Tokens, settings: JudgeSettings) -> float:
    """Money for tokens, at the settings' prices per million."""
    return (
        tokens.prompt * settings.prompt_price + tokens.completion * settings.completion_price
    ) / 1e6


def estimate_tokens(messages: Sequence[dict[str, str]], settings: JudgeSettings) -> Tokens:
    """Estimate one request from above: three bytes to a token, and the longest answer allowed."""
    size = sum(len(message["content"].encode("utf-8", "replace")) for message in messages)
    prompt = math.ceil(size / BYTES_PER_TOKEN) + MESSAGE_TOKENS * len(messages)
    return Tokens(prompt, settings.completion_limit)


class Purse:
    """Money spent and money promised to requests under way, held to a budget.

    Parameters
    ----------
    settings
        Prices and budget.
    spent
        Money that is gone already.
    """

    def __init__(self, settings: JudgeSettings, *, spent: float = 0.0) -> None:
        self._settings = settings
        self._spent = spent
        self._promised = 0.0

    def promise(self, tokens: Tokens) -> bool:
        """Put money aside for a request; False if the budget does not allow it now."""
        cost = price(tokens, self._settings)
        budget = self._settings.budget
        if budget is not None and self._spent + self._promised + cost > budget:
            return False
        self._promised += cost
        return True

    def settle(self, promised: Tokens, used: Tokens) -> float:
        """Replace what was put aside by what the request cost, and return that."""
        self._promised = max(0.0, self._promised - price(promised, self._settings))
        cost = price(used, self._settings)
        self._spent += cost
        return cost

    def exhausted(self, *, missing: int) -> BudgetError:
        """Make the error that says that the budget is spent."""
        return BudgetError(
            f"the judge's budget of {self._settings.budget:g} does not allow another request: "
            f"{self._spent:.6g} is spent and {missing} verdicts are missing; raise budget and "
            "start again (the cache holds what was paid for, if it is on)."
        )
