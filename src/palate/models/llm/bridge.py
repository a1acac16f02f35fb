"""DSPy programs on our client: their calls are budgeted, kept, shared in flight and traced like any other.

    client = connect("openai/gpt-4o-mini")
    with dspy.context(lm=bridged(client, temperature=0.7), adapter=dspy.ChatAdapter()):
        dspy.Predict("question -> answer")(question="Why is the sky blue?")

:class:`Bridge` is a DSPy engine (``dspy.LM(engine=Bridge(client))``): it takes DSPy's request apart and puts
it to the client word for word. :func:`bridged` returns the language model around it, which also tells DSPy's
rollouts apart: without that, two draws of one prompt would be one kept answer. The client retries and
keeps answers, so DSPy's own retries and cache are off.

A temperature has to be named. DSPy's default is none at all, which leaves it to the endpoint. What a request
of ours cannot carry (tools, pictures, ``top_p``, stop words, penalties) is refused and not dropped; a
``response_format`` is left out, because DSPy's adapters say the form in words as well and check the answer.
"""

import asyncio
from collections.abc import Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, NoReturn

import dspy
from dspy import lm15

from palate.models.llm.client import Client, Task
from palate.models.llm.program import CHARACTERS_A_TOKEN, Message, Program, Section, Told, cut_longest
from palate.models.llm.wire import Answer, Asking, Fault, Request

__all__ = ["Bridge", "BridgedLM", "Verbatim", "bridged"]

_ROLES = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant"}
_NEVER = ("top_p", "top_k", "stop", "tool_choice", "reasoning", "frequency_penalty", "presence_penalty",
          "service_tier", "logprobs", "probabilities", "extensions")  # fmt: skip
_SEEDS = 2**31
_rollout: ContextVar[int] = ContextVar("palate_rollout", default=0)


@dataclass(frozen=True)
class Verbatim(Program):
    """Messages that another library wrote, sent word for word: a section's tag is the message's role."""

    def tell(self, sections: Sequence[Section], limit: int = 1_000_000) -> Told:
        """Return the messages; where they are too long, the longest are cut in the middle."""
        kept, cut = cut_longest(list(sections), int(limit * CHARACTERS_A_TOKEN))
        return Told(tuple(Message(s.tag, s.text) for s in kept), cut=cut)


class Bridge:
    """An engine for ``dspy.LM(engine=...)`` that asks a client.

    Args:
        client: Whom to ask.
        lm: Which model; "" is the client's.
        label: What traces and costs call it.
        seed: Sent with every draw, with the number of the draw added; None sends none.
        longest: Longest answer in tokens, where DSPy names none.
    """

    def __init__(
        self,
        client: Client,
        *,
        lm: str = "",
        label: str = "dspy",
        seed: int | None = None,
        longest: int = 1000,
    ) -> None:
        self.client, self.lm, self.label, self.seed = client, lm, label, seed
        self.program = Verbatim(label, "", "", "", "x" * 700, max_tokens=longest)

    def complete(self, request: lm15.Request) -> lm15.Response:
        """Ask once.

        Raises:
            lm15.LM15Error: For a setting that cannot be carried, or where no answer came.
            PalateError: What the client raises: a budget that is spent, a wrong key.
        """
        (answer,) = self.client.run([Task(_ask(self.request(request)), "", self.label)])
        if isinstance(answer, Fault):
            _fail(answer)
        return lm15.Response(
            id=answer.key or None,
            model=request.model,
            message=lm15.Message.assistant(answer.text),
            finish_reason="stop",
            usage=lm15.Usage(input_tokens=answer.tokens_in, output_tokens=answer.tokens_out),
        )

    def request(self, request: lm15.Request) -> Request:
        """Return DSPy's request as one of ours."""
        config = request.config
        if config.temperature is None:
            raise lm15.ConfigurationError(
                "a call without a temperature: name one, as in bridged(client, temperature=0.0)"
            )
        wrong = [name for name in _NEVER if getattr(config, name) not in (None, ())]
        wrong += ["tools"] if request.tools else []
        if wrong:
            raise lm15.UnsupportedFeatureError(
                f"the bridge does not carry {', '.join(wrong)}: leave it out", feature=wrong[0]
            )
        sample = _rollout.get() if config.temperature > 0 else 0
        seed = config.seed if config.seed is not None else self.seed
        return Request(
            self.program,
            tuple(_sections(request)),
            temperature=float(config.temperature),
            seed=None if seed is None else (seed + sample) % _SEEDS,
            sample=sample,
            max_tokens=config.max_tokens or 0,
            lm=self.lm,
        )


