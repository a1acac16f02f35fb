"""The nouns that everything is said in, the one protocol, and the errors."""

from palate.core.builder import PopulationBuilder
from palate.core.capabilities import Describes, Generates, Revises, Uncertain, Updates
from palate.core.correct import axis_shifts, corrected, standing
from palate.core.errors import (
    BudgetSpent,
    ConfigError,
    DataError,
    EncoderError,
    EndpointDown,
    FitDiverged,
    KeyRefused,
    MethodError,
    MissingExtra,
    ModelError,
    NotFitted,
    PalateError,
    PersonaMismatch,
    StorageError,
    UnknownModel,
)
from palate.core.feedback import Conversation, Feedback, History, Turn, as_conversation
from palate.core.job import Job, current_job, job
from palate.core.method import Method, with_roles
from palate.core.persona import Claim, Persona, Personas, Provenance, Verdict, Verdicts, about
from palate.core.population import ROLES, SPLITS, Corpus, Pairs, Population
from palate.core.query import Queries, Query
from palate.core.recall import forget_texts, shared
from palate.core.single import one_choice, one_query

__all__ = [
    "ROLES",
    "SPLITS",
    "BudgetSpent",
    "Claim",
    "ConfigError",
    "Conversation",
    "Corpus",
    "DataError",
    "Describes",
    "EncoderError",
    "EndpointDown",
    "Feedback",
    "FitDiverged",
    "Generates",
    "History",
    "Job",
    "KeyRefused",
    "Method",
    "MethodError",
    "MissingExtra",
    "ModelError",
    "NotFitted",
    "Pairs",
    "PalateError",
    "Persona",
    "PersonaMismatch",
    "Personas",
    "Population",
    "PopulationBuilder",
    "Provenance",
    "Queries",
    "Query",
    "Revises",
    "StorageError",
    "Turn",
    "Uncertain",
    "UnknownModel",
    "Updates",
    "Verdict",
    "Verdicts",
    "about",
    "as_conversation",
    "axis_shifts",
    "corrected",
    "current_job",
    "forget_texts",
    "job",
    "one_choice",
    "one_query",
    "shared",
    "standing",
    "with_roles",
]
