"""How EpiPersona-A's language model is asked: why a past choice was made, what is wanted in an episode.

Words by name of a set of :mod:`palate.tune.prompts`. ``WHY`` is read to its end, where the hidden state is
the estimate (:mod:`palate.models.abductive`); its second part opens the model's own turn. ``EPISODE`` stands
after a user's codes. Past choices are not repeated there: the codes are all that the model is told of them.
"""

from palate.core import Conversation
from palate.models.abductive import OPENING, QUESTION
from palate.tune.prompts import Templates, fill, spoken
from palate.tune.teacher import KEYS, Form

__all__ = ["EPISODE", "WHY", "episode", "why"]

WHY = {
    "first": (QUESTION, OPENING),
    "second": (
        "[Request and answers]\n{pair}\n[Task] Somebody kept the one answer and passed over the other. What "
        "does that tell of them, beyond this request?",
        "They",
    ),
    "small": ("{pair} why", "likes"),
    "small-second": ("reason {pair}", "likes"),
}
"""The question about a past choice, and how its answer begins."""
EPISODE = {
    "first": (
        "# Conversation\n{conversation}\n\n# Task\nBefore the conversation stands what is known of this user "
        "from earlier choices, in signs that only you read. Say what this user would want of an answer here. "
        "{form}"
    ),
    "second": (
        "[Request] {conversation}\n[Task] You know what suits this person. What should they get here? {form}"
    ),
    "small": "ask {conversation} describe",
    "small-second": "portray about {conversation}",
}
"""What is asked in an episode."""
_FORMS: dict[Form, str] = {
    "json": "Write one JSON object with the keys " + ", ".join(f'"{key}"' for key in KEYS) + ".",
    "plain": "Write a few short statements.",
}


def why(
    name: str, words: Templates, conversation: Conversation, chosen: str, rejected: str, question: str = ""
) -> tuple[str, str]:
    """Return the question about a past choice, and how its answer begins.

    Args:
        name: Name of the set of words.
        words: The set.
        conversation: What was answered.
        chosen: The answer that was chosen.
        rejected: The other one.
        question: Another question, with ``{conversation}``, ``{chosen}`` and ``{rejected}``.
    """
    asked, opening = WHY.get(name, WHY["first"])
    asked = question or asked
    prompt = spoken(conversation)
    pair = fill(words.pair, prompt=prompt, chosen=chosen, rejected=rejected)
    return fill(asked, pair=pair, conversation=prompt, chosen=chosen, rejected=rejected), opening


def episode(name: str, conversation: Conversation, form: Form) -> str:
    """Return what is asked in an episode."""
    return fill(EPISODE.get(name, EPISODE["first"]), conversation=spoken(conversation), form=_FORMS[form])
