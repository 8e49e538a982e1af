"""Keras without the libraries it wraps, in a process where nothing has imported them."""

from __future__ import annotations

import json
import subprocess
import sys

from hvd_nowcast.keras_import import WRAPPED

PROGRAM = """
import json, sys
from hvd_nowcast.keras_import import WRAPPED, import_keras
import_keras()
loaded = [name for name in WRAPPED if name in sys.modules]
import pandas, tensorflow
print(json.dumps([loaded, pandas.DataFrame({"a": [1]}).shape, "keras" in sys.modules]))
"""


def test_wrapped_libraries_come_only_when_they_are_asked_for() -> None:
    command = [sys.executable, "-c", PROGRAM]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    assert json.loads(done.stdout.splitlines()[-1]) == [[], [1, 1], True], WRAPPED
