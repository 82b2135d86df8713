"""A pool on an OpenAI-compatible server with LoRA modules: vLLM, LoRAX, Ray Serve."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from functools import partial
from typing import Any

from routing_gym.adapters.activation import PROBE_TOKENS, check_activation
from routing_gym.adapters.generation import (
    FREE_BUDGET,
    TOKEN_BUDGETS,
    Completion,
    check_sampling,
)
from routing_gym.adapters.http_answer import completion_of
from routing_gym.adapters.http_connection import ServerConnection, ServerError
from routing_gym.adapters.http_opening import BASE_MODEL, find_models
from routing_gym.adapters.http_retry import CallError
from routing_gym.adapters.pool import PROBES
from routing_gym.adapters.spec import PoolSpec
from routing_gym.adapters.unanswered import UnansweredError


class HttpPool:
    """Adapters of a pool at a server, which batches what many threads ask it.

    Answers are greedy, within the token budgets of `routing_gym.adapters.generation`. An answer's
    seconds run from its request to its last byte, whatever else the server wrote meanwhile. Its
    entropies are those of the likeliest tokens that the server tells: lower bounds.

    Parameters
    ----------
    spec
        A pool with a server.
    sleep
        Waits for a number of seconds between two tries; None waits until then or until `close`.

    Raises
    ------
    ModuleNotFoundError
        If httpx or tenacity is not installed.
    OSError
        If the server cannot be used, or lacks an adapter; or if the base model's tokenizer is not
        available here, and the prompts are to be rendered here.
    ValueError
        If the pool has no server, its key's variable is not set, or an adapter answers as the base
        or as another adapter.
    """

    def __init__(self, spec: PoolSpec, *, sleep: Callable[[float], object] | None = None) -> None:
        if spec.server is None:
            raise ValueError("the pool has no server: open it with open_pool.")
        self.spec = spec
        self.server = spec.server
        self.tokenizer: Any = self._tokenizer() if self.server.prompt == "rendered" else None
        self.connection = ServerConnection(self.server, sleep=sleep)
        self._workers = ThreadPoolExecutor(self.server.concurrency, "http-pool")
        self._lock, self._failed = threading.Lock(), 0
        try:
            self.models = find_models(spec, self.connection)
            if self.server.probe:
                list(self._workers.map(self._probe, self.server.roots))
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> HttpPool:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close every connection; what is under way ends with an error."""
        self.connection.close()
        self._workers.shutdown(wait=False, cancel_futures=True)

    def generate(
        self,
        name: str,
        texts: Sequence[str],
        *,
        forms: Sequence[str] | None = None,
        batch_size: int = 64,
        on_batch: Callable[[int], None] | None = None,
    ) -> list[Completion]:
        """Let one adapter answer queries greedily, as many at once as the server's settings allow.

        Parameters
        ----------
        name
            Adapter of the pool.
        texts
            N queries.
        forms
            N forms of answer, which set the token budgets (`TOKEN_BUDGETS`); free by default.
        batch_size
            At least 1; without effect, since the server makes its own batches.
        on_batch
            Called with 1 after each answer.

        Raises
        ------
        ValueError
            If the name is unknown or a text is empty.
        UnansweredError
            If answers failed for good; it holds all the others.
        """
        budgets = self._budgets(name, texts, forms, batch_size)
        asked = [partial(self.ask, name, *pair) for pair in zip(texts, budgets, strict=True)]
        return self._all(name, texts, asked, on_batch)

    def sample(
        self,
        name: str,
        texts: Sequence[str],
        *,
        k: int,
        seed: int,
        temperature: float = 1.0,
        forms: Sequence[str] | None = None,
        batch_size: int = 64,
        on_batch: Callable[[int], None] | None = None,
    ) -> list[list[Completion]]:
        """Let one adapter answer each query k times at random, with the server's random numbers.

        Parameters
        ----------
        name, texts, forms, batch_size, on_batch
            As in `generate`.
        k
            Answers per query, at least 1.
        seed
            At least 0; answer j of a query is asked for with the seed ``seed * k + j``.
        temperature
            Divides the logits, above 0.

        Returns
        -------
        list of list of Completion
            k answers per query.

        Raises
        ------
        ValueError
            As in `generate`, or if k, seed or temperature is out of range.
        UnansweredError
            If answers failed for good.
        """
        check_sampling(k=k, seed=seed, temperature=temperature)
        budgets = self._budgets(name, texts, forms, batch_size)
        asked = [
            partial(self.ask, name, *pair, drawn={"temperature": temperature, "seed": number})
            for pair in zip(texts, budgets, strict=True)
            for number in range(seed * k, seed * k + k)
        ]
        flat = self._all(name, [text for text in texts for _ in range(k)], asked, on_batch)
        return [flat[start : start + k] for start in range(0, len(flat), k)]

    def _budgets(
        self, name: str, texts: Sequence[str], forms: Sequence[str] | None, batch_size: int
    ) -> list[int]:
        """Check a question to an adapter; return the queries' token budgets."""
        self.spec.position(name)
        if batch_size < 1:
            raise ValueError(f"batch_size={batch_size}: give at least 1.")
        for row, text in enumerate(texts):
            if not text.strip():
                raise ValueError(f"query {row} is empty: give it words or leave it out.")
        forms = forms or [""] * len(texts)
        return [TOKEN_BUDGETS.get(form, FREE_BUDGET) for form in forms]

    def _all(
        self,
        name: str,
        texts: Sequence[str],
        asked: Sequence[Callable[[], Completion]],
        on_batch: Callable[[int], None] | None,
    ) -> list[Completion]:
        """Ask; every answer, or the error that holds those that there are."""
        answers, reasons, fatal = self.run(asked, on_done=on_batch)
        whole = [answer for answer in answers if answer is not None]
        if len(whole) < len(texts):
            raise UnansweredError(name, texts, answers=answers, reasons=reasons, fatal=fatal)
        return whole

    def ask(
        self,
        name: str,
        text: str,
        budget: int,
        *,
        root: str = "",
        drawn: Mapping[str, Any] | None = None,
    ) -> Completion:
        """Let one adapter, or `BASE_MODEL`, answer one query, in the caller's thread.

        Parameters
        ----------
        name, text, budget
            Who, what, and in how many tokens.
        root
            Which replica; "" is the next in turn.
        drawn
            Temperature and seed; None is greedy.

        Raises
        ------
        CallError
            If this answer came to nothing.
        ServerError
            If no other will come to anything.
        """
        ids = self.prompt_ids(text) if self.tokenizer is not None else None
        path, body = self._request(name, text, ids, budget)
        body |= drawn or {}

        def read(content: Any, seconds: float, asked: str) -> Completion:
            self.models.check_signature(name, content, asked)
            known = None if ids is None else len(ids)
            return completion_of(content, seconds=seconds, budget=budget, prompt_tokens=known)

        return self.connection.read(path, body, read, root=root)

    def prompt_ids(self, text: str) -> list[int]:
        """Tokenise a query as a local pool does."""
        from routing_gym.adapters.prompt import render_prompt

        prompt = render_prompt(self.tokenizer, text)
        ids: list[int] = self.tokenizer(prompt, add_special_tokens=False)["input_ids"]
        return ids

    def run(
        self, calls: Sequence[Callable[[], Any]], *, on_done: Callable[[int], None] | None = None
    ) -> tuple[list[Any], dict[int, str], str]:
        """Make calls to the server in the pool's threads.

        Parameters
        ----------
        calls
            N of them; each may raise `CallError` or `ServerError`.
        on_done
            Called with 1 after each that succeeded.

        Returns
        -------
        tuple
            N results, None where a call failed; place -> reason of those; why the server was
            given up, "" if it was not.
        """
        results: list[Any] = [None] * len(calls)
        reasons: dict[int, str] = {}
        fatal = ""
        futures = {self._workers.submit(call): place for place, call in enumerate(calls)}
        try:
            for future in as_completed(futures):
                place = futures[future]
                results[place], why, end = self._outcome(future)
                if why:
                    reasons[place] = why
                elif on_done:
                    on_done(1)
                if end and not fatal:
                    fatal = end
                    for other in futures:
                        other.cancel()
        except BaseException:  # an interrupt: nobody waits for the rest
            self.close()
            raise
        return results, dict(sorted(reasons.items())), fatal

    def _outcome(self, future: Future[Any]) -> tuple[Any, str, str]:
        """Return a call's result, why it has none, and why no other call should be made."""
        if future.cancelled():
            return None, "not asked", ""
        try:
            result = future.result()
        except ServerError as error:
            return None, str(error), str(error).rstrip(".")
        except CallError as error:
            with self._lock:
                self._failed += 1
                failed = self._failed
            if failed < self.server.give_up_after:
                return None, str(error), ""
            places = ", ".join(self.server.roots)
            return None, str(error), f"{failed} answers in a row failed at {places}"
        with self._lock:
            self._failed = 0
        return result, "", ""

    def _request(
        self, name: str, text: str, ids: list[int] | None, budget: int
    ) -> tuple[str, dict[str, Any]]:
        """Write a request: its path and body."""
        body: dict[str, Any] = {
            **self.server.request,
            "model": self.models.of[name],
            "max_tokens": budget,
            "temperature": 0,
        }
        wanted = self.server.logprobs
        if ids is not None:
            signals = {"logprobs": wanted} if wanted else {}
            return "/completions", {**body, "prompt": ids, **signals}
        signals = {"logprobs": True, "top_logprobs": wanted} if wanted else {}
        messages = [{"role": "user", "content": text}]
        return "/chat/completions", {**body, "messages": messages, **signals}

    def _tokenizer(self) -> Any:
        """Load the base model's tokenizer."""
        from routing_gym.adapters.base_model import load_tokenizer

        try:
            return load_tokenizer(self.spec.base_model)
        except OSError as error:
            raise OSError(
                f"server.prompt='rendered' needs the tokenizer here, and {error} With "
                "server.prompt='chat' the server renders the prompts."
            ) from error

    def _probe(self, root: str) -> None:
        """Compare each adapter's greedy answers with the base's, which is asked a second time.

        Each replica gets one probe after the other: a server that loads an adapter at its first
        request may need its time for each, and the same company in a batch makes the same rounding.
        """

        def asked(name: str) -> list[str]:
            return [self.ask(name, text, PROBE_TOKENS, root=root).text for text in PROBES]

        adapters = [adapter.name for adapter in self.spec.adapters if not adapter.is_base]
        try:
            answers = {name: asked(name) for name in (BASE_MODEL, *adapters)}
            control = asked(BASE_MODEL)
        except CallError as error:
            raise ServerError(f"{root} could not be probed: {error}.") from None
        check_activation(answers, base=BASE_MODEL, source=root, control=control)
