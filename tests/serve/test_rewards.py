"""Rewards in the shapes of OpenRLHF and verl: who is asked about, what was answered, what comes back."""

import json
import math

import httpx
import pytest
from serve_live import choice, fit_small, serving

from palate.client import Palate, verl
from palate.core import DataError
from palate.serve.rows import read_openrlhf, read_verl
from palate.serve.wire.training import MOST_ROWS, OpenRlhf, Verl

ASKED = "How do I cook rice?"
SHORT, LONG = (
    "Boil it for 9 minutes.",
    "First take a pot. Then fill it with water. Then wait for 9 minutes, friend.",
)
CHATML = (
    f"<|im_start|>system\nBe kind.<|im_end|>\n<|im_start|>user\n{ASKED}<|im_end|>\n<|im_start|>assistant\n"
)
LLAMA = (
    "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\n" + ASKED + "<|eot_id|>"
    "<|start_header_id|>assistant<|end_header_id|>\n\n"
)
GEMMA = f"<bos><start_of_turn>user\n{ASKED}<end_of_turn>\n<start_of_turn>model\n"


@pytest.fixture(scope="module")
def live(tmp_path_factory):
    """A server on which ann prefers the short answer, and bob the long one."""
    model = fit_small(tmp_path_factory.mktemp("model"))
    with serving(f"sqlite:///{tmp_path_factory.mktemp('kept')}/palate.db", model) as server:
        with server.client() as client:
            rows = [choice("ann", n) for n in range(24)] + [choice("bob", n, chosen=1) for n in range(24)]
            client.post("/v1/feedback", json={"choices": rows}).raise_for_status()
        yield server


@pytest.fixture(scope="module")
def client(live):
    with live.client() as client:
        yield client


def label(user, **more):
    return json.dumps({"user": user, **more})


def openrlhf(client, *rows):
    """Post rows of (user, answer) as OpenRLHF does."""
    body = {
        "query": [CHATML + answer + "<|im_end|>\n" for _, answer in rows],
        "prompts": [CHATML] * len(rows),
        "labels": [label(user) for user, _ in rows],
    }
    answer = client.post("/v1/reward/openrlhf", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


# ---- OpenRLHF ---------------------------------------------------------------------------------------------


def test_the_shape_that_openrlhf_reads(client):
    said = openrlhf(client, ("ann", SHORT), ("ann", LONG), ("bob", SHORT), ("bob", LONG))
    assert set(said) == {"rewards", "scores", "extra_logs"}
    a_short, a_long, b_short, b_long = said["rewards"]
    assert a_short > a_long
    assert b_long > b_short
    assert said["scores"] == pytest.approx([1 / (1 + math.exp(-r)) for r in said["rewards"]])
    assert said["extra_logs"]["persona_choices"] == [24.0] * 4
    assert all(0 <= weight <= 1 for weight in said["extra_logs"]["persona_weight"])


def test_a_row_alone_gets_what_it_gets_among_others(client):
    """Newer versions of OpenRLHF send one row a call, older ones whole batches."""
    rows = [("ann", SHORT), ("bob", LONG), ("ann", LONG)]
    together = openrlhf(client, *rows)["rewards"]
    alone = [openrlhf(client, row)["rewards"][0] for row in rows]
    assert alone == pytest.approx(together)


def test_the_key_in_the_address(live):
    """No header is sent: the address holds the key, as the password."""
    body = {"query": [CHATML + SHORT], "prompts": [CHATML], "labels": [label("ann")]}
    where = httpx.URL(live.url + "/v1/reward/openrlhf", userinfo=f"palate:{live.key('use')}".encode())
    assert httpx.post(where, json=body).status_code == 200
    assert httpx.post(live.url + "/v1/reward/openrlhf", json=body).status_code == 401


def test_labels_that_say_nothing_are_the_average_users(client):
    def ask(labels):
        body = {"query": [CHATML + SHORT] * 4, "prompts": [CHATML] * 4, "labels": labels}
        return client.post("/v1/reward/openrlhf", json=body).json()

    said = ask(["42", None, "{broken", '["a"]'])
    assert len(set(said["rewards"])) == 1
    assert said["extra_logs"]["persona_choices"] == [0.0] * 4
    assert ask(None)["rewards"] == said["rewards"]


def test_a_users_token_rewards_for_its_user(live, client):
    with live.client(live.key(user="ann")) as ann:
        body = {"query": [CHATML + SHORT], "prompts": [CHATML], "labels": None}
        own = ann.post("/v1/reward/openrlhf", json=body).json()["rewards"]
        assert own == openrlhf(client, ("ann", SHORT))["rewards"]
        assert ann.post("/v1/reward/openrlhf", json=body | {"labels": [label("bob")]}).status_code == 403


def test_fields_of_other_versions_are_passed_over(client):
    body = {
        "query": [CHATML + SHORT],
        "prompts": [CHATML],
        "images": [None],
        "labels": [label("ann", extra=1)],
    }
    assert client.post("/v1/reward/openrlhf", json=body).status_code == 200


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"prompts": [CHATML, CHATML]}, "rows"),
        ({"query": []}, "at least 1"),
        ({"query": ["something else"]}, "query.0 does not hold its prompt"),
        ({"labels": [label("a\x00b")]}, "labels.0.user"),
        ({"labels": [label("ann", conversation=[{"role": "x", "content": "y"}])]}, "labels.0.conversation"),
        ({"labels": [label("ann", among=[3])]}, "labels.0.among"),
    ],
)
def test_rows_that_cannot_be_read_are_named(client, fields, words):
    body = {"query": [CHATML + SHORT], "prompts": [CHATML], "labels": [label("ann")]} | fields
    answer = client.post("/v1/reward/openrlhf", json=body)
    assert answer.status_code == 422
    assert words in answer.json()["error"]["message"]


