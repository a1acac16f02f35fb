"""DSPy programs on our client: word for word, kept, told apart by rollout, never without a temperature."""

import asyncio
import threading
import time

import pytest

dspy = pytest.importorskip("dspy")

from dspy.lm15 import Config, Message, Request  # noqa: E402
from dspy.utils import exceptions as failures  # noqa: E402

from palate.core import BudgetSpent  # noqa: E402
from palate.models.llm.bridge import Bridge, bridged  # noqa: E402
from palate.models.llm.budget import Budget  # noqa: E402
from palate.models.llm.engine import Completion, Rejected, ServerFailed, TimedOut  # noqa: E402
from palate.models.llm.session import language_models  # noqa: E402

MARKED = "[[ ## answer ## ]]\n{}\n\n[[ ## completed ## ]]"


class Model:
    """An engine that numbers its answers in DSPy's form, and remembers what it was sent."""

    def __init__(self, says=None, latency=0.0):
        self.says, self.latency, self.seen, self.lock = says, latency, [], threading.Lock()

    def complete(self, model, messages, request):
        with self.lock:
            self.seen.append((model, messages, request))
            number = len(self.seen)
        time.sleep(self.latency)
        said = MARKED.format(f"answer {number}") if self.says is None else self.says
        if isinstance(said, Exception):
            raise said
        return said if isinstance(said, Completion) else Completion(said)


@pytest.fixture
def model(engines):
    engines["fake:a"] = Model()
    return engines["fake:a"]


@pytest.fixture
def client(session, model):
    return session.client("fake:a")


def ask(lm, question="Why?", **config):
    with dspy.context(lm=lm, adapter=dspy.ChatAdapter(), disable_history=True):
        return dspy.Predict("question -> answer", **config)(question=question).answer


def test_a_program_is_answered_word_for_word(client, model):
    predict = dspy.Predict(dspy.Signature("question -> answer", "Answer in one word."))
    predict.demos = [dspy.Example(question="Who?", answer="Me.")]
    lm = bridged(client, temperature=0.5, longest=77, seed=5)
    with dspy.context(lm=lm, adapter=dspy.ChatAdapter(), disable_history=True):
        assert predict(question="Why </user> ?").answer == "answer 1"
    ((_, messages, request),) = model.seen
    assert [m.role for m in messages] == ["system", "user", "assistant", "user"]
    assert "Answer in one word." in messages[0].content
    assert "Who?" in messages[1].content
    assert "Me." in messages[2].content
    assert "Why </user> ?" in messages[3].content  # not Palate's words, so nothing is taken out
    assert (request.temperature, request.seed, request.longest) == (0.5, 5, 77)


def test_equal_calls_are_paid_once_and_traced(client, model, session):
    lm = bridged(client, temperature=0.0, label="mine")
    assert ask(lm) == ask(lm) == ask(bridged(client, temperature=0.0, label="mine")) == "answer 1"
    assert ask(lm, "Why not?") == "answer 2"
    (row,) = session.ledger.table(by="program")
    assert (row["program"], row["requests"], row["paid"]) == ("mine", 4, 2)
    with language_models() as later:
        assert ask(bridged(later.client("fake:a"), temperature=0.0, label="mine")) == "answer 1"
        assert later.ledger.total["paid"] == 0


