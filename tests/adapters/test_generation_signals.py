"""The confidence that generation records, and answers drawn at random."""

from __future__ import annotations

import itertools
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from routing_gym.adapters.base_model import load_base_model, load_tokenizer
from routing_gym.adapters.decoding import chosen_and_entropy, decode, drawn, greedy
from routing_gym.adapters.generation import Completion, generate, sample
from routing_gym.adapters.pool import AdapterPool
from routing_gym.adapters.prompt import render_prompt
from routing_gym.adapters.spec import AdapterSpec, PoolSpec
from routing_gym.adapters.token_signals import token_signals
from tests.adapters.tiny import ARCHITECTURES, save_tiny_model

TEXTS = ("Who?", "Sort 3, 1, 2.", "What is the capital of France? In one word, please.", "a")
BUDGETS = (5, 3, 5, 1)
Loaded = tuple[Any, Any]


@pytest.fixture(scope="module", params=ARCHITECTURES)
def loaded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    folder = save_tiny_model(tmp_path_factory.mktemp("m") / request.param, request.param, seed=3)
    return load_base_model(str(folder)), load_tokenizer(str(folder))


@pytest.fixture(scope="module")
def llama(tiny_base: Path) -> Loaded:
    return load_base_model(str(tiny_base)), load_tokenizer(str(tiny_base))


def written(model: Any, tokenizer: Any, **options: Any) -> list[Any]:
    """Decode, so that the tokens themselves are seen."""
    prompts = [render_prompt(tokenizer, text) for text in TEXTS]
    with torch.inference_mode():
        rows, _ = decode(model, tokenizer, prompts, np.array(BUDGETS), **options)
    return rows


def forced(model: Any, tokenizer: Any, text: str, tokens: list[int]) -> np.ndarray:
    """Log-probabilities and entropies (2, T) of given tokens from one forward pass."""
    prompt = tokenizer(render_prompt(tokenizer, text), add_special_tokens=False)["input_ids"]
    with torch.inference_mode():
        logits = model(input_ids=torch.tensor([prompt + tokens])).logits[0].double()
    chances = logits.log_softmax(dim=-1)[len(prompt) - 1 : -1]
    entropies = -(chances.exp() * chances).sum(dim=-1)
    return np.array([chances[range(len(tokens)), tokens].tolist(), entropies.tolist()])


@pytest.mark.parametrize("repeats", [1, 3])
def test_recorded_signals_are_those_of_the_tokens(loaded: Loaded, repeats: int) -> None:
    model, tokenizer = loaded
    numbers = np.random.default_rng(0).random((len(TEXTS) * repeats, max(BUDGETS)))
    for choose in (greedy, drawn(numbers, 2.0)):
        rows = written(model, tokenizer, choose=choose, repeats=repeats)
        texts = [text for text in TEXTS for _ in range(repeats)]
        for text, row in zip(texts, rows, strict=True):
            expected = forced(model, tokenizer, text, row.tokens)
            np.testing.assert_allclose([row.log_probs, row.entropies], expected, atol=1e-4)


def test_completions_carry_them_with_the_end_token(llama: Loaded) -> None:
    model, tokenizer = llama
    model.generation_config.eos_token_id = None
    (free,) = written(model, tokenizer, choose=greedy)[:1]
    end = free.tokens[2]
    model.generation_config.eos_token_id = end
    (answer,) = generate(model, tokenizer, [render_prompt(tokenizer, TEXTS[0])], max_new_tokens=[9])
    count = free.tokens.index(end) + 1
    assert answer.finished
    assert answer.completion_tokens == count
    assert answer.token_log_probs == pytest.approx(free.log_probs[:count], abs=1e-5)
    assert answer.token_entropies == pytest.approx(free.entropies[:count], abs=1e-5)
    model.generation_config.eos_token_id = tokenizer.eos_token_id


@pytest.mark.parametrize("name", ["base", "one", "two"])
def test_writing_an_answer_records_what_reading_it_finds(
    tiny_base: Path, tiny_adapters: dict[str, Path], name: str
) -> None:
    arms = (AdapterSpec("base"), *(AdapterSpec(n, path) for n, path in tiny_adapters.items()))
    pool = AdapterPool(PoolSpec(str(tiny_base), arms))
    pool.activate(name)
    responses = ("Ann is.", "1, 2, 3", "Paris", "x")
    ids = [pool.tokenizer(text, add_special_tokens=False)["input_ids"] for text in responses]
    ids = [[*own, pool.tokenizer.eos_token_id] for own in ids]

    def dictated(logits: Any, rows: np.ndarray, step: int) -> torch.Tensor:
        return torch.tensor([ids[row][min(step, len(ids[row]) - 1)] for row in rows])

    prompts = [render_prompt(pool.tokenizer, text) for text in TEXTS]
    with torch.inference_mode():
        rows, _ = decode(
            pool.model, pool.tokenizer, prompts, np.full(len(TEXTS), 20), choose=dictated
        )
    read = token_signals(pool.model, pool.tokenizer, TEXTS, responses, [True] * len(TEXTS))
    for row, own, signals in zip(rows, ids, read, strict=True):
        assert row.finished
        assert row.tokens == own
        np.testing.assert_allclose(row.log_probs, signals.log_probs, atol=1e-4)
        np.testing.assert_allclose(row.entropies, signals.entropies, atol=1e-4)


