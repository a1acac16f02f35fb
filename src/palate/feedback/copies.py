"""Near-copies: texts whose sets of word triples overlap by 80 % or more (Jaccard).

Texts are cut into words, in lower case; a text's shingles are its runs of three words (all its words
together, where it has fewer). Scripts that write no spaces count every character as a word. MinHash
over 64 permutations, in 16 bands of 4, finds pairs worth a look (a pair that overlaps by 0.8 is found
with probability 1 - (1 - 0.8^4)^16 = 0.9998); every pair found is then counted exactly (Broder 1997;
Leskovec, Rajaraman, Ullman, Mining of Massive Datasets, chapter 3).
"""

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from palate.feedback.keys import mix

__all__ = ["THRESHOLD", "Shingles", "near_copies", "shingle"]

Ints = NDArray[np.int64]
Keys = NDArray[np.uint64]
THRESHOLD = 0.8
BANDS, DEPTH = 16, 4
PER_BUCKET = 4
BLOCK_CHARS, BLOCK_SHINGLES = 2_000_000, 4_000_000
MAX_CHARS = 20_000
BREAKS = np.frombuffer(" \t\r\n\v\f.,;:!?\"'`()[]{}<>*-_/\\|،؟。、".encode("utf-32-le"), np.uint32)
UNSPACED = ((0x0E00, 0x0E7F), (0x3040, 0x30FF), (0x3400, 0x9FFF), (0x20000, 0x2FFFF))


