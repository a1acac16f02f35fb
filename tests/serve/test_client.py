"""The client: what it sends and reads, when it sends again, its errors; and every method on a real server."""

import asyncio
import inspect
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import httpx
import numpy as np
import pytest
from serve_live import choice, fit_small, serving
from serve_upstream import Fake, chunked, completion, event, whole

from palate import core
from palate.client import (
    AsyncPalate,
    BadRequest,
    Conflict,
    NotAllowed,
    NotFound,
    Palate,
    ServerDown,
    ServerSaid,
    TooMany,
    verl,
)
from palate.client import palate as clients
from palate.client.verb import Call, Verb
from palate.serve.wire.feedback import Choice, Told
from palate.serve.wire.persona import Edit
from palate.serve.wire.texts import Message

VERBS = {name: verb for name, verb in vars(clients.Verbs).items() if isinstance(verb, Verb)}
CHOICE = {"user": "ann", "conversation": "Hi", "responses": ["Hello!", "Yo."], "chosen": 0}
KEPT = {"accepted": [{"index": 0, "user": "ann", "key": "k", "number": 1}], "refused": []}
RANKINGS = {
    "ranking": [
        {"index": 1, "score": 0.5, "probability": 0.6},
        {"index": 0, "score": 0.1, "probability": 0.4},
    ],
    "persona": {"user": "ann"},
}


class Mock:
    """Answers by a list, one after the other, and keeps what was sent."""

    def __init__(self, *answers):
        self.answers, self.sent = list(answers), []

    def __call__(self, request):
        self.sent.append(request)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        status, body, *headers = answer
        return httpx.Response(status, json=body, headers=headers[0] if headers else None)

    def client(self, **fields):
        return Palate("http://palate.test", "pk_x", transport=httpx.MockTransport(self), **fields)

    def bodies(self):
        return [json.loads(request.content) for request in self.sent]


def fault(code, message, field=None):
    return {"error": {"code": code, "message": message, "field": field}}


# ---- every route has a method -----------------------------------------------------------------------------


def test_every_route_of_the_server_has_a_method():
    """Walk openapi.json: a route without a method, or a method without a route, is told by name."""
    from palate.serve.http.app import create_app
    from palate.serve.settings import Settings

    spec = create_app(Settings()).openapi()
    served = {
        (method.upper(), path)
        for path, methods in spec["paths"].items()
        for method in methods
        if method in ("get", "post", "put", "patch", "delete")
    }
    mine = {(verb.method, verb.template) for verb in VERBS.values()}
    assert served - mine == set(), "routes without a method of the client"
    assert mine - served == set(), "methods of the client without a route"
    assert len(mine) == len(VERBS) - 1  # choose and feedback are one route


def test_every_answer_is_read_as_the_server_describes_it():
    from palate.serve.http.app import create_app
    from palate.serve.settings import Settings

    spec = create_app(Settings()).openapi()
    wrong = {}
    for name, verb in VERBS.items():
        operation = spec["paths"][verb.template][verb.method.lower()]
        asked = {each["name"] for each in operation.get("parameters", []) if each["in"] == "query"}
        assert asked <= set(inspect.signature(verb._fill).parameters), name
        responses = spec["paths"][verb.template][verb.method.lower()]["responses"]
        content = next(responses[s] for s in ("200", "201", "202", "204") if s in responses).get(
            "content", {}
        )
        schema = content.get("application/json", {}).get("schema", {})
        told = schema.get("items", schema).get("$ref", "").rpartition("/")[2]
        answer = getattr(verb._answer, "__args__", [verb._answer])[0]
        read = answer.__name__ if hasattr(answer, "model_fields") else ""
        if told != read:
            wrong[name] = (told, read)
    assert wrong == {}


@pytest.mark.parametrize("name", VERBS)
def test_both_clients_have_it_documented(name):
    for kind in (Palate, AsyncPalate):
        method = getattr(kind("http://palate.test"), name)
        assert inspect.getdoc(method)
        assert inspect.signature(method) == inspect.signature(VERBS[name]._fill)


# ---- what is sent -----------------------------------------------------------------------------------------


