"""What the benchmark on a GPU is made of: random Llamas, their words, clock, profiler, check of numbers."""

import copy
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from transformers import LlamaConfig, LlamaForCausalLM, LlamaForSequenceClassification

from palate import Feedback, Population
from palate.core import as_conversation
from palate.small.base import SPECIAL, make_tokenizer
from palate.tune import scoring, trainers, writing
from palate.tune.model import Base

SAID = ("ask", "good", "bad", "user", "describe")
PARTS = ("write", "score", "reference", "update")


class Shape(NamedTuple):
    """A Llama: width, layers, heads, those of keys and values, inner width, vocabulary, tied or not."""

    width: int
    layers: int
    heads: int
    kv: int
    inner: int
    words: int = 128_256
    tied: bool = False

    @property
    def linear(self) -> int:
        """Weights of the linear layers, the vocabulary's left out."""
        head = self.width // self.heads
        return self.layers * self.width * (2 * self.width + 2 * self.kv * head + 3 * self.inner)

    @property
    def weights(self) -> int:
        """All weights."""
        norms = self.width * (2 * self.layers + 1)
        return self.linear + norms + self.words * self.width * (1 if self.tied else 2)


ONE = Shape(2048, 16, 32, 8, 8192, tied=True)  # Llama-3.2-1B
TOY = Shape(64, 2, 4, 2, 128, 1024, tied=True)
LADDER = (
    ONE,
    Shape(3072, 28, 24, 8, 8192, tied=True),  # Llama-3.2-3B
    *(Shape(4096, layers, 32, 8, 14_336) for layers in (14, 22, 32)),  # the last is Llama-3.1-8B
    Shape(5120, 40, 40, 8, 13_824),
    *(Shape(6144, layers, 48, 8, 16_384) for layers in (48, 60, 68, 76, 84)),
)


@dataclass(frozen=True)
class Work:
    """Lengths in tokens, about: what stands between them comes on top, and is counted."""

    users: int = 4
    group: int = 8
    signals: int = 8
    prompt: int = 48
    answer: int = 96
    summary: int = 128
    pairs: int = 8
    sequence: int = 1024


class Way(NamedTuple):
    """How weights are held and trained."""

    name: str
    fields: dict[str, Any]


LORA = Way("LoRA", {"dtype": "bfloat16", "bf16": True})
FULL = Way("all weights", {"dtype": "float32", "bf16": True, "lora_rank": 0})
LOW = Way("all weights, bfloat16 alone", {"dtype": "bfloat16", "bf16": True, "lora_rank": 0})


def settle(device: str) -> None:
    """Wait until the device has done what it was told."""
    if device == "cuda":
        torch.cuda.synchronize()


# ---- the model and the data -----------------------------------------------------------------------------


def tokenizer_of(size: int) -> Any:
    """Return a tokenizer with a word for every id, so that what a random model writes is read again alike."""
    words = (*SAID, *(f"w{i}" for i in range(size - len(SPECIAL) - len(SAID))))
    return make_tokenizer(words, longest=None)


class Maker:
    """Makes random models where a method would load one."""

    def __init__(self, shape: Shape, device: str) -> None:
        self.shape, self.device = shape, device
        self.tokenizers: dict[int, Any] = {}

    def __call__(self, spec: str, *, dtype: str, limit: int, reward: bool, **_: Any) -> Base:
        shape = self.shape
        config = LlamaConfig(
            vocab_size=shape.words,
            hidden_size=shape.width,
            intermediate_size=shape.inner,
            num_hidden_layers=shape.layers,
            num_attention_heads=shape.heads,
            num_key_value_heads=shape.kv,
            max_position_embeddings=16_384,
            tie_word_embeddings=shape.tied,
            bos_token_id=0,
            eos_token_id=1,
            pad_token_id=2,
            num_labels=1,
        )
        usual = torch.get_default_dtype()
        torch.manual_seed(0)
        torch.set_default_dtype(getattr(torch, dtype))
        try:
            with torch.device(self.device):
                model = (LlamaForSequenceClassification if reward else LlamaForCausalLM)(config)
        finally:
            torch.set_default_dtype(usual)
        if shape.words not in self.tokenizers:
            self.tokenizers[shape.words] = tokenizer_of(shape.words)
        model.eval().requires_grad_(False)
        return Base(model, self.tokenizers[shape.words], spec, f"random {shape}", limit)


def people(users: int, rows: int, prompt: int, answer: int, words: int) -> Population:
    """Return users with so many choices each, of words drawn evenly."""
    rng = np.random.default_rng(0)

    def text(n: int) -> str:
        return " ".join(f"w{i}" for i in rng.integers(0, words - 16, n))

    return Population.of(
        Feedback(f"u{u}", as_conversation(text(prompt)), (text(answer), text(answer)), 0, id=f"{u}.{i}")
        for u in range(users)
        for i in range(rows)
    )


# ---- the clock ------------------------------------------------------------------------------------------


