"""A persona is a hypothesis: it is tested on choices it never saw, and applied as far as that supports."""

from palate.gate.gate import Gate
from palate.gate.held import Held, differences, fold_rows, hold_back
from palate.gate.margins import Margins, held_margins

__all__ = ["Gate", "Held", "Margins", "differences", "fold_rows", "held_margins", "hold_back"]
