"""Any Hugging Face causal model, by id or folder, made fit for tuning; and one base that plays several roles.

POPI needs a policy, its reference, a generator and its reference. With LoRA all four are one base model whose
adapters are switched: the reference is the base with its adapters off, so nothing is held twice. In full
tuning a role that is trained is a copy of its own, made when it is first trained, and the base stays as it
came.
"""

import copy
import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from palate.core import ConfigError, StorageError
from palate.models.weights import DTYPES, folder_key, torch_device
from palate.tune.running import plain_forward, quiet

__all__ = ["PLAIN_TEMPLATE", "Base", "Cast", "Lora", "load_base"]

PLAIN_TEMPLATE = (
    "{{ bos_token or '' }}{% for m in messages %}{% if m['role'] == 'assistant' %}assistant: "
    "{% generation %}{{ m['content'] }}{{ eos_token }}{% endgeneration %}{% else %}"
    "{{ m['role'] }}: {{ m['content'] }}\n{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}assistant: {% endif %}"
)
"""What a model without a chat template is given: a line a turn."""
_TRAINED = "default"  # TRL looks for an adapter of this name


@dataclass(frozen=True)
class Lora:
    """A low-rank adapter (Hu et al. 2021).

    Attributes:
        rank: Its rank; 0 tunes all weights.
        alpha: Its scale times its rank.
        targets: Which linear layers: ``all-linear``, or names such as ``q_proj``.
        dropout: Share of its inputs dropped in training.
    """

    rank: int = 16
    alpha: int = 32
    targets: tuple[str, ...] = ("all-linear",)
    dropout: float = 0.0

    def config(self, *, reward: bool = False) -> Any:
        """Return PEFT's configuration."""
        from peft import LoraConfig, TaskType

        targets = self.targets[0] if self.targets == ("all-linear",) else list(self.targets)
        return LoraConfig(
            r=self.rank,
            lora_alpha=self.alpha,
            target_modules=targets,
            lora_dropout=self.dropout,
            task_type=TaskType.SEQ_CLS if reward else TaskType.CAUSAL_LM,
        )


@dataclass
class Base:
    """A model and its tokenizer, checked.

    Attributes:
        model: The model, in evaluation mode.
        tokenizer: Its tokenizer, with a padding token, an end token and a chat template.
        spec: The name as the user wrote it.
        key: Identity of the weights: equal keys, equal outputs.
        limit: Tokens that a sequence may have.
        mended: What it lacked, and what was put in its place, in words.
    """

    model: Any
    tokenizer: Any
    spec: str
    key: str
    limit: int
    mended: list[str] = field(default_factory=list)

    @property
    def ends(self) -> tuple[int, ...]:
        """Token ids that end an answer."""
        declared = getattr(self.model, "generation_config", None)
        named = getattr(declared, "eos_token_id", None)
        more = [] if named is None else [named] if isinstance(named, int) else list(named)
        return tuple(dict.fromkeys([int(self.tokenizer.eos_token_id), *map(int, more)]))


def load_base(
    spec: str,
    *,
    dtype: str = "float32",
    device: str | None = None,
    limit: int = 2048,
    reward: bool = False,
    revision: str | None = None,
) -> Base:
    """Load a model by a folder or a name on the hub.

    Args:
        spec: The folder or name.
        dtype: ``float32``, ``bfloat16`` or ``float16``.
        device: Where it runs; None is the first GPU if there is one.
        limit: Most tokens of a sequence; never more than the model has positions.
        reward: Whether it gets a scalar head in the place of its vocabulary.
        revision: A hub model's branch, tag or commit.

    Raises:
        ConfigError: If nothing is named, it cannot be loaded, or it lacks what cannot be mended.
    """
    if not spec:
        raise ConfigError(
            "no model to tune is named: say model=FOLDER or model=ORGANISATION/NAME (a causal language model "
            "of Hugging Face's), or set PALATE_MODEL"
        )
    if dtype not in DTYPES:
        raise ConfigError(f"dtype is one of {', '.join(DTYPES)}, got {dtype!r}")
    model, tokenizer = _read(spec, dtype, reward, revision)
    mended = _mend(spec, model, tokenizer)
    positions = getattr(model.config.get_text_config(), "max_position_embeddings", None) or limit
    model.eval().requires_grad_(False)
    found = Base(
        model.to(torch_device(device or _own_device(), accelerate=True)),
        tokenizer,
        spec,
        _key(spec, model, revision),
        min(limit, positions),
        mended,
    )
    if limit > positions:
        mended.append(f"sequences are cut to {positions:,} tokens, all that {spec} has positions for")
    return found


