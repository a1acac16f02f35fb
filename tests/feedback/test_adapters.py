"""Published data sets, a few rows each in their own layout: who chose what, and what is left out."""

import adapter_rows as sets
import numpy as np
import pytest

from palate.core import ConfigError, DataError
from palate.feedback import PairRule, read


@pytest.fixture
def read_as(jsonl):
    """Return a function that reads rows of one file by a named adapter."""
    return lambda name, rows, **options: read(f"{name}:{jsonl(*rows)}", **options)


def choices(result):
    """Return (user, last words of the conversation, winner, losers) of every choice."""
    made = []
    for number in range(result.population.n_rows):
        row = result.population.row(number)
        won = None if row.chosen is None else row.responses[row.chosen]
        lost = tuple(text for place, text in enumerate(row.responses) if place != row.chosen)
        made.append((row.user, row.conversation[-1].content, won, lost))
    return made


def rows_of(result, user):
    """Return a user's rows."""
    rows = [result.population.row(number) for number in range(result.population.n_rows)]
    return [row for row in rows if row.user == user]


def test_it_knows_the_layout_of_histories(read_as):
    assert choices(read_as("uid", sets.UIDS)) == [
        ("3", "Name a tea.", "Oolong.", ("A long story of tea.",)),
        ("4", "Name a tea.", "A long story of tea.", ("Oolong.",)),
    ]


# ---- PRISM ----------------------------------------------------------------------------------------

PRISM_PAIRS = [
    ("user1", "Is tea good?", "Yes.", ("No.",)),
    ("user1", "Is tea good?", "Yes.", ("It depends.",)),
    ("user1", "Why?", "It calms.", ("It warms.",)),
]


@pytest.mark.parametrize("rows", [sets.CONVERSATIONS, sets.utterances()], ids=["conversations", "utterances"])
def test_prism_pairs_the_chosen_response_with_those_rated_lower(read_as, rows):
    result = read_as("prism", rows)
    assert choices(result) == PRISM_PAIRS
    assert result.report.adapter == "prism"
    assert dict(result.report.left_out) == {
        "a pair rated less than 10 points apart": 1,
        "a pair without both ratings": 1,
    }
    later = rows_of(result, "user1")[-1].conversation
    assert [(turn.role, turn.content) for turn in later] == [
        ("user", "Is tea good?"),
        ("assistant", "Yes."),
        ("user", "Why?"),
    ]
    text = "\n".join(result.report.lines())
    assert "prism: in each turn the chosen response beats every other one" in text
    assert "left out by the rules of prism" in text


def test_prism_with_another_gap(read_as):
    pairs = choices(read_as("prism,gap=5", sets.CONVERSATIONS))
    assert len(pairs) == 4
    assert ("user1", "Is tea good?", "Yes.", ("Perhaps.",)) in pairs
    with pytest.raises(ConfigError, match="expected 0 to 99"):
        read_as("prism,gap=200", sets.CONVERSATIONS)


def test_prism_never_lets_a_lower_rated_choice_win(read_as):
    talk = [dict(said) for said in sets.CONVERSATIONS[1]["conversation_history"]]
    talk[1]["score"], talk[2]["score"] = 10, 80
    odd = {**sets.CONVERSATIONS[1], "conversation_history": talk}
    result = read_as("prism,gap=0", [sets.CONVERSATIONS[0], odd])
    assert result.report.left_out["a pair whose chosen response is rated lower"] == 1
    assert "user2" not in result.population.users


def test_prism_knows_its_participants(jsonl, tmp_path):
    jsonl(*sets.CONVERSATIONS, name="conversations.jsonl")
    jsonl(*sets.utterances(), name="utterances.jsonl")
    jsonl(*sets.SURVEY, "broken", name="survey.jsonl")
    jsonl({"any": 1}, name="metadata.jsonl")
    for spec in (f"prism:{tmp_path}", str(tmp_path), f"prism:{tmp_path / 'utterances.jsonl'}"):
        result = read(spec)
        assert choices(result) == PRISM_PAIRS, spec
        assert sorted(result.population.users.tolist()) == ["user1", "user3"]
        assert dict(result.report.set_aside) == {"not JSON": 1}
        assert result.report.details[0].file.endswith("survey.jsonl")
    profile = result.population.profiles["user1"]
    assert profile["religion"] == "No Affiliation"
    assert profile["location"] == "Spain"
    assert profile["stated_prefs.values"] == "70"
    assert not {"lm_familiarity", "stated_prefs.other_text"} & profile.keys()


