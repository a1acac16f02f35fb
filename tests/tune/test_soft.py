"""Soft tokens before a model's words: right with either padding, under an adapter, trained and written."""

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    GenerationConfig,
    GPT2Config,
    GPT2LMHeadModel,
)

from palate.small.base import random_base
from palate.tune.scoring import left_padded, right_padded
from palate.tune.soft import Soft, Softened, UserTable, arrays_of, take_arrays

pytestmark = pytest.mark.filterwarnings(
    "ignore:`is_gradient_checkpointing`:FutureWarning"
)  # PEFT asks for it
ROWS = [[5, 9, 12, 30, 31], [8, 7], [40, 41, 42]]
PAD = 2


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return random_base(tmp_path_factory.mktemp("soft") / "base")


def adapted(model, task):
    torch.manual_seed(1)
    config = LoraConfig(r=4, target_modules=["q_proj", "v_proj"], task_type=task, init_lora_weights=False)
    return get_peft_model(model, config).eval()


@pytest.fixture(scope="module")
def causal(folder):
    return adapted(AutoModelForCausalLM.from_pretrained(folder), "CAUSAL_LM")


@pytest.fixture(scope="module")
def scalar(folder):
    torch.manual_seed(0)
    model = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=1)
    model.config.pad_token_id = PAD
    return adapted(model, "SEQ_CLS")


def drawn(rows, tokens, width=64, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).normal(size=(rows, tokens, width))).float()


def alone(model, ids, soft):
    """Logits [n, vocabulary] of one sequence after its soft tokens, by the model's own embeddings."""
    words = model.get_input_embeddings()(torch.tensor([ids]))
    return model(inputs_embeds=torch.cat([soft[None], words], 1)).logits[0, -len(ids) :]


@pytest.mark.parametrize("padded", [left_padded, right_padded])
def test_causal_logits_are_those_of_each_row_alone(causal, padded):
    ids, mask = padded(ROWS, PAD)
    soft = drawn(len(ROWS), 3)
    logits = Softened(causal)(ids, mask, soft).logits
    assert logits.shape[:2] == ids.shape
    for i, row in enumerate(ROWS):
        torch.testing.assert_close(logits[i][mask[i].bool()], alone(causal, row, soft[i]), atol=1e-5, rtol=0)
    last = Softened(causal)(ids, mask, soft, logits_to_keep=2).logits
    torch.testing.assert_close(last, logits[:, -2:])


@pytest.mark.parametrize("padded", [left_padded, right_padded])
def test_a_scalar_head_reads_the_last_token_with_either_padding(scalar, padded):
    ids, mask = padded(ROWS, PAD)
    soft = drawn(len(ROWS), 3)
    got = Softened(scalar)(ids, mask, soft).logits
    expected = []
    for i, row in enumerate(ROWS):
        words = scalar.get_input_embeddings()(torch.tensor([row]))
        expected.append(scalar(inputs_embeds=torch.cat([soft[i][None], words], 1)).logits[0])
    torch.testing.assert_close(got, torch.stack(expected), atol=1e-5, rtol=0)
    assert got.shape == (len(ROWS), 1)
    assert float(got.detach().std()) > 1e-3


def test_the_end_token_is_read_where_it_is_also_the_padding(scalar):
    """A model that pads with its end token: the head of transformers would pass over the end itself."""
    ends = [[*row, PAD] for row in ROWS]
    ids, mask = right_padded(ends, PAD)
    got = Softened(scalar)(ids, mask).logits
    one = torch.stack([Softened(scalar)(*right_padded([row], PAD)).logits[0] for row in ends])
    torch.testing.assert_close(got, one, atol=1e-5, rtol=0)
    words = scalar.get_input_embeddings()(torch.tensor([ends[0]]))
    torch.testing.assert_close(got[0], scalar(inputs_embeds=words).logits[0], atol=1e-5, rtol=0)


def test_absent_soft_tokens_leave_the_model_as_it_is(causal):
    """Some rows with none, one or all: each is read as if only these stood there."""
    ids, mask = left_padded(ROWS, PAD)
    soft = drawn(len(ROWS), 3)
    there = torch.tensor([[False, False, False], [True, False, False], [True, True, True]])
    logits = Softened(causal)(ids, mask, Soft(soft, there)).logits
    plain = causal(input_ids=torch.tensor([ROWS[0]])).logits[0]
    torch.testing.assert_close(logits[0][mask[0].bool()], plain, atol=1e-5, rtol=0)
    for i in (1, 2):
        expected = alone(causal, ROWS[i], soft[i][there[i]])
        torch.testing.assert_close(logits[i][mask[i].bool()], expected, atol=1e-5, rtol=0)


