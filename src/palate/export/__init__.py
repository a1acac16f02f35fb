"""A persona for use elsewhere: as a system prompt, as JSON, in rows for trainers; and cards of models."""

from palate.export.cards import Data, Figure, Trained, Unseen, card
from palate.export.layouts import KINDS, LAYOUTS, Kind, Layout, as_csv
from palate.export.prompt import as_lines, from_json, system_prompt, to_json
from palate.export.rows import Exported, training_rows

__all__ = [
    "KINDS",
    "LAYOUTS",
    "Data",
    "Exported",
    "Figure",
    "Kind",
    "Layout",
    "Trained",
    "Unseen",
    "as_csv",
    "as_lines",
    "card",
    "from_json",
    "system_prompt",
    "to_json",
    "training_rows",
]