def test_prism_times_and_ids(read_as):
    rows = rows_of(read_as("prism", sets.CONVERSATIONS), "user1")
    assert [row.id for row in rows] == ["c1-0-1", "c1-0-3", "c1-1-0"]
    assert rows[0].time == np.datetime64("2023-12-01T10:00:00").astype(float)


def test_prism_turn_without_a_choice_ends_its_conversation(read_as):
    talk = [*sets.CONVERSATIONS[0]["conversation_history"]]
    talk[7] = {**talk[7], "if_chosen": False}
    result = read_as("prism", [{**sets.CONVERSATIONS[0], "conversation_history": talk}])
    assert choices(result) == PRISM_PAIRS[:2]
    assert result.report.left_out["a turn without a chosen response, and those after it"] == 1


def test_prism_utterances_that_are_not_in_order(read_as):
    rows = sets.utterances()
    result = read_as("prism", [*rows, rows[0]])
    assert choices(result) == PRISM_PAIRS
    assert "sort by conversation_id" in result.report.details[0].why
    assert result.report.details[0].line == len(rows) + 1


@pytest.mark.parametrize("rows", [sets.CONVERSATIONS, sets.utterances()], ids=["conversations", "utterances"])
def test_prism_gives_its_ratings(read_as, rows):
    result = read_as("prism,turns=graded", rows, rule=PairRule("all", min_gap=0))
    assert sorted(choices(result)) == sorted(
        [
            *PRISM_PAIRS,
            ("user1", "Is tea good?", "Yes.", ("Perhaps.",)),
            ("user1", "Is tea good?", "Perhaps.", ("No.",)),
            ("user1", "Is tea good?", "Perhaps.", ("It depends.",)),
            ("user1", "Is tea good?", "It depends.", ("No.",)),
        ]
    )
    assert result.report.ratings == 7
    assert dict(result.report.left_out) == {"a response without a rating": 1}
    assert "every rated response of a turn is a rating" in " ".join(result.report.notes)
    assert rows_of(result, "user1")[-1].conversation[1].content == "Yes.", "what was chosen goes on"
    with pytest.raises(ConfigError, match="turns=best: expected chosen or graded"):
        read_as("prism,turns=best", rows)


# ---- PersonalRewardBench and Arena ----------------------------------------------------------------


def test_personal_reward_bench_splits_the_rows_of_a_user(read_as):
    result = read_as("personalrewardbench", [*sets.PERSONAL, sets.personal("u2", "holdout", 4)])
    assert result.population.split.tolist() == [0, 0, 1]
    assert choices(result)[0] == ("u1", "Tell me 1.", "Good 1", ("Bad 1",))
    assert rows_of(result, "u1")[0].conversation[1].role == "assistant"
    assert (result.report.details[0].kind, result.report.details[0].line) == ("bad role", 4)


def test_personal_reward_bench_takes_files_as_splits_of_users(jsonl, tmp_path):
    (tmp_path / "data").mkdir()
    for number, split in enumerate(("train", "val", "test")):
        rows = [
            sets.personal(f"u{number}", part, 10 * number + k) for k, part in enumerate(("train", "test"))
        ]
        jsonl(*rows, name=f"data/{split}-00000-of-00001.jsonl")
    for spec in (f"personalrewardbench:{tmp_path}", str(tmp_path)):
        people = read(spec).population
        roles = dict(zip(people.users.tolist(), people.role.tolist(), strict=True))
        assert roles == {"u0": 0, "u1": 1, "u2": 2}


