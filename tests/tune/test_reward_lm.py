"""reward-lm: its loss to the letter, what training rows may know, that it learns tastes, and its contract."""

import numpy as np
import pytest
import torch

from palate.checks import CHECKS, Subject, people
from palate.checks import serving as serving_checks
from palate.core import (
    ConfigError,
    Feedback,
    History,
    Persona,
    Population,
    Query,
    as_conversation,
    job,
)
from palate.small.base import random_base
from palate.tune.reward_lm import RewardLM
from palate.tune.reward_reading import fit_own, rewards
from palate.tune.reward_rows import crossed, facts, other_choices, parts, windows
from palate.tune.reward_training import MixedRewardTrainer, RewardRow, collate
from palate.tune.soft import Softened, UserTable

pytestmark = pytest.mark.filterwarnings(
    "ignore:`is_gradient_checkpointing`:FutureWarning"
)  # PEFT asks for it
WORDS = {0: ("brief", "short", "terse"), 1: ("long", "full", "ample")}
SHARED = {"templates": "small", "answer_tokens": 16, "limit": 64, "lora_rank": 16, "schedule": "constant"}


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return str(random_base(tmp_path_factory.mktemp("reward") / "base"))


def opposed(users, rows, seed):
    """Even users choose the answer with a word of brevity, odd ones the other, always."""
    rng = np.random.default_rng(seed)
    out = []
    for user in range(users):
        name, made = f"u{seed}-{user}", []
        for row in range(rows):
            topic = str(rng.choice(["bread", "stars", "rivers", "chess"]))
            prompt = f"{topic} {rng.choice(['history', 'basics', 'costs'])}"
            tone = rng.choice(["warm", "kind", "cool", "dry"])
            answers = [f"{topic} {tone} {rng.choice(WORDS[side])}" for side in (0, 1)]
            order = rng.permutation(2)
            chosen = int(np.flatnonzero(order == user % 2)[0])
            shown = tuple(answers[i] for i in order)
            made.append(Feedback(name, as_conversation(prompt), shown, chosen, id=f"{name}-{row}"))
        out.append(History(name, tuple(made)))
    return out


TRAIN, NEW = opposed(24, 10, 0), opposed(12, 12, 1)
CONTEXT = [History(h.user, h.feedback[:8]) for h in NEW]


def right(method, personas):
    """Share of new users' later choices that are foretold."""
    asked = [(p, f) for p, h in zip(personas, NEW, strict=True) for f in h.feedback[8:]]
    scores = method.score_batch([Query(p, f.conversation, f.responses) for p, f in asked]).reshape(-1, 2)
    return float(np.mean([s.argmax() == f.chosen for s, (_, f) in zip(scores, asked, strict=True)]))


@pytest.fixture(scope="module")
def by_user(folder):
    return RewardLM(
        told="user", model=folder, tokens=2, steps=100, lr=5e-3, soft_lr=0.1, new_lr=0.1, batch=16, **SHARED
    ).fit(Population.of(TRAIN))


class Teller:
    """Writes what a user likes, and shows which choices it was given."""

    name = "teller"
    fingerprint = "teller"

    def fit(self, population):
        return self

    def adapt_batch(self, people):
        return [Persona(h.user, self.of(h), h.feedback[:1], vector=(1.0,)) for h in people]

    def of(self, history):
        side = [f for f in history.feedback if f.chosen is not None]
        brief = sum(any(w in WORDS[0] for w in f.chosen_response.split()) for f in side)
        return "likes brief" if 2 * brief > len(side) else "likes long"


def telling(**fields):
    method = RewardLM(**fields)
    method._new_writer = Teller
    return method


# ---- tastes -------------------------------------------------------------------------------------------


def test_soft_tokens_of_users_tell_opposed_tastes_apart(by_user, folder):
    """New users' own vectors alone are fitted; without them the model cannot know better than chance."""
    nobody = right(by_user, [Persona()] * len(NEW))
    told = right(by_user, by_user.adapt_batch(CONTEXT))
    assert told > 0.9
    assert 0.3 < nobody < 0.7


