"""Tokens a second, model-flops utilisation and memory of training on one GPU, beside what the card can do.

    python benchmarks/gpu_speed.py [--measure numerics reward popi fits] [--steps 6] [--out FILE.json]
    python benchmarks/gpu_speed.py --tiny       the same paths with a toy model, anywhere, in seconds

A Llama of random weights in the shape of Llama-3.2-1B is trained by ``reward-lm`` and by POPI's first stage,
through ``fit`` as a user would: LoRA on bfloat16 weights, and all weights in float32 computed in bfloat16.
All texts of a run have one length, so that hardly a token is padding.

    flops of a token          forward 2 N + 4 L d c         N weights of linear layers, c tokens that it sees
                              backward twice that with all weights trained, once with LoRA (the frozen weights
                              get no gradient; the adapters' own flops are left out)
    of a token's logits       forward 2 V d, where they are computed
    utilisation               flops of a step / (its seconds x the largest rate of a bfloat16 matrix product
                              that was measured in the same run)

What Palate does not compute (a prompt that is read once for eight summaries) is not counted as done.
"""

import argparse
import gc
import json
import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from gpu_common import (
    FULL,
    LADDER,
    LORA,
    LOW,
    ONE,
    PARTS,
    TOY,
    Clock,
    Maker,
    Profiler,
    Shape,
    Way,
    Work,
    numerics,
    people,
    settle,
    spread,
    without,
)
from transformers.utils import logging

from palate import Population
from palate.core import MethodError, job
from palate.tune import base, trainers
from palate.tune.base import Known
from palate.tune.examples import signals_of
from palate.tune.popi import Popi
from palate.tune.reward_lm import RewardLM

# ---- one run --------------------------------------------------------------------------------------------