@dataclass(frozen=True, eq=False)
class Shingles:
    """Sets of shingles, text after text.

    Attributes:
        keys: uint64 [shingles], distinct within a text.
        offsets: int64 [texts + 1], where each text's shingles begin; every text has at least one.
        bands: uint64 [texts, 16]; texts that overlap by much are equal in one of them.
    """

    keys: Keys
    offsets: Ints
    bands: Keys

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def of(self, texts: Ints) -> tuple[Keys, Ints]:
        """Return the shingles of some texts, and for each shingle the place of its text in ``texts``."""
        sizes = np.diff(self.offsets)[texts]
        place = np.repeat(np.arange(len(texts)), sizes)
        within = np.arange(len(place)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        return self.keys[self.offsets[texts][place] + within], place


def shingle(texts: Sequence[str]) -> Shingles:
    """Return the shingles of texts; of a very long text those of its first 20,000 characters."""
    keys, sizes, bands = [np.zeros(0, np.uint64)], [np.zeros(1, np.int64)], [np.zeros((0, BANDS), np.uint64)]
    for block in _blocks(texts):
        key, size = _distinct(*_runs(block), len(block))
        keys.append(key)
        sizes.append(size)
        bands.append(_bands(key, size))
    return Shingles(np.concatenate(keys), np.cumsum(np.concatenate(sizes)), np.concatenate(bands))


def near_copies(
    shingles: Shingles, left: Ints, right: Ints, left_group: Ints, right_group: Ints
) -> NDArray[np.bool_]:
    """Return bool [left]: whether a right text of the same group overlaps by ``THRESHOLD`` or more.

    Args:
        shingles: Of all texts.
        left: int64, the texts asked about.
        right: int64, the texts looked among.
        left_group: int64 [left].
        right_group: int64 [right]; only texts of equal groups are compared.

    >>> s = shingle(["a b c d e f g h i j k", "A b c d e f g h i j, k!", "nothing of the kind"])
    >>> zero = np.zeros(2, np.int64)
    >>> near_copies(s, np.array([0, 2]), np.array([1]), zero, zero[:1]).tolist()
    [True, False]
    """
    near = np.zeros(len(left), dtype=bool)
    if not len(left) or not len(right):
        return near
    left_salt, right_salt = mix(left_group + 1), mix(right_group + 1)
    for band in range(BANDS):
        open_ = np.flatnonzero(~near)
        asked = shingles.bands[left[open_], band] ^ left_salt[open_]
        a, b = _same_bucket(asked, shingles.bands[right, band] ^ right_salt)
        near[open_[a[_overlaps(shingles, left[open_[a]], right[b])]]] = True
    return near


def _blocks(texts: Sequence[str]) -> Iterator[list[str]]:
    """Yield texts, lower case and cut, in blocks of a bounded number of characters."""
    block: list[str] = []
    room = BLOCK_CHARS
    for text in texts:
        block.append(text[:MAX_CHARS].lower())
        room -= len(block[-1])
        if room <= 0:
            yield block
            block, room = [], BLOCK_CHARS
    if block:
        yield block


def _runs(texts: list[str]) -> tuple[Keys, Ints]:
    """Return the shingles of some texts and the text of each, without a loop over texts."""
    words, text = _words(texts)
    if len(words):
        second, third = (np.append(words[k:], np.zeros(k, np.uint64))[: len(words)] for k in (1, 2))
        two, three = (np.append(text[k:], np.full(k, -1))[: len(words)] == text for k in (1, 2))
        runs = mix(words + mix(np.where(two, second, 0) + mix(np.where(three, third, 0))))
        first = np.append(True, text[1:] != text[:-1])
        kept = three | first
        words, text = runs[kept], text[kept]
    bare = np.setdiff1d(np.arange(len(texts)), text)
    marks = [zlib.crc32(texts[i].encode("utf-8", "surrogatepass")) for i in bare.tolist()]
    return np.append(words, np.array(marks, np.uint64)), np.append(text, bare)


def _words(texts: list[str]) -> tuple[Keys, Ints]:
    """Return a fingerprint of each word and its text: the sum of its letters, each with its place."""
    codes = np.frombuffer(
        "\n".join(t.replace("\n", " ") for t in texts).encode("utf-32-le", "surrogatepass"), "<u4"
    )
    letter = ~np.isin(codes, BREAKS)
    alone = np.zeros(len(codes), dtype=bool)
    for low, high in UNSPACED:
        alone |= (codes >= low) & (codes <= high)
    before = np.append(False, letter[:-1])
    after_alone = np.append(False, alone[:-1])
    begin = letter & (~before | alone | after_alone)
    begins = np.flatnonzero(begin)
    if not len(begins):
        return np.zeros(0, np.uint64), np.zeros(0, np.int64)
    place = np.arange(len(codes)) - begins[np.maximum(np.cumsum(begin) - 1, 0)]
    letters = np.where(letter, mix(codes + (place << 32)), np.uint64(0))
    text = np.cumsum(codes == ord("\n"))
    return mix(np.add.reduceat(letters, begins)), text[begins]


def _distinct(keys: Keys, text: Ints, n_texts: int) -> tuple[Keys, Ints]:
    """Return each text's distinct shingles, text after text, and how many each has."""
    order = np.lexsort((keys, text))
    keys, text = keys[order], text[order]
    fresh = np.append(True, (keys[1:] != keys[:-1]) | (text[1:] != text[:-1]))
    return keys[fresh], np.bincount(text[fresh], minlength=n_texts)


def _bands(keys: Keys, sizes: Ints) -> Keys:
    """Return uint64 [texts, 16]: four least hashes each, made into one number."""
    starts = np.cumsum(sizes) - sizes
    bands = np.empty((len(sizes), BANDS), np.uint64)
    seeds = mix(np.arange(2 * BANDS * DEPTH)).reshape(BANDS, DEPTH, 2)
    for band in range(BANDS):
        total = np.zeros(len(sizes), np.uint64)
        for factor, shift in seeds[band]:
            total = mix(total + np.minimum.reduceat(keys * (factor | np.uint64(1)) + shift, starts))
        bands[:, band] = total
    return bands


def _same_bucket(left: Keys, right: Keys) -> tuple[Ints, Ints]:
    """Return pairs of places with equal keys; of each left one with at most four right ones."""
    order = np.argsort(right, kind="stable")
    begin = np.searchsorted(right[order], left, side="left")
    end = np.searchsorted(right[order], left, side="right")
    a, b = [], []
    for step in range(PER_BUCKET):
        hit = np.flatnonzero(begin + step < end)
        a.append(hit)
        b.append(order[begin[hit] + step])
    return np.concatenate(a), np.concatenate(b)


def _overlaps(shingles: Shingles, a: Ints, b: Ints) -> NDArray[np.bool_]:
    """Return bool [pairs]: whether the shingles of texts a[i] and b[i] overlap by the threshold."""
    sizes = np.diff(shingles.offsets)
    enough = np.zeros(len(a), dtype=bool)
    block = np.cumsum(sizes[a] + sizes[b]) // BLOCK_SHINGLES
    for number in np.unique(block).tolist():
        part = np.flatnonzero(block == number)
        one, of_one = shingles.of(a[part])
        two, of_two = shingles.of(b[part])
        both = np.isin(mix(one + mix(of_one)), mix(two + mix(of_two)))
        shared = np.bincount(of_one[both], minlength=len(part))
        union = sizes[a[part]] + sizes[b[part]] - shared
        enough[part] = shared >= THRESHOLD * union
    return enough
