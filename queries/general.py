"""General tasks that no adapter is trained on: the base or a neighbour may be the right choice."""

from __future__ import annotations

from typing import Any

import numpy as np

from routing_gym.queries.extract import final_choice, final_number
from routing_gym.queries.task import Draw, Task, pick, reasoning_gym_item
from routing_gym.queries.words import CAPITALS


class Capitals(Task):
    """Name the capital of a country, which the base model may know."""

    name = "capitals"
    domain = "general"
    form = "word"
    phrasings = (
        "What is the capital of {country}?",
        "Which city is the capital of {country}?",
        "Name the capital city of {country}.",
        "{country}: what is its capital?",
        "The capital of {country} is called what?",
        "A friend travels to {country}. What is the capital there?",
        "Do you know the capital of {country}?",
        "In a quiz, they ask for the capital of {country}.",
    )
    endings = (
        "Answer with the city's name.",
        "Just the city.",
        "Name only the city.",
        "City only.",
    )

    def draw(self, complexity: int, rng: np.random.Generator) -> Draw:
        """Draw a country; the list runs from the better to the less known."""
        countries = tuple(CAPITALS)
        third = len(countries) // 3
        country = pick(rng, countries[(complexity - 1) * third : complexity * third])
        return Draw({"country": country}, CAPITALS[country], CAPITALS[country])

    def is_right(self, reference: Any, response: str) -> bool:
        """Compare the capital that the response settles on."""
        return final_choice(response, CAPITALS.values()) == reference.casefold()


class Sums(Task):
    """Add and subtract (reasoning-gym)."""

    name = "sums"
    domain = "general"
    form = "number"
    source = "reasoning-gym:chain_sum"
    phrasings = (
        "What is {sum}?",
        "Compute {sum}.",
        "{sum} = ?",
        "How much is {sum}?",
        "Work out {sum} for me.",
        "Please calculate {sum}.",
        "The till shows {sum}. What is the total?",
        "Evaluate the expression {sum}.",
    )

    def draw(self, complexity: int, rng: np.random.Generator) -> Draw:
        """Draw two one-digit terms, two two-digit terms, or three two-digit terms."""
        terms, digits = ((2, 1), (2, 2), (3, 2))[complexity - 1]
        item = reasoning_gym_item(
            "chain_sum",
            rng,
            min_terms=terms,
            max_terms=terms,
            min_digits=digits,
            max_digits=digits,
        )
        return Draw({"sum": item["metadata"]["expression"]}, item["answer"], item["answer"])

    def is_right(self, reference: Any, response: str) -> bool:
        """Compare the number that the response settles on."""
        return final_number(response) == float(reference)


class Sequences(Task):
    """Continue a number sequence (reasoning-gym)."""

    name = "sequences"
    domain = "general"
    form = "number"
    source = "reasoning-gym:number_sequence"
    phrasings = (
        "What comes next: {terms}, ?",
        "Continue the sequence {terms}.",
        "{terms}, ... which number follows?",
        "Find the next number in {terms}.",
        "The series starts {terms}. What is the next term?",
        "Look for the pattern in {terms} and give the next number.",
        "After {terms} comes which number?",
        "Predict the next value: {terms}.",
    )

    def draw(self, complexity: int, rng: np.random.Generator) -> Draw:
        """Draw a rule of reasoning-gym's complexity 1, 2 or 3."""
        item = reasoning_gym_item(
            "number_sequence", rng, min_terms=4, max_terms=6, max_complexity=complexity
        )
        terms = item["question"].removesuffix(", ?")
        return Draw({"terms": terms}, item["answer"], item["answer"])

    def is_right(self, reference: Any, response: str) -> bool:
        """Compare the number that the response settles on."""
        return final_number(response) == float(reference)


class Needle(Task):
    """Find who does something among several statements (reasoning-gym)."""

    name = "needle"
    domain = "general"
    form = "word"
    source = "reasoning-gym:needle_haystack"
    phrasings = (
        "{facts} {question}",
        "{question} {facts}",
        "Read: {facts} {question}",
        "Notes on some people: {facts} {question}",
        "{facts} From this, {question}",
        "Look it up. {facts} {question}",
        "{facts} Tell me, {question}",
        "Statements: {facts} Question: {question}",
    )
    endings = (
        "Answer with one name.",
        "One name only.",
        "Reply with just the name.",
        "Give a name.",
    )

    def draw(self, complexity: int, rng: np.random.Generator) -> Draw:
        """Draw 2, 3 or 5 statements."""
        count = (2, 3, 5)[complexity - 1]
        item = reasoning_gym_item(
            "needle_haystack", rng, min_num_statements=count, max_num_statements=count
        )
        facts, asked = item["question"].rsplit("\n", 1)
        names = [fact.split()[0] for fact in facts.split(".") if fact.strip()]
        slots = {"facts": facts.strip(), "question": asked.split("?")[0] + "?"}
        return Draw(slots, {"answer": item["answer"], "names": names}, item["answer"])

    def is_right(self, reference: Any, response: str) -> bool:
        """Compare the name that the response settles on."""
        return final_choice(response, reference["names"]) == reference["answer"].casefold()

    def is_bare(self, reference: Any, response: str) -> bool:
        """Accept nothing but the name."""
        return super().is_bare(reference["answer"], response)
