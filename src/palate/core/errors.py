"""Everything Palate raises on purpose, as one short tree.

    PalateError
    +-- ConfigError        a setting or option is wrong                      (exit code 2)
    |   +-- MissingExtra   a feature needs packages that are not installed   (exit code 2)
    +-- DataError          feedback cannot be used as it is                  (exit code 3)
    +-- EncoderError       texts could not be turned into vectors            (exit code 4)
    +-- MethodError        a method cannot do what was asked                 (exit code 5)
    |   +-- NotFitted      used before ``fit``
    |   +-- PersonaMismatch  a persona that another model made
    |   +-- FitDiverged    learning produced numbers that are not finite
    +-- StorageError       a file or folder could not be read or written     (exit code 6)
    +-- ModelError         a language model could not be asked               (exit code 7)
        +-- KeyRefused     the key is missing, wrong, or without credit
        +-- UnknownModel   no such model, or none of that name there
        +-- EndpointDown   nothing answers, or not for much too long
        +-- BudgetSpent    the agreed calls, tokens or money are spent

Every message says the value seen, what was expected, and what mends it.
"""

__all__ = [
    "BudgetSpent",
    "ConfigError",
    "DataError",
    "EncoderError",
    "EndpointDown",
    "FitDiverged",
    "KeyRefused",
    "MethodError",
    "MissingExtra",
    "ModelError",
    "NotFitted",
    "PalateError",
    "PersonaMismatch",
    "StorageError",
    "UnknownModel",
]


class PalateError(Exception):
    """The root: catch this to catch everything that Palate raises on purpose."""

    exit_code: int = 1


class ConfigError(PalateError):
    """A setting or option has a value that cannot work."""

    exit_code = 2


class MissingExtra(ConfigError):
    """A feature needs packages that the base install leaves out.

    >>> print(MissingExtra(what="minilm", extra="offline", module="sentence_transformers"))
    minilm needs the module sentence_transformers, which is not installed: pip install 'palate[offline]'
    """

    def __init__(self, what: str, extra: str, module: str) -> None:
        super().__init__(
            f"{what} needs the module {module}, which is not installed: pip install 'palate[{extra}]'"
        )
        self.what, self.extra, self.module = what, extra, module


class DataError(PalateError):
    """Feedback that cannot be used as it is."""

    exit_code = 3


class EncoderError(PalateError):
    """Texts that could not be turned into vectors."""

    exit_code = 4


class MethodError(PalateError):
    """A method that cannot do what was asked of it."""

    exit_code = 5


class NotFitted(MethodError):
    """A method used before ``fit`` (or before a saved one was loaded)."""


class PersonaMismatch(MethodError):
    """A persona whose vector was made by another method or another fit."""


class FitDiverged(MethodError):
    """Learning produced numbers that are not finite."""


class StorageError(PalateError):
    """A file or folder that could not be read or written."""

    exit_code = 6


class ModelError(PalateError):
    """A language model that could not be asked.

    Answers that came before it are kept: the same command goes on from them.
    """

    exit_code = 7


class KeyRefused(ModelError):
    """The endpoint wants a key, or refused the one it was shown."""


class UnknownModel(ModelError):
    """A model that the endpoint or the library does not know."""


class EndpointDown(ModelError):
    """Calls keep failing, whatever is asked."""


class BudgetSpent(ModelError):
    """The calls, tokens or money that were agreed to are spent."""