def test_an_empty_answer_is_rewarded_too(client):
    said = openrlhf(client, ("ann", ""), ("ann", SHORT))
    assert all(map(math.isfinite, said["rewards"]))


def row(query, prompt, label=None):
    return read_openrlhf(OpenRlhf(query=[query], prompts=[prompt], labels=[label]))[0]


@pytest.mark.parametrize(
    ("prompt", "end", "roles"),
    [
        (CHATML, "<|im_end|>\n", ["system", "user"]),
        (LLAMA, "<|eot_id|>", ["user"]),
        (GEMMA, "<end_of_turn>\n<eos>", ["user"]),
        (ASKED, "</s>", ["user"]),
        (ASKED + "\n", "<|endoftext|><|endoftext|>", ["user"]),
    ],
)
def test_prompts_and_answers_are_taken_apart(prompt, end, roles):
    asked = row(prompt + SHORT + end, prompt)
    assert asked.response == SHORT
    assert [turn.role for turn in asked.conversation] == roles
    assert asked.conversation[-1].content.strip() == ASKED


def test_a_prompt_whose_beginning_was_cut_off():
    long = "<|im_start|>user\n" + "word " * 300 + ASKED + "<|im_end|>\n<|im_start|>assistant\n"
    assert row(long[500:] + SHORT, long).response == SHORT


def test_a_labels_conversation_goes_first():
    talk = [{"role": "user", "content": "Else"}]
    asked = row(CHATML + SHORT, CHATML, label("ann", conversation=talk, among=[LONG]))
    assert (asked.user, asked.conversation[0].content, asked.among) == ("ann", "Else", [LONG])
    assert row(CHATML + SHORT, CHATML, label("ann", prompt="Else")).conversation[0].content == "Else"


def test_there_is_a_limit_of_rows():
    with pytest.raises(ValueError, match="at most 4096"):
        OpenRlhf(query=["x"] * (MOST_ROWS + 1), prompts=["x"] * (MOST_ROWS + 1))


# ---- verl -------------------------------------------------------------------------------------------------


def test_the_shape_that_verl_reads(client):
    infos = [{"user": user, "question": ASKED} for user in ("ann", "ann", "bob", "bob")]
    body = {"solution_strs": [SHORT, LONG] * 2, "extra_infos": infos, "data_sources": ["t"] * 4}
    said = client.post("/v1/reward/verl", json=body).json()["scores"]
    assert all(set(each) == {"score", "probability", "persona_choices", "persona_weight"} for each in said)
    assert said[0]["score"] > said[1]["score"]
    assert said[3]["score"] > said[2]["score"]


def test_what_it_is_measured_against(client):
    body = {"solution_strs": [SHORT], "extra_infos": [{"user": "ann", "prompt": ASKED, "among": [SHORT]}]}
    (same,) = client.post("/v1/reward/verl", json=body).json()["scores"]
    assert (same["score"], same["probability"]) == (pytest.approx(0), pytest.approx(0.5))


def test_a_ground_truth_may_name_the_user():
    truth = {"user": "ann", "conversation": ASKED}
    for said in (truth, json.dumps(truth)):
        (asked,) = read_verl(Verl(solution_strs=[SHORT], ground_truths=[said]))
        assert (asked.user, asked.conversation[0].content) == ("ann", ASKED)


@pytest.mark.parametrize("info", [None, {}, {"user": "ann"}, "text"])
def test_a_row_without_a_conversation_is_named(info):
    with pytest.raises(DataError, match=r"extra_infos\.0 holds no conversation"):
        read_verl(Verl(solution_strs=[SHORT], extra_infos=[info]))


def test_verls_functions_against_the_server(live, client, monkeypatch):
    monkeypatch.setenv("PALATE_URL", live.url)
    info = {"user": "ann", "prompt": [{"role": "user", "content": ASKED}]}
    key = live.key("use")
    one = verl.compute_score("t", SHORT, None, info, key=key)
    many = verl.compute_scores(["t"] * 2, [SHORT, LONG], [None] * 2, [info] * 2, key=key)
    verl._clients.popitem()[1].close()
    assert one == many[0]
    assert many[0]["score"] > many[1]["score"]


def test_the_client_asks_as_openrlhf_does(live):
    with Palate(live.url, live.key("use")) as palate:
        said = palate.reward_openrlhf([CHATML + SHORT], [CHATML], [label("ann")])
        scores = palate.reward_verl([SHORT], [{"user": "ann", "conversation": ASKED}])
    assert len(said.rewards) == 1
    assert scores.scores[0]["persona_choices"] == 24
