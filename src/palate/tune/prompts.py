"""How signals, summaries and prompts are worded for a language model: three sets of templates, by name.

``first`` says what the templates of POPI's appendix I say, in our words; ``second`` differs in structure,
wording and length, as its appendix C asks: results must not hang on either. ``small`` and ``small-second``
are the words of the small language (``palate.small``), which has no others.

Signals s_u are what is known of a user before they ask: past pairs, a profile, posts of theirs, or scores on
named axes (AlignX's direction). Each becomes one piece of text, so that the oldest can be left out first.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from palate.core import ConfigError, Conversation, Feedback

__all__ = ["SECOND", "TEMPLATES", "Message", "Templates", "fill", "spoken", "templates"]

Message = dict[str, str]


@dataclass(frozen=True)
class Templates:
    """One set of wordings; braces are filled in.

    Attributes:
        system: System message of the generator; "" for none.
        system_personal: The same where something is known of the user.
        answer: What is asked of the generator, ``{prompt}``, where nothing is known.
        answer_from_signals: The same beside raw ``{signals}``.
        answer_from_summary: The same beside a ``{summary}``.
        infer_system: System message of the inference model.
        infer: What is asked of it, ``{signals}``.
        infer_for_prompt: The same for one upcoming ``{prompt}``.
        abduce: What is asked of whoever is to say who would choose so, of one past ``{pair}``.
        pair: One past pair: ``{prompt}``, ``{chosen}``, ``{rejected}``.
        fact: One line of a profile: ``{name}``, ``{value}``.
        separator: Between signals.
    """

    system: str
    system_personal: str
    answer: str
    answer_from_signals: str
    answer_from_summary: str
    infer_system: str
    infer: str
    infer_for_prompt: str
    abduce: str
    pair: str
    fact: str = "{name}: {value}"
    separator: str = "\n\n"

    def signals(self, past: Sequence[Feedback], profile: Mapping[str, str]) -> list[str]:
        """Return what is known of a user as pieces of text: the profile, then past pairs, oldest first."""
        facts = [fill(self.fact, name=name, value=value) for name, value in profile.items()]
        pairs = []
        for choice in past:
            if choice.chosen is None:
                continue
            chosen = choice.responses[choice.chosen]
            prompt = spoken(choice.conversation)
            for i, other in enumerate(choice.responses):
                if i != choice.chosen and other != chosen:
                    pairs.append(fill(self.pair, prompt=prompt, chosen=chosen, rejected=other))
        return facts + pairs

    def to_infer(self, signals: Sequence[str], upcoming: Conversation | None = None) -> list[Message]:
        """Return what the inference model is asked; with ``upcoming``, for that prompt alone."""
        told = self.separator.join(signals)
        if upcoming is None:
            return _messages(self.infer_system, fill(self.infer, signals=told))
        asked = fill(self.infer_for_prompt, signals=told, prompt=spoken(upcoming))
        return _messages(self.infer_system, asked)

    def to_abduce(self, conversation: Conversation, preferred: str, other: str) -> list[Message]:
        """Return what asks for one sentence about who would prefer one answer to another."""
        pair = fill(self.pair, prompt=spoken(conversation), chosen=preferred, rejected=other)
        return _messages(self.infer_system, fill(self.abduce, pair=pair))

    def to_answer(
        self, conversation: Conversation, summary: str = "", signals: Sequence[str] = ()
    ) -> list[Message]:
        """Return what the generator is asked: what is known of the user stands beside the last turn."""
        *before, last = [{"role": turn.role, "content": turn.content} for turn in conversation]
        if summary:
            asked = fill(self.answer_from_summary, summary=summary, prompt=last["content"])
        elif signals:
            told = self.separator.join(signals)
            asked = fill(self.answer_from_signals, signals=told, prompt=last["content"])
        else:
            asked = fill(self.answer, prompt=last["content"])
        system = self.system_personal if summary or signals else self.system
        if before and before[0]["role"] == "system":
            own = before.pop(0)["content"]
            system = f"{system}\n\n{own}" if system else own
        return _messages(system, asked, before, last["role"])


def fill(template: str, **values: str) -> str:
    """Fill a template; braces in the values themselves stay as they are.

    >>> fill("{a} and {b}", a="{b}", b="c")
    '{b} and c'
    """
    out: list[str] = []
    rest = template
    while rest:
        at = [(rest.find("{" + name + "}"), name) for name in values]
        found = [(place, name) for place, name in at if place >= 0]
        if not found:
            return "".join([*out, rest])
        place, name = min(found)
        out += [rest[:place], values[name]]
        rest = rest[place + len(name) + 2 :]
    return "".join(out)


def spoken(conversation: Conversation) -> str:
    """Return a conversation as text; a single turn stands without its role."""
    if len(conversation) == 1:
        return conversation[0].content
    return "\n".join(f"{turn.role}: {turn.content}" for turn in conversation)


def _messages(system: str, asked: str, before: Sequence[Message] = (), role: str = "user") -> list[Message]:
    first = [{"role": "system", "content": system}] if system else []
    return [*first, *before, {"role": role, "content": asked}]


_HELPER = "You are a helpful assistant."
TEMPLATES = {
    "first": Templates(
        system=_HELPER,
        system_personal=_HELPER,
        answer="{prompt}",
        answer_from_signals=(
            "# What this user chose before\n{signals}\n\n# Task\nWrite the answer to the prompt below that "
            "this user would like best, going by what they chose before.\n\n# Prompt\n{prompt}"
        ),
        answer_from_summary=(
            "# What this user likes\n{summary}\n\n# Task\nWrite the answer to the prompt below that this "
            "user would like best.\n\n# Prompt\n{prompt}"
        ),
        infer_system=_HELPER,
        infer=(
            "# What a user chose before\n{signals}\n\n# Task\nEach example shows an answer that the user "
            "preferred and one that they did not, to the same prompt. Sum up, briefly and in order, what "
            "this user likes in an answer. Go beyond the examples: whoever writes for them next is given "
            "your summary and nothing else."
        ),
        infer_for_prompt=(
            "# What a user chose before\n{signals}\n\n# Their next prompt\n{prompt}\n\n# Task\nEach example "
            "shows an answer that the user preferred and one that they did not, to the same prompt. Sum up, "
            "briefly and in order, what this user will like in an answer to their next prompt. Whoever "
            "writes it is given your summary."
        ),
        abduce=(
            "# What a user chose\n{pair}\n\n# Task\nWhat kind of user would prefer the first of the two "
            "answers to the second? Give the account that makes this choice most plausible, also where few "
            "people are like that. Write one sentence of the form: The user is [attribute] and prefers "
            "[explanation of preference]. Name only high-level characteristics that would matter in other "
            "conversations too, such as information needs, interests and personality. Never name origin, "
            "religion, sex, age, health or politics. Do not quote the answers, and do not say that one is "
            "better."
        ),
        pair="Prompt: {prompt}\nPreferred: {chosen}\nNot preferred: {rejected}",
    ),
    "second": Templates(
        system="You answer with care.",
        system_personal="You answer with care, each person in the way that suits them.",
        answer="[Task] Answer the request.\n[Request] {prompt}",
        answer_from_signals=(
            "[Task] Answer the request in the way that suits this person. Their earlier choices are given.\n"
            "[Earlier choices]\n{signals}\n[Request] {prompt}"
        ),
        answer_from_summary=(
            "[Task] Answer the request in the way that suits this person. A note on them is given.\n"
            "[Note]\n{summary}\n[Request] {prompt}"
        ),
        infer_system="You find out what people like.",
        infer=(
            "[Task] Write a short note on what this person likes in answers, for others who will write to "
            "them. Compare what was kept with what was passed over; leave out what holds once only.\n"
            "[Earlier choices]\n{signals}"
        ),
        infer_for_prompt=(
            "[Task] Write a short note on what this person will like in the answer to the coming request, "
            "for whoever answers it. Compare what was kept with what was passed over.\n[Earlier choices]\n"
            "{signals}\n[Coming request] {prompt}"
        ),
        abduce=(
            "[Task] Say for whom what was kept would be right, and what was passed over would not. Answer "
            "with one sentence, in this form: The user is [attribute] and prefers [explanation of "
            "preference]. Keep to how this person thinks, what they need to know and what interests them; "
            "leave out what they are by birth, body or faith, and the words of the answers.\n[Choice]\n{pair}"
        ),
        pair="Request: {prompt}\n- kept: {chosen}\n- passed over: {rejected}",
        separator="\n",
    ),
    "small": Templates(
        system="",
        system_personal="",
        answer="ask {prompt}",
        answer_from_signals="{signals} ask {prompt}",
        answer_from_summary="user {summary} ask {prompt}",
        infer_system="",
        infer="{signals} describe",
        infer_for_prompt="{signals} ask {prompt} describe",
        abduce="{pair} why",
        pair="ask {prompt} good {chosen} bad {rejected}",
        fact="{value}",
        separator=" ",
    ),
    "small-second": Templates(
        system="",
        system_personal="",
        answer="about {prompt}",
        answer_from_signals="about {prompt} seen {signals}",
        answer_from_summary="about {prompt} person {summary}",
        infer_system="",
        infer="portray {signals}",
        infer_for_prompt="portray {signals} about {prompt}",
        abduce="reason {pair}",
        pair="about {prompt} yes {chosen} no {rejected}",
        fact="{value}",
        separator=" next ",
    ),
}
TEMPLATES["small-survey"] = replace(TEMPLATES["small"], infer="{signals} which")
"""The sets by name; in ``small-survey`` a model is asked about a person axis by axis."""
SECOND = {"first": "second", "small": "small-second"}
"""The other set that results must not hang on, by name."""


def templates(name: str) -> Templates:
    """Return a set by its name.

    Raises:
        ConfigError: If there is none of that name.
    """
    if name not in TEMPLATES:
        raise ConfigError(f"there are no templates {name!r}; there are {', '.join(TEMPLATES)}")
    return TEMPLATES[name]
