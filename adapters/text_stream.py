"""Text out of tokens as they come: whole characters only, and nothing beyond a stop."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

_BROKEN = "\ufffd"  # what a decoder writes for bytes that are no character


class TextStream:
    """Turns one answer's tokens into text, piece by piece.

    The pieces together are the text of `routing_gym.adapters.generation.Completion`: without
    special tokens and surrounding white space, and up to the first stop.

    Parameters
    ----------
    tokenizer
        Decodes the tokens.
    stop
        Texts that end the answer and are not part of it; none is empty.
    """

    def __init__(self, tokenizer: Any, stop: Sequence[str] = ()) -> None:
        self._tokenizer = tokenizer
        self._stop = tuple(stop)
        self._tokens: list[int] = []
        self._read = 0  # tokens whose text is out of the decoder
        self._before = ""  # text of the last tokens read: what follows decodes as it does there
        self._start = 0  # where these begin
        self._held = ""  # decoded, not yet given out
        self._begun = False
        self.stopped = False

    def add(self, token: int) -> str:
        """Add one token; return what may be given out now, possibly nothing."""
        self._tokens.append(token)
        text = self._decode(self._tokens[self._start :])
        if text.endswith(_BROKEN):  # perhaps the beginning of a character
            return ""
        self._held += text[len(self._before) :]
        self._start, self._read = self._read, len(self._tokens)
        self._before = self._decode(self._tokens[self._start :])
        return self._given(final=False)

    def finish(self) -> str:
        """Return what was held back and belongs to the answer; half a character does not."""
        text = self._decode(self._tokens[self._start :])
        self._held += text[len(self._before) :].rstrip(_BROKEN)
        return self._given(final=True)

    def _given(self, *, final: bool) -> str:
        """Take from the held text what no later token can turn into a stop or a trailing blank."""
        if self.stopped:
            return ""
        places = [place for place in map(self._held.find, self._stop) if place >= 0]
        if places:
            self.stopped = True
            self._held, final = self._held[: min(places)], True
        end = len(self._held) if final else len(self._held) - self._overlap()
        given = self._held[:end].rstrip()
        self._held = self._held[len(given) :]
        if given and not self._begun:
            self._begun, given = True, given.lstrip()
        return given

    def _overlap(self) -> int:
        """Count the held text's last characters that may be the beginning of a stop."""
        longest = max(map(len, self._stop), default=1) - 1
        for size in range(min(longest, len(self._held)), 0, -1):
            if any(stop.startswith(self._held[-size:]) for stop in self._stop):
                return size
        return 0

    def _decode(self, tokens: list[int]) -> str:
        return str(self._tokenizer.decode(tokens, skip_special_tokens=True))
