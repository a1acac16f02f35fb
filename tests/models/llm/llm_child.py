"""A run in a process of its own: ``python llm_child.py SPEC FOLDER USERS STEPS [OFFSET]`` prints its costs.

Conversations of several dependent calls; the texts of the last step are shared by pairs of users.
"""

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from llm_parts import say

from palate.models.llm.client import Task
from palate.models.llm.session import connect, language_models


def steps(user, many):
    last = ""
    for step in range(many - 1):
        (reply,) = yield [say(f"user {user} step {step} after {last[-12:]}")]
        last = reply.text
    (reply,) = yield [say(f"shared by {user // 2}")]
    return last + reply.text


def main():
    spec, folder, users, many = sys.argv[1:5]
    with language_models(folder=Path(folder), concurrency=8, retries=4, timeout=10.0) as session:
        client = connect(spec)
        tasks = (Task(steps(user, int(many)), f"u{user}", "child") for user in range(int(users)))
        results = list(client.run(tasks))
        print(json.dumps({"results": results, **session.ledger.total}))


if __name__ == "__main__":
    main()
