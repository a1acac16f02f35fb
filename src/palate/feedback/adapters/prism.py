"""PRISM: conversations with up to four models a turn, rated 1 to 100, and a survey of each participant.

Source: Kirk et al. (2024), hub id HannahRoseKirk/prism-alignment: ``survey``, ``conversations``,
``utterances``. Within a turn the chosen response beats each of the others, and pairs of less than 10 %
difference (``gap`` = 10 points) are left out, as in "SynthesizeMe!", section 4. That section takes all
comparisons of a turn: ``turns=graded`` gives the ratings themselves, and the rule ``all`` of
``palate.feedback.ratings`` makes those pairs.
"""

from collections.abc import Iterable, Iterator
from typing import Any, ClassVar

from palate.core import ConfigError
from palate.feedback.adapters.base import Adapter, Options, Place, Row, Table, pick, records
from palate.feedback.report import BadRow, shorten
from palate.feedback.sources import RawRow
from palate.feedback.values import as_truth, decoded

__all__ = ["Prism"]

SURVEY = Table("survey", (("user_id",), ("age", "self_description", "system_string", "gender")), True)
CONVERSATIONS = Table("conversations", (("user_id",), ("conversation_id",), ("conversation_history",)))
UTTERANCES = Table(
    "utterances",
    (
        *(("user_id",), ("conversation_id",), ("turn",), ("user_prompt",), ("model_response",)),
        *(("score",), ("if_chosen",)),
    ),
)
PLAIN = (
    *("self_description", "system_string", "age", "gender", "education", "employment_status"),
    *("marital_status", "english_proficiency", "study_locale", "lm_familiarity", "lm_frequency_use"),
)
NESTED = {
    "religion": ("simplified", "categorised"),
    "ethnicity": ("simplified", "categorised"),
    "location": ("reside_country", "birth_country"),
}


