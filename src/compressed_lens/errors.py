"""Every error the toolkit raises on purpose; each says what was wrong and what to do."""

from __future__ import annotations


class LensError(Exception):
    """An error a user can act on.

    Args:
        message: One sentence: what is wrong and where.
        fix: One sentence: what to do about it. Empty when the message says it.
    """

    exit_code = 1

    def __init__(self, message: str, *, fix: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.fix = fix

    def __str__(self) -> str:
        return f"{self.message} {self.fix}".strip()


class StudyError(LensError):
    """A study file or a command line is malformed; nothing was written."""

    exit_code = 2


class DataError(LensError):
    """A data file is missing, unreadable, or lacks a field."""

    exit_code = 3


class ModelError(LensError):
    """A model folder or checkpoint is missing, unsafe, or of an unsupported form."""

    exit_code = 4


class RunError(LensError):
    """A run folder is missing, damaged, or in use by another process."""

    exit_code = 5


class DependencyError(LensError):
    """An optional library or device is missing; `fix` holds the install line."""

    exit_code = 6


class GateError(LensError):
    """A variant failed a check it must pass before it may be scored."""

    exit_code = 7


class PolicyError(LensError):
    """A variant breaks the policy it was held against."""

    exit_code = 8
