"""How near a text is to others, by an encoder; vectors are remembered, so that each text is read once.

    dense   cosine of the encoder's vectors, of their text columns where it has style columns too; vectors
            come by way of the cache on disk (:mod:`palate.models.features`)
    late    word by word (:mod:`palate.models.late`); remembered in memory alone

Equal texts have equal vectors, so what is remembered changes no number.
"""

import threading
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import Literal

import numpy as np

from palate.core.errors import ConfigError
from palate.models.encoder import Floats, resolve
from palate.models.features import embed_texts
from palate.models.late import max_sim, word_vectors

__all__ = ["Nearness"]

Kind = Literal["dense", "late"]
_ROWS = 1 << 17  # vectors that are remembered; 200 MB of 384 columns


class Nearness:
    """How near texts are. Safe with several threads.

    Args:
        spec: An encoder's name (:mod:`palate.models.encoder`).
        kind: ``dense`` or ``late``.
        rows: How many vectors are remembered at most; the oldest go first.

    Raises:
        ConfigError: If there is no such encoder or kind.
        MissingExtra: If the encoder needs packages that are not installed.

    >>> near = Nearness("lexical").between("a trip to Rome", ["bread", "a trip to Oslo"])
    >>> bool(near[1] > near[0])
    True
    """

    def __init__(self, spec: str, kind: Kind = "dense", rows: int = _ROWS) -> None:
        if kind not in ("dense", "late"):
            raise ConfigError(f"similarity {kind!r}: expected 'dense' or 'late'")
        self.spec = spec.removesuffix("+style")
        self.kind: Kind = kind
        self._encoder = resolve(self.spec)
        self._rows, self._held = rows, 0
        self._known: OrderedDict[str, Floats] = OrderedDict()
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[type["Nearness"], tuple[str, Kind, int]]:
        return Nearness, (self.spec, self.kind, self._rows)  # what is remembered stays behind

    def remember(self, texts: Iterable[str]) -> None:
        """Read texts that will be asked about, all in one go."""
        self._vectors(list(dict.fromkeys(texts)))

    def between(self, text: str, others: Sequence[str]) -> Floats:
        """Return how near a text is to each of the others: float32 [n], from -1 to 1."""
        if not len(others):
            return np.zeros(0, np.float32)
        vector, *rest = self._vectors([text, *others])
        if self.kind == "late":
            return max_sim(vector, rest)
        near: Floats = np.concatenate(rest) @ vector[0]
        return near

    def _vectors(self, texts: Sequence[str]) -> list[Floats]:
        """Return float32 [rows, d] of each text, of norm 1: one row where dense, one a word where late."""
        with self._lock:
            have = {text: self._known[text] for text in texts if text in self._known}
            missing = [text for text in dict.fromkeys(texts) if text not in have]
            if missing:
                new = dict(zip(missing, self._read(missing), strict=True))
                have.update(new)
                self._known.update(new)
                self._held += sum(map(len, new.values()))
                while self._held > self._rows and self._known:
                    self._held -= len(self._known.popitem(last=False)[1])
            return [have[text] for text in texts]

    def _read(self, texts: list[str]) -> list[Floats]:
        if self.kind == "late":
            return word_vectors(texts, self.spec)
        blocks = dict(self._encoder.blocks)
        vectors = embed_texts(texts, self._encoder)[:, blocks.get("text", slice(None))]
        norms = np.linalg.norm(vectors, axis=1, keepdims=True)
        unit = (vectors / np.where(norms > 0, norms, 1)).astype(np.float32)
        return list(unit[:, None, :])
