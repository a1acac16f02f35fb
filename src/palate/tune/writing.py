"""Words from a model: many prompts at once, equal prompts read once; or one answer piece by piece."""

from collections.abc import Iterator, Sequence
from threading import Event, Thread
from typing import Any

import torch

from palate.tune.replaying import replayed, replays
from palate.tune.scoring import left_padded

__all__ = ["drawn", "generation", "pieces", "written"]

Ids = Sequence[int]
_BUDGET = 32768


def generation(ends: Sequence[int], pad: int, longest: int, temperature: float) -> Any:
    """Return how words are drawn: the likeliest at temperature 0, else from the whole softmax."""
    from transformers import GenerationConfig

    drawing = {"do_sample": True, "temperature": temperature, "top_k": 0, "top_p": 1.0}
    return GenerationConfig(
        max_new_tokens=longest,
        eos_token_id=list(ends),
        pad_token_id=pad,
        repetition_penalty=1.0,  # all is said, else a model's own settings would be taken
        **(drawing if temperature > 0 else {"do_sample": False}),
    )


def drawn(model: Any, prompts: Sequence[Ids], how: Any, pad: int) -> list[list[int]]:
    """Return a completion for each prompt, in one batch; its end token is its last.

    Args:
        model: A causal language model in evaluation mode.
        prompts: Ids; equal ones are read once and continued apart.
        how: A ``GenerationConfig``.
        pad: Id of the padding token.
    """
    distinct = list(dict.fromkeys(tuple(p) for p in prompts))
    place = {p: i for i, p in enumerate(distinct)}
    owner = torch.tensor([place[tuple(p)] for p in prompts], device=model.device)
    ids, mask = left_padded(distinct, pad, model.device)
    replay = replays(model, how)
    memory = (
        _read(model, ids, mask) if (replay or len(distinct) < len(prompts)) and ids.shape[1] > 1 else None
    )
    ends = set(how.eos_token_id if isinstance(how.eos_token_id, list) else [how.eos_token_id])
    if replay and memory is not None:
        new = replayed(model, memory, owner, ids[owner, -1], mask[owner], how)
        return [_until(row, ends) for row in new.tolist()]
    if memory is not None:
        memory.batch_select_indices(owner)
    known = {} if memory is None else {"past_key_values": memory}
    out = model.generate(input_ids=ids[owner], attention_mask=mask[owner], generation_config=how, **known)
    return [_until(row, ends) for row in out[:, ids.shape[1] :].tolist()]


def _read(model: Any, ids: torch.Tensor, mask: torch.Tensor) -> Any:
    """Return keys and values of all but the last token, or None for a model that keeps others."""
    out = model(
        input_ids=ids[:, :-1],
        attention_mask=mask[:, :-1],
        position_ids=(mask.cumsum(1) - 1).clamp_min(0)[:, :-1],
        use_cache=True,
        logits_to_keep=1,
    )
    memory = out.past_key_values
    return memory if all(type(layer).__name__ == "DynamicLayer" for layer in memory.layers) else None


def _until(ids: list[int], ends: set[int]) -> list[int]:
    for place, token in enumerate(ids):
        if token in ends:
            return ids[: place + 1]
    return ids


def written(
    model: Any, prompts: Sequence[Ids], how: Any, pad: int, *, seed: int = 0, budget: int = _BUDGET
) -> list[list[int]]:
    """Return a completion for each of many prompts, in batches of like length; equal seeds, equal words."""
    order = sorted(range(len(prompts)), key=lambda i: (len(prompts[i]), tuple(prompts[i])))
    out: list[list[int]] = [[] for _ in prompts]
    cuda = [model.device] if model.device.type == "cuda" else []
    with torch.random.fork_rng(cuda), torch.inference_mode():
        torch.manual_seed(seed)
        while order:
            longest = len(prompts[order[-1]]) + how.max_new_tokens
            take = order[-max(1, budget // longest) :]
            del order[-len(take) :]
            for i, ids in zip(take, drawn(model, [prompts[i] for i in take], how, pad), strict=True):
                out[i] = ids
    return out


def pieces(model: Any, tokenizer: Any, prompt: Ids, how: Any, *, seed: int = 0) -> Iterator[str]:
    """Yield the words of one completion as they come."""
    from transformers import StoppingCriteriaList, TextIteratorStreamer

    left = Event()

    def unheard(ids: torch.Tensor, *_: Any, **__: Any) -> torch.Tensor:
        return torch.full((len(ids),), left.is_set(), device=ids.device)

    streamer = TextIteratorStreamer(tokenizer, skip_prompt=True, skip_special_tokens=True)
    ids = torch.tensor([list(prompt)], device=model.device)
    failed: list[BaseException] = []

    def run() -> None:
        try:
            with torch.random.fork_rng(), torch.inference_mode():
                torch.manual_seed(seed)
                model.generate(
                    input_ids=ids,
                    attention_mask=torch.ones_like(ids),
                    generation_config=how,
                    streamer=streamer,
                    stopping_criteria=StoppingCriteriaList([unheard]),
                )
        except BaseException as error:
            failed.append(error)
            streamer.end()

    worker = Thread(target=run, daemon=True)
    worker.start()
    try:
        yield from streamer
    finally:  # whoever listened may have gone before the end
        left.set()
        worker.join()
    if failed:
        raise failed[0]
