"""How a section refuses a value."""

from __future__ import annotations

from collections.abc import Sequence

from hvd_nowcast.errors import ConfigError


def require(condition: bool, message: str) -> None:
    """Refuse a value.

    Raises
    ------
    ConfigError
        When the condition does not hold.
    """
    if not condition:
        raise ConfigError(message)


def choice(name: str, value: str, choices: Sequence[str]) -> None:
    """Refuse a value that is not one of the choices."""
    require(value in choices, f"{name} is {value!r}, expected one of {', '.join(choices)}")
