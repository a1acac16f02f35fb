"""Parameterized abductive reasoning: why would this person prefer the one answer over the other?

Source: EpiPersona 4.3, equation 11. For a past choice j of chosen c over rejected r in conversation x,

    e_j = last hidden state of a language model that has read  question(x, c, r)        with ``hf:``
    e_j = phi(x, c) - phi(x, r)                                                         with any other encoder

No text is written: the state at the end of the question is the estimated persona behind this one choice.
A tie says nothing about direction: it asks no question, and its row is zero.
"""

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from palate.core import ConfigError, Conversation, Corpus, Pairs, Turn
from palate.models.encoder import Encoder, Floats, Progress, Spec, resolve
from palate.models.features import embed

__all__ = ["OPENING", "QUESTION", "abduce", "ask", "is_reader", "reader"]

QUESTION = """A person was shown two answers in the conversation below and kept one of them.

# Conversation
{conversation}

# The answer they passed over
{rejected}

# The answer they kept
{chosen}

What does this person seem to value, need or believe, given that they kept the second answer and not the \
first? Think of traits that would show in their other conversations too."""
"""The question about one past choice; ``{conversation}``, ``{chosen}`` and ``{rejected}`` are filled in."""
OPENING = "This person"
"""How the model's own turn begins; the hidden state at its end is the estimate."""
_FIELDS = re.compile(r"\{(conversation|chosen|rejected)\}")


def ask(question: str, conversation: Conversation, chosen: str, rejected: str) -> str:
    """Fill a choice into a question; braces in the texts themselves stay as they are.

    Raises:
        ConfigError: If the question leaves the chosen or the rejected answer out.

    >>> from palate.core import as_conversation
    >>> ask("{conversation} | {chosen} | {rejected}", as_conversation("Hi"), "{rejected}", "Yo.")
    'user: Hi | {rejected} | Yo.'
    """
    missing = {"chosen", "rejected"} - set(_FIELDS.findall(question))
    if missing:
        raise ConfigError(
            f"the question about a past choice has no {{{sorted(missing)[0]}}}: {question[:80]!r}; write "
            "{chosen} and {rejected}, and {conversation} if it is to be read, where the texts belong"
        )
    talk = "\n".join(f"{role}: {content}" for role, content in conversation)
    texts = {"conversation": talk, "chosen": chosen, "rejected": rejected}
    return _FIELDS.sub(lambda found: texts[found[1]], question)


def is_reader(spec: str) -> bool:
    """Say whether a spec names a language model that can read a question.

    >>> is_reader("hf:org/model"), is_reader("minilm")
    (True, False)
    """
    return Spec.parse(spec).kind == "hf"


def reader(spec: str) -> Encoder:
    """Return the language model of a spec; its vectors are the states of the last token.

    Raises:
        ConfigError: If the spec names no language model, or asks for style features.
    """
    found = Spec.parse(spec)
    if found.kind != "hf" or found.style:
        raise ConfigError(
            f"a reader of past choices is a language model, got {spec!r}; "
            "write hf:NAME_OR_FOLDER, without +style"
        )
    if "pool" in dict(found.options):
        return resolve(spec)
    return resolve(f"{spec}{'&' if found.options else '?'}pool=last")


def abduce(
    pairs: Pairs,
    corpus: Corpus,
    spec: str,
    question: str = QUESTION,
    *,
    progress: Progress | None = None,
) -> Floats:
    """Return the estimated persona behind every choice.

    Equal choices are read once; vectors come from the cache on disk where they were read before.

    Args:
        pairs: The choices, winner over loser.
        corpus: Their texts.
        spec: ``hf:NAME_OR_FOLDER`` reads the question; any other encoder gives differences of vectors.
        question: What a language model is asked; see :data:`QUESTION`.
        progress: Called with (done, total) distinct questions or texts.

    Returns:
        float32 [pairs, d]; a tie's row is zero.

    Raises:
        ConfigError: If the spec or the question cannot be used.
        EncoderError: If the model cannot be loaded, or gives numbers that are not finite.

    >>> from palate.core import Feedback, Population, as_conversation
    >>> rows = [Feedback("ann", as_conversation("Hi"), ("Hello!", "Yo."), chosen=c) for c in (0, 1, None)]
    >>> people = Population.of(rows)
    >>> e = abduce(people.pairs, people.corpus, "lexical")
    >>> e.shape, bool((e[0] == -e[1]).all()), bool(e[2].any())
    ((3, 526), True, False)
    """
    decided = np.flatnonzero(pairs.target == 1)
    winner, loser = pairs.winner[decided], pairs.loser[decided]
    if is_reader(spec):
        language_model = reader(spec)
        out = np.zeros((len(pairs), language_model.dim), np.float32)
        if len(decided):
            out[decided] = _read(winner, loser, corpus, language_model, question, progress)
        return out
    x = embed(corpus, spec, progress=progress)
    out = np.zeros((len(pairs), x.shape[1]), np.float32)
    out[decided] = x[winner] - x[loser]
    return out


def _read(
    winner: NDArray[Any],
    loser: NDArray[Any],
    corpus: Corpus,
    language_model: Encoder,
    question: str,
    progress: Progress | None,
) -> Floats:
    """Ask about every distinct choice once: float32 [choices, d]."""
    both, place = np.unique(np.stack([winner, loser], axis=1), axis=0, return_inverse=True)
    asked: Sequence[Conversation] = [
        (Turn("user", ask(question, corpus.conversation(c), corpus.response(c), corpus.response(r))),)
        for c, r in both.tolist()
    ]
    questions = Corpus(asked, [OPENING], np.arange(len(asked)), np.zeros(len(asked), np.int64))
    return np.asarray(embed(questions, language_model, progress=progress)[place.ravel()])
