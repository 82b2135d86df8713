"""Analysis: sorting numbers, normalising dates, finding repeats, extracting records."""

from __future__ import annotations

import re
from typing import Any, ClassVar

import numpy as np

from routing_gym.queries.extract import ends_with_numbers, final_choice
from routing_gym.queries.task import Draw, Task, pick, pick_distinct, reasoning_gym_item
from routing_gym.queries.words import CITIES, MONTHS, NAMES, NOUNS


def sorting_item(complexity: int, rng: np.random.Generator) -> tuple[list[int], list[int], str]:
    """Draw 3, 4 or 5 distinct integers below 100 from reasoning-gym, and their wanted order."""
    size = complexity + 2
    while True:
        item = reasoning_gym_item(
            "number_sorting",
            rng,
            min_numbers=size,
            max_numbers=size,
            min_decimals=0,
            max_decimals=0,
            min_value=1,
            max_value=99,
        )["metadata"]
        given = [int(float(value)) for value in item["original_numbers"]]
        if len(set(given)) == size:
            ordered = [int(float(value)) for value in item["sorted_numbers"]]
            return given, ordered, item["direction"]


class Sorting(Task):
    """Sort integers (reasoning-gym)."""

    name = "sorting"
    domain = "analysis"
    form = "list"
    source = "reasoning-gym:number_sorting"
    phrasings = (
        "Sort these numbers in {direction} order: {numbers}.",
        "Put {numbers} in {direction} order.",
        "Arrange the numbers {numbers} {way}.",
        "Here are some measurements: {numbers}. Order them {way}.",
        "List {numbers} {way}.",
        "Which order is {direction} for {numbers}?",
        "Take the values {numbers} and write them {way}.",
        "Give the {direction} ranking of {numbers}.",
        "Data: {numbers}. Return it sorted {way}.",
    )

    def draw(self, complexity: int, rng: np.random.Generator) -> Draw:
        """Draw 3, 4 or 5 numbers."""
        given, ordered, direction = sorting_item(complexity, rng)
        rising = direction == "ascending"
        slots = {
            "numbers": ", ".join(map(str, given)),
            "direction": direction,
            "way": "from smallest to largest" if rising else "from largest to smallest",
        }
        return Draw(slots, ordered, ", ".join(map(str, ordered)), len(ordered))

    def is_right(self, reference: Any, response: str) -> bool:
        """Compare the last numbers of the response."""
        return ends_with_numbers(response, reference)

    def is_bare(self, reference: Any, response: str) -> bool:
        """Accept nothing but the list with commas."""
        return super().is_bare(", ".join(map(str, reference)), response)


class Dates(Task):
    """Write a date in the form YYYY-MM-DD."""

    name = "dates"
    domain = "analysis"
    form = "date"
    phrasings = (
        "Convert this date: {date}.",
        "Normalise the date {date}.",
        "What is {date} in ISO form?",
        "The report was filed on {date}. Write that date in the standard form.",
        "Rewrite {date} as an ISO date.",
        "A log entry says {date}. Give the date in machine form.",
        "Turn {date} into a date a database accepts.",
        "Standardise: {date}.",
    )

    def draw(self, complexity: int, rng: np.random.Generator) -> Draw:
        """Draw month names; ordinals and short names; or slashes with a stated order."""
        year, month = int(rng.integers(1950, 2030)), int(rng.integers(1, 13))
        day = int(rng.integers(1, 29))
        ending = {1: "st", 2: "nd", 3: "rd"}.get(day % 10 if day not in (11, 12, 13) else 0, "th")
        full = MONTHS[month - 1]
        shapes = {
            1: (f"{full} {day}, {year}", f"{day} {full} {year}"),
            2: (f"the {day}{ending} of {full} {year}", f"{full[:3]} {day} {year}"),
            3: (f"{day}/{month}/{year} (day/month/year)", f"{month}/{day}/{year} (month/day/year)"),
        }
        answer = f"{year:04d}-{month:02d}-{day:02d}"
        return Draw({"date": pick(rng, shapes[complexity])}, answer, answer)

    def is_right(self, reference: Any, response: str) -> bool:
        """Compare the last year-month-day of the response, with any separator and any padding."""
        found = re.findall(r"\b(\d{4})[-/. ](\d{1,2})[-/. ](\d{1,2})\b", response)
        wanted = tuple(map(int, reference.split("-")))
        return bool(found) and tuple(map(int, found[-1])) == wanted


