"""Packages that only some of the work needs."""

from __future__ import annotations

from contextlib import suppress
from functools import cache
from importlib import import_module
from types import ModuleType

from hvd_nowcast.errors import MissingDependencyError


def import_optional(module: str, purpose: str, requirement: str) -> ModuleType:
    """Import a package that may not be installed.

    Parameters
    ----------
    module
        Its full name.
    purpose
        What needs it, such as ``figures need matplotlib``.
    requirement
        What to give to pip.

    Raises
    ------
    MissingDependencyError
        When it, or a library under it, is not installed.
    """
    try:
        return import_module(module)
    except (ImportError, RuntimeError) as problem:
        raise MissingDependencyError(f"{purpose}: pip install {requirement}") from problem


def import_opencv(purpose: str) -> ModuleType:
    """OpenCV, see `find_opencv`.

    Parameters
    ----------
    purpose
        What needs it.

    Raises
    ------
    MissingDependencyError
        When it is not installed.
    """
    return find_opencv() or import_optional("cv2", purpose, "opencv-python-headless")


@cache
def find_opencv() -> ModuleType | None:
    """OpenCV on one thread, as ranks share the cores already; None where it is not installed.

    It is looked for once: a training asks several times for every sample.
    """
    with suppress(ImportError, RuntimeError):
        cv2 = import_module("cv2")
        cv2.setNumThreads(1)
        return cv2
    return None