class _AsyncBridge:
    """The same for asynchronous programs; a call waits in a thread."""

    def __init__(self, bridge: Bridge) -> None:
        self.bridge = bridge

    async def complete(self, request: lm15.Request) -> lm15.Response:
        return await asyncio.to_thread(self.bridge.complete, request)


class BridgedLM(dspy.LM):  # type: ignore[misc]
    """A ``dspy.LM`` whose engine is told the number of the rollout."""

    def __call__(self, prompt: Any = None, *, messages: Any = None, **kwargs: Any) -> Any:
        """Ask as ``dspy.LM`` does."""
        token = _rollout.set(self._rollout_of(kwargs))
        try:
            return super().__call__(prompt, messages=messages, **kwargs)
        finally:
            _rollout.reset(token)

    async def acall(self, prompt: Any = None, *, messages: Any = None, **kwargs: Any) -> Any:
        """Ask as ``dspy.LM`` does, in an event loop."""
        token = _rollout.set(self._rollout_of(kwargs))
        try:
            return await super().acall(prompt, messages=messages, **kwargs)
        finally:
            _rollout.reset(token)

    def _rollout_of(self, kwargs: dict[str, Any]) -> int:
        return int(kwargs.get("rollout_id", self.kwargs.get("rollout_id")) or 0)


def bridged(
    client: Client, *, temperature: float, longest: int = 1000, engine: Any = None, **settings: Any
) -> BridgedLM:
    """Return a language model for DSPy programs that asks a client.

    Args:
        client: Whom to ask.
        temperature: 0 takes the likeliest words; DSPy's optimisers draw with their own.
        longest: Longest answer, in tokens.
        engine: Stands in for the :class:`Bridge`, to watch or to mend what passes.
        **settings: Of the :class:`Bridge`: ``lm``, ``label``, ``seed``.
    """
    engine = engine or Bridge(client, longest=longest, **settings)
    return BridgedLM(
        "palate",
        engine=engine,
        async_engine=_AsyncBridge(engine),
        temperature=temperature,
        max_tokens=longest,
        cache=False,
        num_retries=0,
    )


def _ask(request: Request) -> Asking[Answer]:
    (answer,) = yield [request]
    return answer


def _sections(request: lm15.Request) -> list[Section]:
    parts = [] if request.system is None else [Section("system", _text(request.system))]
    return parts + [Section(_role(message.role), _text(message.parts)) for message in request.messages]


def _role(role: str) -> str:
    if role not in _ROLES:
        raise lm15.UnsupportedFeatureError(f"the bridge carries no {role} messages", feature=role)
    return _ROLES[role]


def _text(parts: Any) -> str:
    if isinstance(parts, str):
        return parts
    other = next((part.type for part in parts if part.type != "text"), None)
    if other is not None:
        raise lm15.UnsupportedFeatureError(f"the bridge carries text alone, not {other}", feature=other)
    return "".join(part.text for part in parts)


def _fail(fault: Fault) -> NoReturn:
    kinds: dict[str, type[lm15.LM15Error]] = {
        "timeout": lm15.TimeoutError,
        "rate limit": lm15.RateLimitError,
        "server": lm15.ServerError,
        "too long": lm15.ContextLengthError,
    }
    raise kinds.get(fault.kind, lm15.ProviderError)(f"{fault.kind}: {fault.message}")