def test_chances_and_entropy_by_hand() -> None:
    logits = torch.tensor([[0.0, 0.0, 0.0, 0.0], [0.0, np.log(3.0), -1e4, -1e4]])
    chosen, entropy = chosen_and_entropy(logits, torch.tensor([2, 1]))
    assert chosen.tolist() == pytest.approx([np.log(0.25), np.log(0.75)])
    expected = -(0.25 * np.log(0.25) + 0.75 * np.log(0.75))
    assert entropy.tolist() == pytest.approx([np.log(4), expected])


@pytest.mark.parametrize(("number", "token"), [(0.0, 0), (0.249, 0), (0.251, 1), (0.999, 1)])
def test_drawing_inverts_the_distribution(number: float, token: int) -> None:
    logits = torch.tensor([[0.0, np.log(3.0), -torch.inf]])
    choose = drawn(np.array([[0.5, number]]), 1.0)
    assert choose(logits, np.array([0]), 1).tolist() == [token]


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_sampled_frequencies_are_the_probabilities(llama: Loaded, temperature: float) -> None:
    model, tokenizer = llama
    count = 3000
    numbers = np.random.default_rng(1).random((count, 1))
    prompts = [render_prompt(tokenizer, TEXTS[0])]
    with torch.inference_mode():
        rows, _ = decode(
            model,
            tokenizer,
            prompts,
            np.array([1]),
            choose=drawn(numbers, temperature),
            repeats=count,
        )
        ids = tokenizer(prompts, return_tensors="pt", add_special_tokens=False)["input_ids"]
        chances = (model(input_ids=ids).logits[0, -1] / temperature).softmax(dim=-1).numpy()
    counts = Counter(row.tokens[0] for row in rows)
    found = np.array([counts[token] / count for token in range(len(chances))])
    deviation = np.sqrt(chances * (1 - chances) / count)
    assert (np.abs(found - chances) < 5 * deviation + 1e-3).all()
    assert np.abs(found - chances).sum() / 2 < 0.2


def sampled(loaded: Loaded, texts: tuple[str, ...] = TEXTS, **options: Any) -> Any:
    model, tokenizer = loaded
    prompts = [render_prompt(tokenizer, text) for text in texts]
    options = {"k": 3, "seed": 0, "max_new_tokens": [4] * len(texts)} | options
    return sample(model, tokenizer, prompts, **options)


def texts_of(answers: list[list[Completion]]) -> list[list[str]]:
    return [[answer.text for answer in row] for row in answers]


def test_low_temperatures_are_greedy(loaded: Loaded) -> None:
    model, tokenizer = loaded
    prompts = [render_prompt(tokenizer, text) for text in TEXTS]
    likeliest = generate(model, tokenizer, prompts, max_new_tokens=[4] * len(TEXTS))
    cold = sampled(loaded, temperature=1e-5)
    assert texts_of(cold) == [[answer.text] * 3 for answer in likeliest]
    for row, best in zip(cold, likeliest, strict=True):
        for answer in row:
            assert answer.token_log_probs == pytest.approx(best.token_log_probs, abs=1e-4)
            assert answer.prompt_tokens == best.prompt_tokens


def test_samples_depend_on_seed_prompt_and_number_alone(llama: Loaded) -> None:
    torch.manual_seed(1)
    first = texts_of(sampled(llama))
    torch.manual_seed(2)
    before = torch.random.get_rng_state()
    assert texts_of(sampled(llama, batch_size=1)) == first
    assert texts_of(sampled(llama, batch_size=7)) == first
    assert torch.equal(torch.random.get_rng_state(), before)
    assert texts_of(sampled(llama, tuple(reversed(TEXTS)))) == first[::-1]
    assert [row[:2] for row in first] == texts_of(sampled(llama, k=2))
    assert texts_of(sampled(llama, seed=1)) != first
    assert len({text for row in first for text in row}) > len(TEXTS)


def test_counts_and_ticks(llama: Loaded) -> None:
    ticks: list[int] = []
    answers = sampled(llama, batch_size=7, on_batch=ticks.append)
    assert [len(row) for row in answers] == [3] * 4
    assert ticks == [6, 6]
    assert all(a.seconds > 0 and a.token_log_probs for a in itertools.chain(*answers))


def test_a_pool_samples_with_its_adapters(tiny_base: Path, tiny_adapters: dict[str, Path]) -> None:
    arms = (AdapterSpec("base"), AdapterSpec("one", tiny_adapters["one"]))
    pool = AdapterPool(PoolSpec(str(tiny_base), arms))
    forms = ["word", "code", "", "word"]
    one = pool.sample("one", TEXTS, k=2, seed=0, forms=forms)
    assert pool.active == "one"
    assert texts_of(one) != texts_of(pool.sample("base", TEXTS, k=2, seed=0, forms=forms))
    assert texts_of(one) == texts_of(pool.sample("one", TEXTS, k=2, seed=0, forms=forms))
    with pytest.raises(ValueError, match="query 0 is empty"):
        pool.sample("one", [" "], k=2, seed=0)


@pytest.mark.parametrize(
    "options", [{"k": 0}, {"seed": -1}, {"temperature": 0.0}, {"temperature": np.inf}]
)
def test_wrong_settings(llama: Loaded, options: dict[str, Any]) -> None:
    name, value = next(iter(options.items()))
    with pytest.raises(ValueError, match=f"{name}={value}.*for the likeliest answer use greedy"):
        sampled(llama, **options)