def test_arena_has_ties_of_two_kinds(read_as):
    result = read_as("arena", [*sets.ARENA, sets.battle(5, "nobody"), sets.battle(1, "model_a")])
    assert choices(result) == [
        ("arena_user_1", "Ask 1", "A 1", ("B 1",)),
        ("arena_user_1", "Ask 2", "B 2", ("A 2",)),
        ("arena_user_1", "Ask 3", None, ("A 3", "B 3")),
        ("arena_user_1", "Ask 4", None, ("A 4", "B 4")),
    ]
    assert dict(result.report.set_aside) == {"bad winner": 1, "duplicate id": 1}
    assert result.shown.all()


# ---- PersonalLLM ----------------------------------------------------------------------------------


def test_every_reward_model_may_be_a_user(read_as):
    result = read_as("personalllm,users=models", sets.PERSONALLLM)
    assert [(user, won) for user, _, won, _ in choices(result)] == [
        ("gemma_2b", "Response 1.2"),
        ("gemma_2b", "Response 2.1"),
        ("mistral_ray", "Response 1.1"),
        ("mistral_ray", "Response 2.4"),
    ]
    assert any("each of the 2 reward models, seed 0" in line for line in result.report.lines())


def test_mixtures_of_reward_models_are_told_and_repeatable(read_as):
    spec = "personalllm,users=30,alpha=0.3,seed=4"
    first, again = (read_as(spec, sets.PERSONALLLM) for _ in range(2))
    assert choices(first) == choices(again) != choices(read_as(spec + "1", sets.PERSONALLLM))
    assert first.population.n_users == 30
    winners = {won for _, talk, won, _ in choices(first) if talk == "Prompt 1"}
    assert winners == {"Response 1.1", "Response 1.2"}
    told = "simulated users: 30 mixtures of 2 reward models, Dirichlet 0.3, seed 4; each answers 100%"
    assert told in "\n".join(first.report.lines())
    assert first.report.to_json()["adapter"] == "personalllm"


def test_a_mixture_weighs_scores_by_the_published_spread(read_as):
    """With almost equal weights (a large alpha) the standardised scores add up."""
    from palate.feedback.adapters.personalllm import SPREAD

    rows = [sets.scored(1, {"gemma_2b": [2.0, 0.0], "mistral_ray": [0.0, 1.8]})]
    assert 2.0 / SPREAD["gemma_2b"] < 1.8 / SPREAD["mistral_ray"]
    result = read_as("personalllm,users=5,alpha=1e6,seed=0", rows)
    assert {won for _, _, won, _ in choices(result)} == {"Response 1.2"}


def test_random_pairs_and_a_share_of_prompts(read_as):
    result = read_as("personalllm,users=models,pairs=2", sets.PERSONALLLM)
    assert result.population.n_rows == 2 * 2 * 2
    scores = {f"Response 1.{i}": s for i, s in enumerate((1.0, 5.0, 2.0, 0.0), 1)}
    for user, talk, won, (lost,) in choices(result):
        if (user, talk) == ("gemma_2b", "Prompt 1"):
            assert scores[won] > scores[lost]
    some = read_as("personalllm,users=200,alpha=1,seed=0,share=0.25", sets.PERSONALLLM)
    assert 50 < some.population.n_rows < 150


def test_simulated_users_must_be_asked_for(read_as, jsonl):
    with pytest.raises(
        ConfigError, match=r"are simulated: say users, alpha, seed, such as personalllm,users="
    ):
        read_as("personalllm", sets.PERSONALLLM)
    with pytest.raises(ConfigError, match="say seed"):
        read_as("personalllm,users=8,alpha=0.1", sets.PERSONALLLM)
    with pytest.raises(ConfigError, match="are simulated"):
        read(jsonl(*sets.PERSONALLLM))
    for wrong in ("users=0,alpha=1,seed=0", "users=2,alpha=0,seed=0", "users=models,share=0"):
        with pytest.raises(ConfigError, match="expected"):
            read_as(f"personalllm,{wrong}", sets.PERSONALLLM)


