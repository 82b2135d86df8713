"""Query sets: mixes of tasks without duplicates, with splits, and training sets apart from them."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache

import numpy as np

from routing_gym.queries.query import COMPLEXITIES, Example, Query, Verdict
from routing_gym.queries.registry import resolve
from routing_gym.queries.splits import SPLIT_SHARES, assign_split, normalise
from routing_gym.queries.task import Task
from routing_gym.queries.tasks import TASKS

_PATIENCE = 2_000


@cache
def make_task(name: str) -> Task:
    """Instantiate a task of the registry, once.

    Raises
    ------
    ValueError
        If no task has that name.
    """
    task = resolve(TASKS, name, kind="task")()
    if not isinstance(task, Task):
        raise ValueError(f"task {name!r} is a {type(task).__name__}: give a subclass of Task.")
    return task


def tasks_of(domain: str) -> tuple[str, ...]:
    """Return the names of a domain's tasks, in the registry's order.

    Raises
    ------
    ValueError
        If no task has that domain.
    """
    found = tuple(name for name in TASKS if make_task(name).domain == domain)
    if not found:
        known = sorted({make_task(name).domain for name in TASKS})
        raise ValueError(f"domain={domain!r} has no task: use one of {', '.join(known)}.")
    return found


def make_queries(
    mix: Mapping[str, int],
    *,
    seed: int,
    shares: tuple[float, float, float] = SPLIT_SHARES,
) -> list[Query]:
    """Draw queries of several tasks, at all complexities equally, unique by normalised text.

    Parameters
    ----------
    mix
        Task name -> number of queries.
    seed
        Determines every text and every split.
    shares
        Shares of train, validation and test.

    Returns
    -------
    list of Query
        Ordered by task; each with its split.

    Raises
    ------
    ValueError
        If a task is unknown, a count is not positive, or a task runs out of different texts.
    """
    seen: set[str] = set()
    queries = []
    for name, count in mix.items():
        if count < 1:
            raise ValueError(f"mix[{name!r}]={count}: give at least 1 query or leave the task out.")
        examples = _unique(make_task(name), seed=seed, forbidden=seen)
        for example in itertools.islice(examples, count):
            split = assign_split(example.query.text, seed=seed, shares=shares)
            queries.append(replace(example.query, split=split))
            seen.add(normalise(example.query.text))
    return queries


def make_examples(
    tasks: Sequence[str], count: int, *, seed: int, forbidden: Iterable[Query] = ()
) -> list[Example]:
    """Draw training examples, tasks in turn, none of them among the forbidden queries.

    Parameters
    ----------
    tasks
        Names in the `TASKS` registry, drawn in turn; a name that stands twice is drawn twice.
    count
        Number of examples in all.
    seed
        Determines every example.
    forbidden
        Queries that must not be trained on: every query of the outcome table.

    Raises
    ------
    ValueError
        If a task is unknown or runs out of different texts.
    """
    taboo = {normalise(query.text) for query in forbidden}
    streams = {
        name: _unique(make_task(name), seed=seed, forbidden=taboo) for name in dict.fromkeys(tasks)
    }
    return [next(streams[tasks[i % len(tasks)]]) for i in range(count)]


def verify(query: Query, response: str) -> Verdict:
    """Score a response with the verifier of the query's task."""
    return make_task(query.task).verify(query, response)


def _unique(task: Task, *, seed: int, forbidden: Collection[str]) -> Iterator[Example]:
    """Yield examples of a task, complexities in turn, no normalised text twice or forbidden."""
    rng = np.random.default_rng([seed, *task.name.encode()])
    own: set[str] = set()
    complexity = 0
    while True:
        level = COMPLEXITIES[complexity % len(COMPLEXITIES)]
        for _ in range(_PATIENCE):
            example = task.sample(level, rng)
            key = normalise(example.query.text)
            if key not in own and key not in forbidden:
                break
        else:
            raise ValueError(
                f"task {task.name!r} has no more than {len(own)} different texts: ask for fewer."
            )
        own.add(key)
        complexity += 1
        yield example
