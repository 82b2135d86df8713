"""Chat traffic at a fixed rate, with gates: ``locust -f deploy/load/locustfile.py --headless``.

Every user asks once a second, so that ``--users 200`` offers 200 requests a second whatever the
server does. Answers and refusals for want of room (429 with Retry-After) are as they should be;
anything else fails the gate, as does a p99 of the answers above ``--max-p99`` seconds.
"""

from __future__ import annotations

import csv
import random
import time
from typing import Any

import gevent
from locust import FastHttpUser, events, task

QUESTIONS = (
    "What is 17 plus 25?",
    "Write a Python function that reverses a list.",
    "Write two lines about the sea in winter.",
    "Ann is older than Ben, and Ben is older than Cy. Who is the youngest?",
    "Is the following review positive or negative? The soup was cold and the waiter rude.",
    "List three colours in alphabetical order.",
)
ANSWERS: list[float] = []
OTHERS: dict[int, int] = {}
ROWS: list[tuple[float, int, float]] = []


@events.init_command_line_parser.add_listener
def add_options(parser: Any) -> None:
    """Add our options to Locust's."""
    parser.add_argument("--max-p99", type=float, default=0.0, help="seconds; 0 is no gate")
    parser.add_argument("--rows", default="", help="CSV file for time, status and seconds")
    parser.add_argument("--key", default="", help="bearer key with the scope chat")
    parser.add_argument("--max-tokens", type=int, default=16, help="of every answer")


class ChatUser(FastHttpUser):
    """A client that asks the router one question a second."""

    network_timeout = connection_timeout = 60.0
    max_retries = 0

    def on_start(self) -> None:
        """Begin at a moment of the second that is the user's own: no bursts."""
        offset = random.random()
        self.due = time.monotonic() + offset
        gevent.sleep(offset)

    def wait_time(self) -> float:
        """Return the seconds until the next second of the user's own."""
        self.due += 1.0
        return max(self.due - time.monotonic(), 0.0)

    @task
    def ask(self) -> None:
        """Ask a question and note what became of it."""
        options = self.environment.parsed_options
        body = {
            "model": "router",
            "messages": [{"role": "user", "content": random.choice(QUESTIONS)}],
            "max_tokens": options.max_tokens,
            "stream": False,
        }
        headers = {"Authorization": f"Bearer {options.key}"} if options.key else {}
        with self.client.post(
            "/v1/chat/completions", json=body, headers=headers, catch_response=True
        ) as response:
            status = int(response.status_code or 0)
            if status == 200 or (status == 429 and response.headers.get("Retry-After")):
                response.success()
            else:
                response.failure(f"status {status}")


@events.request.add_listener
def note(response_time: float, response: Any, start_time: float, **_: Any) -> None:
    """Keep the latency of answers and count the rest."""
    status = int(getattr(response, "status_code", 0) or 0)
    ROWS.append((start_time, status, response_time / 1000))
    if status == 200:
        ANSWERS.append(response_time / 1000)
    else:
        OTHERS[status] = OTHERS.get(status, 0) + 1


@events.quitting.add_listener
def judge(environment: Any, **_: Any) -> None:
    """Apply the gates and write the rows."""
    options = environment.parsed_options
    if options.rows:
        with open(options.rows, "w", newline="", encoding="utf-8") as stream:
            csv.writer(stream).writerows([("start", "status", "seconds"), *ROWS])
    p99 = sorted(ANSWERS)[int(0.99 * (len(ANSWERS) - 1))] if ANSWERS else float("inf")
    refused = OTHERS.pop(429, 0)
    slow = bool(options.max_p99) and p99 > options.max_p99
    print(f"answers {len(ANSWERS)}, p99 {p99:.3f} s, refused {refused}, others {OTHERS}")
    environment.process_exit_code = 1 if OTHERS or slow or not ANSWERS else 0
