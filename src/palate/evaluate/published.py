"""Figures that papers and published code reported, as data, to stand beside ours.

Two sources: the papers' own tables, on their data and language models; and public implementations that were
run on the rows of ``bowling-green``, ``bowling-green-new``, ``arguments`` and ``arguments-new`` with MiniLM
embeddings of the responses, settings chosen by validation users' log-loss, at most 20 context pairs, and
accuracy averaged over unseen users with a 95 % interval over users. Only the second kind is on data sets that
a run here can have under the same name; what runs on other data is told as not run here.
"""

from collections.abc import Iterator
from typing import NamedTuple

__all__ = ["PUBLISHED", "Published", "of_method"]


class Published(NamedTuple):
    """One published figure.

    Attributes:
        method: The method's name here; of a baseline or variant, the method whose variant it is.
        variant: What the source calls it.
        source: Paper, or whose code.
        dataset: Data set, by its name in a report where it is one of ours.
        setting: Language model, encoder, protocol.
        metric: What was measured; ``accuracy`` is comparable with a report's, as are its units: a share.
        value: The figure, in the metric's own unit.
        low: Lower end of the 95 % interval over users, None where the source gives none.
        high: Upper end.
        users: Number of scored users.
        pairs: Number of scored pairs.
        fit_seconds: Seconds to fit, on two busy cores.
        adapt_seconds: Seconds to adapt to 1,000 users; None where it was not told, or is a refit.
        remark: What the figures alone do not say.
    """

    method: str
    variant: str
    source: str
    dataset: str
    setting: str
    metric: str
    value: float
    low: float | None = None
    high: float | None = None
    users: int | None = None
    pairs: int | None = None
    fit_seconds: float | None = None
    adapt_seconds: float | None = None
    remark: str = ""


def of_method(name: str) -> list[Published]:
    """Return what was published of a method, by its name here.

    >>> [(p.dataset, p.value) for p in of_method("lore")][:2]
    [('bowling-green', 0.764), ('bowling-green-new', 0.724)]
    """
    return [figure for figure in PUBLISHED if figure.method == name]


# ---- public code on fixed rows ------------------------------------------------------------------------

_ROWS = {
    "bowling-green": (436, 6_777),
    "bowling-green-new": (412, 5_128),
    "arguments": (132, 3_935),
    "arguments-new": (123, 2_709),
}
_Level = tuple[float, float, float]


class _Code(NamedTuple):
    """A public implementation: (value, low, high) on each of ``_ROWS``, and its seconds."""

    method: str
    variant: str
    levels: tuple[_Level | None, ...]
    fit: float | None
    adapt: float | None
    setting: str = "MiniLM embeddings of responses"
    remark: str = ""


_CODE = (
    _Code(
        "pooled", "pooled Bradley-Terry",
        ((0.732, 0.716, 0.748), (0.693, 0.675, 0.711), (0.748, 0.730, 0.765), (0.784, 0.757, 0.809)), 0.2, 0,
    ),
    _Code(
        "pooled", "pooled Bradley-Terry with style",
        ((0.736, 0.720, 0.752), (0.691, 0.673, 0.709), (0.760, 0.742, 0.777), (0.788, 0.762, 0.812)), 0.2, 0,
        "MiniLM embeddings of responses, 14 style features",
    ),
    _Code(
        "individual", "individual Bradley-Terry",
        ((0.618, 0.600, 0.635), (0.597, 0.576, 0.617), (0.585, 0.565, 0.605), (0.596, 0.566, 0.627)), 0, 0.2,
    ),
    _Code(
        "lore", "LoRe, its own code",
        ((0.764, 0.748, 0.779), (0.724, 0.707, 0.741), (0.721, 0.701, 0.739), (0.775, 0.748, 0.800)), 30, 40,
        remark="four seeds on bowling-green gave 0.764, 0.733, 0.765, 0.765",
    ),
    _Code(
        "gpo", "GPO, public code",
        ((0.738, 0.723, 0.753), (0.726, 0.708, 0.742), (0.756, 0.738, 0.775), (0.798, 0.772, 0.822)), 153, 12,
    ),
    _Code(
        "vpl", "VPL, model of the public code",
        ((0.713, 0.697, 0.730), (0.696, 0.679, 0.713), (0.738, 0.720, 0.758), (0.778, 0.753, 0.802)),
        143, 0.7,
    ),
    _Code(
        "pal", "PAL-A, public code",
        ((0.708, 0.691, 0.724), None, (0.728, 0.707, 0.748), None), 16, 55,
        "MiniLM embeddings of responses, frozen",
    ),
    _Code(
        "mixed", "crowdGPPL, public code",
        ((0.749, 0.732, 0.765), (0.715, 0.697, 0.733), (0.753, 0.734, 0.771), (0.800, 0.777, 0.823)),
        96, None, remark="the published relative of mixed; a new user needs a refit",
    ),
    _Code(
        "mixed", "an early trial of mixed",
        ((0.794, 0.778, 0.808), (0.775, 0.758, 0.791), (0.769, 0.750, 0.787), (0.814, 0.791, 0.837)),
        None, None, remark="fit in 4 to 20 seconds",
    ),
)  # fmt: skip


