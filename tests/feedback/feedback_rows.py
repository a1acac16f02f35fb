"""Rows for the feedback tests."""

import json


def pair(user="ann", prompt="Hi", chosen="Hello!", rejected="Yo.", **more):
    """Return a plain row."""
    return {"user": user, "prompt": prompt, "chosen": chosen, "rejected": rejected, **more}


def as_lines(rows):
    """Return rows as JSON lines; bytes and texts go in as they are."""
    lines = [row if isinstance(row, (bytes, str)) else json.dumps(row) for row in rows]
    return b"".join((line if isinstance(line, bytes) else line.encode()) + b"\n" for line in lines)
