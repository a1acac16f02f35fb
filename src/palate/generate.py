"""Write for a user: by a method that writes itself, or by a language model that is told the persona.

    answers(personas, conversations, "openai/gpt-4o-mini", samples=4)     the persona as system message
    answers(personas, conversations, fitted)                              a tuned model, such as popi's
    stream(persona, conversation, writer)                                 one answer as it comes
    best_of(fitted, persona, conversation, candidates)                    the one that this user would choose

Whoever writes, a persona passes one place first, :func:`applied`: what its verdict does not bear out is set
aside whole, for words cannot be applied by a quarter, and statements that ask for harm are left out. The
system message says that the persona is about how to answer and no order: ``palate.export.system_prompt``.

Best-of-n takes the candidate of the highest score under a fitted method,

    p_i = exp(s_i) / sum_j exp(s_j)        over the distinct candidates

p_i being the probability that the user would choose it among them.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np

from palate.core import (
    ConfigError,
    Conversation,
    Generates,
    Method,
    MethodError,
    Persona,
    as_conversation,
)
from palate.export import system_prompt
from palate.harm import screen_persona
from palate.models.llm.chat import CHAT
from palate.models.llm.client import Task
from palate.models.llm.program import Section
from palate.models.llm.session import connect, current_session
from palate.models.llm.stream import spoken
from palate.models.llm.wire import Answer, Asking, Reply, Request

__all__ = ["WEIGHT", "Applied", "Ranked", "answers", "applied", "best_of", "stream", "writes"]

WEIGHT = 0.05
"""A persona whose verdict gives it less weight than this is set aside."""
_STRIDE = 1_000_003  # between the seeds of an answer's samples, so that seeds 0, 1, 2 share no draw
_MOST_SEED = 2**31 - 1
_PROGRAM = "generate"
Writer = str | Method


@runtime_checkable
class _Wraps(Protocol):
    """A method around another, such as the gate."""

    method: Method
    inner_persona: Callable[[Persona], Persona]


@dataclass(frozen=True)
class Applied:
    """A persona as it is used for writing.

    Attributes:
        persona: What is used; holds nothing but the user's name where none is used.
        told: What is used, or why nothing is, in a line.
        screened: The persona without what is harmful, whatever its verdict: a method's score weighs that.
        left_out: Statements that were left out as harmful, a line each with why.
    """

    persona: Persona
    told: str
    screened: Persona
    left_out: tuple[str, ...] = ()

    @property
    def used(self) -> bool:
        """Whether there is a persona to use."""
        return self.persona != Persona(user=self.persona.user)


class Ranked(NamedTuple):
    """Candidates in the order in which a user would prefer them.

    Attributes:
        texts: The distinct candidates, best first.
        probabilities: That each would be chosen among them.
        scores: Log-odds, comparable among them.
    """

    texts: tuple[str, ...]
    probabilities: tuple[float, ...]
    scores: tuple[float, ...]


def applied(persona: Persona, *, words: bool = False) -> Applied:
    """Return a persona as it may be used for writing: judged by its verdict, without what asks for harm.

    Args:
        persona: The persona.
        words: Whether only words and past choices can be used, as by a language model that is told them.

    >>> applied(Persona(user="ann")).told
    'no persona: nothing is known of ann'
    """
    nobody, who = Persona(user=persona.user), persona.user or "the average user"
    source, verdict = persona.provenance, persona.verdict
    if persona == nobody:
        return Applied(nobody, f"no persona: nothing is known of {who}", persona)
    whose = f"{source.method if source else 'words'} for {who}"
    clean, refused = screen_persona(persona)
    left_out = tuple(f"{refusal.statement!r}: {refusal.why}" for refusal in refused)
    if verdict is not None and verdict.weight < WEIGHT:
        return Applied(nobody, f"no persona: that of {whose} is {verdict}", clean)
    if words and not system_prompt(clean):
        why = "all its words ask for harm" if left_out else "it holds no words and no past choices"
        return Applied(nobody, f"no persona: that of {whose} cannot be told: {why}", clean, left_out)
    choices = f", {len(source.feedback):,} choices" if source and source.feedback else ""
    tested = str(verdict) if verdict is not None else "not tested on held-back choices"
    return Applied(clean, f"persona: {whose}{choices}: {tested}", clean, left_out)


def writes(method: Method) -> bool:
    """Whether a method writes itself, or wraps one that does."""
    return writes(method.method) if isinstance(method, _Wraps) else isinstance(method, Generates)


def answers(
    personas: Sequence[Persona],
    conversations: Sequence[str | Conversation],
    writer: Writer,
    samples: int = 1,
    *,
    temperature: float = 1.0,
    longest: int = 0,
    seed: int = 0,
) -> list[list[str]]:
    """Write for many personas, side by side.

    Of a language model every answer is kept and every trouble counted, as of any other call: a row is shorter
    than ``samples`` where the model gave no answer that can be used. ``session.ledger`` says why.

    Args:
        personas: Whom each is written for; see :func:`applied`.
        conversations: What each answers; ends with the user's turn.
        writer: A language model's name, or a fitted method that writes.
        samples: Answers to each.
        temperature: 0 takes the likeliest words.
        longest: Most tokens of an answer; 0 takes the writer's own limit, of a language model 1024.
        seed: Of the draw.

    Returns:
        The answers to each conversation.

    Raises:
        ConfigError: If the two lists differ in length, or a conversation cannot be answered.
        MethodError: If the method does not write.
        ModelError: If the model cannot be asked; answers that came before are kept.

    >>> from palate.models.llm.session import language_models
    >>> import tempfile, pathlib
    >>> with language_models(folder=pathlib.Path(tempfile.mkdtemp())):
    ...     ((text,),) = answers([Persona()], ["What is rhubarb?"], "fake:world", temperature=0)
    >>> text.startswith("This is a fake answer")
    True
    """
    if len(personas) != len(conversations):
        raise ConfigError(
            f"{len(personas)} personas and {len(conversations)} conversations: give one for one"
        )
    talks = [as_conversation(c) for c in conversations]
    if isinstance(writer, Method):
        own, theirs = _own(writer, personas)
        rows = own.generate_batch(
            theirs, talks, samples=samples, temperature=temperature, longest=longest, seed=seed
        )
        return [[text for text in row if text.strip()] for row in rows]
    client = connect(writer)
    tasks = (
        Task(_all(_requests(p, talk, temperature, longest, seed, samples)), p.user or "", _PROGRAM)
        for p, talk in zip(personas, talks, strict=True)
    )
    return [[_whole(a) for a in row if isinstance(a, Reply)] for row in client.run(tasks)]


def stream(
    persona: Persona,
    conversation: str | Conversation,
    writer: Writer,
    *,
    temperature: float = 1.0,
    longest: int = 0,
    seed: int = 0,
) -> Iterator[str]:
    """Yield one answer as it comes; the arguments are those of :func:`answers`.

    Raises:
        ModelError: If it breaks off, after the pieces that came, or there is none; else as :func:`answers`.
    """
    talk = as_conversation(conversation)
    if isinstance(writer, Method):
        own, (theirs,) = _own(writer, [persona])
        yield from own.stream(theirs, talk, temperature=temperature, longest=longest, seed=seed)
        return
    (request,) = _requests(persona, talk, temperature, longest, seed, 1)
    _whole((yield from spoken(connect(writer), request, persona.user or "", _PROGRAM)))


def best_of(
    method: Method, persona: Persona, conversation: str | Conversation, candidates: Sequence[str]
) -> Ranked:
    """Rank candidates by a fitted method's score for a user; equal ones count once.

    Args:
        method: Fitted; a gate weighs the persona by its verdict.
        persona: Whose taste counts; the method, or one that it wraps, made it.
        conversation: What they answer.
        candidates: One or more.

    Raises:
        MethodError: If there is none.
        PersonaMismatch: If another model made the persona.
    """
    texts = tuple(dict.fromkeys(candidates))
    if not texts:
        raise MethodError("there is no candidate to choose from: the writer gave no answer that can be used")
    scores = np.zeros(1)
    if len(texts) > 1:
        scores = np.asarray(method.score(applied(persona).screened, conversation, texts), np.float64)
    share = np.exp(scores - scores.max())
    share /= share.sum()
    order = np.argsort(-scores, kind="stable").tolist()
    return Ranked(
        tuple(texts[i] for i in order),
        tuple(float(share[i]) for i in order),
        tuple(float(scores[i]) for i in order),
    )


def _own(method: Method, personas: Sequence[Persona]) -> tuple[Generates, list[Persona]]:
    """Return the method that writes, and the personas to be applied as that method made them."""
    theirs = [applied(persona).persona for persona in personas]
    while isinstance(method, _Wraps):
        theirs = [method.inner_persona(persona) for persona in theirs]
        method = method.method
    if not isinstance(method, Generates):
        raise MethodError(
            f"{method.label} does not write answers: name a language model that does, as --lm "
            "openai/gpt-4o-mini, or a model of popi, pt or epipersona-a"
        )
    return method, theirs


def _requests(
    persona: Persona, talk: Conversation, temperature: float, longest: int, seed: int, samples: int
) -> list[Request]:
    """Return requests for the next turn, the persona before the conversation's own system message."""
    system = [system_prompt(applied(persona, words=True).persona)]
    system += [turn.content for turn in talk if turn.role == "system"]
    words = "\n\n".join(text for text in system if text)
    turns = [Section(turn.role, turn.content) for turn in talk if turn.role != "system"]
    sections = (*([Section("system", words)] if words else []), *turns)
    request = Request(CHAT, sections, temperature=temperature, max_tokens=longest)
    if temperature == 0:
        return [request] * samples  # one call
    return [request.but(sample=n, seed=(seed + _STRIDE * n) % _MOST_SEED) for n in range(samples)]


def _all(requests: Sequence[Request]) -> Asking[list[Answer]]:
    return list((yield requests))


def _whole(reply: Reply) -> str:
    """Return the words of a reply; where they were cut off, that is noted with the costs."""
    if reply.finish == "length":
        current_session().ledger.note(
            f"an answer was cut at {reply.tokens_out:,} tokens, the most that were allowed: allow more with "
            "--longest"
        )
    return reply.text
