"""One product's day over HTTP, on SQLite and on PostgreSQL: the answers are the same."""

import re

from serve_live import choice, serving
from serve_stores import fresh

ASKED = {"conversation": "How do I boil an egg?", "responses": ["Seven minutes.", "First, take a pot. " * 5]}
PAIR = {
    "conversation": "Tea or coffee?",
    "responses": ["Tea.", "Coffee, for it wakes you up, my dear friend."],
}
DRAWN = re.compile(r"\b(key|tok|r|p)_[0-9a-f]{8,}\b")  # names that are drawn
OWN = {"remains", "cache.texts"}
"""What one database leaves and another does not, and what was in memory just then."""


def differences(one, other, where=""):
    """Yield where two answers differ in more than names that are drawn, and the time of day."""
    if isinstance(one, dict) and isinstance(other, dict) and one.keys() == other.keys():
        for key in one.keys() - OWN:
            yield from differences(one[key], other[key], f"{where}/{key}")
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        for n, (mine, its) in enumerate(zip(one, other, strict=True)):
            yield from differences(mine, its, f"{where}[{n}]")
    elif isinstance(one, float) and isinstance(other, float):
        if abs(one - other) > 1e-6 * max(1.0, abs(one)):
            yield where, one, other
    elif isinstance(one, str) and isinstance(other, str):
        if DRAWN.sub("*", one) != DRAWN.sub("*", other):
            yield where, one, other
    elif one != other:
        yield where, one, other


def day(live, api):
    """Yield (what was done, status, answer) of everything that a product does with two users."""

    def did(method, path, body=None):
        answer = api.request(method, path, json=body)
        return f"{method} {path}", answer.status_code, answer.json() if answer.content else None

    sent = [choice("ann", n, time=1.6e9 + n) for n in range(10)]
    sent[2]["reason"] = "It is short."
    yield did("POST", "/v1/feedback", {"choices": sent[:6]})
    other = {**sent[0], "chosen": 1}  # under a key that is kept
    yield did("POST", "/v1/feedback", {"choices": [*sent[5:], other]})
    yield did("POST", "/v1/feedback", choice("bob", 1, chosen=1, time=1.6e9))
    yield did("POST", "/v1/feedback", {**choice("bob", 2), "responses": ["one"]})
    live.settle()
    for user in ("ann", "bob", "nobody", None):
        yield did("POST", "/v1/rank", {"user": user, **ASKED})
    first, second = ASKED["responses"]
    judged = {"user": "ann", "conversation": ASKED["conversation"], "first": first, "second": second}
    yield did("POST", "/v1/judge", judged)
    yield did("POST", "/v1/jury", {"users": ["ann", "bob"], **ASKED})
    shown = did("GET", "/v1/users/ann/persona")
    yield shown
    version = shown[2]["version"]
    edits = [{"do": "forget", "about": "length"}, {"do": "say", "text": "I cook without a microwave."}]
    yield did("PATCH", "/v1/users/ann/persona", {"version": version, "try": True, "edits": edits})
    yield did("PATCH", "/v1/users/ann/persona", {"version": version, "edits": edits})
    # the same once more: somebody else was first
    yield did("PATCH", "/v1/users/ann/persona", {"version": version, "edits": edits})
    yield did("GET", "/v1/users/ann/persona/versions")
    yield did("POST", "/v1/users/ann/persona/revert", {"to": version, "version": version + 1})
    yield did("PUT", "/v1/users/ann/profile", {"profile": {"language": "Welsh"}})
    yield did("POST", "/v1/pool", {"offers": [PAIR]})
    yield did("GET", "/v1/pool")
    yield did("POST", "/v1/users/ann/next", {})
    yield did("GET", "/v1/users/ann/choices?limit=3")
    yield did("DELETE", "/v1/users/ann/choices/ann-0")
    yield did("DELETE", "/v1/users/ann/choices/ann-0")
    yield did("GET", "/v1/users?like=n")
    live.settle()
    *asked, people = did("GET", "/v1/people")
    people["points"].sort(key=lambda point: point["user"])  # they come in an order that is drawn
    yield *asked, people
    yield did("GET", "/v1/users/ann/export")
    yield did("DELETE", "/v1/users/ann")
    yield did("GET", "/v1/users/ann/persona")
    yield did("POST", "/v1/feedback", choice("ann", 1))
    yield did("GET", "/v1/users/ann/choices")
    yield did("GET", "/v1/audit?limit=1000")


def test_the_answers_are_the_same(model, tmp_path):
    days = {}
    for backend in ("sqlite", "postgresql"):
        (tmp_path / backend).mkdir()
        with serving(fresh(backend, tmp_path / backend), model) as live, live.client() as api:
            days[backend] = list(day(live, api))
    assert len(days["sqlite"]) == len(days["postgresql"]) == 31
    for (done, status, answer), (_, its_status, its_answer) in zip(*days.values(), strict=True):
        assert (status, list(differences(answer, its_answer))) == (its_status, []), done
    assert {status for _, status, _ in days["sqlite"]} == {200, 201, 204, 404, 409, 422}
