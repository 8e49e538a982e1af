"""Functions of tensors as graphs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf


def as_graph(function: Callable[..., Any]) -> Callable[..., Any]:
    """Trace a function of tensors when it is first called, and run the graph from then on.

    No XLA: it was 1.6 times slower on a CPU, and it cannot hold Horovod's operations. No AutoGraph:
    rewriting our Python takes half of the time to the first step, and nothing of ours branches on a
    tensor (that raises an error; use ``tf.cond``).
    """
    graph: Callable[..., Any] = tf.function(
        function, jit_compile=False, autograph=False, reduce_retracing=True
    )
    return graph
