"""P(True): whether a model, asked, finds an answer right."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from routing_gym.adapters.base_model import EMBEDDED, load_base_model, load_tokenizer
from routing_gym.adapters.prompt import render_prompt
from routing_gym.adapters.prompt_reader import follow, read_prompts

MARK = "\u241f"  # stands for the answer; the last one counts, whatever the query holds
QUESTION = (
    "Question: {query}\nProposed answer: " + MARK + "\n"
    "Is the proposed answer correct? Reply with yes or no."
)
YES, NO = ("yes", "Yes", " yes", " Yes"), ("no", "No", " no", " No")
CONTENT_FREE = "N/A"


class PTrue:
    """The base model's probability that a proposed answer is correct (Kadavath et al., 2022).

    The model is asked yes or no about the pair; the *margin* is the log-odds of the first token
    being a yes. What the words alone contribute is taken off: the margin of a content-free answer
    to the same query (contextual calibration, Zhao et al., 2021), so that 0.5 means "no more
    convinced than by N/A".

    Parameters
    ----------
    base_model
        See `routing_gym.adapters.base_model.resolve_base_model`; loaded at the first call.
    model, tokenizer
        An already loaded base model, instead of loading one.
    batch_size
        Different queries per batch; each question is read once for all of its answers.
    """

    def __init__(
        self,
        base_model: str = EMBEDDED,
        *,
        model: Any = None,
        tokenizer: Any = None,
        batch_size: int = 32,
    ) -> None:
        self.base_model = base_model
        self.batch_size = batch_size
        self._model = model
        self._tokenizer = tokenizer

    def __call__(
        self,
        queries: Sequence[str],
        responses: Sequence[str],
        *,
        on_batch: Callable[[int], None] | None = None,
    ) -> np.ndarray:
        """Judge responses.

        Parameters
        ----------
        queries, responses
            N texts each.
        on_batch
            Called with the number of different answers of each finished batch.

        Returns
        -------
        numpy.ndarray
            float64 (N,) in [0, 1]; 0 for an empty response.
        """
        import torch

        if self._model is None:
            self._model = load_base_model(self.base_model)
        if self._tokenizer is None:
            self._tokenizer = load_tokenizer(self.base_model)
        margins: dict[str, dict[str, float]] = {}  # query -> answer -> log-odds
        for query, response in zip(queries, responses, strict=True):
            answers = margins.setdefault(query, {CONTENT_FREE: 0.0})
            if response.strip():
                answers[response] = 0.0
        ordered = sorted(margins, key=lambda query: max(map(len, margins[query])))
        for start in range(0, len(ordered), self.batch_size):
            part = ordered[start : start + self.batch_size]
            with torch.inference_mode():
                self._judge_batch(part, margins)
            if on_batch:
                on_batch(sum(len(margins[query]) - 1 for query in part))
        gains = [
            margins[query][response] - margins[query][CONTENT_FREE] if response.strip() else -np.inf
            for query, response in zip(queries, responses, strict=True)
        ]
        return 1 / (1 + np.exp(-np.array(gains, dtype=np.float64)))

    def _judge_batch(self, queries: list[str], margins: dict[str, dict[str, float]]) -> None:
        """Read each question once, then the answers one rank at a time."""
        tokenizer: Any = self._tokenizer
        halves = [question_halves(tokenizer, query) for query in queries]
        read = read_prompts(self._model, tokenizer, [before for before, _ in halves])
        for rank in range(max(len(margins[query]) for query in queries)):
            rows = [row for row, query in enumerate(queries) if len(margins[query]) > rank]
            texts = [list(margins[queries[row]])[rank] for row in rows]
            closed = [text + halves[row][1] for row, text in zip(rows, texts, strict=True)]
            ids = tokenizer(closed, add_special_tokens=False)["input_ids"]
            _, shown, hidden = follow(self._model, read, rows, ids)
            last = hidden[range(len(rows)), shown.sum(dim=1) - 1]  # (R, D)
            logits = self._model.get_output_embeddings()(last).float()  # (R, V)
            for row, text, margin in zip(rows, texts, _margins(logits, tokenizer), strict=True):
                margins[queries[row]][text] = float(margin)


def question_halves(tokenizer: Any, query: str) -> tuple[str, str]:
    """Render the question about an answer to a query: what stands before the answer, and after."""
    before, _, after = render_prompt(tokenizer, QUESTION.format(query=query)).rpartition(MARK)
    return before, after


def verdict_tokens(tokenizer: Any) -> tuple[list[int], list[int]]:
    """List the first tokens that say yes, and those that say no."""
    yes, no = (_first_tokens(tokenizer, words) for words in (YES, NO))
    both = yes & no  # such a token tells nothing
    return sorted(yes - both), sorted(no - both)


def _margins(logits: Any, tokenizer: Any) -> np.ndarray:
    """Log-odds (R,) of a first token that says yes against one that says no."""
    odds = [logits[:, side].logsumexp(dim=-1) for side in verdict_tokens(tokenizer)]
    return np.asarray((odds[0] - odds[1]).double().cpu().numpy())


def _first_tokens(tokenizer: Any, words: Sequence[str]) -> set[int]:
    """Collect the first token of each spelling."""
    ids = tokenizer(list(words), add_special_tokens=False)["input_ids"]
    return {tokens[0] for tokens in ids}
