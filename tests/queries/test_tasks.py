"""The contract of every task, and of the set of them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest

from routing_gym.queries.dataset import make_task, tasks_of, verify
from routing_gym.queries.query import COMPLEXITIES, FORMS, Example
from routing_gym.queries.splits import normalise
from routing_gym.queries.task import ENDINGS
from routing_gym.queries.tasks import TASKS
from routing_gym.queries.words import RHYMES

pytest.importorskip("reasoning_gym")

TRAINED = ("reasoning", "code", "creative", "analysis")
SAME_QUESTION = {"bookends", "rhyme"}  # complexity lengthens the target, not the question
ASKED = {
    "word": ("word", "name", "city"),
    "number": ("number",),
    "list": ("list", "commas"),
    "date": ("YYYY-MM-DD",),
    "record": ("name | age | city",),
    "sentence": ("sentence",),
    "code": ("code", "Python function"),
}
EVERY_FORM: dict[str, Callable[[str], str]] = {
    "fence": lambda target: f"```\n{target}\n```",
    "introduction and fence": lambda target: f"Here is my answer:\n```text\n{target}\n```",
    "white space": lambda target: f"\n\n{target}\n \n",
}
CODE: dict[str, Callable[[str], str]] = {
    "python fence": lambda target: f"Sure!\n```python\n{target}\n```\nThis does what you asked.",
    "open fence": lambda target: f"```python\n{target}",
    "introduction": lambda target: f"Here is the function:\n\n{target}",
    "example of use": lambda target: f"```python\n{target}\n\nprint('done')\n```",
}
SENTENCE: dict[str, Callable[[str], str]] = {
    "quotes": lambda target: f'"{target}"',
    "quotes after a colon": lambda target: f'Here is a sentence: "{target}"',
    "introduction": lambda target: f"Here you go:\n{target}",
    "afterword": lambda target: f"{target} I hope that you like it!",
    "case": str.upper,
}
VALUE: dict[str, Callable[[str], str]] = {
    "quotes": lambda target: f'"{target}"',
    "sentence": lambda target: f"The answer is {target}.",
    "bold": lambda target: f"**{target}**",
    "colon": lambda target: f"Answer: {target}",
    "upper case": str.upper,
    "lower case": str.lower,
}


def wrappers(form: str) -> dict[str, Callable[[str], str]]:
    return EVERY_FORM | {"code": CODE, "sentence": SENTENCE}.get(form, VALUE)


def samples(name: str, count: int = 0, *, seed: int = 7) -> list[Example]:
    """Draw examples at all complexities in turn; fewer where verifying starts a process."""
    task, rng = make_task(name), np.random.default_rng(seed)
    count = count or (3 if task.form == "code" else 24)
    return [task.sample(COMPLEXITIES[i % 3], rng) for i in range(count)]


def is_another_question(name: str, left: Example, right: Example) -> bool:
    """Tell whether a right answer to one query must be wrong for another."""
    one, two = (json.loads(example.query.reference) for example in (left, right))
    if name == "rhyme":
        return not any(one in family and two in family for family in RHYMES)
    if make_task(name).form == "code":
        return bool(one["cases"] != two["cases"])
    return left.target.casefold() != right.target.casefold() and one != two


@pytest.mark.parametrize("name", TASKS)
def test_the_target_is_right_and_strict(name: str) -> None:
    for example in samples(name, 6 if make_task(name).form == "code" else 60):
        verdict = verify(example.query, example.target)
        assert (verdict.accuracy, verdict.strict) == (1.0, 1.0), example


@pytest.mark.parametrize("name", TASKS)
def test_queries_say_what_they_are(name: str) -> None:
    task = make_task(name)
    assert task.name == name
    assert task.form in FORMS
    assert (task.domain == "general") or task.domain in TRAINED
    for i, example in enumerate(samples(name)):
        query = example.query
        assert (query.task, query.domain, query.form) == (name, task.domain, task.form)
        assert query.complexity == COMPLEXITIES[i % 3]
        assert query.query_id.startswith(f"{name}-")
        assert query.split == ""
        assert "{" not in query.text.replace("values = {", "")
        assert example.target not in ("", query.text)


@pytest.mark.parametrize("name", TASKS)
def test_at_least_eight_phrasings_and_all_of_them_appear(name: str) -> None:
    task = make_task(name)
    assert len(set(task.phrasings)) == len(task.phrasings) >= 8
    rng, seen = np.random.default_rng(1), Counter[str]()
    draw = task.draw(2, rng)
    task.draw = lambda complexity, rng: draw  # type: ignore[method-assign]
    try:
        for _ in range(300):
            seen[task.sample(2, rng).query.text] += 1
    finally:
        del task.draw  # type: ignore[attr-defined]
    for phrasing in task.phrasings:
        body = phrasing.format(**draw.slots)
        assert any(text.startswith(body) for text in seen), phrasing


@pytest.mark.parametrize("name", TASKS)
def test_the_text_asks_for_the_form(name: str) -> None:
    task = make_task(name)
    endings = task.endings or ENDINGS[task.form]
    for ending in endings:
        assert any(word.casefold() in ending.casefold() for word in ASKED[task.form]), ending
    for example in samples(name):
        assert example.query.text.endswith(endings)


@pytest.mark.parametrize("name", TASKS)
def test_complexities_differ(name: str) -> None:
    task = make_task(name)
    texts = {
        level: {task.sample(level, np.random.default_rng([level, i])).query.text for i in range(30)}
        for level in COMPLEXITIES
    }
    assert all(len(found) >= 20 for found in texts.values())
    if name in SAME_QUESTION:
        targets = {
            level: np.mean([len(e.target) for e in samples(name) if e.query.complexity == level])
            for level in COMPLEXITIES
        }
        assert targets[1] < targets[2] < targets[3]
    else:
        assert len(texts[1] & texts[3]) <= 5


@pytest.mark.parametrize("name", TASKS)
def test_the_seed_determines_everything(name: str) -> None:
    assert samples(name, 6, seed=3) == samples(name, 6, seed=3)
    assert samples(name, 6, seed=3) != samples(name, 6, seed=4)


@pytest.mark.parametrize("name", TASKS)
def test_answers_to_other_questions_are_wrong(name: str) -> None:
    examples = samples(name, 4 if make_task(name).form == "code" else 24)
    asked = 0
    for example, other in zip(examples, examples[3:] + examples[:3], strict=True):
        if is_another_question(name, example, other):
            asked += 1
            assert verify(example.query, other.target).accuracy == 0.0, (example, other.target)
    assert asked >= len(examples) / 3


@pytest.mark.parametrize("name", TASKS)
@pytest.mark.parametrize("response", ["", "  \n", "I do not know.", "```python\n```", "\x00", "?"])
def test_no_answer_is_wrong(name: str, response: str) -> None:
    verdict = verify(samples(name, 1)[0].query, response)
    assert (verdict.accuracy, verdict.strict) == (0.0, 0.0)


@pytest.mark.parametrize("name", TASKS)
def test_wrappings_do_not_make_an_answer_wrong(name: str) -> None:
    form = make_task(name).form
    for example in samples(name, 2 if form == "code" else 12):
        for way, wrap in wrappers(form).items():
            response = wrap(example.target)
            assert verify(example.query, response).accuracy == 1.0, (way, response)


@pytest.mark.parametrize("name", TASKS)
def test_a_wrapped_answer_is_not_strict(name: str) -> None:
    example = samples(name, 1)[0]
    for wrap in (EVERY_FORM["fence"], EVERY_FORM["introduction and fence"]):
        assert verify(example.query, wrap(example.target)).strict == 0.0


@pytest.mark.parametrize("name", TASKS)
def test_echoing_the_query_is_wrong(name: str) -> None:
    right = [
        example.query.text
        for example in samples(name)
        if verify(example.query, example.query.text).accuracy
    ]
    assert not right, f"{len(right)} echoes are right, such as {right[0]!r}"


@pytest.mark.parametrize("name", tasks_of("creative"))
def test_echoing_the_instruction_alone_is_wrong(name: str) -> None:
    for example in samples(name):
        instruction = example.query.text.split(". ")[0] + "."
        assert verify(example.query, instruction).accuracy == 0.0, instruction


@pytest.mark.parametrize(
    ("name", "response"),
    [
        ("kinship", "grandmother-in-law"),
        ("siblings", "minus one"),
        ("turns", "northeast"),
        ("arithmetic", "def solve(x):\n    return None"),
        ("strings", "def solve(s):\n    raise ValueError(s)"),
        ("predicates", "def solve(n):\n    return 'True'"),
        ("lists", "lambda"),
        ("sorting", "1, 2"),
        ("dates", "2000-13-40"),
        ("extraction", "Ann | 3"),
        ("capitals", "Atlantis"),
        ("alliteration", "word word word"),
        ("bookends", "Yesterday."),
        ("rhyme", "cat"),
    ],
)
def test_wrong_answers_of_the_right_form(name: str, response: str) -> None:
    for example in samples(name, 3):
        assert verify(example.query, response).accuracy == 0.0


@pytest.mark.parametrize(
    ("name", "response"),
    [
        ("keywords", "{items}"),  # the bare words are no sentence
        ("keywords", "{items} " + "and so on " * 15),  # nor is a flood of words
    ],
)
def test_keywords_alone_are_no_sentence(name: str, response: str) -> None:
    for example in samples(name, 3):
        items = " ".join(json.loads(example.query.reference))
        assert verify(example.query, response.format(items=items)).accuracy == 0.0


def test_the_domains_have_enough_tasks() -> None:
    for domain in (*TRAINED, "general"):
        assert len(tasks_of(domain)) >= 4
    assert sum(len(tasks_of(domain)) for domain in (*TRAINED, "general")) == len(TASKS)


def test_at_least_six_tasks_come_from_reasoning_gym() -> None:
    drawn = [n for n in TASKS if make_task(n).source.startswith("reasoning-gym:")]
    assert len(drawn) >= 6


def test_a_general_task_mixes_two_domains() -> None:
    query = samples("code_list", 1)[0].query
    assert "ython" in query.text or "code" in query.text
    assert query.form == "list"


def test_texts_of_different_tasks_differ() -> None:
    texts = [normalise(e.query.text) for name in TASKS for e in samples(name, 6)]
    assert len(set(texts)) >= 0.99 * len(texts)


@pytest.mark.parametrize(
    ("response", "right"),
    [
        ("Ann | 34 | Paris", True),
        ("ann|34|paris", True),
        ("name | age | city\nAnn | 34 | Paris", True),
        ("Name: Ann, age: 34, city: Paris", True),
        ("I will read it: Ann is 34 and lives in Paris.", True),  # Will is a name, too
        ("Ann | 34 | Rome", False),
        ("Paris | 34 | Ann", False),
        ("Ann | 34", False),
        ("Ann, Will | 34 | Paris", False),
    ],
)
def test_records(response: str, right: bool) -> None:
    assert make_task("extraction").is_right(["Ann", "34", "Paris"], response) is right


def test_a_task_refuses_queries_that_it_did_not_make() -> None:
    query = samples("turns", 1)[0].query
    with pytest.raises(ValueError, match="cannot be verified by task 'dates'"):
        make_task("dates").verify(query, "north")


def test_no_domain_of_that_name() -> None:
    with pytest.raises(ValueError, match="domain='poetry' has no task: use one of analysis, code"):
        tasks_of("poetry")