def test_a_choice_is_given_a_key_and_comes_back_typed():
    mock = Mock((200, KEPT))
    with mock.client() as palate:
        told = palate.choose(**CHOICE)
    (request,) = mock.sent
    (body,) = mock.bodies()
    assert isinstance(told, Told)
    assert told.accepted[0].number == 1
    assert request.headers["authorization"] == "Bearer pk_x"
    assert request.headers["content-type"] == "application/json"
    assert len(body.pop("key")) == 32
    assert body == CHOICE | {"conversation": [{"role": "user", "content": "Hi"}]}


def test_many_choices_each_get_a_key_of_their_own():
    mock = Mock((200, KEPT))
    mock.client().feedback([CHOICE, Choice(**CHOICE, key="mine"), CHOICE])
    keys = [row["key"] for row in mock.bodies()[0]["choices"]]
    assert keys[1] == "mine"
    assert len(set(keys)) == 3


@pytest.mark.parametrize(
    ("user", "path"),
    [
        ("ann", "/v1/users/ann/persona"), ("a/b", "/v1/users/a%2Fb/persona"),
        ("..", "/v1/users/%2E%2E/persona"), (".", "/v1/users/%2E/persona"),
        ("ü ?#%", "/v1/users/%C3%BC%20%3F%23%25/persona"),
    ],
)  # fmt: skip
def test_a_user_is_one_segment_of_the_path(user, path):
    mock = Mock((404, fault("unknown_user", "nobody")))
    with pytest.raises(NotFound):
        mock.client().persona(user)
    assert mock.sent[0].url.raw_path == path.encode()


def test_edits_are_sent_as_the_wire_has_them():
    mock = Mock((409, fault("conflict", "somebody edited")))
    with pytest.raises(Conflict):
        mock.client().edit(
            "ann", 3, [{"do": "forget", "about": "length"}, Edit(do="say", text="x")], only_try=True
        )
    assert mock.bodies() == [
        {
            "version": 3,
            "edits": [{"do": "forget", "about": "length"}, {"do": "say", "text": "x"}],
            "try": True,
        }
    ]


def test_conversations_in_any_form():
    mock = Mock(*[(200, RANKINGS)] * 3)
    palate = mock.client()
    turn = {"role": "user", "content": "Hi"}
    for talk in ("Hi", [turn], (Message(role="user", content="Hi"),)):
        assert palate.rank(talk, ("a", "b"), "ann").ranking[0].index == 1
    assert [body["conversation"] for body in mock.bodies()] == [[turn]] * 3


def test_queries_leave_out_what_is_not_given():
    mock = Mock(*[(404, {})] * 2)
    for arguments in ({}, {"after": "a&b", "limit": 3}):
        with pytest.raises(NotFound):
            mock.client().users(**arguments)
    assert [request.url.raw_path for request in mock.sent] == [b"/v1/users", b"/v1/users?after=a%26b&limit=3"]


def test_chat_names_the_user_in_a_header():
    mock = Mock((200, {"choices": []}))
    mock.client().chat({"model": "m", "messages": [], "extra": 1.0}, user="jürgen")
    assert mock.sent[0].headers["x-palate-user"] == "j%C3%BCrgen"
    assert mock.bodies() == [{"model": "m", "messages": [], "extra": 1.0}]


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda p: p.choose("ann", "Hi", ["a"], 0), "responses"),
        (lambda p: p.choose("ann", "Hi", ["a", "b"], 7), "chosen is 7"),
        (lambda p: p.rank("", ["a", ""]), "responses.1"),
        (lambda p: p.edit("ann", 1, [{"do": "lock"}]), "needs the field 'about'"),
        (lambda p: p.jury(["a", "a"], "Hi", ["a", "b"]), "named twice"),
        (lambda p: p.make_key("x", ["everything"]), "scopes.0"),
    ],
)
def test_what_cannot_be_is_told_before_it_is_sent(call, words):
    mock = Mock()
    with pytest.raises(core.DataError, match=words):
        call(mock.client())
    assert mock.sent == []


def test_an_address_that_is_none():
    with pytest.raises(core.ConfigError, match="expected one such as http"):
        Palate("localhost:8000")


def test_the_key_of_the_environment(monkeypatch):
    monkeypatch.setenv("PALATE_KEY", "pk_env")
    mock = Mock((200, {"status": "ok"}))
    Palate("http://palate.test", transport=httpx.MockTransport(mock)).health()
    assert mock.sent[0].headers["authorization"] == "Bearer pk_env"


