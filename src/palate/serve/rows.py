"""Rows of trainers read as who is asked about, the conversation, the answer, and what it is measured against.

A label or extra information names the user (``{"user": "ann"}``), and may bring the conversation and the
responses ``among`` which the answer is judged. Without a conversation the prompt is read: marks of ChatML,
of Llama 3's and of Gemma's chat templates are taken apart into turns; any other prompt is one turn of the
user's.
"""

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import orjson
from pydantic import TypeAdapter, ValidationError

from palate.core import DataError
from palate.serve.wire.texts import Conversation, Message
from palate.serve.wire.training import OpenRlhf, RowAbout, Verl

__all__ = ["Asked", "read_openrlhf", "read_verl"]

_TURN = re.compile(
    r"<\|im_start\|>(?P<chatml>\w+)\n(.*?)<\|im_end\|>"
    r"|<\|start_header_id\|>(?P<llama>\w+)<\|end_header_id\|>\n\n(.*?)<\|eot_id\|>"
    r"|<start_of_turn>(?P<gemma>\w+)\n(.*?)<end_of_turn>",
    re.DOTALL,
)
_ROLES = {"model": "assistant", "developer": "system", "ipython": "tool"}
_KNOWN = ("system", "user", "assistant", "tool")
_ENDS = re.compile(r"(?:\s|</s>|<eos>|<pad>|<end_of_turn>|<\|[a-z_]+\|>)+\Z")
_TAIL = 200  # characters of a prompt by which it is found where its beginning was cut off
_TALK = ("conversation", "prompt", "raw_prompt", "question")
_CONVERSATION: TypeAdapter[list[Message]] = TypeAdapter(Conversation)


class Asked(NamedTuple):
    """One row.

    Attributes:
        user: Whose reward, or None where the row does not say.
        conversation: What was asked.
        response: The answer.
        among: What it is measured against; may be empty.
    """

    user: str | None
    conversation: list[Message]
    response: str
    among: list[str]


def read_openrlhf(body: OpenRlhf) -> list[Asked]:
    """Read the rows of an OpenRLHF trainer.

    Raises:
        DataError: Naming the first row that cannot be read.

    >>> prompt = "<|im_start|>user\\nHi<|im_end|>\\n<|im_start|>assistant\\n"
    >>> call = OpenRlhf(query=[prompt + "Hello!<|im_end|>"], prompts=[prompt], labels=['{"user": "ann"}'])
    >>> read_openrlhf(call)[0][:3]
    ('ann', [Message(role='user', content='Hi')], 'Hello!')
    """
    labels = body.labels or [None] * len(body.query)
    return [
        _row(number, label, prompt, _answer(number, query, prompt), "labels")
        for number, (query, prompt, label) in enumerate(zip(body.query, body.prompts, labels, strict=True))
    ]


def read_verl(body: Verl) -> list[Asked]:
    """Read the rows of a verl trainer.

    Raises:
        DataError: Naming the first row that cannot be read.

    >>> read_verl(Verl(solution_strs=["Hello!"], extra_infos=[{"user": "ann", "question": "Hi"}]))[0][:3]
    ('ann', [Message(role='user', content='Hi')], 'Hello!')
    """
    rows = len(body.solution_strs)
    infos, truths = body.extra_infos or [None] * rows, body.ground_truths or [None] * rows
    return [
        _row(number, info if _object(info) else truth, "", answer, "extra_infos")
        for number, (answer, info, truth) in enumerate(zip(body.solution_strs, infos, truths, strict=True))
    ]


def _row(number: int, said: Any, prompt: str, response: str, field: str) -> Asked:
    """Put one row together."""
    told = _object(said) or {}
    talk = next((told[name] for name in _TALK if told.get(name) is not None), None)
    try:
        about = RowAbout.model_validate(
            {
                "user": told.get("user"),
                "conversation": talk if talk is not None else _turns(prompt) if prompt else None,
                "among": told.get("among") or [],
            }
        )
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join([field, str(number), *(str(part) for part in first["loc"])])
        raise DataError(f"{where}: {str(first['msg']).removeprefix('Value error, ')}") from error
    if about.conversation is None:
        raise DataError(
            f"{field}.{number} holds no conversation: put it there as 'conversation', a text or turns"
        )
    return Asked(about.user, about.conversation, response, list(about.among))


def _object(said: Any) -> Mapping[str, Any] | None:
    """Return an object, or a text that is one as JSON; None for anything else."""
    if isinstance(said, str) and said.lstrip().startswith("{"):
        try:
            said = orjson.loads(said)
        except orjson.JSONDecodeError:
            return None
    return said if isinstance(said, dict) else None


def _turns(prompt: str) -> list[dict[str, str]] | str:
    """Take a prompt with a chat template's marks apart."""
    found = []
    for match in _TURN.finditer(prompt):
        role, content = (part for part in match.groups() if part is not None)
        role = _ROLES.get(role, role)
        if role in _KNOWN:
            found.append({"role": role, "content": content.strip()})
    return found or prompt


def _answer(number: int, query: str, prompt: str) -> str:
    """Return a query without its prompt and without the marks at its end."""
    if query.startswith(prompt):
        answer = query[len(prompt) :]
    else:  # the prompt's beginning was cut off, or written anew by the tokenizer
        tail = prompt[-_TAIL:].strip()
        at = query.find(tail) if tail else -1
        if at < 0:
            raise DataError(
                f"query.{number} does not hold its prompt: expected the prompt, then the answer, as one text"
            )
        answer = query[at + len(tail) :]
    return _ENDS.sub("", answer).lstrip("\n")
