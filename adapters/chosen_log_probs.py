"""Log-probabilities of chosen tokens from hidden states, without all logits in memory at once.

The gradient with respect to a hidden state h is known as soon as its logits are: for a frozen head
W and temperature T, d log p(c) / dh = (W_c - sum_v p(v) W_v) / T. So it is taken part by part in
the forward pass, and the logits of a part (its tokens x the vocabulary) are let go.
"""

from __future__ import annotations

from typing import Any

import torch

_PART = 64


class ChosenLogProbs(torch.autograd.Function):
    """``apply(hidden (n, D), head (V, D), tokens (n,), temperature)`` -> log-probs, entropies."""

    @staticmethod
    def forward(
        context: Any, hidden: torch.Tensor, head: torch.Tensor, tokens: torch.Tensor, heat: float
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return float32 (n,) log-probabilities and entropies in nats, keeping the gradient."""
        log_probs, entropies, slopes = [], [], []
        for rows, chosen in zip(hidden.split(_PART), tokens.split(_PART), strict=True):
            scores = ((rows @ head.T).float() / heat).log_softmax(dim=-1)  # (part, V)
            log_probs.append(scores.gather(-1, chosen[:, None])[:, 0])
            chances = scores.exp()
            entropies.append(-(chances * scores).sum(dim=-1))
            expected = chances.to(head.dtype) @ head  # (part, D)
            slopes.append(((head[chosen] - expected) / heat).to(hidden.dtype))
        entropy = torch.cat(entropies)
        context.save_for_backward(torch.cat(slopes))
        context.mark_non_differentiable(entropy)
        return torch.cat(log_probs), entropy

    @staticmethod
    def backward(
        context: Any, by_log_prob: torch.Tensor, by_entropy: torch.Tensor
    ) -> tuple[torch.Tensor, None, None, None]:
        """Scale the gradient that was kept; the head is frozen and gets none."""
        (slope,) = context.saved_tensors
        return by_log_prob[:, None].to(slope.dtype) * slope, None, None, None
