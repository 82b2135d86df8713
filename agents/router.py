"""The network of the supervised router: one trunk, a head for adapters and two that help it."""

from __future__ import annotations

from typing import NamedTuple, cast

import torch
from torch import nn
from torch.nn import functional

from routing_gym.agents.onnx_graph import OnnxGraph
from routing_gym.agents.onnx_layers import gelu, layer_norm, linear

ENCODER_WIDTHS = {
    "sentence-transformers/all-MiniLM-L6-v2": 384,
    "sentence-transformers/all-MiniLM-L12-v2": 384,
    "sentence-transformers/all-mpnet-base-v2": 768,
    "BAAI/bge-small-en-v1.5": 384,
    "BAAI/bge-base-en-v1.5": 768,
    "bert-base-uncased": 768,
    "distilbert-base-uncased": 768,
}
DEFAULT_WIDTH = 384
NUM_COMPLEXITIES = 3


class RouterOutput(NamedTuple):
    """Raw outputs of the three heads, before any softmax.

    ``adapter_logits`` (N, K), ``complexity_logits`` (N, 3) and ``task_logits`` (N, tasks), float32.
    """

    adapter_logits: torch.Tensor
    complexity_logits: torch.Tensor
    task_logits: torch.Tensor


class AdapterRouter(nn.Module):
    r"""Maps a query's embedding to a distribution over adapters and over complexity levels.

    With ``use_gumbel`` and in training mode the distribution is a sample of the Gumbel-Softmax
    (Jang, Gu and Poole, *Categorical Reparameterization with Gumbel-Softmax*, ICLR 2017, equation
    2; Maddison, Mnih and Teh, *The Concrete Distribution*, ICLR 2017):

    .. math:: y_a = \frac{\exp((z_a + g_a) / \tau)}{\sum_b \exp((z_b + g_b) / \tau)},
        \qquad g_a = -\log(-\log u_a), \quad u_a \sim U(0, 1),

    with logits z and temperature :math:`\tau`. In evaluation mode it is the plain softmax of z, the
    distribution whose categorical samples are :math:`\arg\max_a z_a + g_a`. Changed against common
    practice: the noise comes from a ``torch.Generator`` if one is given, and the embedding is
    layer-normalised first (unit-norm embeddings have entries of about :math:`1/\sqrt D`, on which a
    network with standard initialisation learns slowly).

    The encoder itself is not part of this module and is not loaded: embeddings come in.

    Parameters
    ----------
    encoder_name
        The encoder whose embeddings come in; sets their width D (unknown encoders: 384).
    num_adapters
        K, at least 2.
    hidden_dim
        Width of the two hidden layers, at least 1.
    use_gumbel
        Whether training mode samples.
    num_tasks
        Number of task types that the task head tells apart, at least 1.
    dropout
        Share of hidden units dropped in training mode, in [0, 1).
    embedding_dim
        D, where it is not what the encoder's name says.

    Attributes
    ----------
    temperature
        :math:`\tau` > 0 of the next samples; training anneals it.

    Raises
    ------
    ValueError
        If a size or the dropout is out of range.

    Examples
    --------
    >>> router = AdapterRouter(num_adapters=4)
    >>> adapter_probs, complexity = router(torch.zeros(384))
    >>> adapter_probs.shape, complexity.shape
    (torch.Size([4]), torch.Size([3]))
    """

    def __init__(
        self,
        encoder_name: str = "sentence-transformers/all-MiniLM-L6-v2",
        num_adapters: int = 4,
        hidden_dim: int = 256,
        use_gumbel: bool = True,
        *,
        num_tasks: int = 4,
        dropout: float = 0.1,
        embedding_dim: int | None = None,
    ) -> None:
        super().__init__()
        width = ENCODER_WIDTHS.get(encoder_name, DEFAULT_WIDTH)
        width = width if embedding_dim is None else embedding_dim
        _check_sizes(num_adapters, hidden_dim, num_tasks, width, dropout)
        self.encoder_name = encoder_name
        self.embedding_dim = width
        self.use_gumbel = use_gumbel
        self.temperature = 1.0
        self.trunk = nn.Sequential(
            nn.LayerNorm(width, elementwise_affine=False),
            nn.Linear(width, hidden_dim),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(hidden_dim, hidden_dim),
            nn.GELU(),
            nn.Dropout(dropout),
        )
        self.adapter_head = nn.Linear(hidden_dim, num_adapters)
        self.complexity_head = nn.Linear(hidden_dim, NUM_COMPLEXITIES)
        self.task_head = nn.Linear(hidden_dim, num_tasks)

    def heads(self, query_embedding: torch.Tensor) -> RouterOutput:
        """Return the logits of all heads.

        Parameters
        ----------
        query_embedding
            float (..., D).

        Raises
        ------
        ValueError
            If the last axis is not D.
        """
        if query_embedding.shape[-1] != self.embedding_dim:
            raise ValueError(
                f"query_embedding has width {query_embedding.shape[-1]}, not D = "
                f"{self.embedding_dim}: encode with {self.encoder_name!r} or set embedding_dim."
            )
        hidden = self.trunk(query_embedding)
        return RouterOutput(
            self.adapter_head(hidden), self.complexity_head(hidden), self.task_head(hidden)
        )

    def to_onnx(self, graph: OnnxGraph, observations: str) -> str:
        """Add trunk and adapter head, as in evaluation, to a graph; return its float64 (N, K)."""
        norm, first, _, _, second, *_ = self.trunk
        hidden = layer_norm(
            graph, observations, width=self.embedding_dim, epsilon=cast(nn.LayerNorm, norm).eps
        )
        for layer in (first, second):
            hidden = gelu(graph, linear(graph, hidden, layer))
        return graph.double(linear(graph, hidden, self.adapter_head))

    def forward(
        self, query_embedding: torch.Tensor, generator: torch.Generator | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Route embeddings.

        Parameters
        ----------
        query_embedding
            float (D,) or (N, D).
        generator
            Draws the Gumbel noise; None takes torch's global generator.

        Returns
        -------
        adapter_probs : torch.Tensor
            float (K,) or (N, K), rows sum to 1.
        complexity : torch.Tensor
            float (3,) or (N, 3), probabilities of the levels 1 to 3.
        """
        output = self.heads(query_embedding)
        complexity = functional.softmax(output.complexity_logits, dim=-1)
        return self.adapter_distribution(output.adapter_logits, generator=generator), complexity

    def adapter_distribution(
        self, logits: torch.Tensor, *, generator: torch.Generator | None = None
    ) -> torch.Tensor:
        """Return float (..., K): a Gumbel-Softmax sample when training with it, else the softmax.

        Parameters
        ----------
        logits
            float (..., K), of the adapter head.
        generator
            Draws the Gumbel noise; None takes torch's global generator.
        """
        if self.training and self.use_gumbel:
            return gumbel_softmax(logits, temperature=self.temperature, generator=generator)
        return functional.softmax(logits, dim=-1)


def gumbel_softmax(
    logits: torch.Tensor, *, temperature: float, generator: torch.Generator | None = None
) -> torch.Tensor:
    """Sample the relaxed categorical distribution; see ``AdapterRouter``.

    Parameters
    ----------
    logits
        float (..., K).
    temperature
        Above 0; towards 0 the samples become one-hot.
    generator
        Draws the noise; None takes torch's global generator.

    Returns
    -------
    torch.Tensor
        float (..., K), rows sum to 1, differentiable in the logits.

    Raises
    ------
    ValueError
        If the temperature is not above 0.
    """
    if not temperature > 0:
        raise ValueError(f"temperature={temperature} is not above 0: anneal to a small positive.")
    noise = torch.empty_like(logits).exponential_(generator=generator)
    gumbel = -torch.log(noise.clamp_min(torch.finfo(logits.dtype).tiny))
    return functional.softmax((logits + gumbel) / temperature, dim=-1)


def _check_sizes(
    num_adapters: int, hidden_dim: int, num_tasks: int, embedding_dim: int, dropout: float
) -> None:
    """Refuse sizes that make no network."""
    least = {
        "num_adapters": (num_adapters, 2),
        "hidden_dim": (hidden_dim, 1),
        "num_tasks": (num_tasks, 1),
        "embedding_dim": (embedding_dim, 1),
    }
    for name, (value, minimum) in least.items():
        if value < minimum:
            raise ValueError(f"{name}={value} is too small: give at least {minimum}.")
    if not 0 <= dropout < 1:
        raise ValueError(f"dropout={dropout} is outside [0, 1): give a share of units to drop.")
