"""Keras and TensorFlow, without the libraries that Keras only wraps."""

from __future__ import annotations

import sys

from hvd_nowcast.optional import import_optional

# Keras imports them where they are installed, a third of its own import; we never use what for.
WRAPPED = ("cv2", "matplotlib", "pandas", "sklearn")


def import_keras() -> None:
    """Import Keras and TensorFlow for a command that needs them, as fast as it goes.

    Imports of them that follow find what is here. `WRAPPED` can be imported afterwards as always,
    but Keras in this process takes no data frames and wraps no models for scikit-learn: this is for
    our commands, not for those who import this package into theirs.

    Raises
    ------
    MissingDependencyError
        When they are not installed.
    """
    hidden = {name: None for name in WRAPPED if name not in sys.modules}
    # The documented way to make an import fail.
    sys.modules.update(hidden)  # type: ignore[arg-type]
    try:
        import_optional("keras", "this needs TensorFlow and Keras", "'hvd_nowcast[cpu]'")
    finally:
        for name in hidden:
            del sys.modules[name]