# ---- errors -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "kind", "tree"),
    [
        *[(status, BadRequest, core.DataError) for status in (400, 413, 414, 415, 422)],
        *[(status, NotAllowed, core.KeyRefused) for status in (401, 403)],
        (404, NotFound, core.DataError),
        (409, Conflict, core.DataError),
        (429, TooMany, core.EndpointDown),
        *[(status, ServerDown, core.EndpointDown) for status in (500, 502, 503, 504)],
    ],
)
def test_a_fault_is_an_error_of_the_tree(status, kind, tree):
    mock = Mock((status, fault("a_code", "what to do", "user"), {"x-request-id": "r1"}))
    with pytest.raises(kind, match=rf"what to do \(status {status}, a_code\)") as raised:
        mock.client(retries=0).persona("ann")
    error = raised.value
    assert isinstance(error, tree)
    assert isinstance(error, ServerSaid)
    assert (error.status, error.code, error.field, error.request_id) == (status, "a_code", "user", "r1")


@pytest.mark.parametrize(
    "body", [b"", b"<html>502</html>", b"[]", b'{"error": "text"}', b'{"error": {"message": 3}}']
)
def test_an_error_of_something_in_between_is_told_too(body):
    transport = httpx.MockTransport(lambda request: httpx.Response(502, content=body))
    with pytest.raises(ServerDown, match="status 502"):
        Palate("http://palate.test", transport=transport, retries=0).state()


def test_choices_that_were_all_refused():
    mock = Mock(
        (422, {"accepted": [], "refused": [{"index": 0, "field": "chosen", "message": "chosen is 7"}]})
    )
    with pytest.raises(BadRequest, match="chosen is 7") as raised:
        mock.client().choose(**CHOICE)
    assert raised.value.field == "chosen"


def test_an_answer_that_is_something_else():
    mock = Mock((200, {"hello": 1}))
    with pytest.raises(ServerDown, match="something else than this client reads"):
        mock.client().rank("Hi", ["a", "b"])


# ---- again ------------------------------------------------------------------------------------------------

BUSY = (503, fault("unavailable", "the database is away"), {"retry-after": "0.05"})
BROKE = httpx.RemoteProtocolError("peer closed")
LATE = httpx.ReadTimeout("late")
DOWN = httpx.ConnectError("refused")


@pytest.mark.parametrize(
    "first", [BUSY, (429, {}, {"retry-after": "0"}), BROKE, LATE, DOWN, (502, {}), (504, {})]
)
def test_a_choice_is_sent_again_under_the_same_key(first, monkeypatch):
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    mock = Mock(first, first, (200, KEPT))
    mock.client().choose(**CHOICE)
    assert len(mock.sent) == 3
    assert len({request.content for request in mock.sent}) == 1


@pytest.mark.parametrize("first", [BROKE, LATE, (502, {}), (504, {})])
@pytest.mark.parametrize(
    "call",
    [
        lambda p: p.edit("ann", 1, [{"do": "apply", "how": "never"}]),
        lambda p: p.erase("ann"),
        lambda p: p.remove_choice("ann", "k"),
        lambda p: p.chat({"model": "m", "messages": []}),
        lambda p: p.make_key("x", ["read"]),
    ],
)
def test_what_may_have_been_done_is_not_done_twice(call, first):
    mock = Mock(first)
    with pytest.raises(ServerDown):
        call(mock.client())
    assert len(mock.sent) == 1


@pytest.mark.parametrize("first", [BUSY, DOWN])
def test_what_was_surely_not_done_is_sent_again(first, monkeypatch):
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    mock = Mock(first, (200, {"choices": []}))
    mock.client().chat({"model": "m", "messages": []})
    assert len(mock.sent) == 2


def test_retry_after_is_honoured(monkeypatch):
    waits = []
    monkeypatch.setattr(time, "sleep", waits.append)
    Mock((429, {}, {"retry-after": "1.5"}), (503, {}, {"retry-after": "0"}), (200, KEPT)).client().choose(
        **CHOICE
    )
    assert waits == [1.5, 0.0]


def test_a_server_that_asks_for_too_long_is_not_waited_for():
    mock = Mock((429, fault("too_many", "slow down"), {"retry-after": "3600"}))
    with pytest.raises(TooMany, match="slow down"):
        mock.client().choose(**CHOICE)


def test_waits_grow_and_end(monkeypatch):
    waits = []
    monkeypatch.setattr(time, "sleep", waits.append)
    with pytest.raises(ServerDown, match="nothing listens there"):
        Mock(*[DOWN] * 5).client(retries=4).choose(**CHOICE)
    assert len(waits) == 4
    assert all(0.125 * 2**n <= wait <= 0.25 * 2**n for n, wait in enumerate(waits))


