"""What a reward model is told of the user of each training pair: never anything that knows the pair itself.

persona   a user's choices are cut into parts, a conversation in one part; the pairs of a part are read
          beside the persona that was written from the other parts
codes     a drawn number of the user's other choices, none of the pair's conversation
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from palate.core import Conversation, Method, Pairs, Persona, Population, Turn

__all__ = ["crossed", "facts", "led", "other_choices", "parts", "windows", "written"]

Ints = NDArray[np.int64]


def parts(people: Population, folds: int) -> Ints:
    """Return int64 [rows]: the part of each choice; a user's choices in one conversation share one.

    >>> from palate.core import Feedback, as_conversation
    >>> rows = [Feedback("ann", as_conversation(x), ("a", "b"), 0, id=str(i)) for i, x in enumerate("pqpr")]
    >>> parts(Population.of(rows), 2).tolist()
    [0, 1, 0, 0]
    """
    if not people.n_rows:
        return np.zeros(0, np.int64)
    talk = people.corpus.item_conversation[people.options[people.option_offsets[:-1]]]
    keys = np.stack([people.row_user, talk])
    _, first, group = np.unique(keys, axis=1, return_index=True, return_inverse=True)
    fresh = np.zeros(people.n_rows, np.int64)
    fresh[first] = 1
    count = np.concatenate([[0], np.cumsum(fresh)])
    before = count[people.offsets[people.row_user]]
    return np.asarray((count[first[group.reshape(-1)] + 1] - before - 1) % folds)


def written(writer: Method, people: Population) -> list[Persona]:
    """Return what a method writes of each user; nothing of one who is not known at all."""
    said = writer.adapt_batch(people)
    heard = np.diff(people.offsets) > 0
    known = [bool(h) or bool(people.profiles.get(u)) for u, h in zip(people.users, heard, strict=True)]
    return [
        Persona(p.user, p.text, p.examples, claims=p.claims) if k else Persona(p.user)
        for p, k in zip(said, known, strict=True)
    ]


def crossed(writer: Method, people: Population, folds: int) -> list[Persona]:
    """Return the persona that each pair of ``people.pairs`` is read beside; see the module's text.

    Args:
        writer: A fitted method that writes.
        people: Training users.
        folds: Parts; 1 reads pairs beside personas that saw them.
    """
    pairs = people.pairs
    if folds == 1:
        whole = written(writer, people)
        return [whole[user] for user in pairs.user.tolist()]
    part = parts(people, folds)
    by_part = [written(writer, people.take_rows(part != number)) for number in range(folds)]
    places = zip(part[pairs.row].tolist(), pairs.user.tolist(), strict=True)
    return [by_part[number][user] for number, user in places]


def other_choices(people: Population, most: int, seed: int) -> list[Ints]:
    """Return, for each pair, the numbers of some decided pairs of its user in other conversations, in order.

    Args:
        people: Training users.
        most: Most of them; how many is drawn evenly from 0 to this, or to all there are.
        seed: Of the draw.
    """
    rng = np.random.default_rng(seed)
    pairs = people.pairs
    talk = people.corpus.item_conversation[pairs.winner]
    starts = np.searchsorted(pairs.user, np.arange(people.n_users + 1))
    out = []
    for number, user in enumerate(pairs.user.tolist()):
        mine = np.arange(starts[user], starts[user + 1])
        mine = mine[(pairs.target[mine] == 1) & (talk[mine] != talk[number])]
        count = int(rng.integers(min(most, len(mine)) + 1))
        out.append(np.sort(rng.permutation(mine)[:count]))
    return out


def windows(pairs: Pairs, numbers: Ints, length: int) -> Ints:
    """Return the window of each of one user's pairs, in order: so many consecutive choices are in one."""
    if not len(numbers):
        return np.zeros(0, np.int64)
    _, rank = np.unique(pairs.row[numbers], return_inverse=True)
    return np.asarray(rank.reshape(-1) // length, np.int64)


def led(conversation: Conversation, text: str, separator: str) -> Conversation:
    """Return a conversation whose first turn opens with a text.

    >>> led((Turn("user", "Hi"),), "age: 30", " | ")[0].content
    'age: 30 | Hi'
    """
    if not conversation:
        return (Turn("user", text),)
    first, *rest = conversation
    return (Turn(first.role, f"{text}{separator}{first.content}"), *rest)


def facts(profile: Any, user: str | None, known: Sequence[str]) -> str:
    """Return what stands before the prompt of a conditional model: the profile, or an id that was seen."""
    told = [f"{name}: {value}" for name, value in profile.items()]
    return ", ".join(told) or (f"user: {user}" if user in known else "")
