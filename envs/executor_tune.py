"""Trials of a tuning as a run of Ray Tune, which shows and stops them as its users know it."""

from __future__ import annotations

import base64
import math
import os
import pickle
import queue
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Generic

from routing_gym.envs.executor import (
    TRIES,
    ContentT,
    Done,
    Failure,
    Item,
    ResultT,
    Work,
    Worker,
    WorkerDied,
    limit_threads,
)

PLACE, OUTCOME = "item", "outcome"


class Sweep(Generic[ContentT, ResultT]):
    """One run of Ray Tune over items, whose results are handed on as the trials end.

    Tune neither draws the settings nor stops a trial early, so what is chosen is what any other
    executor's trials would choose.

    Parameters
    ----------
    work, items, metric
        See `routing_gym.envs.executor.Executor.sweep`; the metric is an attribute of the results.
    """

    def __init__(
        self, work: Work[ContentT, ResultT], items: Sequence[Item[ContentT]], *, metric: str
    ) -> None:
        self._work, self._items, self._metric = work, items, metric
        self._ended: queue.SimpleQueue[Done[ContentT, ResultT] | None] = queue.SimpleQueue()
        self._error: BaseException | None = None
        self._stopped = False

    def run(
        self, *, workers: int, cpus: int, gpus: float, threads: int
    ) -> Iterator[Done[ContentT, ResultT]]:
        """Run the trials beside the caller's thread; yield each as it ends.

        Parameters
        ----------
        workers
            Trials at once.
        cpus, gpus
            Of each.
        threads
            That each computes on; 0 leaves it to the libraries.
        """
        with tempfile.TemporaryDirectory(prefix="sweep-") as folder:
            tuner = self._tuner(folder, workers=workers, resources=(cpus, gpus), threads=threads)
            runner = threading.Thread(target=self._fit, args=(tuner,))
            runner.start()
            seen = set()
            try:
                while (done := self._ended.get()) is not None:
                    seen.add(done.item.key)
                    yield done
            finally:
                self._stopped = True
                runner.join()
        if self._error is not None:
            raise self._error
        for item in self._items:
            if item.key not in seen:
                yield Done(item, failure=Failure(WorkerDied("Ray Tune never ran it")))

    def _tuner(
        self, folder: str, *, workers: int, resources: tuple[int, float], threads: int
    ) -> Any:
        """Describe the run."""
        os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")  # others keep the results
        os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")  # the other one prints whatever it is told
        from ray import tune

        trial = tune.with_parameters(
            _trial_class(),
            work=self._work,
            contents=[pickle.dumps(item.content) for item in self._items],
            metric=self._metric,
            threads=threads,
        )
        return tune.Tuner(
            tune.with_resources(trial, {"cpu": resources[0], "gpu": resources[1]}),
            param_space={PLACE: tune.grid_search(list(range(len(self._items))))},
            tune_config=tune.TuneConfig(
                metric=self._metric, mode="max", max_concurrent_trials=workers, reuse_actors=True
            ),
            run_config=tune.RunConfig(
                storage_path=folder,
                # Trials keep nothing, so that their machines need not share the folder.
                checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
                failure_config=tune.FailureConfig(max_failures=TRIES - 1),
                callbacks=[self._callback()],
                stop=self._stopper(),
                verbose=0,
            ),
        )

    def _fit(self, tuner: Any) -> None:
        """Run to the end; whatever happens, the caller's thread is told."""
        try:
            tuner.fit()
        except BaseException as error:
            self._error = error
        finally:
            self._ended.put(None)

    def _callback(self) -> Any:
        """Hand results on as Tune learns of them."""
        from ray import tune

        sweep = self
        callback: Any = tune.Callback  # which is told much more than is read here

        class HandOn(callback):
            """Hand on what ended."""

            def on_trial_result(self, *, trial: Any, result: Mapping[str, Any], **_: Any) -> None:
                item = sweep._items[trial.config[PLACE]]
                outcome = pickle.loads(base64.b64decode(result[OUTCOME]))
                sweep._ended.put(Done(item, *outcome))

            def on_trial_error(self, *, trial: Any, **_: Any) -> None:
                item = sweep._items[trial.config[PLACE]]
                sweep._ended.put(Done(item, failure=Failure(WorkerDied())))

        return HandOn()

    def _stopper(self) -> Any:
        """End the run once the caller has turned away."""
        from ray import tune

        sweep = self

        class TurnedAway(tune.Stopper):
            """Stop all when asked to."""

            def __call__(self, trial_id: str, result: Mapping[str, Any]) -> bool:
                return False

            def stop_all(self) -> bool:
                return sweep._stopped

        return TurnedAway()

    def __getstate__(self) -> dict[str, Any]:
        """Leave out what cannot travel: Tune saves its callbacks with the state of its run."""
        return {"_stopped": self._stopped}


def _trial_class() -> Any:
    """Make Tune's view of an item; importing this module needs no Ray."""
    from ray import tune

    trainable: Any = tune.Trainable  # whose `setup` takes what `with_parameters` gives

    class Trial(trainable):
        """An item done in one step; the actor is used again for the next."""

        def setup(
            self,
            config: dict[str, Any],
            work: Any,
            contents: Sequence[bytes],
            metric: str,
            threads: int,
        ) -> None:
            limit_threads(threads)
            self._worker: Worker[Any, Any] = Worker(work)
            self._contents, self._metric = contents, metric

        def reset_config(self, new_config: dict[str, Any]) -> bool:
            self.config = new_config
            return True

        def step(self) -> dict[str, Any]:
            outcome = self._worker.packed(self._contents[self.config[PLACE]])
            result, _ = pickle.loads(outcome)
            return {
                "done": True,
                self._metric: getattr(result, self._metric, math.nan),
                OUTCOME: base64.b64encode(outcome).decode(),
            }

    return Trial
