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

Every message says the value seen, what was expected, and what mends it.
"""

__all__ = [
    "ConfigError",
    "DataError",
    "EncoderError",
    "FitDiverged",
    "MethodError",
    "MissingExtra",
    "NotFitted",
    "PalateError",
    "PersonaMismatch",
    "StorageError",
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