def test_a_persona_in_the_prompt_tells_opposed_tastes_apart(folder):
    fields = {"model": folder, "steps": 60, "lr": 5e-3, "batch": 16, **SHARED}
    nothing = RewardLM(told="nothing", **fields).fit(Population.of(TRAIN))
    assert 0.3 < right(nothing, nothing.adapt_batch(CONTEXT)) < 0.7
    method = telling(told="persona", **fields).fit(Population.of(TRAIN))
    personas = method.adapt_batch(CONTEXT)
    assert {p.text for p in personas} == {"likes brief", "likes long"}
    assert not any(p.examples for p in personas)
    assert right(method, personas) > 0.9
    turned = [Persona(p.user, {"likes brief": "likes long"}.get(p.text, "likes brief")) for p in personas]
    assert right(method, turned) < 0.1
    assert min(method.added_tokens(list(personas), [NEW[0].feedback[0].conversation] * len(NEW))) == 3


def test_codes_of_past_choices_tell_opposed_tastes_apart(folder):
    method = RewardLM(
        told="codes", model=folder, reader="lexical", codes=8, width=8, steps=60, lr=5e-3, soft_lr=0.01,
        batch=16, **SHARED,
    ).fit(Population.of(TRAIN))  # fmt: skip
    personas = method.adapt_batch(CONTEXT)
    assert [sum(p.vector) for p in personas] == [8.0] * len(NEW)
    assert right(method, personas) > 0.9


# ---- the loss -----------------------------------------------------------------------------------------


def in_float64(clusters):
    """A model whose arithmetic is float64 throughout (GPT-2's: Llama's norms are float32), and a batch."""
    from peft import LoraConfig, get_peft_model
    from transformers import GPT2Config, GPT2ForSequenceClassification

    torch.manual_seed(0)
    shape = GPT2Config(
        vocab_size=40, n_embd=16, n_layer=2, n_head=2, n_positions=32, num_labels=1, pad_token_id=0,
        initializer_range=0.3, resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0,
    )  # fmt: skip
    lora = LoraConfig(
        r=2, target_modules=["c_attn"], fan_in_fan_out=True, task_type="SEQ_CLS", init_lora_weights=False
    )
    adapted = get_peft_model(GPT2ForSequenceClassification(shape), lora)
    table = UserTable(3, 2, adapted.get_input_embeddings().weight, clusters)
    table.own.data.normal_(generator=torch.Generator().manual_seed(0))
    rows = [
        RewardRow([5, 6, 7, 8], [5, 6, 9], 1.0, who=0),
        RewardRow([5, 11, 12], [5, 11, 13, 14, 15], 0.5, who=2),
        RewardRow([20, 21], [20, 22], 1.0, who=0),
    ]

    def source(examples, mixed):
        who = [e["who"] for e in examples]
        return torch.tensor(who + [-1] * len(who) if mixed else who)

    batch = collate([vars(row) for row in rows], 0, mixed=True, source=source)
    return Softened(adapted, table).double().eval(), batch


def literal(model, batch, alpha):
    """The mixed loss of P-RLHF, pair by pair in numpy, from the rewards of single sequences."""
    ids, mask, owner = (batch[k] for k in ("input_ids", "attention_mask", "owner"))
    with torch.no_grad():
        tokens = model.source(batch["soft"]).tokens
        r = []
        for i in range(len(ids)):
            words = model.model.get_input_embeddings()(ids[i][mask[i].bool()])
            whole = torch.cat([tokens[owner[i]], words])[None]
            r.append(float(model.model(inputs_embeds=whole).logits[0, 0]))
    n, total = len(batch["target"]), 0.0
    for i, t in enumerate(batch["target"].tolist()):
        for weight, start in ((alpha, 0), (1 - alpha, 2 * n)):
            gap = r[start + i] - r[start + n + i]
            p = 1 / (1 + np.exp(-gap))
            total += weight * -(t * np.log(p) + (1 - t) * np.log(1 - p)) / n
    return total


