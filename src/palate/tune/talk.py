"""Messages to token ids, one way for training, scoring and writing, and shortened by one rule.

    sequence = [prompt ids] + [answer ids]      prompt: the chat template with the opening of an answer
                                                answer: its words and the template's end of turn

The prompt and the answer are turned into ids apart, so that an answer's log-probability never depends on
where tokens happen to merge. A prompt that is too long loses what is known of the user first, the oldest
first; then the start of what is left. The answer is kept whole unless it alone is too long.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from functools import cached_property

from palate.core import ConfigError
from palate.models.weights import clean
from palate.tune.model import Base
from palate.tune.prompts import Message

__all__ = ["Talk"]

Ids = list[int]
_PROBE = "palateprobe"


class Talk:
    """What turns messages into ids for one model.

    Args:
        base: The model and its tokenizer.
        answer_room: Tokens kept free for an answer.

    Attributes:
        cut: How many prompts lost signals, lost their start, and how many answers lost their end.
    """

    def __init__(self, base: Base, answer_room: int = 256) -> None:
        if answer_room >= base.limit:
            raise ConfigError(
                f"answers may have {answer_room} tokens, but sequences only {base.limit}: lower "
                "answer_tokens, or raise limit"
            )
        self.base, self.tokenizer, self.room = base, base.tokenizer, answer_room
        self.cut: Counter[str] = Counter()
        self._seen: dict[str, Ids] = {}
        self._frames: dict[tuple[str, ...], list[str]] = {}

    def prompt(self, messages: Sequence[Message]) -> Ids:
        """Return the ids of messages with the opening of an answer; too long ones lose their start."""
        return self.prompts([messages])[0]

    def prompts(self, many: Sequence[Sequence[Message]]) -> list[Ids]:
        """Return the ids of many prompts, as :meth:`prompt` would of each."""
        if not many:
            return []
        texts = [self._text(messages) for messages in many]
        longest = self.base.limit - self.room
        found = []
        for ids in self.tokenizer(texts, add_special_tokens=False)["input_ids"]:
            if len(ids) > longest:
                self.cut["prompts that lost their start"] += 1
            found.append(list(ids[-longest:]))
        return found

    def fitting(
        self, signals: Sequence[str], told: Callable[[Sequence[str]], Sequence[Message]]
    ) -> tuple[Ids, int]:
        """Return the ids of ``told(signals)`` with as many signals as fit, the latest; and how many."""
        ids = self._rendered(told(signals))
        longest, first = self.base.limit - self.room, 0
        while len(ids) > longest and first < len(signals):
            over = len(ids) - longest
            while over > 0 and first < len(signals):
                over -= len(self._tokens(signals[first]))
                first += 1
            ids = self._rendered(told(signals[first:]))
        while first and len(more := self._rendered(told(signals[first - 1 :]))) <= longest:
            ids, first = more, first - 1  # what stands between signals had gone too
        if first:
            self.cut["prompts that lost signals"] += 1
        if len(ids) > longest:
            self.cut["prompts that lost their start"] += 1
        return ids[-longest:], len(signals) - first

    def answer(self, text: str) -> Ids:
        """Return the ids of an answer and its end."""
        ids = self._tokens(text) + self._end
        if len(ids) > self.room:
            self.cut["answers that lost their end"] += 1
        return ids[: self.room]

    def words(self, ids: Sequence[int]) -> str:
        """Return an answer's words without what ends it."""
        return str(self.tokenizer.decode(list(ids), skip_special_tokens=True)).strip()

    def count(self, text: str) -> int:
        """Return how many tokens a text has."""
        return len(self._tokens(text))

    def _tokens(self, text: str) -> Ids:
        if text not in self._seen:
            (cleaned,) = clean([text])
            self._seen[text] = list(self.tokenizer(cleaned, add_special_tokens=False)["input_ids"])
        return self._seen[text]

    def _rendered(self, messages: Sequence[Message]) -> Ids:
        return list(self.tokenizer(self._text(messages), add_special_tokens=False)["input_ids"])

    def _text(self, messages: Sequence[Message]) -> str:
        """Return messages as the chat template renders them.

        A template puts the words of system and user between pieces that depend on roles alone; these are
        rendered once. Where that cannot be seen, or words begin or end in space, it is rendered whole.
        """
        told = [{"role": m["role"], "content": clean([m["content"]])[0]} for m in self._folded(messages)]
        roles = tuple(m["role"] for m in told)
        if "assistant" in roles or any(m["content"] != m["content"].strip() for m in told):
            return self._templated(told)
        if roles not in self._frames:
            marks = [f"{_PROBE}{i}end" for i in range(len(roles))]
            probed = [{"role": role, "content": mark} for role, mark in zip(roles, marks, strict=True)]
            rest, pieces = self._templated(probed), []
            for mark in marks:
                before, found, rest = rest.partition(mark)
                pieces += [before] if found else []
            self._frames[roles] = [*pieces, rest] if len(pieces) == len(marks) else []
        pieces = self._frames[roles]
        if not pieces:
            return self._templated(told)
        inner = zip(pieces, (m["content"] for m in told), strict=False)
        return "".join(piece + words for piece, words in inner) + pieces[-1]

    def _templated(self, told: Sequence[Message]) -> str:
        return str(self.tokenizer.apply_chat_template(told, tokenize=False, add_generation_prompt=True))

    def _folded(self, messages: Sequence[Message]) -> Sequence[Message]:
        """Put the system message before the first turn, for templates that take none."""
        if self._takes_system or not messages or messages[0]["role"] != "system":
            return messages
        system, first, *rest = messages
        return [{"role": first["role"], "content": f"{system['content']}\n\n{first['content']}"}, *rest]

    @cached_property
    def _takes_system(self) -> bool:
        """Whether the chat template shows a system message."""
        told = [{"role": "system", "content": _PROBE}, {"role": "user", "content": "x"}]
        try:
            return _PROBE in self.tokenizer.apply_chat_template(told, tokenize=False)
        except Exception:  # a template's own refusal: TemplateError, or whatever it raises
            return False

    @cached_property
    def _end(self) -> Ids:
        """Ids with which the template ends an answer, up to the first token that ends generation."""
        told = [{"role": "user", "content": "x"}, {"role": "assistant", "content": _PROBE}]
        text = self.tokenizer.apply_chat_template(told, tokenize=False)
        tail = text[text.rindex(_PROBE) + len(_PROBE) :]
        ids = list(self.tokenizer(tail, add_special_tokens=False)["input_ids"])
        for place, token in enumerate(ids):
            if token in self.base.ends:
                return ids[: place + 1]
        return [self.base.ends[0]]