def _public_code() -> Iterator[Published]:
    for code in _CODE:
        for (dataset, (users, pairs)), level in zip(_ROWS.items(), code.levels, strict=True):
            if level is not None:
                yield Published(
                    code.method, code.variant, "public code", dataset, f"new-users, {code.setting}",
                    "accuracy", *level, users, pairs, code.fit, code.adapt, code.remark,
                )  # fmt: skip


# ---- the papers' tables -------------------------------------------------------------------------------

_SYNTH, _EPI = "SynthesizeMe (2025)", "EpiPersona"
_POPI, _PT, _MEETS = "POPI", "Whose Boat Does it Float?", "When Personalization Meets Reality"
_ARENA_PRISM = ("Chatbot Arena", "PRISM")

# (source, setting, data sets, metric, (method here, variant, a value for each data set) ...)
_TABLES: tuple[tuple[str, str, tuple[str, ...], str, tuple[tuple[str, str, tuple[float, ...]], ...]], ...] = (
    (_SYNTH, "Llama-3.1-8B", _ARENA_PRISM, "accuracy, %", (
        ("default", "Default judge", (53.7, 52.8)),
        ("memory", "Memory", (58.1, 54.2)),
        ("synthesizeme", "SynthesizeMe + distill", (61.6, 55.2)),
        ("gpo", "GPO", (56.7, 56.5)),
        ("vpl", "VPL", (54.9, 58.2)),
        ("pal", "PAL", (56.7, 54.2)),
        ("pooled", "fine-tuned Bradley-Terry", (68.3, 64.3)),
        ("reward-lm", "Bradley-Terry + personas", (67.3, 63.1)),
    )),
    (_SYNTH, "Llama-3.3-70B", _ARENA_PRISM, "accuracy, %", (
        ("default", "Default judge", (56.7, 54.4)),
        ("synthesizeme", "personas + demos", (62.0, 57.0)),
        ("pooled", "fine-tuned Bradley-Terry", (71.5, 63.5)),
        ("reward-lm", "Bradley-Terry + personas + demos", (72.2, 63.4)),
    )),
    (_EPI, "judge GPT-OSS-120B", ("PRISM", "Chatbot Arena"), "accuracy, %", (
        ("default", "base judge", (56.3, 64.4)),
        ("synthesizeme", "SynthesizeMe", (57.2, 64.9)),
        ("pi", "PI", (54.0, 61.7)),
        ("retrieval", "retrieval, k = 5", (56.5, 62.4)),
        ("epipersona-a", "EpiPersona-A", (59.4, 66.1)),
    )),
    (_EPI, "reward, 8B", ("PRISM", "Chatbot Arena"), "accuracy, %", (
        ("gpo", "GPO", (56.5, 56.7)),
        ("vpl", "VPL", (58.2, 54.9)),
        ("pal", "PAL", (54.2, 56.7)),
        ("epipersona-b", "EpiPersona-B", (58.5, 57.5)),
    )),
    (_PT, "retrieved persona", ("BeaverTails", "HHH", "Mnemonic"), "Delta-PQ, %", (
        ("pt", "few-shot", (46.3, 2.5, 20.3)),
        ("pt", "SFT", (12.3, 9.3, 20.5)),
        ("pt", "DPO", (36.8, 8.4, 28.6)),
    )),
    (_PT, "gold persona", ("BeaverTails", "HHH"), "Delta-PQ, %", (
        ("pt", "few-shot", (55.0, 12.5)),
        ("pt", "SFT", (23.0, 27.8)),
        ("pt", "DPO", (41.6, 23.0)),
    )),
    (_MEETS, "LLaMA-2-7B, largest size", ("PersonalLLM", "TL;DR", "P-SOUPS"), "accuracy, %", (
        ("pooled", "vanilla", (74, 64, 49)),
        ("individual", "individual", (86, 62, 80)),
        ("conditional", "conditional", (72, 61, 50)),
        ("vpl", "VPL", (74, 64, 62)),
        ("gpo", "GPO", (81, 59, 51)),
        ("prm", "PRM", (88, 68, 86)),
        ("retrieval", "retrieval of examples", (51, 49, 48)),
    )),
)  # fmt: skip