def test_scores_that_are_missing_or_of_unknown_models(read_as):
    broken = {**sets.PERSONALLLM[1], "response_2_gemma_2b": None}
    result = read_as("personalllm,users=models", [sets.PERSONALLLM[0], broken])
    assert dict(result.report.set_aside) == {"bad rating": 1}
    with pytest.raises(
        DataError, match=r"the scores of my_own; expected columns response_1_MODEL to response_2"
    ):
        read_as("personalllm,users=models", [sets.scored(1, {"my_own": [1.0, 2.0]})])


# ---- the others -----------------------------------------------------------------------------------


def test_psoups_takes_the_wish_from_the_file_and_out_of_the_prompt(jsonl):
    result = read(f"psoups:{jsonl(*sets.PSOUPS, name='P3B.jsonl')}")
    assert choices(result)[0] == ("P3B", "Name a tea.", "Find it yourself.", ("Try oolong!",))
    assert result.population.profiles["P3B"]["wish"] == sets.WISH


def test_psoups_in_its_other_layouts(read_as):
    assert [user for user, *_ in choices(read_as("psoups", sets.UIDS))] == ["3", "4"]
    assert choices(read_as("psoups", sets.WORDS)) == [("P3B", "Name a tea.", "No.", ("Oolong!",))]


def test_psoups_folder_with_other_files(jsonl, tmp_path):
    jsonl(*sets.PSOUPS, name="P3B.json")
    jsonl({"user_input": "Name a tea.", "completion_a": "A", "completion_b": "B"}, name="P1A.json")
    jsonl({"instruction_id": 1, "text": "no pair"}, name="koala_eval_50.json")
    result = read(f"psoups:{tmp_path}")
    assert result.population.users.tolist() == ["P1A", "P3B"]
    assert dict(result.report.set_aside) == {"missing field": 1}
    assert result.report.details[0].file.endswith("koala_eval_50.json")


def test_psoups_without_a_user(read_as):
    with pytest.raises(DataError, match="no file P1A to P3B"):
        read_as("psoups", sets.PSOUPS)


def test_tldr_workers_choose_summaries(read_as):
    result = read_as("tldr", [*sets.TLDR, sets.compared(2), sets.compared(0, worker=None)])
    assert choices(result) == [
        ("w1", "Keys\n\nI lost my keys.", "Keys lost.", ("A loss of keys.",)),
        ("w2", "News of keys.", "A loss of keys.", ("Keys lost.",)),
    ]
    assert dict(result.report.set_aside) == {"chosen not among responses": 1, "missing field": 1}


def test_tldr_as_columns(read_as):
    flat = {
        "info.post": "I lost my keys.",
        "summaries": {"text": ["Lost.", "Keys."]},
        "choice": 1,
        "worker": "w",
    }
    assert choices(read_as("tldr", [flat])) == [("w", "I lost my keys.", "Keys.", ("Lost.",))]


def test_personas_choose_by_label(read_as):
    result = read_as("elix", [*sets.ELIX, {**sets.ELIX[0], "label": 2}])
    assert choices(result) == [
        ("child", "What is rain?", "Drops.", ("Precipitation.",)),
        ("expert", "What is rain?", "Precipitation.", ("Drops.",)),
    ]
    assert dict(result.report.set_aside) == {"bad winner": 1}


def test_roleplay_and_plain_personas(read_as):
    result = read_as("roleplay", sets.ROLEPLAY)
    assert choices(result) == [("cdf7-1", "Plan my day.", "Tea first.", ("Run first.",))]
    assert result.population.profiles["cdf7-1"] == {"persona": "A tea merchant."}
    plain = {"persona": "A nurse.", "prompt": "Hi", "chosen": "Hello", "rejected": "Yo", "preference": "kind"}
    assert choices(read_as("review", [plain])) == [("A nurse.", "Hi", "Hello", ("Yo",))]