def test_other_refusals_are_not_sent_again():
    mock = Mock((422, fault("bad_request", "no")))
    with pytest.raises(BadRequest):
        mock.client().rank("Hi", ["a", "b"])
    assert len(mock.sent) == 1


def test_a_connection_that_breaks_for_real():
    """Over real sockets: the first answer never comes, the second does, and the body was the same."""
    with Fake() as fake:

        async def script(call, writer):
            if len(fake.calls) == 1:
                writer.transport.abort()
            else:
                await whole(json.dumps(KEPT).encode())(call, writer)

        fake.script = script
        with Palate(fake.url.removesuffix("/v1"), "pk_x") as palate:
            palate.choose(**CHOICE)
        assert len(fake.calls) == 2
        assert fake.calls[0].body == fake.calls[1].body


def test_awaiting_is_the_same():
    async def run():
        mock = Mock(BUSY, (200, RANKINGS), (404, fault("unknown_user", "nobody")))
        transport = httpx.MockTransport(mock)
        async with AsyncPalate("http://palate.test", "pk_x", transport=transport) as palate:
            found = await palate.rank("Hi", ["a", "b"], user="ann")
            with pytest.raises(NotFound):
                await palate.persona("bob")
        return found, mock

    found, mock = asyncio.run(run())
    assert found.ranking[0].probability == 0.6
    assert mock.sent[0].content == mock.sent[1].content


# ---- streams ----------------------------------------------------------------------------------------------


def test_events_of_a_chat_come_as_they_are_sent():
    call = {"model": "m", "messages": []}

    async def awaited(url):
        async with AsyncPalate(url, "pk_x") as palate:
            return [e async for e in palate.chat_stream(call, user="ann")]

    with Fake() as fake:
        fake.script = chunked([event("a"), b": comment\n\n", event("b"), b"data: [DONE]\n\n"])
        url = fake.url.removesuffix("/v1")
        with Palate(url, "pk_x") as palate:
            events = list(palate.chat_stream(call, user="ann"))
        assert [e["choices"][0]["delta"]["content"] for e in events] == ["a", "b"]
        assert asyncio.run(awaited(url)) == events
        assert fake.calls[0].read == call | {"stream": True}
        assert fake.calls[0].headers["x-palate-user"] == "ann"


def test_a_chat_that_breaks_off_is_no_end():
    with Fake() as fake:
        fake.script = chunked([event("a")], pause=0.02, end=False)
        with Palate(fake.url.removesuffix("/v1"), "pk_x") as palate:
            events = palate.chat_stream({"model": "m", "messages": []})
            assert next(events)
            with pytest.raises(ServerDown, match="the connection broke"):
                next(events)


def test_a_chat_that_is_refused():
    with Fake() as fake:
        fake.script = whole(b'{"error": {"message": "no such model", "code": "x"}}', b"404 No")
        with (
            Palate(fake.url.removesuffix("/v1"), "pk_x") as palate,
            pytest.raises(NotFound, match="no such model"),
        ):
            list(palate.chat_stream({"model": "m", "messages": []}))


# ---- verl -------------------------------------------------------------------------------------------------


def scores(call):
    rows = call.read["solution_strs"]
    return json.dumps({"scores": [{"score": float(len(text)), "probability": 0.5} for text in rows]}).encode()


@pytest.fixture
def rewarding(monkeypatch):
    """A fake server that rewards by length, and verl's functions towards it."""
    with Fake() as fake:

        async def script(call, writer):
            await whole(scores(call))(call, writer)

        fake.script = script
        monkeypatch.setenv("PALATE_URL", fake.url.removesuffix("/v1"))
        monkeypatch.setenv("PALATE_KEY", "pk_env")
        yield fake
        while verl._clients:
            verl._clients.popitem()[1].close()


def test_verl_calls_by_name_and_reads_a_score(rewarding):
    info = {
        "user": "ann",
        "question": "Hi",
        "num_turns": 2,
        "rollout_reward_scores": {},
        "index": np.int64(3),
    }
    found = verl.compute_score(
        data_source="tastes", solution_str="four", ground_truth=None, extra_info=info,
        reward_router_address=None, reward_model_tokenizer=object(),
    )  # fmt: skip
    assert found["score"] == 4.0
    (call,) = rewarding.calls
    assert call.read == {
        "solution_strs": ["four"],
        "extra_infos": [{"user": "ann", "question": "Hi"}],
        "ground_truths": [None],
    }
    assert call.headers["authorization"] == "Bearer pk_env"


