"""The name of a fake: knobs are read, impossible ones are told, draws repeat."""

import numpy as np
import pytest

from palate.core import ConfigError
from palate.fakes.knobs import SHARES, Draws, Knobs
from palate.fakes.reader import make_engine


def test_every_knob_is_read():
    spec = (
        "fake:world?error=0.2&bias=-0.3&order=0.1&gullible=0.5&blind=persona,example&malformed=0.05"
        "&truncated=0.02&refuse=0.01&fail=0.02&hang=0.03&drop=0.04&rate=50&latency=0.2&kinds=1&logprobs=1"
        "&context=4096&seed=7"
    )
    knobs = Knobs.of(spec)
    assert (knobs.error, knobs.bias, knobs.order, knobs.rate, knobs.seed) == (0.2, -0.3, 0.1, 50, 7)
    assert knobs.blind == ("persona", "example")
    assert knobs.logprobs
    assert knobs.kinds
    assert knobs.context == 4096
    assert spec.count("=") == len(Knobs.__dataclass_fields__)
    assert make_engine(spec).knobs == knobs


def test_a_fake_without_knobs_errs_in_nothing():
    knobs = Knobs.of("fake:world")
    assert all(getattr(knobs, share) == 0 for share in SHARES)


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ("fake:world?eror=0.2", r"no knob 'eror'; it has error, bias, order"),
        ("fake:world?error=lots", r"error .* 'lots', expected a number"),
        ("fake:world?error=1.2", r"error .* 1.2, expected a share from 0 to 1"),
        ("fake:world?error=nan", r"error .* nan, expected a share"),
        ("fake:world?seed=1.5", r"seed .* '1.5', expected a whole number"),
        ("fake:world?logprobs=maybe", r"logprobs .* 'maybe', expected 1 or 0"),
        ("fake:world?rate=-1", r"rate .* -1.0, expected 0 or more"),
        ("fake:world?latency=inf", r"latency .* inf, expected 0 or more"),
        ("fake:world?bias=inf", r"bias .* inf, expected finite"),
        ("fake:world?context=0", r"context .* 0, expected a number of tokens"),
        ("fake:moon", r"'fake:moon' names no fake .* fake:world"),
        ("openai/gpt", r"names no fake"),
    ],
)
def test_an_impossible_name_is_told_with_what_is_possible(spec, told):
    with pytest.raises(ConfigError, match=told):
        make_engine(spec)


def test_draws_repeat_and_are_even():
    shares = np.array([Draws(f"call {n}", seed=1).share("error") for n in range(4000)])
    assert shares[7] == Draws("call 7", seed=1).share("error")
    assert abs(shares.mean() - 0.5) < 3 * 0.289 / np.sqrt(4000)
    assert 0 <= shares.min() < shares.max() < 1


def test_draws_differ_by_name_seed_and_sample():
    draws = [Draws("call"), Draws("call", seed=1), Draws("call", sample=(0, 1)), Draws("other")]
    assert len({each.share("error") for each in draws} | {draws[0].share("order")}) == 5
