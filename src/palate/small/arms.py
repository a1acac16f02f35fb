"""The arms of the study: every row of the papers' tables as a method with its fields, under one budget.

Every arm tunes the same base with the same data, batch, rate and number of steps; what differs is what the
generator is told, and which model is tuned. The settings were chosen on the validation users of seed 100,
which is no seed of the study.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from palate.core import Method

__all__ = ["ARMS", "LATER", "Arm", "build_arm", "paper_name"]

POPI = "palate.tune.popi:Popi"
USERS = "palate.tune.embedded:UserEmbedding"
TAILOR = "palate.tune.pt:PT"
CODES = "palate.tune.epipersona_a:EpiPersonaA"
_SHARED: dict[str, Any] = {
    "templates": "small",
    "limit": 512,
    "answer_tokens": 12,
    "lora_rank": 0,
    "weight_decay": 0.0,
    "save_every": 50,
}
_POPI: dict[str, Any] = {
    "signals": 10,
    "temperature": 1.0,  # as the papers draw summaries; the likeliest of an untuned model says one thing over
    "summary_tokens": 14,
    "judged": 8,
    "beta": 0.05,
    "steps": 150,
    "batch": 12,
    "group": 12,
    "lr": 5e-4,
    "warmup": 10,
    "align_steps": 200,
    "align_lr": 3e-4,
    "align_batch": 32,
}
_USERS: dict[str, Any] = {
    "beta": 0.3,
    "steps": 300,
    "batch": 32,
    "lr": 3e-4,
    "soft_lr": 1e-2,
    "warmup": 10,
    "contexts": 10,
    "new_steps": 30,
}
_TAILOR: dict[str, Any] = {
    "writer": "self",
    "variant": "dpo",
    "beta": 0.3,
    "sft_steps": 200,
    "sft_lr": 3e-4,
    "steps": 200,
    "batch": 32,
    "lr": 5e-5,  # a sixth of the supervised stage's; as published, a fourth
    "warmup": 10,
    "persona_tokens": 4,
}
_CODES: dict[str, Any] = {
    "form": "plain",
    "codes": 128,
    "width": 32,
    "signals": 10,
    "draws": 4,
    "describe_tokens": 10,
    "calibrate": 40,
    "beta": 0.3,
    "steps": 2000,
    "batch": 32,
    "accumulate": 1,
    "lr": 1e-3,
    "lr_codes": 3e-3,
    "warmup": 20,
}


@dataclass(frozen=True)
class Arm:
    """One row of a table.

    Attributes:
        name: What it is called here.
        paper: What the paper calls it.
        kind: Which measures it is put to: ``written``, ``staged`` (twice: before and after the generator
            is tuned too), ``tailored`` (given personas), ``episodes``.
        method: Where its class is.
        fields: Its fields beside the shared ones.
        then: Of a staged arm, the arm that goes on from it.
        seeds: Most seeds with which a study of all arms runs it; None is all. Fewer where nothing is claimed.
    """

    name: str
    paper: str
    kind: str = "written"
    method: str = POPI
    fields: Mapping[str, Any] = field(default_factory=dict)
    then: str = ""
    seeds: int | None = None

    @property
    def dialects(self) -> int:
        """Dialects of its world and its base model."""
        return 2 if self.kind == "episodes" else 1


def _popi(name: str, paper: str, then: str = "", seeds: int | None = None, **fields: Any) -> Arm:
    kind = "staged" if then else "written"
    return Arm(name, paper, kind, fields={**_POPI, **fields}, then=then, seeds=seeds)


ARMS: dict[str, Arm] = {
    arm.name: arm
    for arm in (
        _popi("raw", "Raw-Prompting", told="raw"),
        _popi("summary", "Inference-Prompting", infer=False, summary_tokens=48),
        _popi("popi", "POPI-Inference-Only", "popi-full"),
        _popi("popi-ipo", "POPI-Inference-Only (IPO)", "popi-full-ipo", kind="ipo"),
        _popi("popi-prompt", "POPI, prompt-dependent", seeds=1, prompt_dependent=True),
        _popi("aligned", "DPO without any user", told="nothing", align=True),
        _popi("raw-aligned", "Raw-Aligned", told="raw", align=True),
        _popi("summary-aligned", "Inference-Aligned", infer=False, align=True, summary_tokens=48),
        *(
            Arm(f"users-{form}", paper, method=USERS, fields={**_USERS, "form": form}, seeds=1)
            for form, paper in (("lore", "LoRe"), ("pal-a", "PAL-A"), ("pal-b", "PAL-B"))
        ),
        Arm("pt", "PT-DPO, beside plain DPO", "tailored", TAILOR, _TAILOR),
        Arm("epipersona-a", "EpiPersona-A, beside text personas", "episodes", CODES, _CODES),
    )
}
"""The arms by name."""
LATER = {
    "popi-full": "POPI-Full",
    "popi-full-ipo": "POPI-Full (IPO)",
}
"""Arms that go on from others, with what the papers call them."""


def build_arm(name: str, base: str, seed: int, **changes: Any) -> Method:
    """Return the unfitted method of an arm.

    Args:
        name: Which.
        base: Folder of the base model.
        seed: Of its draws.
        changes: Fields that are to be others.
    """
    from importlib import import_module

    module, _, attribute = ARMS[name].method.partition(":")
    made: Method = getattr(import_module(module), attribute)(
        model=base, seed=seed, **{**_SHARED, **ARMS[name].fields, **changes}
    )
    return made


def paper_name(arm: str) -> str:
    """Return what the papers call an arm."""
    return LATER[arm] if arm in LATER else ARMS[arm].paper
