"""How answers are written: settings, checked. Knows no torch, so that mistakes cost no waiting."""

from __future__ import annotations

from dataclasses import dataclass

from pplava_core.errors import UsageError

_LEAST_TEMPERATURE = 1e-6
"Below this the likeliest token wins every draw, and float32 would overflow."


@dataclass(frozen=True, kw_only=True)
class Generation:
    """How answers are written."""

    max_new_tokens: int = 128
    "The longest answer."
    temperature: float = 0.0
    "0 takes the most likely token; above, tokens are drawn."
    top_p: float = 1.0
    "Draws are from the likeliest tokens that together have this probability."
    seed: int = 0
    "Decides the draws; the same seed gives the same answer on the same machine."
    beams: int = 1
    "Above 1, so many answers are pursued at once and the likeliest whole one wins."
    repetition_penalty: float = 1.0
    """Above 1 makes tokens that the answer has already less likely. The prompt does not count:
    it reaches the language model as embeddings."""
    stop: tuple[str, ...] = ()
    "Strings that end an answer; they are not part of it."

    def __post_init__(self) -> None:
        if self.max_new_tokens < 1:
            raise UsageError(f"max_new_tokens is {self.max_new_tokens}: ask for at least 1")
        if not 0.0 <= self.temperature < float("inf"):
            raise UsageError(f"temperature is {self.temperature}: it must be 0 or more")
        if not 0.0 < self.top_p <= 1.0:
            raise UsageError(f"top_p is {self.top_p}: it must be above 0 and at most 1")
        if not 0 <= self.seed < 2**63:
            raise UsageError(f"seed is {self.seed}: it must be from 0 to {2**63 - 1}")
        if self.beams < 1:
            raise UsageError(f"beams is {self.beams}: ask for at least 1")
        if self.beams > 1 and self.temperature > 0.0:
            raise UsageError(
                f"{self.beams} beams and a temperature of {self.temperature} exclude each other: "
                "a beam search draws nothing; give one of them"
            )
        if not 0.0 < self.repetition_penalty < float("inf"):
            raise UsageError(
                f"repetition_penalty is {self.repetition_penalty}: it must be above 0; 1 is none"
            )
        if isinstance(self.stop, str):
            raise UsageError(f"stop is the text {self.stop!r}: give a tuple of texts")
        if not all(self.stop):
            raise UsageError("a stop string is empty: it would end every answer at once")

    @property
    def draws(self) -> bool:
        """Whether tokens are drawn, not chosen."""
        return self.temperature >= _LEAST_TEMPERATURE
