"""Documents as batches: those that begin alike are read once, however many ways they go on.

    row         [ trunk | rest of document 1 | rest of document 2 | ... ]
    trunk       the longest message, from the start to where its reply begins
    document    the trunk up to where it leaves it, then its own rest

A word sees what stands before it in its own document, and stands where it would stand there. So every
document is learned as it would be alone, while the past choices of a person are read once for all that is
asked about them. Replies alone have labels.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from palate.small.corpus import Document

__all__ = ["Batch", "packed"]

_START, _END, _PAD = 0, 1, 2
_NONE = -100  # the label of a token that is not learned


class Batch(NamedTuple):
    """Rows of documents.

    Attributes:
        tokens: int64 [rows, longest], padded on the right.
        labels: int64 [rows, longest]: the tokens of replies, else -100.
        places: int64 [rows, longest]: where each token stands in its document.
        seen: bool [rows, 1, longest, longest]: which tokens each token sees.
    """

    tokens: Any
    labels: Any
    places: Any
    seen: Any


def packed(families: Sequence[Sequence[Document]], ids: Mapping[str, int]) -> Batch:
    """Return families of documents as a batch, a row a family.

    Args:
        families: Documents that begin alike, together; a family of one is a document alone.
        ids: Numbers of words.

    >>> ids = {"<user>": 4, "<answer>": 5, "a": 6, "b": 7, "c": 8}
    >>> batch = packed([[Document("a", "c"), Document("a b", "c")]], ids)
    >>> batch.tokens.tolist(), batch.places.tolist()
    ([[0, 4, 6, 7, 5, 8, 1, 5, 8, 1]], [[0, 1, 2, 3, 3, 4, 5, 4, 5, 6]])
    """
    import torch

    rows = [_row(family, ids) for family in families]
    longest = max(len(row.tokens) for row in rows)
    tokens, labels, places = torch.full((3, len(rows), longest), _PAD)
    labels.fill_(_NONE)
    branch, cut = torch.full((2, len(rows), longest), -1)
    for number, row in enumerate(rows):
        here = slice(0, len(row.tokens))
        for target, values in zip((tokens, labels, places, branch, cut), row, strict=True):
            target[number, here] = torch.tensor(values)
    at = torch.arange(longest)
    trunk = branch[:, None, :] < 0
    seen = (branch[:, None, :] == branch[:, :, None]) | (trunk & (at < cut[:, :, None]))
    seen &= (at <= at[:, None]) & (tokens != _PAD)[:, None, :]
    seen |= torch.eye(longest, dtype=torch.bool)  # padding sees itself, so that no row of attention is empty
    return Batch(tokens, labels, places, seen[:, None])


class _Row(NamedTuple):
    tokens: list[int]
    labels: list[int]
    places: list[int]
    branch: list[int]  # which document a token belongs to, -1 in the trunk
    cut: list[int]  # how much of the trunk it sees


def _row(family: Sequence[Document], ids: Mapping[str, int]) -> _Row:
    asked = [
        [_START, ids["<user>"], *(ids[word] for word in content.split()), ids["<answer>"]]
        for content, _ in family
    ]
    trunk = max(asked, key=len)[:-1]
    size = len(trunk)
    row = _Row(list(trunk), [_NONE] * size, list(range(size)), [-1] * size, [size] * size)
    for number, (message, (_, reply)) in enumerate(zip(asked, family, strict=True)):
        pairs = zip(message, trunk, strict=False)
        cut = next((n for n, (mine, its) in enumerate(pairs) if mine != its), min(len(message) - 1, size))
        said = [*(ids[word] for word in reply.split()), _END]
        rest = message[cut:] + said
        row.tokens.extend(rest)
        row.labels.extend([_NONE] * (len(message) - cut) + said)
        row.places.extend(range(cut, cut + len(rest)))
        row.branch.extend([number] * len(rest))
        row.cut.extend([cut] * len(rest))
    return row
