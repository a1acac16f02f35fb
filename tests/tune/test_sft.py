"""The supervised stage: its loss to the letter, what it learns and what it leaves alone, and how it stops."""

import numpy as np
import pytest
import torch
from trl import SFTConfig

from palate.core import FitDiverged
from palate.small.base import random_base
from palate.tune.model import Cast, Lora, load_base
from palate.tune.running import Settings, configured, run_stage, stage
from palate.tune.scoring import answer_logprobs
from palate.tune.sft import SupervisedRow, SupervisedTrainer

pytestmark = pytest.mark.filterwarnings(
    "ignore:`is_gradient_checkpointing`:FutureWarning"
)  # PEFT asks for it
ROWS = [
    SupervisedRow([0, 4, 20, 21, 5], [30, 31, 1]),
    SupervisedRow([0, 4, 5], [40, 1]),
    SupervisedRow([0, 4, 22, 23, 24, 25, 5], [50, 51, 52, 53, 1]),
    SupervisedRow([0, 4, 26, 5], [1]),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return str(random_base(tmp_path_factory.mktemp("sft") / "base"))


def cast_of(folder, rank=4):
    return Cast(load_base(folder, device="cpu", limit=64), Lora(rank, 2 * rank), ("generator",), seed=1)


def train(cast, rows, **settings):
    """Train on rows; return the log and the trainer."""
    made = []
    with stage("sft", {}) as run:
        config = configured(SFTConfig, Settings(schedule="constant", **settings), run)

        def make(callbacks):
            trained = cast.to_train("generator")
            made.append(SupervisedTrainer(trained, rows, config, cast.base.tokenizer, callbacks))
            return made[0]

        return run_stage(run, make, "sft"), made[0]


def by_the_letter(model, rows):
    """Minus the log-probability of every answer token over their number, one row at a time, in float64."""
    total, count = 0.0, 0
    with torch.no_grad():
        for row in rows:
            logits = model(input_ids=torch.tensor([[*row.prompt, *row.answer]])).logits[0].double()
            logp = logits.log_softmax(-1)
            for t, token in enumerate(row.answer):
                total -= float(logp[len(row.prompt) + t - 1, token])
                count += 1
    return total / count


@pytest.mark.parametrize(("batch", "accumulate"), [(4, 1), (2, 2), (1, 4)])
def test_the_loss_is_of_answer_tokens_alone_each_as_much_as_another(folder, batch, accumulate):
    cast = cast_of(folder)
    with cast.playing("generator") as model:
        expected = by_the_letter(model, ROWS)
    log, _ = train(cast, ROWS, steps=1, batch=batch, accumulate=accumulate, lr=0.0)
    (found,) = [line["train_loss"] for line in log if "train_loss" in line]
    assert found == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("rank", [4, 0])
def test_it_learns_the_answers_and_leaves_the_base_alone(folder, rank):
    cast = cast_of(folder, rank)
    prompts, answers = [list(r.prompt) for r in ROWS], [list(r.answer) for r in ROWS]

    def read(role):
        with cast.playing(role) as model:
            return answer_logprobs(model, prompts, answers, 2)

    before, start = read("reference"), read("generator")
    np.testing.assert_allclose(start, before, atol=1e-5)
    train(cast, ROWS, steps=40, batch=4, lr=1e-2)
    np.testing.assert_array_equal(read("reference"), before)
    assert np.exp(before).max() < 0.05
    assert np.exp(read("generator")).min() > 0.5  # the head is not adapted, and bounds what a token can reach


def test_a_model_that_overflows_is_stopped_and_the_batch_is_kept(folder):
    cast = cast_of(folder, rank=0)
    with torch.no_grad():
        cast.to_train("generator").get_input_embeddings().weight[30] = float("nan")
    with pytest.raises(FitDiverged, match=r"the loss of step 0 is nan: the batch .*bad-batch-0"):
        train(cast, ROWS, steps=2, batch=4, lr=1e-3)
