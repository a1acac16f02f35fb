"""Past choices as EpiPersona-A takes them: which are read, in which windows, and the estimate behind each.

    e_j = last hidden state of the model as it came, after  why(x, y_c, y_r)       with no reader named
    e_j = what palate.models.abductive reads or computes                           with another reader
    e_j = state(x, y_c) - state(x, y_r)                                            without abductive reasoning

Source: EpiPersona 4.3, equation 11.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from palate.core import Population
from palate.models.abductive import QUESTION, abduce
from palate.models.features import embed
from palate.tune.coupled import states
from palate.tune.episode import why
from palate.tune.model import Cast
from palate.tune.prompts import templates
from palate.tune.talk import Talk

__all__ = ["Reader", "Windows", "decided"]

Floats = NDArray[np.floating[Any]]
Ints = NDArray[np.int64]


class Windows(NamedTuple):
    """Past choices in windows: numbers of a population's pairs, each one's window, each window's user."""

    pair: Ints
    window: Ints
    user: Ints


def decided(people: Population, most: int, length: int) -> Windows:
    """Return the latest decided choices of every user in windows; a choice among n answers is n - 1 pairs.

    Args:
        people: The users.
        most: Most choices of a user.
        length: Choices of a window; a user's last one may have fewer.
    """
    use = np.flatnonzero(people.pairs.target == 1.0)
    use = use[np.argsort(people.pairs.row[use], kind="stable")]
    rows, choice = np.unique(people.pairs.row[use], return_inverse=True)
    user = people.row_user[rows]
    count = np.bincount(user, minlength=people.n_users)
    rank = np.arange(len(rows)) - (np.cumsum(count) - count)[user]
    rank = rank - np.maximum(count - most, 0)[user]
    keep = rank >= 0
    windows, window = np.unique(np.stack([user, rank // length], 1)[keep], axis=0, return_inverse=True)
    of_row = np.full(len(rows), -1)
    of_row[keep] = window.reshape(-1)
    kept = keep[choice]
    return Windows(use[kept], of_row[choice[kept]], windows[:, 0].astype(np.int64))


@dataclass(frozen=True)
class Reader:
    """What reads past choices.

    Args:
        cast: The model, and its adapters, which are off while it reads.
        talk: What turns messages into ids.
        words: Name of the set of words.
        spec: "" is the model itself; else an encoder's name.
        question: What is asked; "" is the set's own question.
        abductive: Whether anything is asked at all.
    """

    cast: Cast
    talk: Talk
    words: str
    spec: str = ""
    question: str = ""
    abductive: bool = True

    def estimates(self, people: Population, numbers: Ints) -> Floats:
        """Return e_j of pairs of a population by number, float32 [pairs, p]."""
        pairs, corpus = people.pairs.take(numbers), people.corpus
        if self.spec and self.abductive:
            return abduce(pairs, corpus, self.spec, self.question or QUESTION)
        if self.spec:
            x = embed(corpus, self.spec)
            return np.asarray(x[pairs.winner] - x[pairs.loser], np.float32)
        base, asked = self.cast.base, []
        for w, r in zip(pairs.winner.tolist(), pairs.loser.tolist(), strict=True):
            talk, chosen, rejected = corpus.conversation(w), corpus.response(w), corpus.response(r)
            own = templates(self.words)
            if self.abductive:
                question, opening = why(self.words, own, talk, chosen, rejected, self.question)
                begun = base.tokenizer(opening, add_special_tokens=False)["input_ids"]
                asked.append([*self.talk.prompt([{"role": "user", "content": question}]), *begun])
            else:
                prompt = self.talk.prompt(own.to_answer(talk))
                asked += [[*prompt, *self.talk.answer(text)] for text in (chosen, rejected)]
        with self.cast.playing("reference"):
            found = states(base.model, asked, base.tokenizer.pad_token_id)
        return found if self.abductive else found[0::2] - found[1::2]