@pytest.mark.parametrize("clusters", [0, 3])
def test_the_mixed_loss_is_that_of_the_equations_and_its_gradient_that_of_differences(clusters):
    """As TRL's trainer computes it, in float64: its value, and its slope in soft tokens and adapter."""
    model, batch = in_float64(clusters)
    trainer = object.__new__(MixedRewardTrainer)
    trainer.alpha, trainer.model = 0.3, model
    trainer._metrics = {"eval": {"accuracy": [], "margin": []}}
    trainer.accelerator = type("Accelerator", (), {"unwrap_model": staticmethod(lambda m: m)})

    def loss():
        return trainer.compute_loss(model, dict(batch))

    value = loss()
    assert float(value.detach()) == pytest.approx(literal(model, batch, 0.3), abs=1e-12)
    value.backward()
    rng = np.random.default_rng(0)
    lora = next(p for n, p in model.model.named_parameters() if "lora_B" in n and p.requires_grad)
    for tensor in (model.source.shared, model.source.own, lora):
        for at in map(tuple, rng.permutation(torch.nonzero(tensor.grad).numpy())[:4].tolist()):
            ends = []
            for step in (1e-5, -2e-5, 1e-5):
                with torch.no_grad():
                    tensor[at] += step
                    ends.append(float(loss()))
            slope = (ends[0] - ends[1]) / 2e-5
            assert float(tensor.grad[at]) == pytest.approx(slope, rel=1e-6, abs=1e-9)
    assert not model.source.own.grad[1].any()  # who is not in the batch


def test_a_new_users_vector_lowers_their_loss_and_the_prior_holds_it(by_user):
    data = Population.of(CONTEXT[:1])
    ids = by_user._sequences(data, [Persona()] * len(data.pairs))
    table = by_user._soft.module
    with by_user.cast.playing("reward") as model:
        soft = Softened(model)
        own = {
            bond: fit_own(soft, table, ids, data.pairs.target, by_user._pad, steps=15, lr=0.1, bond=bond)
            for bond in (0.0, 100.0)
        }

        def nll(numbers):
            vectors = torch.tensor(np.array([numbers]), dtype=torch.float32)
            flat = [s for pair in ids for s in pair]
            r = rewards(soft, flat, by_user._pad, lambda part: table.of(vectors.expand(len(part), -1)))
            return np.logaddexp(0, -(r[0::2] - r[1::2])).sum()

        assert nll(own[0.0]) < 0.5 * nll(np.zeros(table.free))
    assert np.abs(own[100.0]).max() < 0.2 * np.abs(own[0.0]).max()
    assert by_user.adapt(History("nobody")).vector == (0.0,) * table.free


# ---- what rows may know -------------------------------------------------------------------------------


def mixed_people():
    """Users with ties, three answers, and several choices in one conversation."""
    rows = list(people(users=5, rows=12))
    ann = rows[0]
    talk = ann.feedback[0].conversation
    again = tuple(
        Feedback(ann.user, talk, (f"One {i}.", f"Two {i}."), i % 2, id=f"again-{i}") for i in range(3)
    )
    return Population.of([History(ann.user, ann.feedback + again), *rows[1:]])


def test_no_pair_is_read_beside_a_persona_that_saw_its_conversation():
    data = mixed_people()
    seen = []

    class Spy(Teller):
        def of(self, history):
            seen.append({f.conversation for f in history.feedback})
            return str(len(seen) - 1)

    told = crossed(Spy(), data, 3)
    assert len(told) == len(data.pairs)
    for persona, winner, user in zip(told, data.pairs.winner, data.pairs.user, strict=True):
        assert persona.user == data.users[user]
        assert data.corpus.conversation(winner) not in seen[int(persona.text)]
    used = parts(data, 3)
    assert set(used.tolist()) == {0, 1, 2}


def test_folds_of_one_reads_beside_everything():
    data = mixed_people()
    whole = {p.user: p.text for p in Teller().adapt_batch(data)}
    assert all(p.text == whole[p.user] for p in crossed(Teller(), data, 1))


def test_codes_come_from_other_conversations_decided_and_in_order():
    data = mixed_people()
    pairs, corpus = data.pairs, data.corpus
    past = other_choices(data, 6, seed=0)
    sizes = set()
    for number, mine in enumerate(past):
        assert (np.diff(mine) > 0).all()
        assert (pairs.user[mine] == pairs.user[number]).all()
        assert (pairs.target[mine] == 1).all()
        assert corpus.conversation(pairs.winner[number]) not in [
            corpus.conversation(w) for w in pairs.winner[mine]
        ]
        sizes.add(len(mine))
    assert {0, 6} <= sizes
    assert max(sizes) == 6
    again = other_choices(data, 6, seed=0)
    assert all((a == b).all() for a, b in zip(past, again, strict=True))
    assert windows(pairs, np.arange(6), 2).tolist()[-1] == (len(np.unique(pairs.row[:6])) - 1) // 2


