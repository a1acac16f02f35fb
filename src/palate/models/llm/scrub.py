"""Keys stay in the environment: whatever is told, kept or raised is cleared of them first."""

import os
import re
from collections.abc import Mapping

__all__ = ["Scrubber"]

_NAMES = re.compile(r"(KEY|TOKEN|SECRET|PASSWORD|CREDENTIALS?)$", re.IGNORECASE)
_SHAPES = re.compile(
    r"\b(?:sk|pk|rk|gsk|xai|hf|key)[-_][\w*.-]{6,}|\bAIza[\w-]{20,}|(?<=Bearer )[\w.~+/*-]{6,}=*"
)
_SHORTEST = 6  # a shorter value of such a variable is a word like "none", not a key
_STARS = "***"


class Scrubber:
    """Takes keys out of text: the values of the environment's keys, and what has the shape of one.

    >>> Scrubber({"OPENAI_API_KEY": "abcdef-123"})("key abcdef-123, or sk-live-1234567, was refused")
    'key ***, or ***, was refused'
    """

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        found = os.environ if environment is None else environment
        values = {v for name, v in found.items() if _NAMES.search(name) and len(v) >= _SHORTEST}
        self._values = sorted(values, key=len, reverse=True)

    def __call__(self, text: str) -> str:
        """Return the text without keys, for messages."""
        return _SHAPES.sub(_STARS, self.known(text))

    def known(self, text: str) -> str:
        """Return the text without the values of the environment's keys: for answers, as they came else."""
        for value in self._values:
            if value in text:
                text = text.replace(value, _STARS)
        return text