# POPI, tables 1 (DPO), 6 (IPO) and 8 (summaries made for each prompt), by data set and measure.
_WRITTEN = ("tokens shown", "accuracy, %", "win rate, %")
_TALKS = ("ELIX", "Review", "Roleplay")
# (setting, method here, variant, a triple for each data set)
_POPI_ROWS: tuple[tuple[str, str, str, tuple[tuple[float, float, float], ...]], ...] = (
    ("DPO", "default", "raw prompting",
     ((3175.08, 56.12, 49.31), (3049.10, 51.08, 53.46), (3020.61, 53.06, 35.26))),
    ("DPO", "pi", "inference prompting",
     ((536.41, 55.61, 47.40), (535.44, 51.91, 57.65), (529.47, 53.28, 39.39))),
    ("DPO", "popi", "inference only",
     ((52.52, 71.48, 63.84), (320.80, 91.81, 80.99), (200.22, 54.81, 55.36))),
    ("DPO", "popi", "full", ((52.52, 80.14, 63.97), (320.80, 95.76, 88.08), (200.22, 72.36, 70.12))),
    ("DPO", "popi", "raw-aligned",
     ((3175.08, 73.94, 56.14), (3049.10, 95.07, 89.54), (3020.61, 65.31, 38.66))),
    ("DPO", "popi", "inference-aligned",
     ((536.41, 61.57, 40.41), (535.44, 77.64, 65.24), (529.47, 66.14, 53.45))),
    ("DPO", "popi", "LoRe, a token of the generator",
     ((1.00, 63.27, 51.03), (1.00, 83.54, 67.76), (1.00, 66.77, 65.29))),
    ("DPO", "popi", "PAL-A, a token of the generator",
     ((1.00, 61.20, 51.28), (1.00, 91.22, 78.69), (1.00, 66.60, 28.41))),
    ("DPO", "popi", "PAL-B, a token of the generator",
     ((1.00, 64.80, 51.68), (1.00, 92.54, 78.44), (1.00, 66.94, 33.04))),
    ("IPO", "popi", "inference only", ((60.24, 69.07, 63.78),)),
    ("IPO", "popi", "full", ((60.24, 79.98, 64.00),)),
    ("IPO", "popi", "raw-aligned", ((3175.08, 68.88, 55.80),)),
    ("IPO", "popi", "inference-aligned", ((536.41, 62.77, 45.09),)),
    ("DPO, summaries for each prompt", "popi", "inference only", ((111.38, 71.11, 66.36),)),
    ("DPO, summaries for each prompt", "popi", "full", ((111.38, 81.65, 65.37),)),
    ("DPO, summaries for each prompt", "popi", "inference-aligned", ((543.66, 60.20, 43.06),)),
)  # fmt: skip
# Tables 2 to 4 and 9: summaries handed to eight frozen generators, mean win rate over each one's own base.
_HANDED = "mean of eight frozen generators"
_HANDED_ROWS: tuple[tuple[str, str, tuple[float, ...]], ...] = (
    ("default", "raw prompting", (63.11, 62.92, 43.02)),
    ("pi", "inference prompting", (55.79, 54.26, 47.60)),
    ("popi", "inference only", (70.77, 79.88, 52.61)),
)
_SECOND_TEMPLATES = (
    ("default", "raw prompting", 62.83),
    ("pi", "inference prompting", 54.30),
    ("popi", "inference only", 71.94),
)