def test_conditional_rows_hold_the_profile_or_an_id_that_was_seen(folder):
    assert facts({"age": "30", "home": "Lisbon"}, "ann", ["ann"]) == "age: 30, home: Lisbon"
    assert (facts({}, "ann", ["ann"]), facts({}, "eve", ["ann"])) == ("user: ann", "")
    method = RewardLM(told="profile", model=folder, steps=2, **SHARED).fit(Population.of(TRAIN[:4]))
    seen, new = method.adapt(TRAIN[0]), method.adapt(NEW[0])
    assert (seen.text, new.text) == ("user: u0-0", None)
    talk = as_conversation("bread costs")
    rendered = method.base.tokenizer.decode(method.prompt(Persona(text="kind"), talk))
    assert rendered == "<s> <user> ask kind bread costs <answer>"
    assert method.prompt(new, talk) == method.prompt(Persona(), talk)


def test_demonstrations_stand_in_the_prompt_and_the_oldest_go_first(folder):
    method = telling(told="persona+demos", model=folder, steps=2, **SHARED).fit(Population.of(TRAIN[:4]))
    persona = method.adapt(CONTEXT[0])
    assert persona.examples == CONTEXT[0].feedback[:1]
    shown = method.base.tokenizer.decode(method.prompt(persona, as_conversation("bread costs")))
    chosen = persona.examples[0].chosen_response
    assert shown.startswith("<s> <user> user likes brief ask")
    assert f"good {chosen} bad" in shown
    many = Persona(text=persona.text, examples=NEW[0].feedback)
    ids = method.prompt(many, as_conversation("bread costs"))
    assert len(ids) <= method.base.limit - method.talk.room
    told = method.base.tokenizer.decode(ids)
    assert "likes brief" in told
    assert NEW[0].feedback[-1].chosen_response in told


# ---- the contract -------------------------------------------------------------------------------------

TINY = {"steps": 2, "batch": 4, "tokens": 2, "new_steps": 2, "codes": 4, "width": 4, "reader": "lexical"}
KINDS = {
    "profile": {},
    "user": {"soft_lr": 0.1, "new_lr": 0.1},
    "codes": {},
    "persona": {"writer": "style", "writing": (("rounds", 4), ("shareds", (1.0,)))},
}


@pytest.fixture(scope="module")
def subjects(folder):
    def subject(kind):
        fields = {"model": folder, **SHARED, "lora_rank": 4, **TINY, **KINDS[kind]}
        return Subject(lambda: RewardLM(told=kind, **fields))

    return {kind: subject(kind) for kind in KINDS}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_keeps_the_contract_of_serving(subjects, kind):
    for check in serving_checks.CHECKS:
        check(subjects[kind])


@pytest.mark.parametrize("name", ["config_rebuilds", "clone", "seeded", "refit", "small_populations"])
def test_the_contract_of_learning(subjects, name):
    """The registered method runs them all, told nothing; these are where soft tokens could break it."""
    (check,) = [c for c in CHECKS if c.__name__ == f"check_{name}"]
    check(subjects["user"])


def test_a_stage_that_is_done_is_taken_up_and_another_is_refused(folder, tmp_path):
    fields = {"told": "user", "model": folder, **SHARED, **TINY, "save_every": 1}
    data = Population.of(TRAIN[:4])
    with job(folder=tmp_path):
        first = RewardLM(**fields).fit(data)
        again = RewardLM(**fields).fit(data)
        with pytest.raises(ConfigError, match="other settings"):
            RewardLM(**{**fields, "lr": 1e-3}).fit(data)
    assert again.fingerprint == first.fingerprint
    (tmp_path / "reward" / "done.json").unlink()
    last = max((tmp_path / "reward").glob("checkpoint-*"), key=lambda p: p.name)
    assert sum(f.stat().st_size for f in last.glob("*.safetensors")) < 60_000  # what is trained, not the base
    for file in last.iterdir():
        file.unlink()
    last.rmdir()
    with job(folder=tmp_path):
        resumed = RewardLM(**fields).fit(data)
    assert resumed.fingerprint == first.fingerprint


@pytest.mark.parametrize("fields", [{"told": "all"}, {"alpha": 1.5}, {"tokens": 0}, {"clusters": -1}])
def test_impossible_settings_are_refused(fields):
    with pytest.raises(ConfigError):
        RewardLM(**fields)
