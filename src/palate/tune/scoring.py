"""Log-probabilities of answers under prompts, a prompt read once however many answers it has.

    log pi(y | p) = sum over t of log softmax(logits(p, y_<t))[y_t]

A pair has two answers to one prompt, a group of summaries has G answers to one user's signals: the prompt's
keys and values are computed once, repeated, and the answers are read after them. With P tokens of prompt and
n answers of A tokens that is P + n A tokens through the model in the place of n (P + A). The repeat is
differentiable, so training goes the same way. Models whose memory is no plain list of keys and values
(sliding windows, state spaces) read prompt and answer together.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["Logprobs", "after_prompts", "answer_logprobs", "left_padded", "right_padded", "token_logprobs"]

Ids = Sequence[int]
_BUDGET = 16384  # tokens of a padded batch
_ROWS = 1 << 22  # logits that are normalised at a time


class Logprobs(NamedTuple):
    """Token log-probabilities and entropies of answers: float [answers, tokens], 0 at padding."""

    logps: Tensor
    entropy: Tensor | None


def left_padded(rows: Sequence[Ids], pad: int, device: Any = None) -> tuple[Tensor, Tensor]:
    """Return ids and mask, int64 [rows, width], the padding before."""
    width = max(map(len, rows), default=0)
    ids = [[pad] * (width - len(row)) + list(row) for row in rows]
    mask = [[0] * (width - len(row)) + [1] * len(row) for row in rows]
    return torch.tensor(ids, device=device), torch.tensor(mask, device=device)


def right_padded(rows: Sequence[Ids], pad: int, device: Any = None) -> tuple[Tensor, Tensor]:
    """Return ids and mask, int64 [rows, width], the padding behind."""
    width = max(map(len, rows), default=0)
    ids = [list(row) + [pad] * (width - len(row)) for row in rows]
    mask = [[1] * len(row) + [0] * (width - len(row)) for row in rows]
    return torch.tensor(ids, device=device), torch.tensor(mask, device=device)


def token_logprobs(
    logits: Tensor, ids: Tensor, temperature: float = 1.0, *, entropy: bool = False
) -> Logprobs:
    """Return log-probabilities of ids [n, t] under logits [n, t, vocabulary], in float32 or better.

    They are normalised some rows at a time, and again on the way back: with a large vocabulary their
    float32 copies would take more memory than the model.
    """
    logps, spread = _Normalised.apply(logits, ids, temperature, entropy)
    return Logprobs(logps, spread if entropy else None)


class _Normalised(torch.autograd.Function):
    """log softmax(logits / T) at ids; d logits = (one at ids - softmax) g / T."""

    @staticmethod
    def forward(
        ctx: Any, logits: Tensor, ids: Tensor, temperature: float, entropy: bool
    ) -> tuple[Tensor, Tensor]:
        logps, norms, spread = [], [], []
        for rows in _parts(logits):
            part = _wide(logits[rows]) / temperature
            norm = torch.logsumexp(part, -1)
            norms.append(norm)
            logps.append(torch.gather(part, -1, ids[rows, :, None])[..., 0] - norm)
            if entropy:
                spread.append(norm - (torch.softmax(part, -1) * part).sum(-1))
        ctx.save_for_backward(logits, ids, torch.cat(norms))
        ctx.temperature = temperature
        entropies = torch.cat(spread) if entropy else logits.new_empty(0)
        ctx.mark_non_differentiable(entropies)
        return torch.cat(logps), entropies

    @staticmethod
    def backward(ctx: Any, slope: Tensor, _: Tensor) -> tuple[Tensor, None, None, None]:
        logits, ids, norms = ctx.saved_tensors
        out = torch.empty_like(logits)
        for rows in _parts(logits):
            part = _wide(logits[rows]) / ctx.temperature
            share = part.sub_(norms[rows, :, None]).exp_().mul_(-slope[rows, :, None])
            share.scatter_add_(-1, ids[rows, :, None], slope[rows, :, None].to(share.dtype))
            out[rows] = share / ctx.temperature
        return out, None, None, None


def _wide(logits: Tensor) -> Tensor:
    return logits if logits.dtype == torch.float64 else logits.float()


def _parts(logits: Tensor) -> list[slice]:
    """Return rows that are normalised at a time."""
    n, length, words = logits.shape
    rows = max(1, _ROWS // max(1, length * words))
    return [slice(start, start + rows) for start in range(0, max(1, n), rows)]


def after_prompts(
    model: Any,
    prompts: tuple[Tensor, Tensor],
    owner: Tensor,
    answers: tuple[Tensor, Tensor],
    *,
    temperature: float = 1.0,
    entropy: bool = False,
) -> Logprobs:
    """Return log-probabilities of each answer's tokens after its prompt.

    Args:
        model: A causal language model.
        prompts: Ids and mask, int64 [prompts, p], padded on the left.
        owner: int64 [answers], the prompt of each answer.
        answers: Ids and mask, int64 [answers, a], padded on the right.
        temperature: Of the softmax.
        entropy: Whether entropies are wanted too.
    """
    ids, mask = prompts
    words, there = answers
    if len(ids) == len(owner) or not _shares(model):
        found = _together(model, ids[owner], mask[owner], words, there, temperature, entropy)
    else:
        found = _shared(model, ids, mask, owner, words, there, temperature, entropy)
    logps = found.logps * there
    return Logprobs(logps, None if found.entropy is None else found.entropy * there)


def _together(
    model: Any, ids: Tensor, mask: Tensor, words: Tensor, there: Tensor, temperature: float, entropy: bool
) -> Logprobs:
    whole, seen = torch.cat([ids, words], 1), torch.cat([mask, there], 1)
    width = words.shape[1]
    out = model(
        input_ids=whole,
        attention_mask=seen,
        position_ids=_positions(seen),
        use_cache=False,
        logits_to_keep=width + 1,
    )
    return token_logprobs(out.logits[:, -width - 1 : -1], words, temperature, entropy=entropy)


def _shared(
    model: Any,
    ids: Tensor,
    mask: Tensor,
    owner: Tensor,
    words: Tensor,
    there: Tensor,
    temperature: float,
    entropy: bool,
) -> Logprobs:
    head = model(
        input_ids=ids, attention_mask=mask, position_ids=_positions(mask), use_cache=True, logits_to_keep=1
    )
    memory = head.past_key_values
    if not all(type(layer).__name__ == "DynamicLayer" for layer in memory.layers):
        return _together(model, ids[owner], mask[owner], words, there, temperature, entropy)
    memory.batch_select_indices(owner)
    seen = torch.cat([mask[owner], there], 1)
    tail = model(
        input_ids=words,
        attention_mask=seen,
        position_ids=_positions(seen)[:, -words.shape[1] :],
        past_key_values=memory,
        use_cache=True,
    )
    first = token_logprobs(head.logits[:, -1:][owner], words[:, :1], temperature, entropy=entropy)
    rest = token_logprobs(tail.logits[:, :-1], words[:, 1:], temperature, entropy=entropy)
    both = [torch.cat(pair, 1) for pair in zip(first, rest, strict=True) if pair[0] is not None]
    return Logprobs(both[0], both[1] if entropy else None)


def _shares(model: Any) -> bool:
    """Whether a model keeps what it read: not while it trades memory for recomputing."""
    inner = getattr(model, "module", model)  # of a distributed wrapper
    return not (model.training and getattr(inner, "is_activation_checkpointing", False))


def _positions(mask: Tensor) -> Tensor:
    return (mask.cumsum(1) - 1).clamp_min(0)


def answer_logprobs(
    model: Any, prompts: Sequence[Ids], answers: Sequence[Ids], pad: int, *, budget: int = _BUDGET
) -> NDArray[np.float64]:
    """Return float64 [answers]: the log-probability of each answer after its prompt, in nats, no gradient.

    Equal prompts are read once. Batches hold prompts of like length, within a budget of padded tokens.

    Args:
        model: A causal language model in evaluation mode.
        prompts: Ids of the prompt of each answer.
        answers: Ids of each answer.
        pad: Id of the padding token.
        budget: Most padded tokens of a batch.
    """
    out = np.zeros(len(answers))
    distinct = list(dict.fromkeys(tuple(p) for p in prompts))
    place = {p: i for i, p in enumerate(distinct)}
    of: list[list[int]] = [[] for _ in distinct]
    for i, prompt in enumerate(prompts):
        of[place[tuple(prompt)]].append(i)
    with torch.inference_mode():
        for group in _batches(distinct, of, answers, budget):
            rows = [i for g in group for i in of[g]]
            owner = torch.tensor([n for n, g in enumerate(group) for _ in of[g]], device=model.device)
            asked = left_padded([distinct[g] for g in group], pad, model.device)
            told = right_padded([answers[i] for i in rows], pad, model.device)
            found = after_prompts(model, asked, owner, told)
            out[rows] = found.logps.double().sum(1).cpu().numpy()
    return out


def _batches(
    prompts: Sequence[Ids], of: Sequence[Sequence[int]], answers: Sequence[Ids], budget: int
) -> Iterator[list[int]]:
    """Group prompts of like length so that prompts and answers, padded, stay within the budget."""
    group: list[int] = []
    count, longest = 0, 0
    for i in sorted(range(len(prompts)), key=lambda i: -len(prompts[i])):
        mine = max(len(answers[j]) for j in of[i])
        width = max(longest, mine)
        wide = len(prompts[group[0]]) if group else len(prompts[i])
        size = wide * (len(group) + 1) + (count + len(of[i])) * width
        if group and size > budget:
            yield group
            group, count, width = [], 0, mine
        group.append(i)
        count, longest = count + len(of[i]), width
    if group:
        yield group