class Prism(Adapter):
    """PRISM, from its conversations or its utterances."""

    name = "prism"
    title = "PRISM"
    ids = (r"hannahrosekirk/prism-alignment",)
    tables = ((SURVEY,), (CONVERSATIONS, UTTERANCES))
    marks = (
        frozenset(("user_id", "conversation_id", "conversation_history", "opening_prompt")),
        frozenset(("user_id", "conversation_id", "user_prompt", "model_response", "score", "if_chosen")),
    )
    options: ClassVar[Options] = {"gap": (float, 10.0), "turns": (str, "chosen")}

    def start(self) -> None:
        """Check the options and tell the rule."""
        if self.set["turns"] not in ("chosen", "graded"):
            raise ConfigError(f"prism,turns={self.set['turns']}: expected chosen or graded")
        if self.set["turns"] == "graded":
            self.notes.append("every rated response of a turn is a rating; the rule for ratings makes pairs")
            return
        if not 0 <= self.set["gap"] <= 99:
            raise ConfigError(f"prism,gap={self.set['gap']:g}: expected 0 to 99, in points of 100")
        self.notes.append(
            "in each turn the chosen response beats every other one that the user rated at least "
            f"{self.set['gap']:g} of 100 points lower"
        )

    def rows(self, table: Table, raw: Iterable[RawRow], file: str, split: str) -> Iterator[RawRow]:
        """Yield pairs; the utterances of a conversation are put together first."""
        if table.name == "utterances":
            raw, table = self._joined(self.checked(table, raw, file)), CONVERSATIONS
        yield from super().rows(table, raw, file, split)

    def take(self, row: Row, place: Place) -> Iterator[dict[str, Any]]:
        """Yield a user of the survey, or the pairs of a conversation."""
        if place.table == "survey":
            yield {"user": row["user_id"], "profile": _profile(row)}
            return
        earlier: list[dict[str, Any]] = []
        time = row.get("generated_datetime")
        for number, turn in _turns(records(row["conversation_history"])).items():
            prompt = next((m.get("content") for m in turn if m.get("role") == "user"), None)
            if not isinstance(prompt, str):
                raise BadRow("missing field", "prompt", f"turn {number} has no message of the user")
            earlier.append({"role": "user", "content": prompt})
            answers = [m for m in turn if m.get("role") != "user"]
            about = {"user": row["user_id"], "conversation": list(earlier), "time": time}
            if self.set["turns"] == "graded":
                yield from self._graded(answers, about)
            chosen = next((m for m in answers if as_truth(m.get("if_chosen"), "if_chosen")), None)
            if chosen is None:
                self.left_out["a turn without a chosen response, and those after it"] += 1
                return
            for place_of, other in enumerate(answers if self.set["turns"] == "chosen" else ()):
                if other is not chosen and self._apart(chosen, other):
                    yield {
                        **about,
                        "id": f"{row['conversation_id']}-{number}-{place_of}",
                        "chosen": chosen.get("content"),
                        "rejected": other.get("content"),
                    }
            earlier.append({"role": "assistant", "content": chosen.get("content")})

    def _graded(self, answers: list[dict[str, Any]], about: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """Yield the ratings of a turn, and count what has none."""
        for answer in answers:
            if isinstance(answer.get("score"), (int, float)):
                yield {**about, "response": answer.get("content"), "rating": answer["score"]}
            else:
                self.left_out["a response without a rating"] += 1

    def _apart(self, chosen: Row, other: Row) -> bool:
        """Tell whether two ratings are far enough apart, and count why not."""
        high, low = chosen.get("score"), other.get("score")
        if not isinstance(high, (int, float)) or not isinstance(low, (int, float)):
            self.left_out["a pair without both ratings"] += 1
            return False
        if low > high:
            self.left_out["a pair whose chosen response is rated lower"] += 1
            return False
        if high - low < self.set["gap"]:
            self.left_out[f"a pair rated less than {self.set['gap']:g} points apart"] += 1
            return False
        return True

    def _joined(self, raw: Iterable[RawRow]) -> Iterator[RawRow]:
        """Yield conversations made of utterances, which stand next to each other in the file."""
        line, open_one = 0, None
        done: set[str] = set()
        for number, row in raw:
            if isinstance(row, BadRow):
                yield number, row
                continue
            name = str(row["conversation_id"])
            if open_one is None or name != open_one["conversation_id"]:
                if open_one is not None:
                    yield line, open_one
                    done.add(open_one["conversation_id"])
                line, open_one = number, None
                if name in done:
                    why = f"an utterance of {shorten(name)} far from the others; sort by conversation_id"
                    yield number, BadRow("wrong type", "conversation_id", why)
                    continue
                open_one = {"user_id": row["user_id"], "conversation_id": name, "conversation_history": []}
            open_one["conversation_history"] += _messages(row, open_one["conversation_history"])
        if open_one is not None:
            yield line, open_one


def _messages(row: Row, earlier: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the messages of an utterance: the response, and the prompt where its turn is new."""
    answer = {"turn": row["turn"], "role": "model", "content": row["model_response"]}
    answer |= {"score": row["score"], "if_chosen": row["if_chosen"]}
    if any(m["turn"] == row["turn"] for m in earlier):
        return [answer]
    return [{"turn": row["turn"], "role": "user", "content": row["user_prompt"]}, answer]


def _turns(messages: list[dict[str, Any]]) -> dict[int, list[dict[str, Any]]]:
    """Return the messages of each turn, turns in order."""
    turns: dict[int, list[dict[str, Any]]] = {}
    for message in messages:
        number = message.get("turn")
        if isinstance(number, str) and number.isdigit():
            number = int(number)
        if isinstance(number, float) and number.is_integer():
            number = int(number)
        if not isinstance(number, int):
            raise BadRow("wrong type", "turn", f"{shorten(number)}: expected the number of the turn")
        turns.setdefault(number, []).append(message)
    return dict(sorted(turns.items()))


def _profile(row: Row) -> dict[str, Any]:
    """Return what a participant said of themselves, flat."""
    profile = {name: row[name] for name in PLAIN if row.get(name) not in (None, "")}
    for name, inner in NESTED.items():
        value = decoded(row.get(name))
        profile[name] = pick(value, *inner) if isinstance(value, dict) else value
    wishes = decoded(row.get("stated_prefs"))
    if isinstance(wishes, dict):
        profile |= {f"stated_prefs.{name}": value for name, value in wishes.items()}
    return {name: value for name, value in profile.items() if value not in (None, "")}
