"""What is asked: queries, tasks with exact verifiers, mixes and splits."""

from __future__ import annotations

from routing_gym.queries.tasks import TASKS

__all__ = ["TASKS"]