def _own_device() -> str | None:
    """Return the GPU of this process where a launcher started several."""
    import torch

    rank = os.environ.get("LOCAL_RANK", "")
    return f"cuda:{rank}" if rank and torch.cuda.is_available() else None


def _read(spec: str, dtype: str, reward: bool, revision: str | None) -> tuple[Any, Any]:
    import torch
    from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

    kind = AutoModelForSequenceClassification if reward else AutoModelForCausalLM
    labels = {"num_labels": 1} if reward else {}
    try:
        with quiet(), torch.random.fork_rng():
            torch.manual_seed(0)  # of a scalar head, which no folder has
            tokenizer = AutoTokenizer.from_pretrained(spec, revision=revision or "main")
            model = kind.from_pretrained(
                spec, revision=revision or "main", dtype=getattr(torch, dtype), **labels
            )
    except Exception as error:
        why = str(error).strip().partition("\n")[0]
        raise ConfigError(
            f"the model {spec!r} cannot be loaded ({type(error).__name__}: {why}); "
            "expected a folder with a causal model and its tokenizer, or a name on the hub and a connection "
            "or a filled cache"
        ) from error
    return model, tokenizer


def _mend(spec: str, model: Any, tokenizer: Any) -> list[str]:
    """Give the tokenizer what it lacks; return what was done."""
    mended = []
    tokenizer.model_max_length = int(1e9)  # Talk shortens, and says so
    if tokenizer.eos_token_id is None:
        raise ConfigError(
            f"the tokenizer of {spec!r} has no end token, so no answer could end: set eos_token in its "
            "tokenizer_config.json"
        )
    rows = model.get_input_embeddings().weight.shape[0]
    if len(tokenizer) > rows:
        raise ConfigError(
            f"the tokenizer of {spec!r} knows {len(tokenizer):,} tokens, the model has {rows:,}: they do not "
            "belong together, or the model's embeddings were not resized"
        )
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
        mended.append(f"{spec} has no padding token: its end token {tokenizer.eos_token!r} is used")
    if tokenizer.chat_template is None:
        tokenizer.chat_template = PLAIN_TEMPLATE
        mended.append(f"{spec} has no chat template: turns are written as 'role: words', one a line")
    model.config.get_text_config().pad_token_id = tokenizer.pad_token_id
    if getattr(model, "generation_config", None) is not None:
        model.generation_config.pad_token_id = tokenizer.pad_token_id
    return mended


def _key(spec: str, model: Any, revision: str | None) -> str:
    if Path(spec).is_dir():
        return folder_key(Path(spec))
    return f"{spec}@{getattr(model.config, '_commit_hash', None) or revision or 'main'}"


def _copied(model: Any) -> Any:
    return plain_forward(copy.deepcopy(model))


