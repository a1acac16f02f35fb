"""Feedback in: read any file of choices or votes, split it without leaks, look at it, write it.

    read          a file, folder, data set or standard input -> a population and a report
    split_new_users, context_parts     roles and splits
    check         what is in it, and what may be wrong with it
    describe      how much people disagree, and how much room that leaves
    write_jsonl   back to a file, equal when read again

Published data sets are read by their adapters (``adapters``); ``docs/data-sets.md`` tells how.

The way of a row: ``sources`` (raw rows) -> ``adapters`` (published data only) -> ``fields`` (which column
is what) -> ``rows`` (parsed rows) -> ``read`` (columns); ratings become pairs in ``ratings``.
"""

from palate.feedback.check import CheckReport, Copies, check
from palate.feedback.describe import Description, describe
from palate.feedback.intervals import Figure, clustered_mean
from palate.feedback.ratings import PairRule
from palate.feedback.read import Progress, ReadResult, read
from palate.feedback.report import KINDS, ReadReport, SetAside
from palate.feedback.splits import context_parts, split_new_users
from palate.feedback.write import write_jsonl

__all__ = [
    "KINDS",
    "CheckReport",
    "Copies",
    "Description",
    "Figure",
    "PairRule",
    "Progress",
    "ReadReport",
    "ReadResult",
    "SetAside",
    "check",
    "clustered_mean",
    "context_parts",
    "describe",
    "read",
    "split_new_users",
    "write_jsonl",
]
