"""Run a script of this folder in a process that starts as fast as the program's own do.

``rank.py SCRIPT ARGUMENT...``. The imports of TensorFlow and Keras are most of what a small job of
four ranks on two cores takes.
"""

from __future__ import annotations

import runpy
import sys

from hvd_nowcast.keras_import import import_keras

import_keras()
del sys.argv[0]
runpy.run_path(sys.argv[0], run_name="__main__")