class Cast:
    """One base model in several roles.

    Args:
        base: The model as it came; it plays ``reference``.
        lora: The adapters' form; rank 0 tunes copies of all weights.
        roles: Names of the roles that may be trained.
        reward: Whether the base has a scalar head, which is then trained with the adapter.
        seed: Of the adapters' start.
    """

    def __init__(
        self, base: Base, lora: Lora, roles: Sequence[str], *, reward: bool = False, seed: int = 0
    ) -> None:
        import torch

        self.base, self.lora, self.roles = base, lora, tuple(roles)
        self._adapters = {role: _TRAINED if i == 0 else role for i, role in enumerate(self.roles)}
        self._copies: dict[str, Any] = {}
        self._peft: Any = None
        if lora.rank:
            from peft import get_peft_model

            with torch.random.fork_rng(), quiet():
                torch.manual_seed(seed)
                for name in self._adapters.values():
                    if self._peft is None:
                        self._peft = get_peft_model(base.model, lora.config(reward=reward), adapter_name=name)
                    else:
                        self._peft.add_adapter(name, lora.config(reward=reward))
            self._peft.eval()

    def to_train(self, role: str) -> Any:
        """Return the model of a role with its trained weights, and only these, needing gradients."""
        self._check(role)
        if self._peft is not None:
            self._peft.set_adapter(self._adapters[role])
            return self._peft
        if role not in self._copies:
            self._copies[role] = _copied(self.base.model)
        return self._copies[role].requires_grad_(True)

    @contextmanager
    def playing(self, role: str) -> Iterator[Any]:
        """Let the model play a role inside, in evaluation mode; ``reference`` is the base as it came.

        Afterwards it is as it was before: a trainer may be in the middle of a step of another role.
        """
        if role != "reference":
            self._check(role)
        model = self._copies.get(role, self.base.model) if self._peft is None else self._peft
        training = model.training
        model.eval()
        try:
            with self._switched(role):
                yield model
        finally:
            if training:
                model.train()

    @contextmanager
    def _switched(self, role: str) -> Iterator[None]:
        if self._peft is None:
            yield
            return
        if role == "reference":
            with self._peft.disable_adapter():
                yield
            return
        before, wanted = self._peft.active_adapter, self._adapters[role]
        if before == wanted:
            yield
            return
        self._peft.set_adapter(wanted)
        try:
            yield
        finally:
            self._peft.set_adapter(before)

    def copy_role(self, source: str, target: str) -> None:
        """Let one role begin where another stands."""
        if self._peft is None:
            self._copies[target] = _copied(self._copies.get(source, self.base.model))
            return
        for name, value in self._weights(source).items():
            self._peft.get_parameter(self._renamed(name, source, target)).data.copy_(value.data)

    def _renamed(self, name: str, source: str, target: str) -> str:
        return name.replace(f".{self._adapters[source]}.", f".{self._adapters[target]}.")

    def _weights(self, role: str) -> dict[str, Any]:
        """Return the tensors that make a role, by name."""
        if self._peft is not None:
            own = f".{self._adapters[role]}."
            return {name: value for name, value in self._peft.named_parameters() if own in name}
        return dict(self._copies[role].named_parameters()) if role in self._copies else {}

    def key(self, role: str) -> str:
        """Return an identity of a role's weights: the base's, and a hash of what was trained."""
        import torch

        h = hashlib.blake2b(self.base.key.encode(), digest_size=16)
        weights = {} if role == "reference" else self._weights(role)
        for name, value in sorted(weights.items()):
            h.update(name.encode())
            h.update(value.detach().to("cpu", torch.float32).numpy().tobytes())
        return h.hexdigest()

    def save(self, folder: str | Path) -> None:
        """Write the trained weights: an adapter a role, or a whole model a role that was trained."""
        path = Path(folder)
        with quiet():
            for role in self.roles:
                self._save_role(role, path / role)

    def _save_role(self, role: str, folder: Path) -> None:
        if self._peft is None:
            if role in self._copies:
                self._copies[role].save_pretrained(folder)
            return
        name = self._adapters[role]
        self._peft.save_pretrained(folder, selected_adapters=[name])
        inner = folder / name  # where PEFT puts adapters that are not called default
        if name != _TRAINED and inner.is_dir():
            for file in inner.iterdir():
                file.replace(folder / file.name)
            inner.rmdir()

    def load(self, folder: str | Path) -> None:
        """Read what :meth:`save` wrote.

        Raises:
            StorageError: If the weights do not fit the base.
        """
        path = Path(folder)
        for role in self.roles:
            if not (path / role).is_dir():
                continue
            try:
                with quiet():
                    self._load_role(role, path / role)
            except Exception as error:
                why = " ".join(str(error).split())[:200]
                raise StorageError(
                    f"the weights in {path / role} do not fit {self.base.spec} ({why}); name the model "
                    "that they were trained from"
                ) from error

    def _load_role(self, role: str, folder: Path) -> None:
        if self._peft is not None:
            from peft import load_peft_weights, set_peft_model_state_dict

            weights = load_peft_weights(str(folder), device=str(self.base.model.device))
            set_peft_model_state_dict(self._peft, weights, adapter_name=self._adapters[role])
            return
        copied = type(self.base.model).from_pretrained(folder, dtype=self.base.model.dtype)
        self._copies[role] = copied.eval().requires_grad_(False).to(self.base.model.device)

    def merged(self, role: str) -> Any:
        """Return a model of its own with a role's weights merged in; the cast stays as it is."""
        self._check(role)
        if self._peft is None:
            return _copied(self._copies.get(role, self.base.model))
        alone = _copied(self._peft)
        alone.set_adapter(self._adapters[role])
        return alone.merge_and_unload()

    def _check(self, role: str) -> None:
        if role not in self.roles:
            raise ConfigError(f"there is no role {role!r} here; there are {', '.join(self.roles)}")
