"""How a fake errs: the knobs of its name, and the draws behind them.

A fake is named by one string, ``fake:world?error=0.2&bias=0.3``. Every draw is a hash of what the fake sees,
its seed and, above temperature 0, the number of the sample: equal calls get equal answers, and the two
orders of a comparison err independently.
"""

import hashlib
from dataclasses import dataclass, field, fields
from typing import Any, Self
from urllib.parse import parse_qsl

from palate.core import ConfigError

__all__ = ["SHARES", "Draws", "Knobs"]

SHARES = ("error", "order", "malformed", "truncated", "refuse", "fail", "gullible", "hang", "drop")
"""The knobs that are shares, from 0 to 1."""
_READERS = ("world",)


@dataclass(frozen=True)
class Knobs:
    """How a fake errs.

    Args:
        error: Share of its verdicts, and of the statements that it writes, that are wrong.
        bias: Pull towards the first answer, in log-odds.
        order: Share of comparisons where it ignores what it reads and says First.
        gullible: Share of the orders in its material that it follows. One that stands outside every tag is
            always followed.
        blind: Tags that it cannot see, with commas; ``instruction`` is what follows the title.
        malformed: Share of answers that are not in the form asked for.
        truncated: Share of answers that stop in the middle.
        refuse: Share of answers that are refusals.
        fail: Share of calls that end in a server error, drawn at each attempt.
        hang: Share of calls that are never answered, drawn at each attempt.
        drop: Share of calls whose connection breaks within the answer, drawn at each attempt.
        rate: Calls a second beyond which it answers with a rate limit; 0 sets none.
        latency: Seconds that a call takes.
        kinds: Whether it knows the world's kinds of people, and guesses from what it is told of a user what
            else that kind likes. The world's tastes that are drawn from a seed are none of them.
        logprobs: Whether it gives token log-probabilities where they are asked for.
        context: Tokens that it reads, the answer included.
        seed: Of every draw.

    Raises:
        ConfigError: If a knob is impossible.

    >>> Knobs.of("fake:world?error=0.2&blind=persona,example").blind
    ('persona', 'example')
    """

    error: float = 0.0
    bias: float = 0.0
    order: float = 0.0
    gullible: float = 0.0
    blind: tuple[str, ...] = ()
    malformed: float = 0.0
    truncated: float = 0.0
    refuse: float = 0.0
    fail: float = 0.0
    hang: float = 0.0
    drop: float = 0.0
    rate: float = 0.0
    latency: float = 0.0
    kinds: bool = False
    logprobs: bool = False
    context: int = 128_000
    seed: int = 0

    def __post_init__(self) -> None:
        for name in SHARES:
            if not 0 <= getattr(self, name) <= 1:
                raise _impossible(name, getattr(self, name), "a share from 0 to 1")
        for name in ("rate", "latency"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise _impossible(name, getattr(self, name), "0 or more")
        if not abs(self.bias) < float("inf"):
            raise _impossible("bias", self.bias, "finite log-odds")
        if self.context < 1:
            raise _impossible("context", self.context, "a number of tokens, 1 or more")

    @classmethod
    def of(cls, spec: str) -> Self:
        """Read the knobs of a spec string.

        Raises:
            ConfigError: If the reader or a knob is unknown, or a value is impossible.
        """
        head, _, query = spec.partition("?")
        scheme, _, reader = head.partition(":")
        if scheme != "fake" or reader not in _READERS:
            raise ConfigError(
                f"{spec!r} names no fake language model: expected fake:{_READERS[0]}, with knobs as in "
                f"fake:{_READERS[0]}?error=0.2&bias=0.3"
            )
        return cls.of_query(query)

    @classmethod
    def of_query(cls, query: str) -> Self:
        """Read the knobs of what follows the question mark of a spec string."""
        kinds = {knob.name: type(knob.default) for knob in fields(cls)}
        given: dict[str, Any] = {}
        for name, text in parse_qsl(query, keep_blank_values=True):
            if name not in kinds:
                raise ConfigError(f"a fake has no knob {name!r}; it has {', '.join(kinds)}")
            given[name] = _value(name, text, kinds[name])
        return cls(**given)


def _value(name: str, text: str, kind: type) -> Any:
    if kind is tuple:
        return tuple(tag.strip() for tag in text.split(",") if tag.strip())
    if kind is bool:
        if text.lower() in ("1", "true", "yes", "0", "false", "no"):
            return text.lower() in ("1", "true", "yes")
        raise _impossible(name, text, "1 or 0")
    try:
        return kind(text)
    except ValueError:
        raise _impossible(name, text, "a whole number" if kind is int else "a number") from None


def _impossible(name: str, seen: object, expected: str) -> ConfigError:
    return ConfigError(f"the knob {name} of a fake is {seen!r}, expected {expected}")


@dataclass(frozen=True)
class Draws:
    """Draws of one call: each name has its own, the same whenever the call is the same.

    >>> draws = Draws("what is seen", seed=1)
    >>> draws.share("error") == Draws("what is seen", seed=1).share("error")
    True
    """

    text: str
    seed: int = 0
    sample: tuple[int, ...] = ()
    _key: bytes = field(init=False, repr=False)

    def __post_init__(self) -> None:
        whole = repr((self.seed, self.sample, self.text)).encode("utf-8", "surrogatepass")
        object.__setattr__(self, "_key", hashlib.blake2b(whole, digest_size=16).digest())

    @property
    def name(self) -> str:
        """A name of the call, the same whenever the call is the same."""
        return self._key.hex()

    def share(self, name: str) -> float:
        """Return a number in [0, 1)."""
        word = hashlib.blake2b(name.encode(), digest_size=8, key=self._key).digest()
        return (int.from_bytes(word, "big") >> 11) / (1 << 53)

    def happens(self, name: str, share: float) -> bool:
        """Return whether what happens to a share of calls happens to this one."""
        return share > 0 and self.share(name) < share