class Bench:
    """Runs of one model on one device."""

    def __init__(self, device: str, work: Work, steps: int, profiled: bool) -> None:
        self.device, self.work, self.steps, self.profiled = device, work, steps, profiled
        self.maker = Maker(ONE, device)
        self.peak = self.copy = float("nan")
        base.load_base = self.maker

    def ceilings(self, size: int) -> dict[str, Any]:
        """Measure the largest rates of a bfloat16 matrix product and of a copy."""
        a, b = (torch.randn(size, size, device=self.device, dtype=torch.bfloat16) for _ in range(2))
        source = torch.randn(size * size * (16 if self.device == "cuda" else 1), device=self.device)
        target = torch.empty_like(source)
        product = self._seconds(lambda: a @ b)
        moved = self._seconds(lambda: target.copy_(source))
        self.peak = 2 * size**3 / statistics.median(product)
        self.copy = 2 * source.numel() * 4 / statistics.median(moved)
        return {
            "matrix": size,
            "tflops": self.peak / 1e12,
            "matrix_seconds": spread(product),
            "copy_tbytes": self.copy / 1e12,
            "copy_seconds": spread(moved),
        }

    def _seconds(self, work: Callable[[], Any], n: int = 30) -> list[float]:
        out = []
        for i in range(n + 5):
            settle(self.device)
            begun = time.perf_counter()
            work()
            settle(self.device)
            if i >= 5:
                out.append(time.perf_counter() - begun)
        return out

    def _fitted(
        self, method: Any, data: Population, clock: Clock, more: Sequence[Any] = ()
    ) -> dict[str, Any]:
        """Fit, timed; return memory and seconds."""
        gc.collect()
        if self.device == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
        method._trained = lambda: None  # a hash of all weights, after training
        with job(tell=clock.tell):
            method.fit(data)
        return {
            "step_seconds": spread(clock.steps[1:]),
            "peak_gib": torch.cuda.max_memory_allocated() / 2**30 if self.device == "cuda" else None,
        }

    def _common(self, way: Way, **more: Any) -> dict[str, Any]:
        return {
            "model": "random",
            "device": self.device,
            "templates": "small",
            "steps": self.steps + 2,
            "schedule": "constant",
            "lr": 1e-5,
            **way.fields,
            **more,
        }

    def _clock(self) -> Clock:
        return Clock(self.device, Profiler(self.steps) if self.profiled else lambda step: None)

    # ---- reward-lm ------------------------------------------------------------------------------

    def reward(self, shape: Shape, way: Way, **more: Any) -> dict[str, Any]:
        """Train a reward model; tokens are those of both sequences of each pair."""
        self.maker.shape, work = shape, self.work
        half = work.sequence // 2
        method = RewardLM(
            **self._common(way, batch=work.pairs, limit=work.sequence + 64, answer_tokens=half + 8, **more)
        )
        data = people(10, max(8, work.pairs), half - 8, half, shape.words)
        clock = self._clock()
        found = self._fitted(method, data, clock)
        first = int(data.pairs.winner[0])
        prompt = method.words.to_answer(data.corpus.conversation(first))
        length = len(method.talk.prompt(prompt)) + len(method.talk.answer(data.corpus.response(first)))
        tokens = 2 * work.pairs * length
        flops = self._flops(shape, way, tokens, 0, tokens * (length + 1) / 2, trained=True)
        return self._told("reward-lm", shape, way, found, clock, flops, {"trained": tokens}, more)

    def _flops(
        self, shape: Shape, way: Way, tokens: float, logits: float, seen: float, *, trained: bool
    ) -> float:
        """Return the flops of tokens, of logits, and of all places that the tokens see."""
        forward = (
            2 * shape.linear * tokens
            + 2 * shape.words * shape.width * logits
            + 4 * shape.layers * shape.width * seen
        )
        if not trained:
            return forward
        lora = way.fields.get("lora_rank", 16) > 0
        attention = 2 * 4 * shape.layers * shape.width * seen
        rest = forward - attention / 2
        return forward + attention + rest * (1 if lora else 2)

    def _told(
        self,
        what: str,
        shape: Shape,
        way: Way,
        found: dict[str, Any],
        clock: Clock,
        flops: float,
        tokens: dict[str, float],
        more: dict[str, Any],
    ) -> dict[str, Any]:
        seconds = found["step_seconds"]["median"]
        if self.profiled:
            print(clock.watched.found)
        return {
            "what": what,
            "way": way.name,
            "fields": {**way.fields, **more},
            "weights": shape.weights,
            **found,
            "flops": flops,
            "utilisation": flops / seconds / self.peak,
            "tokens": tokens,
            "tokens_a_second": {name: n / seconds for name, n in tokens.items()},
        }

    # ---- POPI's first stage -----------------------------------------------------------------------

    def popi(self, shape: Shape, way: Way, **more: Any) -> dict[str, Any]:
        """Train an inference model by GRPO; parts are told apart."""
        self.maker.shape, work = shape, self.work
        longest = work.signals * (work.prompt + 2 * work.answer + 16) + 64 + work.answer + 8
        method = Popi(
            **self._common(
                way,
                batch=work.users,
                group=work.group,
                signals=work.signals,
                summary_tokens=work.summary,
                limit=longest,
                answer_tokens=work.answer + 8,
                warmup=0,
                **more,
            )
        )
        data = people(work.users * 4, work.signals + 1, work.prompt, work.answer, shape.words)
        clock = self._clock()
        cls = trainers.SummaryTrainer
        with (
            clock.around(cls, "_generate_single_turn", lambda: "write"),
            clock.around(cls, "_calculate_rewards", lambda: "score"),
            clock.around(
                cls,
                "_get_per_token_logps_and_entropies",
                lambda: "" if torch.is_grad_enabled() else "reference",
            ),
        ):
            found = self._fitted(method, data, clock)
        return self._popi_told(method, data, shape, way, found, clock, more)

    def _popi_told(
        self,
        method: Popi,
        data: Population,
        shape: Shape,
        way: Way,
        found: dict[str, Any],
        clock: Clock,
        more: dict[str, Any],
    ) -> dict[str, Any]:
        work = self.work
        past = [data.corpus.conversation(int(i)) for i in data.pairs.winner[:1]]
        history = next(iter(data))
        p = len(method._asked(signals_of(history, work.signals), {}))
        told = " ".join(f"w{i}" for i in range(work.summary))
        q = len(method.prompt(Known(summary=told), past[0]))
        r = len(method.talk.answer(data.corpus.response(int(data.pairs.winner[0]))))
        users, each, a = work.users, work.users * work.group, work.summary
        tokens = {
            "write": users * p + each * a,
            "score": each * (q + 2 * r),
            "reference": users * p + each * a,
            "update": users * p + each * a,
        }
        logits = {"write": each * a, "score": each * 2 * r, "reference": each * a, "update": each * a}
        read = users * p * (p + 1) / 2 + each * a * (p + (a + 1) / 2)
        seen = {
            "write": read,
            "score": each * (q * (q + 1) / 2 + 2 * r * (q + (r + 1) / 2)),
            "reference": read,
            "update": read,
        }
        flops = {
            name: self._flops(shape, way, tokens[name], logits[name], seen[name], trained=name == "update")
            for name in PARTS
        }
        counted = {"read, written, scored and trained": sum(tokens.values())}
        row = self._told("popi, stage 1", shape, way, found, clock, sum(flops.values()), counted, more)
        seconds = {name: spread(clock.parts[name][1:]) for name in PARTS}
        row["parts"] = {
            name: {
                "seconds": seconds[name],
                "share": seconds[name]["median"] / found["step_seconds"]["median"],
                "tokens": tokens[name],
                "tokens_a_second": tokens[name] / seconds[name]["median"],
                "utilisation": flops[name] / seconds[name]["median"] / self.peak,
            }
            for name in PARTS
        }
        row["written_a_second"] = each * a / seconds["write"]["median"]
        row["lengths"] = {"signals": p, "prompt with summary": q, "answer": r, "summary": a}
        return row

    # ---- the largest that fits --------------------------------------------------------------------

    def largest(self, what: str, way: Way, ladder: Sequence[Shape]) -> dict[str, Any]:
        """Go up a ladder of models until one does not fit; three steps each."""
        kept, self.steps, tried = self.steps, 1, []
        run = {"reward-lm": self.reward, "popi, stage 1": self.popi}[what]
        try:
            for shape in ladder:
                try:
                    row = run(shape, way, checkpointing=True)
                except (MethodError, torch.OutOfMemoryError):
                    tried.append({"weights": shape.weights, "fits": False})
                    print(f"{what}, {way.name}: {shape.weights / 1e9:.1f}B does not fit", flush=True)
                    break
                finally:
                    gc.collect()
                    if self.device == "cuda":
                        torch.cuda.empty_cache()
                print(
                    f"{what}, {way.name}: {shape.weights / 1e9:.1f}B fits in {row['peak_gib'] or 0:.1f} GiB",
                    flush=True,
                )
                tried.append(
                    {
                        "weights": shape.weights,
                        "fits": True,
                        "peak_gib": row["peak_gib"],
                        "step_seconds": row["step_seconds"]["median"],
                    }
                )
        finally:
            self.steps = kept
        return {"what": what, "way": way.name, "tried": tried}


