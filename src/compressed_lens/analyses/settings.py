"""Checks of the settings of analyses, one sentence each."""

from __future__ import annotations

from collections.abc import Sequence

from compressed_lens.errors import StudyError


def one_of(setting: str, value: object, valid: Sequence[str]) -> None:
    """Check that `value` is one of `valid`.

    Raises:
        StudyError: It is not.
    """
    if value not in valid:
        raise StudyError(f"The setting {setting} cannot be {value!r}.", fix=f"One of: {', '.join(valid)}.")


def at_least_one(setting: str, value: object) -> None:
    """Check that `value` is a whole number of at least 1.

    Raises:
        StudyError: It is not.
    """
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise StudyError(f"The setting {setting} cannot be {value!r}.", fix="Give a whole number of at least 1.")


def at_least_zero(setting: str, value: object) -> None:
    """Check that `value` is a number of at least 0.

    Raises:
        StudyError: It is not.
    """
    if not isinstance(value, int | float) or isinstance(value, bool) or not value >= 0:
        raise StudyError(f"The setting {setting} cannot be {value!r}.", fix="Give a number of at least 0.")


def truth_value(setting: str, value: object) -> None:
    """Check that `value` is true or false.

    Raises:
        StudyError: It is not.
    """
    if not isinstance(value, bool):
        raise StudyError(f"The setting {setting} cannot be {value!r}.", fix="Give true or false.")