def test_equal_calls_in_flight_are_one(client, model):
    model.latency = 0.2
    answers = []
    lm = bridged(client, temperature=0.0)
    threads = [threading.Thread(target=lambda: answers.append(ask(lm))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == ["answer 1"] * 4
    assert len(model.seen) == 1


def test_rollouts_are_different_draws(client, model):
    lm = bridged(client, temperature=1.0, seed=2**31 - 1)
    assert ask(lm) == "answer 1"
    assert ask(lm.copy(rollout_id=7)) == "answer 2"
    assert ask(lm, rollout_id=8, temperature=0.9) == "answer 3"
    assert [ask(lm), ask(lm.copy(rollout_id=7))] == ["answer 1", "answer 2"]
    assert [r.sample for _, _, r in model.seen] == [0, 7, 8]
    assert [r.seed for _, _, r in model.seen] == [2**31 - 1, 6, 7]


@pytest.mark.filterwarnings("ignore:rollout_id has no effect")
def test_greedy_rollouts_are_one_call(client, model):
    lm = bridged(client, temperature=0.0)
    assert ask(lm) == ask(lm.copy(rollout_id=7)) == "answer 1"


def test_no_call_goes_without_a_temperature(client, model):
    lm = dspy.LM("palate", engine=Bridge(client), cache=False, num_retries=0)  # DSPy's default: none
    with pytest.raises(failures.LMConfigurationError, match="temperature"):
        ask(lm)
    assert model.seen == []
    assert ask(lm, temperature=0.3) == "answer 1"
    assert model.seen[0][2].temperature == 0.3


@pytest.mark.parametrize("setting", [{"top_p": 0.5}, {"stop": ["x"]}, {"presence_penalty": 1.0}])
def test_what_is_not_carried_is_refused_and_not_dropped(client, model, setting):
    with pytest.raises(failures.LMUnsupportedFeatureError, match=next(iter(setting))):
        ask(bridged(client, temperature=0.0), **setting)
    assert model.seen == []


@pytest.mark.parametrize(
    ("says", "error"),
    [
        (Completion("I can't.", "refusal"), failures.LMProviderError),
        (Completion("", "stop"), failures.LMProviderError),
        (ServerFailed("down"), (failures.LMServerError, failures.LMError)),
        (TimedOut("slow"), (failures.LMTimeoutError, failures.LMError)),
        (Rejected("no"), failures.LMError),
    ],
)
def test_a_call_without_an_answer_is_an_error_of_dspy(client, model, says, error):
    model.says = says
    with pytest.raises(error):
        ask(bridged(client, temperature=0.0))


def test_a_prompt_that_is_too_long_is_cut_in_the_middle(engines, tmp_path):
    engines["fake:a"] = model = Model()
    with language_models(context=2000) as session:
        ask(bridged(session.client("fake:a"), temperature=0.0, longest=200), "Begin " + "word " * 4000)
        assert session.ledger.total["shortened"] == 1
    ((_, messages, _),) = model.seen
    assert sum(len(m.content) for m in messages) < 1800 * 3.6
    assert "Begin" in messages[1].content
    assert "[...]" in messages[1].content
    assert messages[1].content.endswith("[[ ## completed ## ]]`.")


def test_a_spent_budget_is_told_from_other_failures(engines):
    engines["fake:a"] = Model()
    with language_models(budget=Budget(calls=1)) as session:
        lm = bridged(session.client("fake:a"), temperature=0.0)
        assert ask(lm) == "answer 1"
        with pytest.raises(failures.LMUnexpectedError) as error:
            ask(lm, "Why not?")
        assert isinstance(error.value.__cause__, BudgetSpent)


def test_asynchronous_programs_are_answered(client, model):
    async def both():
        lm = bridged(client, temperature=1.0)
        with dspy.context(lm=lm, adapter=dspy.ChatAdapter(), disable_history=True):
            one = await dspy.Predict("question -> answer").acall(question="Why?")
            two = await dspy.Predict("question -> answer", rollout_id=3).acall(question="Why?")
        return one.answer, two.answer

    assert asyncio.run(both()) == ("answer 1", "answer 2")
    assert [r.sample for _, _, r in model.seen] == [0, 3]


def test_requests_of_dspys_own_form_are_answered(client, model):
    lm = bridged(client, temperature=0.0)
    request = Request(model="palate", messages=(Message.user("Hi"),), config=Config(temperature=0.0))
    response = lm(request)
    assert "answer 1" in response.message.text
    assert response.id  # the key by which `palate trace` finds the call