def test_verl_batches_hold_arrays(rewarding):
    """As a Parquet file gives them: arrays of dictionaries, numpy's numbers and texts."""
    turns = np.array([{"role": "user", "content": np.str_("Hi")}], dtype=object)
    infos = np.array(
        [{"user": np.str_("ann"), "prompt": turns, "among": np.array(["a", "b"])}] * 300, dtype=object
    )
    texts = ["x" * n for n in range(300)]
    found = verl.compute_scores(
        data_sources=np.array(["t"] * 300), solution_strs=texts, ground_truths=[None] * 300, extra_infos=infos
    )
    assert [row["score"] for row in found] == [float(n) for n in range(300)]
    assert [len(call.read["solution_strs"]) for call in rewarding.calls] == [256, 44]
    row = rewarding.calls[1].read["extra_infos"][0]
    assert row == {"user": "ann", "prompt": [{"role": "user", "content": "Hi"}], "among": ["a", "b"]}


def test_verl_loads_the_function_from_its_file(rewarding):
    """As verl does: by the path of the file, under another module's name, in a process of its own."""
    code = (
        "import importlib.util, sys; "
        "spec = importlib.util.spec_from_file_location('custom_module', sys.argv[1]); "
        "module = importlib.util.module_from_spec(spec); sys.modules['custom_module'] = module; "
        "spec.loader.exec_module(module); "
        "info = {'user': 'ann', 'prompt': 'Hi'}; "
        "print(module.compute_score('t', 'four', None, info, **{'url': sys.argv[2]})['score'])"
    )
    address = os.environ["PALATE_URL"]
    done = subprocess.run(
        [sys.executable, "-c", code, verl.__file__, address], capture_output=True, text=True
    )
    assert (done.stdout.strip(), done.stderr) == ("4.0", "")


def test_verl_without_a_server_is_told(monkeypatch):
    monkeypatch.delenv("PALATE_URL", raising=False)
    with pytest.raises(core.ConfigError, match="PALATE_URL"):
        verl.compute_score("t", "x", None, {})


def test_a_call_reads_what_its_route_answers():
    call = Call("GET", "/x", None, {}, True, list[int])
    assert call.read(b"[1, 2]") == [1, 2]


# ---- a tour of a real server ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def live(tmp_path_factory):
    """A server with an upstream that writes two answers."""
    folder = tmp_path_factory.mktemp("served")
    model = fit_small(folder)
    with Fake(script=writes) as fake:
        more = {"upstream": fake.url, "model_root": str(folder)}
        with serving(f"sqlite:///{folder}/palate.db", model, **more) as server:
            yield server


async def writes(call, writer):
    models = b'{"object": "list", "data": []}'
    await whole(models if call.method == "GET" else completion("Boil it.", "First take a pot, then wait."))(
        call, writer
    )


class Tour:
    """A client that notes which methods were called."""

    def __init__(self, palate):
        self._palate, self.called = palate, set()

    def __getattr__(self, name):
        self.called.add(name)
        return getattr(self._palate, name)


def persons(go, user):
    """One user's way: choices, what is believed, corrections, use."""
    assert go.choose(**CHOICE | {"user": user, "key": "one"}).accepted[0].replayed is False
    assert go.choose(**CHOICE | {"user": user, "key": "one"}).accepted[0].replayed is True
    told = go.feedback([choice(user, n) for n in range(20)] + [{"user": user, "chosen": 9}])
    assert (len(told.accepted), told.refused[0].index) == (20, 20)
    page = go.choices(user, limit=5)
    assert (page.total, len(page.choices)) == (21, 5)
    assert go.choices(user, before=page.next).choices[0].number < page.choices[-1].number
    go.remove_choice(user, "one")
    go.set_profile(user, {"language": "English"})
    assert user in [row.user for row in go.users(like=user).users]
    shown = go.persona(user)
    assert (shown.user, shown.choices) == (user, 20)
    says = [Edit(do="say", text="Prefers metric units.")]
    assert go.edit(user, shown.version, says, only_try=True).effect.told
    assert not any("metric" in each.text for each in go.persona(user).statements)
    patched = go.edit(user, shown.version, says)
    assert any("metric" in each.text for each in patched.persona.statements)
    with pytest.raises(Conflict):
        go.edit(user, shown.version, says)
    first = go.versions(user)[-1].version
    assert go.version(user, first).version == first
    assert go.revert(user, patched.persona.version, first).persona.user == user


