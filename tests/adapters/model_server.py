"""A real HTTP server on loopback that speaks vLLM's protocol with LoRA modules, and misbehaves."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from routing_gym.adapters.generation import Completion
from routing_gym.serving.trial_upstream import BASE_MODEL, Seen, Upstream, error, reset

Answerer = Callable[[str, dict[str, Any]], Completion]
COMPLETIONS, CHAT, LOAD = "/v1/completions", "/v1/chat/completions", "/v1/load_lora_adapter"
POISON = "unanswerable"
KINDS = (
    "fine",
    "busy",  # 429 with Retry-After: 7
    "later",  # 429 with Retry-After: 3600
    "error",  # 500
    "echo",  # 500 that quotes the key
    "html",  # 503 with a page
    "refused",  # 400 with a sentence
    "key",  # 401 that quotes the key
    "gone",  # 404: the adapter has been unloaded
    "reset",  # a TCP reset in the middle of the body
    "cut",  # the connection closed in the middle of the body
    "broken_json",
    "late",  # the first byte after a second
    "trickle",  # a byte from time to time
    "no_choices",
    "no_text",
    "no_usage",
    "long_usage",  # more tokens than were allowed
    "read_usage",  # other tokens read than were sent
    "odd_reason",  # ends for a reason of its own
    "short_logprobs",
    "nan_logprobs",
    "list_reason",  # a list where the reason is
    "list_model",  # a list where the model's name is
    "surrogate",  # half of a character
    "same",  # all models answer as the base does
    "twins",  # all adapters answer as one
    "evicted",  # the base answers for all models, and says so
)


def spoken(model: str, body: dict[str, Any]) -> Completion:
    """Answer with the model's name and the end of what was asked."""
    prompt = body["prompt"] if "prompt" in body else body["messages"][-1]["content"]
    text = f"{model} heard {prompt[-12:]}"
    return Completion(text, 11, 3, 0.0, True, (-0.5, -0.25, -0.125), (0.5, 0.4, 0.3))


