"""The benchmark on a GPU counts what goes through the model: checked with a toy model, on any device."""

import importlib
from itertools import pairwise
from pathlib import Path

import pytest
from transformers.models.llama.modeling_llama import LlamaModel

from palate.tune import base

FILE = Path(__file__).parents[2] / "benchmarks" / "gpu_speed.py"


@pytest.fixture(scope="module")
def gpu_speed():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(FILE.parent)
        yield importlib.import_module("gpu_speed")


@pytest.mark.parametrize("what", ["reward", "popi"])
@pytest.mark.parametrize("way", ["LORA", "FULL"])
def test_tokens_are_those_that_go_through_the_model(what, way, gpu_speed, monkeypatch):
    monkeypatch.setattr(base, "load_base", base.load_base)  # put back what the benchmark puts there
    work = gpu_speed.Work(users=2, group=2, signals=2, prompt=6, answer=8, summary=8, pairs=2, sequence=64)
    bench = gpu_speed.Bench("cpu", work, steps=1, profiled=False)
    bench.peak = 1e12
    read, ends = [0], []
    forward, tell = LlamaModel.forward, gpu_speed.Clock.tell

    def counted(self, input_ids=None, inputs_embeds=None, **more):
        rows = inputs_embeds if input_ids is None else input_ids
        read[0] += rows.shape[0] * rows.shape[1]
        return forward(self, input_ids=input_ids, inputs_embeds=inputs_embeds, **more)

    def told(self, *args):
        ends.append(read[0])
        tell(self, *args)

    monkeypatch.setattr(LlamaModel, "forward", counted)
    monkeypatch.setattr(gpu_speed.Clock, "tell", told)
    row = getattr(bench, what)(gpu_speed.TOY, getattr(gpu_speed, way))
    (tokens,) = row["tokens"].values()
    steps = [after - before for before, after in pairwise(ends)]
    assert len(steps) == 2
    assert max(steps) == pytest.approx(tokens, rel=0.02)  # a word that says nothing may shorten a summary
    assert row["flops"] > 2 * gpu_speed.TOY.linear * tokens


def test_flops_by_hand(gpu_speed):
    bench = gpu_speed.Bench.__new__(gpu_speed.Bench)
    shape = gpu_speed.Shape(4, 1, 2, 1, 8, 10, tied=True)
    linear = 4 * 4 + 4 * 2 * 2 + 4 * 4 + 3 * 4 * 8  # q, k and v, o, and the three of the MLP
    assert shape.linear == linear
    assert shape.weights == linear + 10 * 4 + 3 * 4
    tokens, logits, seen = 3, 2, 1 + 2 + 3
    forward = 2 * linear * tokens + 2 * 10 * 4 * logits + 4 * 4 * seen
    assert bench._flops(shape, gpu_speed.FULL, tokens, logits, seen, trained=False) == forward
    assert bench._flops(shape, gpu_speed.FULL, tokens, logits, seen, trained=True) == 3 * forward
    assert (
        bench._flops(shape, gpu_speed.LORA, tokens, logits, seen, trained=True) == 2 * forward + 4 * 4 * seen
    )
