"""The registry of tasks."""

from __future__ import annotations

TASKS: dict[str, str] = {
    "kinship": "routing_gym.queries.reasoning:Kinship",
    "siblings": "routing_gym.queries.reasoning:Siblings",
    "ordering": "routing_gym.queries.reasoning:Ordering",
    "turns": "routing_gym.queries.reasoning:Turns",
    "arithmetic": "routing_gym.queries.code:Arithmetic",
    "strings": "routing_gym.queries.code:Strings",
    "lists": "routing_gym.queries.code:Lists",
    "predicates": "routing_gym.queries.code:Predicates",
    "keywords": "routing_gym.queries.creative:Keywords",
    "alliteration": "routing_gym.queries.creative:Alliteration",
    "bookends": "routing_gym.queries.creative:Bookends",
    "rhyme": "routing_gym.queries.creative:Rhyme",
    "sorting": "routing_gym.queries.analysis:Sorting",
    "dates": "routing_gym.queries.analysis:Dates",
    "repeated": "routing_gym.queries.analysis:Repeated",
    "extraction": "routing_gym.queries.analysis:Extraction",
    "capitals": "routing_gym.queries.general:Capitals",
    "sums": "routing_gym.queries.general:Sums",
    "sequences": "routing_gym.queries.general:Sequences",
    "needle": "routing_gym.queries.general:Needle",
    "code_list": "routing_gym.queries.analysis:CodeList",
}
"""Task name -> class; the order is that of every report."""
