"""A person as codes that a language model puts into words for each episode: network, training, contract."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from palate import Feedback, Population
from palate.checks import CHECKS, Subject, people
from palate.core import ConfigError, History, MethodError, Persona, as_conversation, job
from palate.core.errors import PersonaMismatch
from palate.models.abductive import QUESTION
from palate.models.codebook import Codebook
from palate.models.llm.session import language_models
from palate.tune.coupled import Coupler, Shape, states
from palate.tune.describing import Describer, Row, collate
from palate.tune.epipersona_a import EpiPersonaA
from palate.tune.episode import episode, why
from palate.tune.judged import trusted
from palate.tune.past import decided
from palate.tune.prompts import templates
from palate.tune.teacher import KEYS

TALK = as_conversation("Hi")


def small(model, teacher, **more):
    fields = {
        "limit": 200,
        "answer_tokens": 48,
        "describe_tokens": 8,
        "steps": 4,
        "batch": 4,
        "accumulate": 1,
        "warmup": 0,
        "draws": 2,
        "codes": 6,
        "width": 4,
        "lora_rank": 2,
        "form": "plain",
        "templates": "small",
        "calibrate": 20,
    }
    return EpiPersonaA(model=str(model), teacher=teacher, **{**fields, **more})


# ---- past choices ---------------------------------------------------------------------------------------


def crowd(*chosen):
    """Users u0, u1, ... with a choice among three answers for every number, None a tie."""
    return Population.of(
        Feedback(f"u{u}", as_conversation(f"q{u}{n}"), ("a", f"b{n}", f"c{n}"), c, f"u{u}-{n}", time=float(n))
        for u, row in enumerate(chosen)
        for n, c in enumerate(row)
    )


def test_windows_hold_the_latest_decided_choices_of_each_user():
    folk = crowd([0, None, 1, 2, 0], [None], [2])
    past = decided(folk, most=3, length=2)
    rows = folk.pairs.row[past.pair]
    assert rows.tolist() == [2, 2, 3, 3, 4, 4, 6, 6]
    assert past.window.tolist() == [0, 0, 0, 0, 1, 1, 2, 2]
    assert past.user.tolist() == [0, 0, 2]
    assert decided(crowd([None]), 3, 2).pair.shape == (0,)


def test_a_question_shows_both_answers_and_an_episode_shows_the_conversation_alone():
    words = templates("first")
    question, opening = why("first", words, TALK, "{rejected}", "no")
    assert "# The answer they kept\n{rejected}" in question
    assert opening == "This person"
    assert question.startswith(QUESTION[:30])
    assert why("small", templates("small"), TALK, "yes", "no") == ("ask Hi good yes bad no why", "likes")
    assert why("none such", words, TALK, "yes", "no")[0] == why("first", words, TALK, "yes", "no")[0]
    assert why("first", words, TALK, "a", "b", "{rejected}<{chosen}")[0] == "b<a"
    assert episode("small", TALK, "plain") == "ask Hi describe"
    for name in ("first", "second"):
        told = episode(name, TALK, "json")
        assert "Hi" in told
        assert all(f'"{key}"' in told for key in KEYS)


# ---- the network ----------------------------------------------------------------------------------------


def coupler(codes=5, seed=0, estimate=6, width=3, d=32):
    torch.manual_seed(seed)
    like = torch.randn(40, d)
    made = Coupler(estimate, like, Shape(codes, width), seed)
    e = torch.randn(30, estimate)
    return made.begin(e, np.repeat(np.arange(6), 5), [[i, i + 1] for i in range(0, 30, 2)]), e


def test_windows_start_at_mean_zero_and_about_unit_variance():
    made, e = coupler()
    h, whole = made.windows(
        e.reshape(15, 2, 6), torch.zeros(15, 2, dtype=torch.int64), torch.ones(15, 2).bool()
    )
    assert h.shape == (15, 1, 3)
    assert whole.all()
    assert h.mean((0, 1)).abs().max() < 1e-5
    assert 0.5 < float(h.detach().std((0, 1), correction=0).mean()) < 1.5


def test_soft_tokens_are_the_codes_in_the_order_of_their_numbers():
    """In training and from the arrays of a saved model alike, whatever the order of the past."""
    made, e = coupler()
    made.eval()
    arrays = made.arrays()
    place, there = (
        torch.tensor([[0, 1, 2, 3], [0, 0, 1, 0]]),
        torch.tensor([[1, 1, 1, 1], [1, 1, 1, 0]]).bool(),
    )
    soft = made((e[:8].reshape(2, 4, 6), place, there))
    assert soft.there.tolist() == [[True] * 5, [True] * 3 + [False] * 2]
    h = [
        arrays.windows(e[:4].numpy(), np.arange(4), 4),
        arrays.windows(e[4:7].numpy(), np.array([0, 0, 1]), 2),
    ]
    codes = [np.sort(arrays.nearest(one)) for one in h]
    again = arrays.soft([arrays.codes[c] for c in codes])
    for row, n in enumerate((5, 3)):
        assert torch.allclose(soft.tokens[row, :n], again.tokens[row, :n], atol=1e-5)
    turned = made((e[[3, 1, 0, 2]][None], place[:1], there[:1]))
    assert torch.allclose(turned.tokens, soft.tokens[:1], atol=1e-6)


def test_a_user_without_choices_is_the_first_soft_token_alone():
    made, e = coupler()
    batch = collate([Row([], [], [5, 6], [7, 2])], e, 0)
    soft = made((batch["estimates"], batch["window"], batch["there"]))
    assert soft.there.tolist() == [[True, False]]
    assert torch.equal(soft.tokens[0, 0], made.start)
    alone = made.arrays().soft([np.zeros((0, 3))])
    assert torch.equal(alone.tokens[0, 0], made.start.detach())


def test_the_loss_is_that_of_next_tokens_and_commitment(make_exact):
    """Against float64 written out: soft tokens by hand, one sequence at a time, log-softmax of its words."""
    model, (made, e) = make_exact(), coupler()
    made, e = made.double().train(), e.double()
    rows = [
        Row([0, 1, 2], [0, 0, 1], [5, 6, 7], [8, 9, 2]),
        Row([], [], [5], [9, 2]),
        Row([4], [0], [6, 6], [2]),
    ]
    book = made.book.codes.detach().clone()
    total, count, gaps = 0.0, 0, []
    for row in rows:
        h = [
            made.project @ e[[j for j, w in zip(row.past, row.window, strict=True) if w == m]].mean(0)
            + made.centre
            for m in sorted(set(row.window))
        ]
        near = sorted(int(((book - x) ** 2).sum(1).argmin()) for x in h)
        gaps += [((x - book[int(((book - x) ** 2).sum(1).argmin())]) ** 2).mean() for x in h]
        soft = torch.stack([made.start, *[made.widen @ book[n] for n in near]])
        ids = torch.tensor([*row.prompt, *row.target])
        words = torch.cat([soft, model.get_input_embeddings()(ids)])[None]
        logp = model(inputs_embeds=words).logits[0].log_softmax(-1)
        for i in range(len(row.prompt), len(ids)):
            total -= float(logp.detach()[len(soft) + i - 1, ids[i]])
            count += 1
    wanted = total / count + 0.2 * float(torch.stack(gaps).mean().detach())
    loss = Describer(model, made)(**collate(rows, e, 0))["loss"]
    assert float(loss.detach()) == pytest.approx(wanted, rel=1e-6)


def test_gradients_reach_projection_soft_tokens_and_model_through_the_codes(make_network):
    made, e = coupler()
    model = Describer(make_network(), made).train()
    model(**collate([Row([0, 1], [0, 1], [5], [8, 2])], e, 0))["loss"].backward()
    for weight in (made.project, made.centre, made.widen, made.start, model.model.lm_head.weight):
        assert weight.grad is not None
        assert float(weight.grad.abs().sum()) > 0


def test_a_checkpoint_holds_what_is_trained_and_nothing_else(make_network):
    model = Describer(make_network().requires_grad_(False), coupler()[0])
    model.model.lm_head.weight.requires_grad_(True)
    held = {name: value.clone() for name, value in model.state_dict().items()}
    assert [name for name in held if name.startswith("model.")] == ["model.lm_head.weight"]
    assert any("embed" in name for name in held)  # the codebook's moving averages
    with torch.no_grad():
        model.source.start.zero_()
        model.model.lm_head.weight.zero_()
    model.load_state_dict(held)
    assert all(torch.equal(value, held[name]) for name, value in model.state_dict().items())


def test_states_are_read_at_the_end_whatever_the_batch(make_network):
    model = make_network()
    rows = [[1, 5, 6], [1, 9], [1, 5, 6], [1, 5, 6, 7, 8]]
    found = states(model, rows, 0, budget=6)
    for row, mine in zip(rows, found, strict=True):
        alone = model.base_model(torch.tensor([row])).last_hidden_state[0, -1]
        assert np.allclose(mine, alone.detach().numpy(), atol=1e-5)
    assert states(model, [], 0).shape == (0, 32)


# ---- learning -------------------------------------------------------------------------------------------


def two_kinds(users=16, rows=6, seed=0):
    """Even users choose answers that begin with x, odd ones others; rows are of two topics in turn."""
    rng = np.random.default_rng(seed)
    made = []
    for u in range(users):
        for n in range(rows):
            mine, other = f"x{rng.integers(9)}", f"y{rng.integers(9)}"
            pair = (mine, other) if u % 2 == 0 else (other, mine)
            made.append(
                Feedback(f"k{u:02d}", as_conversation("ab"[n % 2]), pair, 0, f"k{u:02d}-{n}", time=float(n))
            )
    return Population.of(made)


def wanted(user, topic):
    """What the teacher says: the taste in the words of the topic."""
    return {("x", "a"): "pp", ("x", "b"): "qq", ("y", "a"): "rr", ("y", "b"): "ss"}["xy"[user % 2], topic]


@pytest.fixture(scope="module")
def lesson(models, tmp_path_factory):
    path = tmp_path_factory.mktemp("teacher") / "told.jsonl"
    folk = two_kinds()
    lines = [
        {"id": f.id, "description": wanted(int(h.user[1:]), f.conversation[0].content)}
        for h in folk
        for f in h.feedback
    ]
    path.write_text("\n".join(map(json.dumps, lines)))
    method = small(
        models("whole"),
        f"file:{path}",
        reader="lexical",
        steps=120,
        batch=16,
        lora_rank=8,
        lr=1e-2,
        lr_codes=1e-2,
        draws=4,
    )
    return method.fit(folk), folk, f"file:{path}"


def test_it_says_each_taste_in_the_words_of_each_episode(lesson):
    """New users, one topic in their past, either topic ahead: taste and episode are brought together."""
    method, _, _ = lesson
    new = list(two_kinds(users=6, seed=9))
    past = [
        replace(h, feedback=tuple(f for f in h.feedback if f.conversation[0].content == "a")) for h in new
    ]
    personas = method.adapt_batch(past)
    right = [
        method.description(persona, as_conversation(topic)) == wanted(u, topic)
        for u, persona in enumerate(personas)
        for topic in "ab"
    ]
    assert sum(right) >= 11, right


def test_what_was_learned_is_told(lesson):
    method, folk, _ = lesson
    persona = method.adapt(folk.history(0))
    assert persona.text is None
    assert sum(persona.vector) == 6
    assert method.curve_[-1]["loss"] < 0.5 * method.curve_[0]["loss"]
    assert 1 < method.curve_[-1]["perplexity"] <= 6
    assert method.codebook_["windows"] > 0
    told = method.describe(persona)
    assert told.startswith("6 windows of past choices fall on ")
    assert "“pp”" in told or "“qq”" in told
    assert "rr" not in told
    assert "ss" not in told
    assert "no codes" in method.describe(Persona())


def test_words_that_somebody_wrote_stand_in_the_place_of_the_description(lesson):
    method, folk, _ = lesson
    persona = method.adapt(folk.history(0))
    mine = replace(persona, text="zzz")
    assert method._known([mine], [as_conversation("a")])[0].summary == "zzz"
    assert method._known([persona], [as_conversation("a")])[0].summary in ("pp", "qq", "rr", "ss")


def test_answers_are_written_under_the_description(lesson):
    method, folk, _ = lesson
    persona = method.adapt(folk.history(0))
    (texts,) = method.generate_batch([persona], [TALK], samples=2, longest=4)
    assert len(texts) == 2
    assert "".join(method.stream(persona, TALK, longest=4)) is not None
    stranger = replace(persona, provenance=replace(persona.provenance, model="another"))
    with pytest.raises(PersonaMismatch):
        method.generate_batch([stranger], [TALK], longest=4)


def test_a_judge_at_an_endpoint_reads_the_description(lesson):
    """Distinct answers are compared in both orders, whatever their number on offer."""
    method, folk, _ = lesson
    persona = method.adapt(folk.history(0))
    with language_models() as session:
        judged = method.clone(judge_lm="fake:world", calibrate=0)
        judged.__dict__.update({k: v for k, v in vars(method).items() if k.endswith("_") or k == "_opened"})
        texts = ["Short.", "A much longer answer than the other one is.", "Short."]
        scores = judged.score(replace(persona, provenance=None), "a", texts)
        table = {line["program"]: line["requests"] for line in session.ledger.table(by="program")}
    assert scores.shape == (3,)
    assert scores[0] == scores[2] != scores[1]
    assert table["judge"] == 2


# ---- the contract ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def subject(models, tmp_path_factory):
    """Fitted on made-up people whose descriptions are there for every choice that the checks make up."""
    path = tmp_path_factory.mktemp("teacher") / "told.jsonl"
    seen = {
        f.id: "ab"[u % 2] for seed in range(8) for u, h in enumerate(people(seed=seed)) for f in h.feedback
    }
    seen |= {f"o{i}": "odd" for i in range(12)}
    path.write_text("\n".join(json.dumps({"id": i, "description": d}) for i, d in seen.items()))
    return Subject(lambda: small(models("whole"), f"file:{path}"))


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__.removeprefix("check_"))
def test_it_keeps_the_contract(subject, check):
    check(subject)


@pytest.mark.parametrize(
    "fields",
    [
        {"quantise": False, "window": 2, "signals": 5},
        {"abductive": False},
        {"window": 3},
        {"reader": "lexical"},
        {"reader": "lexical", "abductive": False},
        {"lora_rank": 0},
    ],
    ids=str,
)
def test_its_ablations_learn_are_saved_and_come_back(lesson, models, tmp_path, monkeypatch, fields):
    _, folk, teacher = lesson
    method = small(models("whole"), teacher, **fields).fit(folk)
    persona = method.adapt(folk.history(1))
    path = method.save(tmp_path / "model")
    back = small(models("whole"), teacher, **fields).restore(
        path, json.loads((path / "model.json").read_text())
    )
    assert back.fingerprint == method.fingerprint
    assert back.adapt(folk.history(1)) == persona
    assert np.array_equal(back.score(persona, "a", ["x1", "y1"]), method.score(persona, "a", ["x1", "y1"]))
    assert "windows" in method.describe(persona)


def test_without_a_codebook_the_latest_windows_are_kept(lesson, models):
    _, folk, teacher = lesson
    method = small(models("whole"), teacher, quantise=False, window=2, signals=5).fit(folk)
    persona = method.adapt(folk.history(0))
    assert len(persona.vector) == 3 * 5
    assert persona.vector[-3:] == (1.0, 1.0, 1.0)
    one = method.adapt(History("k00", folk.history(0).feedback[:1]))
    assert one.vector[-3:] == (1.0, 0.0, 0.0)
    assert method._codes(np.array(one.vector)).shape == (1, 4)


def test_a_run_that_was_done_is_not_run_again_and_another_one_is_refused(lesson, models, tmp_path):
    _, folk, teacher = lesson
    with job(tmp_path):
        first = small(models("whole"), teacher).fit(folk)
    told = []
    with job(tmp_path, lambda what, done, total: told.append(what)):
        again = small(models("whole"), teacher).fit(folk)
    assert again.fingerprint == first.fingerprint
    assert not [what for what in told if "descriptions" in what]
    with job(tmp_path), pytest.raises(ConfigError, match="codes: was 6, now 5"):
        small(models("whole"), teacher, codes=5).fit(folk)


def test_a_run_that_was_cut_goes_on_to_the_same_end(lesson, models, tmp_path):
    _, folk, teacher = lesson
    whole = small(models("whole"), teacher, steps=6, save_every=2)
    with job(tmp_path / "whole"):
        whole.fit(folk)

    class Cut(Exception):
        pass

    def tell(what, done, total):
        if "descriptions" in what and done == 5:
            raise Cut

    with job(tmp_path / "cut", tell), pytest.raises(Cut):
        small(models("whole"), teacher, steps=6, save_every=2).fit(folk)
    with job(tmp_path / "cut"):
        back = small(models("whole"), teacher, steps=6, save_every=2).fit(folk)
    assert np.allclose(back.project_, whole.project_, atol=1e-6)
    assert np.allclose(back.codes_, whole.codes_, atol=1e-5)


def test_a_teacher_that_gives_nothing_is_an_error(models, tmp_path):
    (tmp_path / "none.jsonl").write_text("")
    with pytest.raises(MethodError, match=r"none of \d+ descriptions can be used \(\{'missing'"):
        small(models("whole"), f"file:{tmp_path / 'none.jsonl'}").fit(two_kinds(users=2))


def test_a_codebook_that_collapses_stops_the_run(lesson, models, monkeypatch):
    """All codes but one lie where no window is, and none is placed anew."""
    _, folk, teacher = lesson
    start = Codebook.start

    def far(self, h):
        start(self, h)
        held = self.quantiser._codebook
        held.embed[:, 1:] += 1e4
        held.embed_avg.copy_(held.embed * held.cluster_size[..., None])

    monkeypatch.setattr(Codebook, "start", far)
    with pytest.raises(MethodError, match=r"collapsed: .* windows up to step 80 fall on .* perplexity 1.00"):
        small(models("whole"), teacher, steps=100, batch=16, revive=0.0).fit(folk)


def test_a_codebook_that_validation_users_do_not_use_is_an_error(lesson):
    method, _, _ = lesson
    far = method.clone()
    far.__dict__.update({k: v for k, v in vars(method).items() if k.endswith("_") or k == "_opened"})
    far._look(two_kinds(users=20))
    assert far.codebook_["windows"] == 120
    far.codes_ = np.concatenate([method.codes_[:1], method.codes_[1:] + 1e4])
    with pytest.raises(
        MethodError, match="the 120 windows of the validation users fall on codes of perplexity 1"
    ):
        far._look(two_kinds(users=20))


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"form": "xml"}, "form is json or plain"),
        ({"window": 0}, "window=0; expected 1 or more"),
        ({"decay": 1.0}, "decay=1.0"),
        ({"teacher": "a.jsonl"}, "expected file:PATH"),
    ],
)
def test_fields_that_cannot_work_are_refused(fields, why):
    with pytest.raises(ConfigError, match=why):
        EpiPersonaA(model="m", **fields)


def test_log_odds_are_trusted_as_far_as_choices_bear_them_out():
    right = trusted(np.full(200, 0.5))
    wrong = trusted(np.concatenate([np.full(100, 5.0), np.full(100, -5.0)]))
    assert right > 3
    assert wrong < 0.05
    assert math.isclose(trusted(np.array([])), 1.0)