def uses(go, user):
    """What was learned, in use."""
    responses = ["Boil it for 9 minutes.", "First take a pot. Then fill it with water. Then wait, friend."]
    assert {each.index for each in go.rank("How?", responses, user).ranking} == {0, 1}
    assert len(go.reward("How?", responses, user, among=["Wait."]).rewards) == 2
    assert go.judge("How?", *responses, user).prefers in ("first", "second", "neither")
    assert len(go.jury([user, "zoe"], "How?", responses, "worst").votes) == 2
    offers = [{"conversation": "How?", "responses": responses}]
    assert len(go.next_pairs(user, 1, offers).pairs) == 1
    assert len(go.best_of("How?", "m", user, n=2).answers) == 2
    assert go.chat({"model": "m", "messages": [{"role": "user", "content": "Hi"}]}, user)["choices"]
    assert go.models()["data"] == []
    assert len(go.reward_openrlhf(["HiYes"], ["Hi"], [json.dumps({"user": user})]).rewards) == 1
    assert len(go.reward_verl(["Yes"], [{"user": user, "question": "Hi"}]).scores) == 1


def operates(go, user):
    """Keys, pool, model, figures, and the person's rights at the end."""
    assert go.whoami().tenant == "default"
    made = go.make_key("a key", ["read"], days=1)
    listed = go.keys()
    assert made.id in [key.id for key in listed]
    go.revoke_key(made.id)
    assert go.make_token(user, ["read"]).user == user
    added = go.add_to_pool([{"conversation": "How?", "responses": ["a", "b"]}])
    assert go.pool(limit=10).total == 1
    go.remove_from_pool(added.ids[0])
    assert go.model().fingerprint == go.state().model.fingerprint
    assert go.swap_model("model").fingerprint
    assert go.people_map().users >= 1
    assert (go.health().status, go.ready().status) != ("", "")
    assert b"palate_requests_total" in go.metrics()
    assert go.export(user).profile == {"language": "English"}
    receipt = go.erase(user)
    assert go.receipt(receipt.id) == receipt
    assert go.audit(limit=10).rows
    with pytest.raises(NotFound):
        go.export(user)


@pytest.mark.parametrize("user", ["ann", "a/b c%2F", "..", "ürs 😀"])
def test_every_method_on_a_real_server(live, user):
    with Palate(live.url, live.key()) as palate:
        tour = Tour(palate)
        persons(tour, user)
        uses(tour, user)
        operates(tour, user)
        assert tour.called == set(VERBS)


def test_awaited_on_a_real_server(live):
    async def run():
        async with AsyncPalate(live.url, live.key()) as palate:
            await asyncio.gather(*(palate.choose(**choice("eve", n)) for n in range(8)))
            shown, found = await asyncio.gather(palate.persona("eve"), palate.rank("Hi", ["a", "b"], "eve"))
            await palate.erase("eve")
            return shown, found

    shown, found = asyncio.run(run())
    assert (shown.choices, found.persona.choices) == (8, 8)


def test_another_users_token(live):
    with Palate(live.url, live.key(user="ann")) as palate, pytest.raises(NotAllowed) as raised:
        palate.persona("bob")
    assert raised.value.status == 403
    with Palate(live.url, "pk_wrong_wrong_wrong") as palate, pytest.raises(NotAllowed, match="key"):
        palate.whoami()


def test_the_documents_lines_run(live, capsys):
    """Run the Python of docs/client.md, one block after the other, against the server."""
    text = (Path(__file__).parents[2] / "docs" / "client.md").read_text()
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    names = {}
    for block in blocks:
        exec(block.replace("http://127.0.0.1:8000", live.url).replace("pk_...", live.key()), names)
    names["palate"].erase("ann")
    names["palate"].close()
    assert len(blocks) >= 3
    assert "would" in capsys.readouterr().out or names["told"].effect.told


def test_the_document_names_every_method():
    text = (Path(__file__).parents[2] / "docs" / "client.md").read_text()
    assert [name for name in VERBS if f"`{name}`" not in text] == []