class ModelServer(Upstream):
    """The server, for a ``with`` block; its settings may be changed while it runs.

    Parameters
    ----------
    models
        Names of the adapters that it serves beside `BASE_MODEL`.
    answer
        ``(model, body) -> completion``; called in threads.
    kind
        How it treats each request, one of `KINDS`.
    loadable
        Places from which it loads adapters.
    extra
        ``(model, body) -> fields of the choice`` that take the place of the usual ones.
    settings
        See `Upstream`.

    Attributes
    ----------
    plan
        How it treats the next requests, one each, before `kind` holds again.
    """

    paths = (CHAT, COMPLETIONS, LOAD)

    def __init__(
        self,
        models: Sequence[str] = ("one", "two"),
        *,
        answer: Answerer = spoken,
        kind: str = "fine",
        loadable: Sequence[str] = (),
        extra: Callable[[str, dict[str, Any]], dict[str, Any]] | None = None,
        **settings: Any,
    ) -> None:
        super().__init__(models, **settings)
        self.answer, self.kind, self.loadable = answer, kind, tuple(loadable)
        self.places = dict.fromkeys(models, "")
        self.extra = extra
        self.plan: deque[str] = deque()

    @property
    def asked(self) -> list[Seen]:
        """The requests for answers so far."""
        return [seen for seen in self.seen if seen.path != LOAD]

    def _listed(self) -> list[dict[str, Any]]:
        base = {"id": BASE_MODEL, "object": "model", "root": BASE_MODEL, "parent": None}
        return [
            base,
            *({"id": m, "root": p or m, "parent": BASE_MODEL} for m, p in self.places.items()),
        ]

    async def _chat(self, writer: asyncio.StreamWriter, seen: Seen) -> None:
        if seen.path == LOAD:
            await self._loaded(writer, seen.body)
            return
        kind = self.plan.popleft() if self.plan else self.kind
        assert kind in KINDS, kind
        await asyncio.sleep(self.delay)
        refusal = self._refusal(kind, seen)
        if refusal is not None:
            await self._reply(writer, *refusal)
            return
        raw = await self._body(kind, seen)
        if kind in ("reset", "cut", "trickle"):
            await self._half(writer, raw, kind)
            return
        await asyncio.sleep(1.0 if kind == "late" else 0.0)
        await self._reply(writer, 200, raw[:-9] if kind == "broken_json" else raw)

    def _refusal(self, kind: str, seen: Seen) -> tuple[int, bytes, str] | None:
        """Make a refusal: status, body, Retry-After."""
        key = seen.headers.get("authorization", "")
        refusals = {
            "busy": (429, error("Too many requests"), "7"),
            "later": (429, error("Quota"), "3600"),
            "error": (500, error("CUDA error"), ""),
            "echo": (500, error(f"Upstream refused {key}"), ""),
            "html": (503, "<html>no</html>", ""),
            "refused": (400, error("maximum context length is 12 tokens"), ""),
            "key": (401, error(f"Incorrect key {key}"), ""),
            "gone": (404, error("The model does not exist."), ""),
        }
        if POISON in json.dumps(seen.body):
            kind = "refused"
        if seen.body["model"] not in (BASE_MODEL, *self.places):
            kind = "gone"
        if kind not in refusals:
            return None
        status, content, wait = refusals[kind]
        return status, json.dumps(content).encode(), wait

    async def _body(self, kind: str, seen: Seen) -> bytes:
        """Write an answer, or one with a fault."""
        model = seen.body["model"]
        speaker = BASE_MODEL if kind in ("same", "evicted") else model
        speaker = "twin" if kind == "twins" and model != BASE_MODEL else speaker
        answer = await asyncio.to_thread(self.answer, speaker, seen.body)
        content = body_of(answer, seen, model=BASE_MODEL if kind == "evicted" else model)
        choice = content["choices"][0]
        if self.extra is not None:
            choice |= await asyncio.to_thread(self.extra, speaker, seen.body)
        if kind == "no_choices":
            content["choices"] = []
        if kind == "no_text":
            choice.pop("text", None)
            choice["message"] = {"content": None}
        if kind == "no_usage":
            content["usage"] = None
        if kind == "long_usage":
            content["usage"]["completion_tokens"] = 10_000
        if kind == "read_usage":
            content["usage"]["prompt_tokens"] += 1
        if kind == "odd_reason":
            choice["finish_reason"] = "abort"
        if kind == "list_reason":
            choice["finish_reason"] = ["stop"]
        if kind == "list_model":
            content["model"] = [model]
        if kind == "surrogate":
            choice["message"] = {"content": "half a \ud83d"}
        if kind == "short_logprobs":
            choice["logprobs"] = {"token_logprobs": [-0.5], "top_logprobs": [{"a": -0.5}]}
        if kind == "nan_logprobs":
            choice["logprobs"] = {"token_logprobs": [float("nan")] * answer.completion_tokens}
        return json.dumps(content).encode()

    async def _loaded(self, writer: asyncio.StreamWriter, body: dict[str, Any]) -> None:
        if body["lora_path"] not in self.loadable:
            said = json.dumps(error(f"No adapter found for {body['lora_path']}")).encode()
            await self._reply(writer, 404, said)
            return
        self.places[body["lora_name"]] = body["lora_path"]
        await self._reply(writer, 200, b"Success: LoRA adapter added successfully.")

    async def _half(self, writer: asyncio.StreamWriter, raw: bytes, kind: str) -> None:
        """Send a body that does not come to its end."""
        head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(raw)}\r\n\r\n".encode()
        writer.write(head + raw[: len(raw) // 2])
        await writer.drain()
        await asyncio.sleep(0.02)
        if kind == "reset":
            reset(writer)
        for place in range(len(raw) // 2, len(raw) - 1) if kind == "trickle" else ():
            writer.write(raw[place : place + 1])
            await writer.drain()
            await asyncio.sleep(0.1)

    async def _reply(
        self, writer: asyncio.StreamWriter, status: int, raw: bytes, wait: str = ""
    ) -> None:
        head = f"HTTP/1.1 {status} Status\r\nConnection: close\r\n"
        head += f"Retry-After: {wait}\r\n" if wait else ""
        writer.write(f"{head}Content-Length: {len(raw)}\r\n\r\n".encode() + raw)
        await writer.drain()


def body_of(answer: Completion, seen: Seen, *, model: str) -> dict[str, Any]:
    """Write a completion as vLLM does, for either path."""
    choice: dict[str, Any] = {"index": 0, "finish_reason": "stop" if answer.finished else "length"}
    signals = list(zip(answer.token_log_probs, answer.token_entropies, strict=False))
    if seen.path == CHAT:
        choice["message"] = {"role": "assistant", "content": answer.text}
        choice["logprobs"] = {
            "content": [
                {
                    "token": "a",
                    "logprob": chosen,
                    "top_logprobs": [{"token": "a", "logprob": chosen}],
                }
                for chosen, _ in signals
            ]
        }
    else:
        choice["text"] = f" {answer.text}"
        choice["logprobs"] = {
            "tokens": ["a"] * len(signals),
            "token_logprobs": [chosen for chosen, _ in signals],
            "top_logprobs": [{"a": chosen} for chosen, _ in signals],
        }
    if not ("logprobs" in seen.body and signals):
        choice["logprobs"] = None
    usage = {"prompt_tokens": answer.prompt_tokens, "completion_tokens": answer.completion_tokens}
    return {"id": "cmpl-1", "model": model, "choices": [choice], "usage": usage}
