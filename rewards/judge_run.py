"""Getting many verdicts: the cache first, then several requests at once, within the budget.

Threads only wait for the server. Money, validation, cache and progress stay in the calling thread.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from typing import Any

from routing_gym.rewards.judge_cache import JudgeCache
from routing_gym.rewards.judge_client import ChatClient, Reply
from routing_gym.rewards.judge_cost import Purse, Spending, Tokens, estimate_tokens, price
from routing_gym.rewards.judge_errors import CallError, JudgeError
from routing_gym.rewards.judge_prompts import PROMPT_VERSION, Prompt, correction, read_opinion
from routing_gym.rewards.judge_settings import JudgeSettings

Progress = Callable[[int], object]


@dataclass(frozen=True)
class Verdict:
    """What became of one question to the judge.

    Parameters
    ----------
    value
        The verdict; None if there is none.
    reason
        The judge's reason.
    failure
        Why there is no verdict; "" if there is one.
    asks
        Asks that it took, whenever they were made.
    prompt_tokens, completion_tokens
        Tokens that it took, whenever they were paid for.
    cost
        Money paid for it now; 0 if it came from the cache.
    cached
        Whether it came from the cache.
    """

    value: int | str | None
    reason: str = ""
    failure: str = ""
    asks: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost: float = 0.0
    cached: bool = False


@dataclass
class _Task:
    """One question under way."""

    key: str
    prompt: Prompt
    messages: list[dict[str, str]]
    asks: int = 0
    tokens: Tokens = field(default_factory=Tokens)
    promised: Tokens = field(default_factory=Tokens)
    cost: float = 0.0

    def failed(self, failure: str) -> Verdict:
        """Give up on it, keeping what it cost."""
        return Verdict(None, failure=failure, **self._counts())

    def answered(self, value: int | str, reason: str) -> Verdict:
        """End it with a verdict."""
        return Verdict(value, reason, **self._counts())

    def _counts(self) -> dict[str, Any]:
        """Sum up what it took."""
        counts = {"prompt_tokens": self.tokens.prompt, "completion_tokens": self.tokens.completion}
        return {"asks": self.asks, "cost": self.cost, **counts}


class JudgeRun:
    """One batch of questions to the judge.

    Parameters
    ----------
    settings
        Server, model, patience, prices.
    spent
        Money that the same budget has paid already.
    sleep
        As in `ChatClient`.
    on_done
        Called with 1 after each verdict, in the calling thread.
    """

    def __init__(
        self,
        settings: JudgeSettings,
        *,
        spent: float = 0.0,
        sleep: Callable[[float], object] | None = None,
        on_done: Progress | None = None,
    ) -> None:
        self.spending = Spending()
        self._settings = settings
        self._sleep = sleep
        self._on_done = on_done
        self._purse = Purse(settings, spent=spent)
        self._cache = JudgeCache(settings.cache) if settings.cache else None
        self._verdicts: dict[str, Verdict] = {}
        self._in_a_row = 0

    def verdicts(self, prompts: Sequence[Prompt]) -> list[Verdict]:
        """Get a verdict on each prompt; equal prompts are asked once.

        Raises
        ------
        JudgeError
            If the server refuses the key or the model, the budget is spent, or too many verdicts
            failed one after the other. What was paid for by then is in the cache.
        """
        keys = [self._key(prompt) for prompt in prompts]
        missing = self._look_up(dict(zip(keys, prompts, strict=True)))
        if missing:
            with (
                ChatClient(self._settings, sleep=self._sleep) as client,
                ThreadPoolExecutor(self._settings.threads) as threads,
            ):
                self._ask(deque(missing), client, threads)
        return [self._verdicts[key] for key in keys]

    def estimate(self, prompts: Sequence[Prompt]) -> Spending:
        """Estimate from above what `verdicts` would take if each first answer were valid."""
        keys = [self._key(prompt) for prompt in prompts]
        missing = self._look_up(dict(zip(keys, prompts, strict=True)))
        tokens = sum((estimate_tokens(t.messages, self._settings) for t in missing), Tokens())
        return replace(
            self.spending,
            verdicts=len(set(keys)),
            requests=len(missing),
            prompt_tokens=tokens.prompt,
            completion_tokens=tokens.completion,
            cost=price(tokens, self._settings),
        )

    def _key(self, prompt: Prompt) -> str:
        """Hash what decides a verdict."""
        settings = self._settings
        return JudgeCache.key(
            model=settings.model,
            url=settings.url,
            prompts=PROMPT_VERSION,
            messages=prompt.messages,
            schema=prompt.schema,
            request=dict(settings.request),
            structured=settings.structured,
            asks=settings.asks,
        )

    def _look_up(self, prompts: dict[str, Prompt]) -> list[_Task]:
        """Take from the cache what it holds; the rest are tasks."""
        missing = []
        for key, prompt in prompts.items():
            stored = self._cache.get(key) if self._cache else None
            verdict = None if stored is None else _restored(stored, prompt)
            if verdict is None:
                missing.append(_Task(key, prompt, prompt.messages))
            else:
                self._done(key, verdict)
        return missing

    def _ask(self, waiting: deque[_Task], client: ChatClient, threads: ThreadPoolExecutor) -> None:
        """Keep the threads busy until every task has ended, or one error ends them all."""
        flying: dict[Future[Reply], _Task] = {}
        try:
            while waiting or flying:
                while waiting and len(flying) < self._settings.threads:
                    if not self._afford(waiting[0], flying=bool(flying), left=len(waiting)):
                        break
                    task = waiting.popleft()
                    flying[threads.submit(_call, client, task)] = task
                for future in wait(flying, return_when=FIRST_COMPLETED).done:
                    task = flying.pop(future)
                    if self._land(task, future):
                        waiting.appendleft(task)
        except BaseException:
            client.stop()
            self._save(flying)
            raise

    def _afford(self, task: _Task, *, flying: bool, left: int) -> bool:
        """Put the money for a request aside; wait if those under way may cost less than feared."""
        task.promised = estimate_tokens(task.messages, self._settings)
        if self._purse.promise(task.promised):
            return True
        if not flying:
            raise self._purse.exhausted(missing=left)
        return False

    def _land(self, task: _Task, future: Future[Reply]) -> bool:
        """Take in what came of a request; True if it must be asked again."""
        try:
            reply = future.result()
        except CallError as error:
            self._purse.settle(task.promised, Tokens())
            self._fail(task, str(error))
            return False
        task.asks += 1
        self._charge(task, reply)
        try:
            if reply.complaint:
                raise ValueError(reply.complaint)
            opinion = read_opinion(task.prompt, reply.text)
        except ValueError as error:
            if task.asks < self._settings.asks:
                task.messages = correction(task.prompt, reply.text, complaint=str(error))
                return True
            self._fail(task, f"no valid verdict in {task.asks} asks; the last time {error}")
            return False
        self._in_a_row = 0
        self._done(task.key, task.answered(opinion.verdict, opinion.reason), store=True)
        return False

    def _save(self, flying: dict[Future[Reply], _Task]) -> None:
        """Keep what requests under way still bring: it is paid for."""
        for future in wait(flying).done:
            task = flying[future]
            if future.exception() is None:
                task.asks += 1
                reply = future.result()
                self._charge(task, reply)
                try:
                    opinion = read_opinion(task.prompt, "" if reply.complaint else reply.text)
                except ValueError:
                    continue
                self._done(task.key, task.answered(opinion.verdict, opinion.reason), store=True)

    def _charge(self, task: _Task, reply: Reply) -> None:
        """Pay for a reply, by its own count of tokens or else by estimate."""
        used = task.promised if reply.tokens is None else reply.tokens
        cost = self._purse.settle(task.promised, used)
        task.tokens, task.cost = task.tokens + used, task.cost + cost
        self.spending += Spending(
            requests=1,
            unmetered=int(reply.tokens is None),
            prompt_tokens=used.prompt,
            completion_tokens=used.completion,
            cost=cost,
        )

    def _fail(self, task: _Task, failure: str) -> None:
        """End a task without a verdict; too many of these in a row end the run."""
        self._done(task.key, task.failed(failure))
        self._in_a_row += 1
        if self._in_a_row >= self._settings.give_up_after:
            raise JudgeError(
                f"{self._in_a_row} verdicts failed one after the other, so the judge stops; "
                f"the last: {failure}"
            )

    def _done(self, key: str, verdict: Verdict, *, store: bool = False) -> None:
        """File a verdict."""
        self._verdicts[key] = verdict
        failed = verdict.value is None
        self.spending += Spending(verdicts=1, cached=int(verdict.cached), failed=int(failed))
        if store and self._cache:
            self._cache.put(key, _entry(verdict))
        if self._on_done:
            self._on_done(1)


def _call(client: ChatClient, task: _Task) -> Reply:
    """Send a task's messages; runs in a thread."""
    return client.ask(task.messages, schema=task.prompt.schema, name=task.prompt.field)


def _entry(verdict: Verdict) -> dict[str, Any]:
    """Keep of a verdict what holds whenever it is read."""
    names = ("value", "reason", "asks", "prompt_tokens", "completion_tokens")
    return {name: getattr(verdict, name) for name in names}


def _restored(entry: dict[str, Any], prompt: Prompt) -> Verdict | None:
    """Read a cached verdict; None if it is none of those that the prompt allows."""
    if entry.get("value") not in prompt.allowed:
        return None
    try:
        return Verdict(**entry, cached=True)
    except TypeError:
        return None