# ---- what is told ---------------------------------------------------------------------------------------


def table(rows: Sequence[dict[str, Any]]) -> None:
    """Print rows of measurements."""
    print(
        f"{'':<44}{'weights':>9}{'s/step':>9}{'least':>8}{'most':>8}{'n':>4}{'tokens/s':>11}{'used':>7}{'GiB':>7}"
    )
    for row in rows:
        seconds, (rate,) = row["step_seconds"], row["tokens_a_second"].values()
        name = f"{row['what']}, {row['way']}{row.get('note', '')}"
        print(
            f"{name:<44}{row['weights'] / 1e9:>8.2f}B{seconds['median']:>9.3f}{seconds['least']:>8.3f}"
            f"{seconds['most']:>8.3f}{seconds['n']:>4}{rate:>11,.0f}{row['utilisation']:>7.1%}"
            f"{row['peak_gib'] or 0:>7.1f}"
        )
        for part, told in row.get("parts", {}).items():
            print(
                f"  {part:<51}{told['seconds']['median']:>9.3f}{told['seconds']['least']:>8.3f}"
                f"{told['seconds']['most']:>8.3f}{'':>4}{told['tokens_a_second']:>11,.0f}"
                f"{told['utilisation']:>7.1%}{told['share']:>7.0%}"
            )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    measures = ["numerics", "reward", "popi", "fits"]
    parser.add_argument("--measure", nargs="+", default=measures, choices=measures)
    parser.add_argument("--ways", nargs="+", default=["lora", "full"], choices=["lora", "full", "low"])
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--users", type=int, default=Work.users)
    parser.add_argument(
        "--without",
        nargs="+",
        default=[],
        choices=["replay", "parts", "casts"],
        help="gains that are taken away in a second run",
    )
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    work = Work(users=args.users)
    if args.tiny:
        work = Work(users=2, group=2, signals=2, prompt=6, answer=8, summary=8, pairs=2, sequence=64)
    shape, ladder = (TOY, (TOY, TOY._replace(layers=3))) if args.tiny else (ONE, LADDER)
    bench = Bench(device, work, args.steps, args.profile)
    card = torch.cuda.get_device_name() if device == "cuda" else "processor"
    out: dict[str, Any] = {"card": card, "torch": torch.__version__, "work": asdict(work), "rows": []}
    out["ceilings"] = bench.ceilings(128 if args.tiny else 8192)
    print(
        f"{card}: {bench.peak / 1e12:,.1f} Tflop/s of bfloat16 products, copies {bench.copy / 1e12:.2f} TB/s"
    )
    if "numerics" in args.measure:
        out["numerics"] = numerics(device)
        print("log-probabilities beside float64:", out["numerics"])
    ways = [{"lora": LORA, "full": FULL, "low": LOW}[name] for name in args.ways]
    for what in ("reward", "popi"):
        for way in ways if what in args.measure else ():
            gains = [()] if what == "reward" or not args.without else [tuple(args.without), ()]
            for gone in gains:
                with without(gone) if gone else nullcontext():
                    row = getattr(bench, what)(shape, way)
                row["note"] = f", no {' '.join(gone)}" if gone else ""
                out["rows"].append(row)
                table([row])
                _write(args.out, out)
    if "fits" in args.measure:
        out["fits"] = []
        bench.work = Work(users=1, pairs=1) if not args.tiny else work
        for what in ("reward-lm", "popi, stage 1"):
            for way in ways:
                found = bench.largest(what, way, ladder)
                out["fits"].append(found)
                print(json.dumps(found))
                _write(args.out, out)


def _write(path: Path | None, out: dict[str, Any]) -> None:
    if path is not None:
        path.write_text(json.dumps(out, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
