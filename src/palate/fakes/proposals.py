"""What a fake answers to DSPy's own prompts, such as those by which MIPROv2 finds new instructions.

They ask for named fields between marks. A proposed instruction is the basic one, followed by what a persona
might be asked to look at, drawn by chance: that is what an optimiser has to choose from.
"""

import re

from palate.fakes.knobs import Draws
from palate.fakes.prompts import Seen

__all__ = ["fill_fields"]

_MARK = re.compile(r"\[\[ ## (\w+) ## \]\]")
_BASIC = re.compile(
    r"\[\[ ## basic_instruction ## \]\]\n(.*?)(?=\n\n\[\[ ## |\n\nRespond with|\Z)", re.DOTALL
)
_LOOK = (
    "length",
    "structure",
    "formality",
    "warmth",
    "certainty or hedging",
    "technical wording",
    "examples",
    "risk or caution",
)
_HOW_MANY = (
    "Write at most two statements.",
    "Write at most three statements.",
    "Write at most five statements.",
    "",
)
_AGREED = "Keep only what several choices agree on."
_STRONGLY = "Say how strongly each is held."


def fill_fields(seen: Seen, draws: Draws) -> str | None:
    """Return an answer with every field that is asked for, or None where the prompt asks for no fields.

    The last line of such a prompt names the fields between marks.
    """
    before, _, last = seen.user.rpartition("Respond with the corresponding output fields")
    wanted = [name for name in _MARK.findall(last) if name != "completed"]
    if not before or not wanted:
        return None
    parts = [f"[[ ## {name} ## ]]\n{_field(name, seen, draws)}" for name in wanted]
    return "\n\n".join([*parts, "[[ ## completed ## ]]"])


def _field(name: str, seen: Seen, draws: Draws) -> str:
    if "instruction" in name:
        return _instruction(seen, draws)
    if name == "observations":
        return "COMPLETE"
    return "A fake language model wrote this: a program that describes or judges answers for a user."


def _instruction(seen: Seen, draws: Draws) -> str:
    """Return the basic instruction with what to look at, how many statements, and how sure they must be."""
    found = _BASIC.search(seen.user)
    basic = found.group(1).strip() if found else "Describe the user's taste in answers."
    first = basic.split("\n\n")[0]
    looked = [subject for subject in _LOOK if draws.share(f"look {subject}") < 0.5]
    parts = [first]
    if looked:
        parts.append(f"Look above all at {', '.join(looked)}.")
    parts.append(_HOW_MANY[int(draws.share("how many") * len(_HOW_MANY))])
    parts += [_AGREED] * (draws.share("agreed") < 0.5) + [_STRONGLY] * (draws.share("strongly") < 0.5)
    return " ".join(part for part in parts if part)
