"""Rewards in the shapes that trainers call: OpenRLHF's remote reward model, and verl's batches.

OpenRLHF (0.7.0.post1; ``openrlhf/utils/remote_rm_utils.py`` at 9b8641c, ``openrlhf/utils/agent.py`` at
04655bc, ``openrlhf/cli/serve_rm.py`` at 58ec6ff) posts ``query`` (prompt and answer with the chat template),
``prompts`` and ``labels``, one string a row, in later versions one row a call, without any header. It reads
``rewards``, ``scores`` and ``extra_logs``, and filters prompts by ``scores``, which it takes for numbers from
0 to 1.

verl calls a Python function. Its batch reward manager (``verl/workers/reward_manager/batch.py`` at abddec4,
the same names in ``verl/experimental/reward_loop/reward_manager/batch.py`` at a9ba065) passes
``data_sources``, ``solution_strs``, ``ground_truths`` and ``extra_infos``; ``palate.client.verl`` sends these
here.
"""

from typing import Annotated, Any, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from palate.serve.wire.texts import Answer, Conversation, Name, Reply, Wire

__all__ = ["MOST_ROWS", "OpenRlhf", "OpenRlhfRewards", "RowAbout", "Verl", "VerlScores"]

MOST_ROWS = 4096
"""Most rows of one call."""


def _text(text: str) -> str:
    text.encode()  # half of a surrogate pair is refused
    return text


Text = Annotated[str, AfterValidator(_text)]
Texts = Annotated[list[Text], Field(min_length=1, max_length=MOST_ROWS)]
Cells = Annotated[list[Any], Field(max_length=MOST_ROWS)]


class _Called(BaseModel):
    """A body that a trainer sends: fields of other versions are passed over."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class OpenRlhf(_Called):
    """What OpenRLHF posts to ``--remote_rm_url``.

    A label that is a JSON object is read as :class:`RowAbout`; any other is passed over.
    """

    query: Texts = Field(description="Prompt and answer, with the chat template's marks.")
    prompts: Texts = Field(description="The prompts alone.")
    labels: Cells | None = Field(None, description='One a row, as "{\\"user\\": \\"ann\\"}".')

    @model_validator(mode="after")
    def _even(self) -> Self:
        rows = {len(self.query), len(self.prompts), len(self.labels or self.query)}
        if len(rows) > 1:
            raise ValueError(f"query, prompts and labels have {sorted(rows)} rows: give as many of each")
        return self


class OpenRlhfRewards(Reply):
    """What OpenRLHF reads.

    Attributes:
        rewards: Log-odds, a row each.
        scores: The same as probabilities, from 0 to 1.
        extra_logs: Numbers for its log, a row each: how many choices the user's persona reflects, and its
            weight, -1 where it was not tested.
    """

    rewards: list[float]
    scores: list[float]
    extra_logs: dict[str, list[float]]


class Verl(_Called):
    """What ``palate.client.verl`` posts: the arguments of verl's batch reward function.

    A row's ``extra_infos``, or else its ``ground_truths`` where that is an object or a JSON object, is read
    as :class:`RowAbout`. The conversation may be called ``conversation``, ``prompt``, ``raw_prompt`` or
    ``question`` too.
    """

    solution_strs: Texts
    data_sources: Cells | None = None
    ground_truths: Cells | None = None
    extra_infos: Cells | None = None

    @model_validator(mode="after")
    def _even(self) -> Self:
        columns = (self.solution_strs, self.data_sources, self.ground_truths, self.extra_infos)
        rows = {len(column) for column in columns if column is not None}
        if len(rows) > 1:
            raise ValueError(f"the columns have {sorted(rows)} rows: give as many of each")
        return self


class VerlScores(Reply):
    """One dictionary a row, as verl's reward managers read it.

    ``score`` is the reward in log-odds; verl logs the other numbers.
    """

    scores: list[dict[str, float]]


class RowAbout(Wire):
    """What a row tells of itself: whose reward it is, what was asked, what its score is measured against."""

    user: Name | None = None
    conversation: Conversation | None = None
    among: Annotated[list[Answer], Field(max_length=16)] = []