# "When Personalization Meets Reality", appendix B: a new user of PersonalLLM by number of pairs, and the
# accuracy on RewardBench after training on a data set.
_NEW_USERS = {
    ("similar-user", "retrieve similar user"): (73, 74, 75),
    ("fine-tune", "further fine-tune"): (71, 73, 72),
    ("gpo", "GPO"): (83, 85, 85),
}
_BENCH = ("safety", "reasoning", "chat", "chat-hard")
_AFTER = {
    ("pooled", "vanilla"): ((83, 75, 91, 47), (87, 83, 95, 58), (70, 58, 65, 49)),
    ("individual", "individual"): ((88, 83, 94, 55), (93, 84, 97, 62), (82, 77, 76, 58)),
    ("conditional", "conditional"): ((83, 75, 91, 47), (93, 83, 97, 61), (70, 54, 74, 39)),
}
_SINGLE = (
    Published(
        "epipersona-b", "EpiPersona-B", _EPI, "PRISM, Chatbot Arena", "reward, 8B",
        "drop under episode shift", 0.043, remark="two baselines drop by 0.177 and 0.144",
    ),
    Published(
        "pt", "DPO on rejected personas", _PT, "BeaverTails, HHH, Mnemonic", "retrieved persona",
        "Delta-PQ over plain DPO, %", 23.7,
    ),
    Published(
        "pt", "DPO on chosen personas", _PT, "BeaverTails, HHH, Mnemonic", "retrieved persona",
        "Delta-PQ over plain DPO, %", 13.4,
    ),
    Published(
        "pt", "DPO on rejected personas", _PT, "BeaverTails", "gold persona",
        "Delta-PQ over plain DPO, %", 21.3,
    ),
    Published(
        "pt", "DPO on rejected personas", _PT, "HHH", "retrieved persona",
        "Delta-PQ over plain DPO, %", 35.6,
    ),
)  # fmt: skip


def _popi() -> Iterator[Published]:
    model = "Llama-3.2-3B"
    for objective, method, variant, triples in _POPI_ROWS:
        for dataset, triple in zip(_TALKS, triples, strict=False):
            for metric, value in zip(_WRITTEN, triple, strict=True):
                yield Published(method, variant, _POPI, dataset, f"{model}, {objective}", metric, value)
    for method, variant, values in _HANDED_ROWS:
        for dataset, value in zip(_TALKS, values, strict=True):
            yield Published(method, variant, _POPI, dataset, _HANDED, _WRITTEN[2], value)
    for method, variant, value in _SECOND_TEMPLATES:
        yield Published(method, variant, _POPI, "ELIX", f"{_HANDED}, other templates", _WRITTEN[2], value)


def _appendix() -> Iterator[Published]:
    for (method, variant), values in _NEW_USERS.items():
        for n, value in zip((30, 100, 300), values, strict=True):
            setting = f"LLaMA-2-7B, {n} pairs of a new user"
            yield Published(method, variant, _MEETS, "PersonalLLM", setting, "accuracy, %", value)
    for (method, variant), table in _AFTER.items():
        for dataset, row in zip(("PersonalLLM", "TL;DR", "P-SOUPS"), table, strict=True):
            for category, value in zip(_BENCH, row, strict=True):
                metric = f"RewardBench {category}, %"
                yield Published(method, variant, _MEETS, dataset, "LLaMA-2-7B", metric, value)


def _papers() -> Iterator[Published]:
    for source, setting, datasets, metric, methods in _TABLES:
        for method, variant, values in methods:
            for dataset, value in zip(datasets, values, strict=True):
                yield Published(method, variant, source, dataset, setting, metric, value)
    yield from _popi()
    yield from _appendix()
    yield from _SINGLE


PUBLISHED: tuple[Published, ...] = (*_public_code(), *_papers())
"""Every figure, public code first."""
