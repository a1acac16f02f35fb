"""Adapters for published preference data: recognised by hub id, by columns, or named as NAME:SOURCE.

    prism                PRISM: ratings of up to four models a turn, and a survey
    personalrewardbench  the pairs of PRISM and Chatbot Arena that "SynthesizeMe!" tests on
    arena                Chatbot Arena with judges
    personalllm          PersonalLLM with simulated users
    psoups               P-SOUPS: opposite wishes as users
    uid                  pairs whose user is the number ``uid``
    tldr                 Reddit TL;DR with workers
    fspo                 ELIX, Review, Roleplay (also as elix, review, roleplay)
    alignx               AlignX: a pair, a history and a preference direction a user
    polis                Polis: votes on statements
    hh, shp, saferlhf    HH-RLHF, SHP, PKU-SafeRLHF: no people, groups in their place

SOURCE is a file, a folder, hf:ID or an id that the adapter knows; options stand after the name, as in
``personalllm,users=100,alpha=0.1,seed=0:hf:namkoong-lab/PersonalLLM``.
"""

import difflib
import re
from pathlib import Path

from palate.core import ConfigError
from palate.feedback.adapters.alignx import AlignX
from palate.feedback.adapters.arena import Arena
from palate.feedback.adapters.base import Adapter
from palate.feedback.adapters.fspo import Fspo
from palate.feedback.adapters.groups import HH, SHP, SafeRLHF
from palate.feedback.adapters.opening import adapted, guessed, holds, marked, named
from palate.feedback.adapters.personalllm import PersonalLLM
from palate.feedback.adapters.personalrewardbench import PersonalRewardBench
from palate.feedback.adapters.polis import Polis
from palate.feedback.adapters.prism import Prism
from palate.feedback.adapters.psoups import PSoups, Uid
from palate.feedback.adapters.tldr import Tldr
from palate.feedback.hub import is_saved, saved_columns
from palate.feedback.sources import Source, open_source

__all__ = ["ADAPTERS", "Adapter", "open_feedback"]

KINDS: tuple[type[Adapter], ...] = (
    *(Prism, PersonalRewardBench, Arena, PersonalLLM, PSoups, Uid, Tldr, Fspo, AlignX, Polis),
    *(HH, SHP, SafeRLHF),
)
ADAPTERS: dict[str, type[Adapter]] = {
    **{kind.name: kind for kind in KINDS},
    **dict.fromkeys(("elix", "review", "roleplay"), Fspo),
}


def open_feedback(path_or_id: str | Path, format: str = "auto", recognise: bool = True) -> Source:
    """Find out what a source is, published data sets included, and return its raw rows.

    Args:
        path_or_id: What ``palate.feedback.sources`` reads, or NAME:SOURCE with the name of an adapter.
        format: What it is, where its name and first bytes do not say.
        recognise: Whether a data set that is not named is looked for by its id and columns.

    Raises:
        ConfigError: If the format or an option is unknown.
        DataError: If there is no such source.
        MissingExtra: If a Hugging Face data set is asked for without ``datasets``.
    """
    spec = str(path_or_id)
    if spec == "-" or Path(spec).exists():
        return _plain(spec, format, recognise)
    asked = named(spec, ADAPTERS)
    if asked is not None:
        kind, options, where = asked
        return adapted(kind, options, spec, where, format)
    if spec.startswith("hf:") and not Path(spec[3:].partition(":")[0]).exists():
        name = spec[3:].partition(":")[0].lower()
        known = next((k for k in KINDS if any(re.fullmatch(p, name) for p in k.ids)), None)
        return adapted(known, {}, spec, spec, format) if known and recognise else open_source(spec, format)
    _refuse_a_near_name(spec)
    return _plain(spec, format, recognise)


def _plain(spec: str, format: str, recognise: bool) -> Source:
    """Return the rows of a file or folder, by an adapter where its columns or file names speak for one."""
    folder = Path(spec.removeprefix("hf:").partition(":")[0] if spec.startswith("hf:") else spec)
    if not recognise or spec == "-":
        return open_source(spec, format)
    if folder.is_dir() and is_saved(folder):
        columns = dict.fromkeys(saved_columns(folder))
        known = next((kind for kind in KINDS if marked(kind, columns)), None)
        return adapted(known, {}, spec, spec, format) if known else open_source(spec, format)
    if folder.is_dir() and spec == str(folder):
        whole = next((k for k in KINDS if len(k.tables) > 1 and holds(folder, k)), None)
        if whole is not None:
            return adapted(whole, {}, spec, spec, format)
    return guessed(open_source(spec, format), KINDS)


def _refuse_a_near_name(spec: str) -> None:
    """Refuse NAME:SOURCE with a name that is nearly an adapter's.

    Raises:
        ConfigError: With the name that was likely meant.
    """
    head, colon, _ = spec.partition(":")
    name = head.lower().split(",")[0]
    near = difflib.get_close_matches(name, ADAPTERS, n=1, cutoff=0.7) if colon else []
    if near:
        raise ConfigError(f"{name!r} is no data set that is known: did you mean {near[0]}:...? {_names()}")


def _names() -> str:
    return "The names are " + ", ".join(ADAPTERS)