def test_soft_tokens_that_are_word_embeddings_are_those_words(causal):
    """The embeddings of words as soft tokens give what the words themselves give, written too."""
    first, rest = ROWS[0][:2], [row[2:] or row for row in ROWS[:1]]
    soft = causal.get_input_embeddings()(torch.tensor([first])).detach()
    ids, mask = left_padded(rest, PAD)
    whole = torch.tensor([ROWS[0]])
    expected = causal(input_ids=whole).logits[0, 2:]
    torch.testing.assert_close(Softened(causal)(ids, mask, soft).logits[0], expected, atol=1e-5, rtol=0)
    how = GenerationConfig(max_new_tokens=6, do_sample=False, eos_token_id=1, pad_token_id=PAD)
    words = causal.generate(input_ids=whole, attention_mask=torch.ones_like(whole), generation_config=how)
    assert Softened(causal).generate(ids, mask, soft, how).tolist() == words[:, whole.shape[1] :].tolist()


def test_a_batch_writes_what_each_row_writes_alone(causal):
    ids, mask = left_padded(ROWS, PAD)
    soft = Soft(drawn(len(ROWS), 2), torch.tensor([[True, True], [False, False], [False, True]]))
    how = GenerationConfig(max_new_tokens=5, do_sample=False, eos_token_id=1, pad_token_id=PAD)
    together = Softened(causal).generate(ids, mask, soft, how)
    for i, row in enumerate(ROWS):
        mine = Soft(soft.tokens[i : i + 1], soft.there[i : i + 1])
        single = Softened(causal).generate(*left_padded([row], PAD), mine, how)[0].tolist()
        assert together[i].tolist()[: len(single)] == single


def test_another_architecture_counts_positions_alike():
    """GPT-2 adds positions to words: padding and absent tokens must not shift them."""
    torch.manual_seed(0)
    model = GPT2LMHeadModel(
        GPT2Config(
            vocab_size=50, n_embd=64, n_layer=2, n_head=2, n_positions=64, bos_token_id=0, eos_token_id=1
        )
    ).eval()
    soft = drawn(len(ROWS), 3)
    for padded in (left_padded, right_padded):
        ids, mask = padded(ROWS, PAD)
        logits = Softened(model)(ids, mask, soft).logits
        for i, row in enumerate(ROWS):
            torch.testing.assert_close(
                logits[i][mask[i].bool()], alone(model, row, soft[i]), atol=1e-5, rtol=0
            )


def test_gradients_reach_the_table_and_only_the_users_of_the_batch(causal):
    table = UserTable(4, 3, causal.get_input_embeddings().weight, seed=0)
    softened = Softened(causal, table)
    out = softened(*left_padded(ROWS, PAD), torch.tensor([2, -1, 0])).logits
    out.float().square().mean().backward()
    moved = table.own.grad.abs().sum(1) > 0
    assert moved.tolist() == [True, False, True, False]
    assert float(table.shared.grad.abs().sum()) > 0


@pytest.mark.parametrize("clusters", [0, 5])
def test_user_zero_is_where_every_user_starts(causal, clusters):
    like = causal.get_input_embeddings().weight
    table = UserTable(4, 3, like, clusters, seed=1)
    generic = table(torch.tensor([-1])).tokens
    torch.testing.assert_close(table(torch.tensor([3])).tokens, generic)
    torch.testing.assert_close(table(torch.zeros(1, table.free)).tokens, generic)
    own = torch.randn(4, table.free, generator=torch.Generator().manual_seed(0))
    table.own.data.copy_(own)
    torch.testing.assert_close(
        table(torch.tensor([1, -1])).tokens, table(torch.stack([own[1], 0 * own[1]])).tokens
    )
    assert not torch.allclose(table(torch.tensor([1])).tokens, generic)
    if clusters:
        share = np.exp(own[1].numpy()) / np.exp(own[1].numpy()).sum()
        expected = np.einsum("k,kmd->md", share, table.shared.detach().numpy())
        np.testing.assert_allclose(table(torch.tensor([1])).tokens[0].detach().numpy(), expected, atol=1e-6)
        torch.testing.assert_close(generic[0], table.shared.mean(0))
    same = UserTable(4, 3, like, clusters, seed=1)
    assert torch.equal(same.shared, UserTable(9, 3, like, clusters, seed=1).shared)
    assert not torch.equal(same.shared, UserTable(4, 3, like, clusters, seed=2).shared)


def test_what_was_learned_is_kept_whole():
    like = torch.randn(20, 8, generator=torch.Generator().manual_seed(0))
    table = UserTable(3, 2, like, seed=0)
    table.own.data.normal_()
    again = UserTable(3, 2, like, seed=5)
    take_arrays(again, arrays_of(table))
    assert torch.equal(again(torch.tensor([0, -1])).tokens, table(torch.tensor([0, -1])).tokens)