class Clock:
    """Takes the seconds of steps and of their parts."""

    def __init__(self, device: str, watched: Callable[[int], Any] = lambda step: None) -> None:
        self.device, self.watched = device, watched
        self.steps: list[float] = []
        self.parts: dict[str, list[float]] = defaultdict(list)
        self._now: dict[str, float] = defaultdict(float)
        self._begun = 0.0

    def tell(self, what: str, done: int, total: int) -> None:
        """Take the end of a step."""
        settle(self.device)
        now = time.perf_counter()
        if self._begun:
            self.steps.append(now - self._begun)
            for name in PARTS[:3]:
                self.parts[name].append(self._now[name])
            self.parts["update"].append(self.steps[-1] - sum(self._now.values()))
        self._now.clear()
        self.watched(done)
        self._begun = time.perf_counter()

    @contextmanager
    def around(self, owner: Any, method: str, part: Callable[[], str]) -> Iterator[None]:
        """Add the seconds of a method to a part, inside."""
        inner, clock = getattr(owner, method), self

        def timed(*args: Any, **more: Any) -> Any:
            name = part()
            if not name:
                return inner(*args, **more)
            settle(clock.device)
            begun = time.perf_counter()
            try:
                return inner(*args, **more)
            finally:
                settle(clock.device)
                clock._now[name] += time.perf_counter() - begun

        setattr(owner, method, timed)
        try:
            yield
        finally:
            setattr(owner, method, inner)


def spread(values: Sequence[float]) -> dict[str, float]:
    """Return median, least, most and number."""
    return {
        "median": statistics.median(values),
        "least": min(values),
        "most": max(values),
        "n": len(values),
    }


class Profiler:
    """Watches one step, and says which kernels took its time; a step that is watched takes longer."""

    def __init__(self, step: int) -> None:
        self.step, self.found = step, ""

    def __call__(self, done: int) -> None:
        if done == self.step:
            kinds = [torch.profiler.ProfilerActivity.CPU]
            if torch.cuda.is_available():
                kinds.append(torch.profiler.ProfilerActivity.CUDA)
            self._watch = torch.profiler.profile(activities=kinds)
            self._watch.__enter__()
            self._begun = time.perf_counter()
        elif done == self.step + 1:
            wall = time.perf_counter() - self._begun
            self._watch.__exit__(None, None, None)
            events = [(e.self_device_time_total / 1e6, e.count, e.key) for e in self._watch.key_averages()]
            lines = [f"{s:8.3f} s {n:>8,} {name[:76]}" for s, n, name in sorted(events)[:-25:-1]]
            busy = sum(s for s, _, _ in events)
            self.found = "\n".join([f"{wall:8.3f} s, of which the device is busy {busy:.3f} s", *lines])


# ---- gains taken away ---------------------------------------------------------------------------------


@contextmanager
def without(names: Sequence[str]) -> Iterator[None]:
    """Take gains away, by name.

    ``replay``: every step of writing is told kernel by kernel.
    ``parts``: the float32 logits of all tokens are kept for the way back.
    ``casts``: weights and inputs are cast wherever they are used.
    """
    kept = writing.replays, scoring.token_logprobs, trainers.SummaryTrainer._mixed
    if "casts" in names:
        trainers.SummaryTrainer._mixed = lambda *_: nullcontext()
    if "replay" in names:
        writing.replays = lambda *_: False
    if "parts" in names:
        scoring.token_logprobs = _whole
    try:
        yield
    finally:
        writing.replays, scoring.token_logprobs, trainers.SummaryTrainer._mixed = kept


def _whole(
    logits: torch.Tensor, ids: torch.Tensor, temperature: float = 1.0, *, entropy: bool = False
) -> scoring.Logprobs:
    part = (logits if logits.dtype == torch.float64 else logits.float()) / temperature
    norm = torch.logsumexp(part, -1)
    logps = torch.gather(part, -1, ids[:, :, None])[..., 0] - norm
    spread = None
    if entropy:
        share = torch.softmax(part.detach(), -1)
        spread = norm.detach() - (share * part.detach()).sum(-1)
    return scoring.Logprobs(logps, spread)


# ---- numbers ------------------------------------------------------------------------------------------


def numerics(device: str) -> dict[str, float]:
    """Return how far log-probabilities of answers are from float64 on the processor, relative, by dtype."""
    maker = Maker(Shape(256, 4, 8, 4, 512, 4096, tied=True), "cpu")
    model = maker("", dtype="float32", limit=1024, reward=False).model
    model.load_state_dict({k: v * (8 if v.dim() > 1 else 1) for k, v in model.state_dict().items()})
    rng = np.random.default_rng(0)
    prompts = [rng.integers(16, 4096, n).tolist() for n in rng.integers(20, 400, 12) for _ in range(4)]
    answers = [rng.integers(16, 4096, n).tolist() for n in rng.integers(8, 64, 48)]

    def scores(network: Any) -> Any:
        return scoring.answer_logprobs(network, prompts, answers, 2)

    exact = copy.deepcopy(model)
    for name, module in list(exact.named_modules()):  # Llama's norms compute in float32, whatever is asked
        if type(module).__name__ == "LlamaRMSNorm":
            norm = torch.nn.RMSNorm(module.weight.shape, eps=module.variance_epsilon)
            norm.weight.data.copy_(module.weight.data)
            exact.set_submodule(name, norm)
    wanted = scores(exact.double())

    def off(found: Any) -> float:
        return float(np.linalg.norm(found - wanted) / np.linalg.norm(wanted))

    return {
        "processor, float32": off(scores(model)),
        f"{device}, float32": off(scores(copy.deepcopy(model).to(device))),
        f"{device}, bfloat16": off(scores(copy.deepcopy(model).to(device, torch.bfloat16))),
    }
