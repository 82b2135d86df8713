from __future__ import annotations

import numpy as np
import pytest
import torch

from routing_gym.agents.router import AdapterRouter, gumbel_softmax


def test_signature_of_the_issue_works_as_written() -> None:
    router = AdapterRouter(
        encoder_name="sentence-transformers/all-MiniLM-L6-v2",
        num_adapters=4,
        hidden_dim=256,
        use_gumbel=True,
    )
    query_embedding = torch.randn(384)
    adapter_probs, complexity = router(query_embedding)
    assert adapter_probs.shape == (4,)
    assert complexity.shape == (3,)
    torch.testing.assert_close(adapter_probs.sum(), torch.tensor(1.0))
    torch.testing.assert_close(complexity.sum(), torch.tensor(1.0))


def test_batches_and_positional_arguments_work() -> None:
    router = AdapterRouter("BAAI/bge-base-en-v1.5", 5, 32, False)
    adapter_probs, complexity = router(torch.randn(7, 768))
    assert adapter_probs.shape == (7, 5)
    assert complexity.shape == (7, 3)


def test_training_mode_samples_and_evaluation_mode_does_not() -> None:
    router = AdapterRouter(dropout=0.0)
    embedding = torch.randn(2, 384)
    first, second = (router(embedding)[0] for _ in range(2))
    assert not torch.equal(first, second)
    seeded = [router(embedding, torch.Generator().manual_seed(1))[0] for _ in range(2)]
    torch.testing.assert_close(seeded[0], seeded[1], rtol=0, atol=0)
    router.eval()
    logits = router.heads(embedding).adapter_logits
    torch.testing.assert_close(router(embedding)[0], torch.softmax(logits, dim=-1))


def test_without_gumbel_training_mode_does_not_sample() -> None:
    router = AdapterRouter(use_gumbel=False, dropout=0.0)
    embedding = torch.randn(2, 384)
    torch.testing.assert_close(router(embedding)[0], router(embedding)[0], rtol=0, atol=0)


def test_largest_sample_is_distributed_as_the_softmax() -> None:
    logits = torch.log(torch.tensor([0.1, 0.2, 0.7])).expand(20_000, 3)
    generator = torch.Generator().manual_seed(0)
    sample = gumbel_softmax(logits, temperature=0.5, generator=generator)
    shares = torch.bincount(sample.argmax(dim=1), minlength=3) / len(logits)
    np.testing.assert_allclose(shares, [0.1, 0.2, 0.7], atol=0.012)


def test_temperature_sharpens_the_sample() -> None:
    logits = torch.zeros(2000, 4)
    means = []
    for temperature in (5.0, 1.0, 0.05):
        generator = torch.Generator().manual_seed(0)
        sample = gumbel_softmax(logits, temperature=temperature, generator=generator)
        torch.testing.assert_close(sample.sum(dim=1), torch.ones(2000))
        means.append(float(sample.max(dim=1).values.mean()))
    assert means[0] < 0.45 < means[1] < 0.8
    assert means[2] > 0.97


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan")])
def test_temperature_must_be_positive(temperature: float) -> None:
    with pytest.raises(ValueError, match="is not above 0"):
        gumbel_softmax(torch.zeros(1, 2), temperature=temperature)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_adapters": 1}, "num_adapters=1 is too small: give at least 2"),
        ({"hidden_dim": 0}, "hidden_dim=0"),
        ({"num_tasks": 0}, "num_tasks=0"),
        ({"embedding_dim": 0}, "embedding_dim=0"),
        ({"dropout": 1.0}, r"dropout=1.0 is outside \[0, 1\)"),
    ],
)
def test_refuses_sizes_that_make_no_network(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        AdapterRouter(**options)


def test_refuses_embeddings_of_another_width() -> None:
    with pytest.raises(ValueError, match="has width 768, not D = 384"):
        AdapterRouter()(torch.zeros(768))
