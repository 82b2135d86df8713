"""Creative writing under constraints that can be checked exactly."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from routing_gym.queries.extract import sentence, words
from routing_gym.queries.task import Draw, Task, pick, pick_distinct
from routing_gym.queries.words import ADJECTIVES, ALLITERATION, NAMES, NOUNS, RHYMES, VERBS

OPENERS = (
    "Yesterday Today Suddenly Sometimes Often Perhaps Slowly Quietly Finally Once Tonight Later "
    "Soon Everywhere Nobody Everyone"
).split()


class _Writing(Task):
    """A sentence that must satisfy a constraint; any such sentence is right."""

    domain = "creative"
    form = "sentence"

    def is_bare(self, reference: Any, response: str) -> bool:
        """Accept the sentence and nothing beside it."""
        return response.strip() == sentence(response)


class Keywords(_Writing):
    """Write a sentence that contains two to four given words."""

    name = "keywords"
    phrasings = (
        "Write a sentence with the words {items}.",
        "Use {items} in one sentence.",
        "Make up a line that mentions {items}.",
        "Invent a scene that contains {items}.",
        "Tell a tiny story using the words {items}.",
        "Compose a sentence in which {items} all occur.",
        "Bring {items} together in a sentence.",
        "Be creative: {items} must all appear.",
        "I need an opening line with {items} in it.",
    )
    frames: ClassVar = {
        2: (
            "The {adjective} {0} found a {1} by the door.",
            "A {0} and a {1} waited in the {adjective} night.",
            "Under the {0}, {name} hid a {adjective} {1}.",
        ),
        3: (
            "The {0} carried a {1} past the {adjective} {2}.",
            "Near the {0}, a {1} dreamed of the {adjective} {2}.",
            "{name} took the {0} and the {1} to the {adjective} {2}.",
        ),
        4: (
            "The {0} and the {1} met a {2} beside the {adjective} {3}.",
            "With a {0} and a {1}, {name} left the {2} for the {adjective} {3}.",
            "A {0} fell on the {1} while the {2} watched the {adjective} {3}.",
        ),
    }

    def draw(self, complexity: int, rng: np.random.Generator) -> Draw:
        """Draw two, three or four nouns."""
        items = pick_distinct(rng, NOUNS, complexity + 1)
        frame = pick(rng, self.frames[len(items)])
        target = frame.format(*items, adjective=pick(rng, ADJECTIVES), name=pick(rng, NAMES))
        return Draw({"items": ", ".join(items)}, items, target)

    def is_right(self, reference: Any, response: str) -> bool:
        """Ask for every word, singular or plural, among three or more others, thirty at most."""
        found = words(sentence(response))
        hits = all(
            any(word in (item, f"{item}s", f"{item}es") for word in found) for item in reference
        )
        return hits and len(reference) + 3 <= len(found) <= 30


class Alliteration(_Writing):
    """Write a sentence of three to five words that all begin with one letter."""

    name = "alliteration"
    phrasings = (
        "Write a sentence of {count} words that all start with {letter}.",
        "Give me an alliteration of {count} words on the letter {letter}.",
        "Every one of {count} words must begin with {letter}. Write it.",
        "Make a {count}-word tongue twister with the letter {letter}.",
        "Use only words that begin with {letter}, {count} of them, in a sentence.",
        "Compose {count} words in a row that start with {letter}.",
        "A poet wants {count} words beginning with {letter}. Help out.",
        "Let {count} words starting with {letter} form a sentence.",
    )

    def draw(self, complexity: int, rng: np.random.Generator) -> Draw:
        """Draw three, four or five words."""
        letter = pick(rng, tuple(ALLITERATION))
        bank = ALLITERATION[letter]
        first, second = pick_distinct(rng, bank[:3], 2)
        subject, verb, thing = pick(rng, bank[3:7]), pick(rng, bank[7:11]), pick(rng, bank[11:])
        parts = {
            1: (subject, verb, thing),
            2: (first, subject, verb, thing),
            3: (first, subject, verb, second, thing),
        }[complexity]
        count = len(parts)
        target = " ".join(parts).capitalize() + "."
        return Draw({"count": count, "letter": letter.upper()}, [letter, count], target, count)

    def is_right(self, reference: Any, response: str) -> bool:
        """Ask for exactly so many different words, each with the letter."""
        letter, count = reference
        found = words(sentence(response))
        return len(set(found)) == len(found) == count and all(w.startswith(letter) for w in found)


class Bookends(_Writing):
    """Write a sentence with a given first and last word."""

    name = "bookends"
    phrasings = (
        "Write a sentence that starts with {first} and ends with {last}.",
        "Begin with {first}, finish with {last}.",
        "The first word is {first} and the last word is {last}. Write the line.",
        "Make a sentence from {first} to {last}.",
        "Open a line with {first} and let it close with {last}.",
        "I need a line whose first word is {first} and whose final word is {last}.",
        "Start: {first}. End: {last}. Write what lies between.",
        "Create a sentence opening on {first} and ending on {last}.",
    )
    middles: ClassVar = {
        1: ("the {adjective} {noun} found a",),
        2: ("the {adjective} {noun} {verb} near the", "a {noun} {verb} beside the {adjective}"),
        3: (
            "the {adjective} {noun} {verb} while {name} looks at the",
            "{name} {verb} with a {adjective} {noun} under the",
        ),
    }

    def draw(self, complexity: int, rng: np.random.Generator) -> Draw:
        """Draw an opener and a noun."""
        last, noun = pick_distinct(rng, NOUNS, 2)
        first = pick(rng, OPENERS)
        middle = pick(rng, self.middles[complexity]).format(
            adjective=pick(rng, ADJECTIVES), noun=noun, verb=pick(rng, VERBS), name=pick(rng, NAMES)
        )
        return Draw({"first": first, "last": last}, [first, last], f"{first} {middle} {last}.")

    def is_right(self, reference: Any, response: str) -> bool:
        """Ask for both words in their places and at least three between them."""
        first, last = (word.casefold() for word in reference)
        found = words(sentence(response))
        return 5 <= len(found) <= 30 and found[0] == first and found[-1] == last


class Rhyme(_Writing):
    """Write a line that ends on a word that rhymes with a given one."""

    name = "rhyme"
    phrasings = (
        "Write a line that ends with a word rhyming with {word}.",
        "Make a sentence whose last word rhymes with {word}.",
        "I wrote a verse ending in {word}. Write the next line so that it rhymes.",
        "Finish a couplet: the first line ends on {word}.",
        "Give me a rhyming line for {word}.",
        "What line could follow one that ends with {word}, in rhyme?",
        "Sing a line that rhymes with {word}.",
        "A poem's line closes with {word}; answer it with a rhyme.",
    )
    frames: ClassVar = {
        1: ("I like the {rhyme}.", "We saw the {rhyme}."),
        2: ("The {adjective} {noun} came near the {rhyme}.", "A {noun} {verb} by the {rhyme}."),
        3: (
            "{name} and the {adjective} {noun} dreamed about the {rhyme}.",
            "Under the {noun}, {name} {verb} and thinks of the {rhyme}.",
        ),
    }

    def draw(self, complexity: int, rng: np.random.Generator) -> Draw:
        """Draw a rhyme family; longer lines at higher complexity."""
        family = pick(rng, RHYMES)
        word, rhyme = pick_distinct(rng, family, 2)
        target = pick(rng, self.frames[complexity]).format(
            rhyme=rhyme,
            adjective=pick(rng, ADJECTIVES),
            noun=pick(rng, NOUNS),
            verb=pick(rng, VERBS),
            name=pick(rng, NAMES),
        )
        return Draw({"word": word}, word, target)

    def is_right(self, reference: Any, response: str) -> bool:
        """Ask for another word of the rhyme's family at the end of three words or more."""
        found = words(sentence(response))
        family = next(f for f in RHYMES if reference in f)
        rhymes = {word.casefold() for word in family} - {reference.casefold()}
        return 3 <= len(found) <= 30 and found[-1] in rhymes
