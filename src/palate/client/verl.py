"""Reward functions for verl: each row is rewarded for its own user by a Palate server.

verl loads a function from a file, named by ``custom_reward_function`` in its configuration::

    custom_reward_function.path=.../palate/client/verl.py
    custom_reward_function.name=compute_score            # compute_scores with the batch reward manager
    +custom_reward_function.reward_kwargs.url=http://127.0.0.1:8000

The key is read from the environment variable ``PALATE_KEY``, the URL from ``PALATE_URL`` where no argument
names it. A row's ``extra_info`` names the ``user`` and holds what was asked, as ``conversation``, ``prompt``,
``raw_prompt`` or ``question``; with responses ``among`` which the answer is measured, the reward is the
log-odds against these, else against a fixed neutral answer. A server that does not answer is an error, and
never a reward of zero.

Source: verl's ``verl/trainer/ppo/reward.py`` at 03023e2 (how the function is loaded; arguments by name),
``verl/workers/reward_manager/batch.py`` at abddec4 (plural arguments), and
``verl/experimental/reward_loop/reward_manager/naive.py`` at 247f1ac (``reward_router_address`` and
``reward_model_tokenizer`` are passed where a reward model runs beside; a dictionary's ``score`` is the
reward, its other numbers are logged).
"""

import os
import threading
from collections.abc import Mapping, Sequence
from typing import Any

from palate.client.palate import Palate
from palate.core import ConfigError

__all__ = ["URL", "compute_score", "compute_scores"]

URL = "PALATE_URL"
"""The environment variable that holds the server's URL where no argument does."""
_READ = ("user", "conversation", "prompt", "raw_prompt", "question", "among")
_ROWS = 256  # of one request
_clients: dict[tuple[int, str, str], Palate] = {}
_guard = threading.Lock()


def compute_score(
    data_source: Any,
    solution_str: str,
    ground_truth: Any,
    extra_info: Mapping[str, Any] | None = None,
    *,
    url: str = "",
    key: str = "",
    reward_router_address: Any = None,
    reward_model_tokenizer: Any = None,
) -> dict[str, float]:
    """Reward one answer for its user.

    Args:
        data_source: verl's; not read.
        solution_str: The answer.
        ground_truth: Read in the place of ``extra_info`` where that is missing and this is an object.
        extra_info: Names ``user`` and conversation, and ``among`` where wanted.
        url: Of the server.
        key: For it.
        reward_router_address: verl's; not read.
        reward_model_tokenizer: verl's; not read.

    Returns:
        ``score``, the reward in log-odds; ``probability``, ``persona_choices`` and ``persona_weight``.

    Raises:
        ServerSaid: If the server cannot reward it.
    """
    return compute_scores([data_source], [solution_str], [ground_truth], [extra_info], url=url, key=key)[0]


def compute_scores(
    data_sources: Sequence[Any],
    solution_strs: Sequence[str],
    ground_truths: Sequence[Any],
    extra_infos: Sequence[Mapping[str, Any] | None],
    *,
    url: str = "",
    key: str = "",
    reward_router_address: Any = None,
    reward_model_tokenizer: Any = None,
) -> list[dict[str, float]]:
    """Reward a batch; the arguments are those of :func:`compute_score`, a list each."""
    infos = [_read(info) for info in extra_infos]
    truths = [_plain(truth) for truth in ground_truths]
    client, found = _client(url, key), []
    for begin in range(0, len(solution_strs), _ROWS):
        part = slice(begin, begin + _ROWS)
        said = client.reward_verl(list(solution_strs)[part], infos[part], truths[part])
        found += said.scores
    return found


def _client(url: str, key: str) -> Palate:
    """Return this process' client of a server."""
    where = url or os.environ.get(URL, "")
    if not where:
        raise ConfigError(f"no server is named: give url=http://HOST:PORT, or set {URL}")
    named = (os.getpid(), where, key)
    with _guard:
        if named not in _clients:
            _clients[named] = Palate(where, key, timeout=120.0, retries=8)
        return _clients[named]


def _read(info: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Return what the server reads of extra information."""
    if info is None:
        return None
    return {name: _plain(info[name]) for name in _READ if info.get(name) is not None}


def _plain(value: Any) -> Any:
    """Return values of a Parquet file as JSON has them: arrays of numpy become lists."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, Mapping):
        return {str(name): _plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return value if isinstance(value, str | int | float | bool | None) else str(value)
