"""Theta: the prompt that writes a persona from reasoning about past choices; kept, shared, found by name.

A Theta is an instruction and some demonstrations, each reasoning about one user and the persona that was
written from it. What is asked for at the end, and how the answer is read, never changes, so that an
instruction found by an optimiser (:mod:`palate.persona.optimize`) can replace another at any time.

Demonstrations stand in leading ``example`` sections, not in the instruction: they hold words of other users
and of models, which are material and never orders, and where the prompt is too long they go first, oldest
first, before anything of the user at hand is cut.

Source: "SynthesizeMe!", 3.2, steps 2 and "Optimizing". ``starting`` is ours. Departs: statements, one a
line, in the place of free text, so that each can be tested and dropped by itself.
"""

import json
import os
import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from palate.core import ConfigError, StorageError
from palate.models.llm.program import Malformed, Program, Section

__all__ = [
    "MOST_STATEMENTS",
    "STARTING",
    "Theta",
    "known_thetas",
    "load_theta",
    "path_of",
    "prompts_folder",
    "read_statements",
    "save_theta",
]

MOST_STATEMENTS = 8
"""A persona has at most so many statements."""
_FORM = 1  # raise it when the file's fields change
_NAME = r"[a-z0-9][a-z0-9._-]{0,63}"

_ASK = (
    f"Write the persona: one to {MOST_STATEMENTS} lines, one statement a line, the surest first. Begin every "
    'line with "Prefers" or "Dislikes". Write nothing else.'
)
_ANSWER = (
    "Prefers short answers that come to the point at once.\n"
    "Prefers numbered steps where something is to be done.\n"
    "Dislikes warnings and hedged statements that were not asked for."
)
_STATEMENT = re.compile(
    r"(?:(?:the|this)\s+(?:user|person)|they|user)?\s*(?:also|generally|usually|often|strongly|clearly)?\s*"
    r"(?:(?P<no>dislikes?|avoids?|rejects?|(?:does|do)\s+not\s+(?:like|want)|(?:doesn't|don't)\s+(?:like|want))"
    r"|(?P<yes>prefers?|likes?|values?|wants?|enjoys?|appreciates?|favou?rs?))\b\s*(?P<what>\S.*)",
    re.IGNORECASE,
)


def read_statements(text: str) -> tuple[str, ...]:
    """Read a persona's statements: at most eight lines that say what somebody prefers or dislikes.

    Bullets, numbers, bold marks and lines of another form (a heading, a closing remark) are left out, and a
    statement that is said twice counts once.

    Raises:
        Malformed: If no line is a statement.

    >>> read_statements("**Persona**\\n1. Prefers short answers.\\n- The user doesn't like long lists.")
    ('Prefers short answers.', 'Dislikes long lists.')
    """
    found: dict[str, str] = {}
    for line in text.splitlines():
        bare = re.sub(r"^(?:[\s\-*+•–>\"'\[#]|\(?\d{1,2}[.):]\)?\s)+", "", line).replace("**", "")
        statement = _STATEMENT.fullmatch(bare.strip(" \t\"'*,]"))
        if statement:
            verb = "Dislikes" if statement["no"] else "Prefers"
            whole = f"{verb} {statement['what'].strip()}"
            found.setdefault(whole.casefold().rstrip("."), whole)
    if not found:
        raise Malformed('a persona is one to eight lines that each begin with "Prefers" or "Dislikes"')
    return tuple(found.values())[:MOST_STATEMENTS]


@dataclass(frozen=True)
class Theta:
    """A prompt that writes a persona from reasoning.

    Attributes:
        name: What it is called: lower-case letters, digits, ".", "_" and "-".
        instruction: How a persona is to be written.
        demos: (reasoning, persona) of other users.
        made_with: How it came about: DSPy's version, model, digest of the data, figures, date, seed. Plain
            values that JSON takes; no secrets.

    >>> STARTING.program().title
    'Write a persona'
    >>> [s.tag for s in STARTING.sections(["Chose the short one. It is plain.", "Chose the list."])]
    ['reasoning', 'reasoning']
    """

    name: str
    instruction: str
    demos: tuple[tuple[str, str], ...] = ()
    made_with: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not re.fullmatch(_NAME, self.name):
            raise _no_name(self.name)
        if not self.instruction.strip():
            raise ConfigError(f"the prompt {self.name!r} has no instruction")

    @property
    def words(self) -> tuple[str, tuple[tuple[str, str], ...]]:
        """What the prompt does: instruction and demonstrations, whatever it is called."""
        return self.instruction, self.demos

    def program(self) -> Program:
        """Return the program: sections as :meth:`sections` gives them, the answer a tuple of statements."""
        return _program(self.instruction.strip())

    def sections(self, reasoning: Sequence[str]) -> tuple[Section, ...]:
        """Return what the program is shown: the demonstrations, then one section for each past choice.

        Args:
            reasoning: A past choice and the reasoning about it, each one text.
        """
        examples = [Section("example", f"{why}\n\nPersona:\n{persona}", True) for why, persona in self.demos]
        return (*examples, *(Section("reasoning", text) for text in reasoning))


@lru_cache(maxsize=64)
def _program(instruction: str) -> Program:
    return Program(
        "persona",
        "Write a persona",
        instruction,
        _ASK,
        _ANSWER,
        read_statements,
        max_tokens=400,
    )


