"""Reasoning: kinship, siblings, orderings and turns."""

from __future__ import annotations

import itertools
import re
from typing import Any, ClassVar

import numpy as np

from routing_gym.queries.extract import final_choice, final_number
from routing_gym.queries.task import Draw, Task, pick, pick_distinct, reasoning_gym_item
from routing_gym.queries.words import NAMES

RELATIONS = (
    "mother father sister brother daughter son wife husband grandmother grandfather granddaughter "
    "grandson aunt uncle niece nephew mother-in-law father-in-law sister-in-law brother-in-law "
    "daughter-in-law son-in-law cousin"
).split()
DIRECTIONS = ("north", "east", "south", "west")


class Kinship(Task):
    """Name the relation between two people of a described family (reasoning-gym)."""

    name = "kinship"
    domain = "reasoning"
    form = "word"
    source = "reasoning-gym:family_relationships"
    phrasings = (
        "{story} What is {one} to {two}?",
        "{story} How is {one} related to {two}?",
        "Family facts: {story} Name the relation of {one} to {two}.",
        "What relation is {one} to {two}? {story}",
        "Read this: {story} So {one} is {two}'s what?",
        "{story} Which word says what {one} is to {two}?",
        "In this family, what is {one} to {two}? {story}",
        "{story} Tell me how {one} is related to {two}.",
        "Given that {story} {one} is the ... of {two}. Fill in the gap.",
    )

    def draw(self, complexity: int, rng: np.random.Generator) -> Draw:
        """Draw a family of 3 to 4, 5 to 6, or 7 to 8 people."""
        low = 1 + 2 * complexity
        item = reasoning_gym_item(
            "family_relationships", rng, min_family_size=low, max_family_size=low + 1
        )
        facts = item["metadata"]
        answer = _relation(item["answer"], facts["person1"])
        slots = {
            "story": item["question"].split("\n\n")[0].strip(),
            "one": facts["person1"],
            "two": facts["person2"],
        }
        return Draw(slots, answer, answer)

    def is_right(self, reference: Any, response: str) -> bool:
        """Compare the relation that the response names."""
        return final_choice(response, RELATIONS) == reference


def _relation(stated: str, person: str) -> str:
    """Correct reasoning-gym's word where it is the other person's.

    Its data set words nephews and nieces by the gender of the uncle or aunt, and calls whoever
    marries in the parent-in-law of their parents-in-law.
    """
    from reasoning_gym.graphs.family_relationships import FamilyRelationshipsConfig

    female = person in FamilyRelationshipsConfig().female_names
    if stated in ("niece", "nephew"):
        return "niece" if female else "nephew"
    if stated in ("mother-in-law", "father-in-law"):
        return "daughter-in-law" if female else "son-in-law"
    return stated


class Siblings(Task):
    """Count the sisters of a brother, or the female friends of a friend (reasoning-gym)."""

    name = "siblings"
    domain = "reasoning"
    form = "number"
    source = "reasoning-gym:aiw"
    phrasings = (
        "{facts} {question}",
        "{question} {facts}",
        "Puzzle: {facts} {question}",
        "Here is a riddle. {facts} {question}",
        "{facts} Think carefully: {question}",
        "Can you work this out? {facts} {question}",
        "{facts} Now tell me: {question}",
        "Consider this family or group. {facts} {question}",
    )

    def draw(self, complexity: int, rng: np.random.Generator) -> Draw:
        """Draw up to 4 siblings, up to 9 siblings, or up to 9 friends."""
        from reasoning_gym.logic.aiw import TaskType

        item = reasoning_gym_item(
            "aiw",
            rng,
            task_types=[TaskType.FRIENDS if complexity == 3 else TaskType.SIBLINGS],
            task_type_weights=[1.0],
            max_entities=4 if complexity == 1 else 9,
        )
        facts, question = re.split(r"(?<=\.)\s+(?=How many)", item["question"])
        return Draw({"facts": facts, "question": question}, item["answer"], item["answer"])

    def is_right(self, reference: Any, response: str) -> bool:
        """Compare the number that the response ends on."""
        return final_number(response) == float(reference)


class Ordering(Task):
    """Find who is first or last in a described order."""

    name = "ordering"
    domain = "reasoning"
    form = "word"
    phrasings = (
        "{facts} Who is the {wanted}?",
        "Who is the {wanted}? {facts}",
        "{facts} Which of them is the {wanted}?",
        "Known: {facts} Name the {wanted} person.",
        "{facts} Tell me who is the {wanted}.",
        "Find the {wanted} one. {facts}",
        "{facts} Whom would you call the {wanted}?",
        "From these facts, who is the {wanted}? {facts}",
    )
    endings = (
        "Answer with one name.",
        "One name only.",
        "Reply with just the name.",
        "Give a name.",
    )
    scales = (
        ("taller", "shorter", "tallest", "shortest"),
        ("older", "younger", "oldest", "youngest"),
        ("faster", "slower", "fastest", "slowest"),
        ("richer", "poorer", "richest", "poorest"),
        ("stronger", "weaker", "strongest", "weakest"),
    )

    def draw(self, complexity: int, rng: np.random.Generator) -> Draw:
        """Draw a chain of 3, 4 or 5 people, its links told in any order and either direction."""
        names = pick_distinct(rng, NAMES, complexity + 2)
        more, less, most, least = pick(rng, self.scales)
        facts = [
            f"{high} is {more} than {low}."
            if rng.random() < 0.5
            else f"{low} is {less} than {high}."
            for high, low in itertools.pairwise(names)
        ]
        rng.shuffle(facts)
        top = rng.random() < 0.5
        answer = names[0] if top else names[-1]
        slots = {"facts": " ".join(facts), "wanted": most if top else least}
        return Draw(slots, {"answer": answer, "names": names}, answer)

    def is_right(self, reference: Any, response: str) -> bool:
        """Compare the name that the response settles on."""
        return final_choice(response, reference["names"]) == reference["answer"].casefold()

    def is_bare(self, reference: Any, response: str) -> bool:
        """Accept nothing but the name."""
        return super().is_bare(reference["answer"], response)


class Turns(Task):
    """Follow left and right turns from a compass direction."""

    name = "turns"
    domain = "reasoning"
    form = "word"
    phrasings = (
        "{who} faces {start} and {moves}. Which direction does {who} face now?",
        "Facing {start}, {who} {moves}. Where does {who} look now: north, east, south or west?",
        "{who} looks {start}. Then {who} {moves}. Which way is {who} facing?",
        "Start: {who} is facing {start}. {who} {moves}. Name the final compass direction.",
        "A robot called {who} points {start}. It {moves}. Where does it point in the end?",
        "If {who} stands facing {start} and {moves}, what direction is in front of {who}?",
        "{who} walks {start}, then {moves}. In which direction is {who} heading now?",
        "What is the heading of {who} after this? {who} faces {start}, then {moves}.",
    )
    steps: ClassVar = {"turns right": 1, "turns left": -1, "turns around": 2}

    def draw(self, complexity: int, rng: np.random.Generator) -> Draw:
        """Draw one, two or three turns."""
        heading = int(rng.integers(4))
        start = DIRECTIONS[heading]
        moves = [pick(rng, tuple(self.steps)) for _ in range(complexity)]
        for move in moves:
            heading += self.steps[move]
        answer = DIRECTIONS[heading % 4]
        slots = {"who": pick(rng, NAMES), "start": start, "moves": ", then ".join(moves)}
        return Draw(slots, answer, answer)

    def is_right(self, reference: Any, response: str) -> bool:
        """Compare the direction that the response settles on."""
        return final_choice(response, DIRECTIONS) == reference
