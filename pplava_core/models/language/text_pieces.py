"""From token ids to text, piece by piece, while an answer is still being written.

A character of several tokens comes out whole, a stop string and what follows it never comes
out, and the pieces together are the whole answer's text without blanks around it. Knows any
tokenizer as one function from ids to text, and no model.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

Decode = Callable[[list[int]], str]
"Text of ids, control tokens left out, as ``decode`` of a tokenizer gives it."

_UNFINISHED = "\ufffd"
"What decoders write for bytes that are no character, so also for the first half of one."
_LONGEST_WINDOW, _SHORTEST_WINDOW = 48, 16
"Ids that are decoded at once: the window is cut back to the shorter when it exceeds the longer."


class TextPieces:
    """Turns ids into text piece by piece.

    Decoders are not additive: the same token is a word with or without the blank before it,
    or part of a character, depending on its neighbours. So a window of the latest ids is
    decoded for each new one, and what the window gained is the new text.

    Args:
        decode: text of a list of ids.
        stop: strings that end the text before them.
    """

    def __init__(self, decode: Decode, *, stop: Sequence[str] = ()) -> None:
        self.text = ""
        self._decoding = _Decoding(decode)
        self._cut = _Cut(stop)
        self._blanks = ""

    @property
    def ids(self) -> list[int]:
        """The ids so far."""
        return self._decoding.ids

    @property
    def stopped(self) -> bool:
        """Whether a stop string was written, so that nothing more will come out."""
        return self._cut.found

    def add(self, token_id: int) -> str:
        """Take one more id and return the text that is certain now, perhaps none."""
        return self._trimmed(self._cut.add(self._decoding.add(token_id)))

    def finish(self) -> str:
        """Return what was held back: half a character, or the beginning of no stop string."""
        rest = self._trimmed(self._cut.add(self._decoding.finish()))
        return rest + self._trimmed(self._cut.finish())

    def _trimmed(self, piece: str) -> str:
        """Leave out blanks before the first word, and hold back those that may be the last."""
        piece = self._blanks + piece
        if not self.text:
            piece = piece.lstrip()
        words = piece.rstrip()
        self._blanks = piece[len(words) :]
        self.text += words
        return words


def has_stop(ids: Sequence[int], decode: Decode, stop: Sequence[str]) -> bool:
    """Tell whether a stop string stands at the end of an answer, some ids more or less.

    Only the last ids are decoded, so that asking after every token stays cheap; `TextPieces`
    cuts the text exactly.
    """
    if not stop:
        return False
    longest = max(len(string.encode("utf-8", "surrogatepass")) for string in stop)
    text = decode(list(ids[-longest - _SHORTEST_WINDOW :]))
    return any(string in text for string in stop)


class _Decoding:
    """Text of ids, as the decoder would write it for all of them together."""

    def __init__(self, decode: Decode) -> None:
        self.ids: list[int] = []
        self._decode = decode
        self._start = 0
        self._settled = 0
        self._shown = ""  # text of ids[start:settled]

    def add(self, token_id: int) -> str:
        self.ids.append(token_id)
        text = self._decode(self.ids[self._start :])
        return "" if text.endswith(_UNFINISHED) else self._settle(text)

    def finish(self) -> str:
        return self._settle(self._decode(self.ids[self._start :]))

    def _settle(self, text: str) -> str:
        if not text.startswith(self._shown):
            # half a character spoils whole ones before it, where bytes are tokens of their own
            self._start, self._shown = self._settled, ""
            text = self._decode(self.ids[self._start :])
        piece = text[len(self._shown) :]
        self._settled, self._shown = len(self.ids), text
        self._shorten()
        return piece

    def _shorten(self) -> None:
        """Forget early ids, provided that the later ones read the same without them."""
        if self._settled - self._start <= _LONGEST_WINDOW:
            return
        start = self._settled - _SHORTEST_WINDOW
        shown = self._decode(self.ids[start : self._settled])
        # a window of blanks alone would not protect the next word from losing its blank
        if shown.strip() and self._shown.endswith(shown):
            self._start, self._shown = start, shown


class _Cut:
    """Text up to the first stop string; what may be the beginning of one is held back."""

    def __init__(self, stop: Sequence[str]) -> None:
        self.found = False
        self._stop = tuple(stop)
        self._held = ""

    def add(self, piece: str) -> str:
        if self.found:
            return ""
        text = self._held + piece
        places = [place for place in map(text.find, self._stop) if place >= 0]
        if places:
            self.found, self._held = True, ""
            return text[: min(places)]
        certain = len(text) - max((_begun(text, string) for string in self._stop), default=0)
        self._held = text[certain:]
        return text[:certain]

    def finish(self) -> str:
        rest, self._held = self._held, ""
        return rest


def _begun(text: str, string: str) -> int:
    """Return how many characters of ``string`` the text's end may be the beginning of."""
    longest = min(len(text), len(string) - 1)
    return next((n for n in range(longest, 0, -1) if text.endswith(string[:n])), 0)