STARTING = Theta(
    "starting",
    "You describe one user's taste in answers, for a reader who must later say which of two new answers "
    "this user would prefer. You are given past choices of the user, each with reasoning about why one "
    "answer was chosen and the other was not. The reasoning is a guess: trust what several choices agree "
    "on, and leave out what a single choice suggests and another contradicts.\n\n"
    "Say what the choices have in common beyond their topics. Look at how long the answers are, how they are "
    "structured, how formal and how warm they are, how sure or hedged, how technical, whether they give "
    "examples, and which leaning or values they take. Name only what these choices show; most users care "
    "about two or three of these. Write each statement so that it can be applied to a topic that is not "
    "among the choices, and say the direction plainly. Do not guess at who the user is.",
)
"""Our own written prompt, that every optimisation starts from."""
_SHIPPED = {STARTING.name: STARTING}


def prompts_folder() -> Path:
    """Return where prompts are kept by name: ``$PALATE_HOME/prompts``, or ``~/.config/palate/prompts``."""
    named = os.environ.get("PALATE_HOME", "")
    home = Path(named).expanduser() if named else Path.home() / ".config" / "palate"
    return home / "prompts"


def known_thetas() -> list[str]:
    """Return the names that :func:`load_theta` finds: shipped ones, and those in the folder."""
    folder = prompts_folder()
    kept = {path.stem for path in folder.glob("*.json")} if folder.is_dir() else set()
    return sorted(kept | set(_SHIPPED))


def save_theta(theta: Theta, where: str | os.PathLike[str] = "") -> Path:
    """Write a prompt as JSON, whole or not at all, and return its path.

    Args:
        theta: What is saved.
        where: A name, which is kept in :func:`prompts_folder`; a path that has a folder or ends in
            ``.json``; or "", the prompt's own name.

    Raises:
        ConfigError: If it takes the name of a shipped prompt.
        StorageError: If the file cannot be written.
    """
    path = path_of(where or theta.name)
    if path.parent == prompts_folder() and re.fullmatch(_NAME, path.stem):
        theta = replace(theta, name=path.stem)
    try:
        text = json.dumps({"palate_prompt": _FORM, **asdict(theta)}, indent=2, ensure_ascii=False)
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f"made_with of prompt {theta.name!r} holds what JSON does not take: {error}"
        ) from error
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(
            "w", encoding="utf-8", dir=path.parent, suffix=".part", delete=False
        ) as file:
            file.write(text + "\n")
        os.chmod(file.name, 0o644)  # a prompt is to be shared; temporary files are for their owner alone
        os.replace(file.name, path)
    except OSError as error:
        raise StorageError(f"the prompt cannot be written to {path}: {error}") from error
    return path


def load_theta(name: str | os.PathLike[str]) -> Theta:
    """Return a prompt by name, shipped or kept, or from a file.

    Raises:
        ConfigError: If no prompt has the name, or the file is not a prompt.
        StorageError: If the file cannot be read.
    """
    if str(name) in _SHIPPED:
        return _SHIPPED[str(name)]
    path = path_of(name)
    if not path.is_file():
        raise ConfigError(
            f"there is no prompt {str(name)!r} ({path} is no file); known: {', '.join(known_thetas())}. Make "
            "one with `palate optimize`, or give the path of a file that it wrote"
        )
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise StorageError(f"the prompt {path} cannot be read: {error}") from error
    except ValueError as error:
        raise ConfigError(f"{path} is not a prompt as `palate optimize` writes it: {error}") from error
    return _theta(data, path)


def path_of(where: str | os.PathLike[str]) -> Path:
    """Return the file that a name or path stands for.

    Raises:
        ConfigError: If it is the name of a shipped prompt, or no name.
    """
    text = os.fspath(where)
    if not isinstance(where, str) or "/" in text or os.sep in text or text.endswith(".json"):
        return Path(text).expanduser()
    if text in _SHIPPED:
        raise ConfigError(f"{text!r} is a prompt that comes with Palate: save yours under another name")
    if not re.fullmatch(_NAME, text):
        raise _no_name(text)
    return prompts_folder() / f"{text}.json"


def _no_name(name: str) -> ConfigError:
    return ConfigError(
        f"{name!r} cannot name a prompt: use up to 64 lower-case letters, digits, '.', '_' or '-', beginning "
        f"with a letter or a digit; known: {', '.join(known_thetas())}"
    )


def _theta(data: Any, path: Path) -> Theta:
    """Build a prompt from a file's values."""
    if not isinstance(data, dict) or "palate_prompt" not in data:
        raise ConfigError(f"{path} is not a prompt as `palate optimize` writes it: it has no palate_prompt")
    if data["palate_prompt"] != _FORM:
        raise ConfigError(
            f"{path} has form {data['palate_prompt']!r}, and this version of Palate reads form {_FORM}: "
            "upgrade Palate, or optimise anew"
        )
    try:
        demos = tuple((str(why), str(persona)) for why, persona in data["demos"])
        words = {key: data[key] for key in ("name", "instruction")}
        if not all(isinstance(word, str) for word in words.values()):
            raise TypeError("name and instruction are texts")
        return Theta(**words, demos=demos, made_with=dict(data["made_with"]))
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigError(f"{path} is not a prompt as `palate optimize` writes it: {error!r}") from error