class Repeated(Task):
    """Find the one word that stands twice in a list."""

    name = "repeated"
    domain = "analysis"
    form = "word"
    phrasings = (
        "Which word appears twice: {items}?",
        "Find the duplicate in this list: {items}.",
        "One of these is repeated: {items}. Which one?",
        "{items}. Which entry occurs two times?",
        "Look at {items} and name the repeated word.",
        "The inventory reads {items}. What was entered twice?",
        "Spot the double entry: {items}.",
        "In the series {items}, which item is not unique?",
    )

    def draw(self, complexity: int, rng: np.random.Generator) -> Draw:
        """Draw lists of 4, 6 or 8 words."""
        items = pick_distinct(rng, NOUNS, 2 * complexity + 1)
        answer = pick(rng, items)
        items.insert(int(rng.integers(len(items) + 1)), answer)
        slots = {"items": ", ".join(items)}
        return Draw(slots, {"answer": answer, "items": sorted(set(items))}, answer)

    def is_right(self, reference: Any, response: str) -> bool:
        """Compare the listed word that the response settles on."""
        return final_choice(response, reference["items"]) == reference["answer"]

    def is_bare(self, reference: Any, response: str) -> bool:
        """Accept nothing but the word."""
        return super().is_bare(reference["answer"], response)


class Extraction(Task):
    """Extract name, age and city from a sentence that tells them in another order."""

    name = "extraction"
    domain = "analysis"
    form = "record"
    phrasings = (
        "Extract the person's data: {text}",
        "Make a record from this text: {text}",
        "{text} Who is this about? Give name, age and city.",
        "Turn this note into a table row: {text}",
        "Read the note and fill in the fields name, age, city: {text}",
        "{text} Summarise it as a data row.",
        "Parse this line: {text}",
        "Pull out name, age and city. {text}",
    )
    stories: ClassVar = {
        1: ("From {city} comes {name}, aged {age}.", "At {age}, {name} lives in {city}."),
        2: (
            "In {city} we met a {job} of {age} years whose name is {name}.",
            "Aged {age} and working as a {job} in {city}, {name} is doing well.",
        ),
        3: (
            "Not in {other} but in {city}, the {job} {name} turned {age} last week.",
            "After leaving {other}, {name}, a {job}, moved to {city} and is now {age}.",
        ),
    }
    jobs = ("teacher", "doctor", "farmer", "sailor", "baker", "painter", "singer", "driver")

    def draw(self, complexity: int, rng: np.random.Generator) -> Draw:
        """Draw a plain note, one with a job, or one with a second city."""
        city, other = pick_distinct(rng, CITIES, 2)
        facts = {"name": pick(rng, NAMES), "age": int(rng.integers(18, 90)), "city": city}
        story = pick(rng, self.stories[complexity])
        text = story.format(**facts, other=other, job=pick(rng, self.jobs))
        answer = [facts["name"], str(facts["age"]), city]
        return Draw({"text": text}, answer, " | ".join(answer), 3)

    def is_right(self, reference: Any, response: str) -> bool:
        """Compare the names, numbers and cities of the response, in order."""
        known = re.compile(rf"\b(?:{'|'.join((*NAMES, *CITIES))}|\d+)\b")
        rows = [line for line in response.splitlines() if re.search(r"\|.*\d.*\||\d\s*\|", line)]
        if rows:  # in a row, case is free; in prose, "will" and "mark" are no names
            known = re.compile(known.pattern, re.IGNORECASE)
        found = known.findall(rows[0] if rows else response)
        return [word.casefold() for word in found] == [word.casefold() for word in reference]

    def is_bare(self, reference: Any, response: str) -> bool:
        """Accept nothing but the row."""
        return super().is_bare(" | ".join(reference), response)


class CodeList(Task):
    """Write sorted numbers as a Python list: analysis in the clothes of code, trained by nobody."""

    name = "code_list"
    domain = "general"
    form = "list"
    source = "reasoning-gym:number_sorting"
    phrasings = (
        "Write a Python list with the numbers {numbers} in {direction} order.",
        "Give me a Python list literal that holds {numbers}, {direction}.",
        "values = {{{numbers}}} in Python. What does sorted(values) give, in {direction} order?",
        "As Python, write {numbers} as a list sorted {direction}.",
        "In code, a list of {numbers} ordered {direction} looks how?",
        "Python: define a list literal of {numbers}, {direction}.",
        "Show the {direction} Python list of these values: {numbers}.",
        "I need {numbers} as a Python list, {direction} please.",
    )
    endings = (
        "Answer with a Python list.",
        "Just the list, like [1, 2].",
        "Reply with the list only.",
    )

    def draw(self, complexity: int, rng: np.random.Generator) -> Draw:
        """Draw 3, 4 or 5 numbers."""
        given, ordered, direction = sorting_item(complexity, rng)
        slots = {"numbers": ", ".join(map(str, given)), "direction": direction}
        return Draw(slots, ordered, str(ordered), len(ordered))

    def is_right(self, reference: Any, response: str) -> bool:
        """Compare the last numbers of the response."""
        return ends_with_numbers(response, reference)