def test_alignx_rows_are_users(read_as):
    result = read_as("alignx", sets.ALIGNX)
    assert choices(result) == [
        ("rows-1", "A post on pots", "Lovely pots", ("Ugly pots",)),
        ("rows-1", "A post on tea", "Love it", ("Hate it",)),
        ("rows-2", "A post on dogs", "Good dog", ("Bad dog",)),
    ]
    assert result.population.split.tolist() == [0, 1, 1]
    profile = result.population.profiles["rows-1"]
    assert profile["preference_direction"].split()[-3:] == ["0.5", "0", "1"]
    assert (profile["demographics"], profile["comment_1"]) == ("A gardener.", "Nice cups")


def test_alignx_directions_have_90_values(read_as):
    short = {**sets.ALIGNX[0], "Preference Direction": [1, 0]}
    result = read_as("alignx", [short, sets.ALIGNX[1]])
    assert result.population.users.tolist() == ["rows-2"]
    assert "expected 90 values" in result.report.details[0].why


def write_polis(folder, prefix="", votes=sets.VOTES):
    (folder / f"{prefix}comments.csv").write_text(sets.COMMENTS)
    (folder / f"{prefix}votes.csv").write_text(votes)
    (folder / f"{prefix}summary.csv").write_text(sets.TOPIC)
    (folder / f"{prefix}participant-votes.csv").write_text("participant,group-id,n-comments\n7,0,1\n")
    return folder


@pytest.mark.parametrize("prefix", ["", "2020-06-29-travel-"])
def test_polis_votes_are_ratings(tmp_path, prefix):
    folder = write_polis(tmp_path, prefix)
    for spec in (f"polis:{folder}", str(folder), f"polis:{folder / (prefix + 'votes.csv')}"):
        result = read(spec, rule=PairRule(min_gap=2))
        assert choices(result) == [
            ("7", "How should we travel?", "More cycling, and walking.", ("Fewer trees.",))
        ]
        assert (result.report.ratings, result.report.n_set_aside) == (4, 0)
        assert len(read(spec).population.row_user) == 2


def test_polis_vote_on_a_statement_that_is_not_there(tmp_path):
    folder = write_polis(tmp_path, votes=sets.VOTES + "1593461139,Mon Jun 29 2020,99,8,1\n")
    report = read(folder).report
    assert [(d.line, d.why) for d in report.details] == [(6, "there is no comment 99")]


def test_polis_needs_its_statements(tmp_path):
    alone = tmp_path / "votes.csv"
    alone.write_text(sets.VOTES)
    with pytest.raises(DataError, match=r"holds no comments of Polis; it holds votes\.csv"):
        read(f"polis:{alone}")
    with pytest.raises(DataError, match="votes without the statements"):
        read(alone)


def test_polis_folder_of_two_conversations(tmp_path):
    write_polis(tmp_path, "a-")
    write_polis(tmp_path, "b-")
    with pytest.raises(DataError, match=r"several data sets: a-summary.csv, b-summary.csv; name one"):
        read(f"polis:{tmp_path}")
    assert read(f"polis:{tmp_path / 'b-votes.csv'}").report.ratings == 4


def test_groups_stand_for_people(read_as, jsonl, tmp_path):
    (tmp_path / "harmless-base").mkdir()
    result = read(
        f"hh:{jsonl(*sets.HH, {'chosen': 'no turns', 'rejected': ''}, name='harmless-base/train.jsonl')}"
    )
    assert choices(result) == [("harmless", "Why?", "Because.", ("No idea.",))]
    assert dict(result.report.set_aside) == {"wrong type": 1}
    assert choices(read_as("shp", sets.SHP)) == [
        ("askculinary", "How long do I brew?", "Three minutes.", ("An hour.",)),
        ("askculinary", "How long do I brew?", "An hour.", ("Three minutes.",)),
    ]
    assert choices(read_as("saferlhf", sets.SAFE)) == [
        ("better", "How?", "So.", ("I will not say.",)),
        ("safer", "How?", "I will not say.", ("So.",)),
    ]
