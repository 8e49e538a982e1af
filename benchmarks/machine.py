"""This machine: what it is, whether it is quiet, and how fast it multiplies at best."""

from __future__ import annotations

import os
import platform
import time
from pathlib import Path

# A share of the cores; the benchmark that asks is not running yet.
QUIET_SHARE = 0.1
LOOK_SECONDS = 3.0
SIDE = 1024


def describe_machine() -> str:
    """Processor, cores and memory."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    gigabytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    name = names[0] if names else platform.machine()
    return f"{name}, {len(os.sched_getaffinity(0))} cores, {gigabytes:.0f} GB"


def busy_share() -> float:
    """Share of the cores' time that something uses now; the load average remembers the past."""
    before = _times()
    time.sleep(LOOK_SECONDS)
    used, whole = (after - b for after, b in zip(_times(), before, strict=True))
    return used / whole


def _times() -> tuple[int, int]:
    """Ticks of all cores that were used, and all ticks."""
    line = Path("/proc/stat").read_text().splitlines()[0]
    user, nice, system, idle, waiting, *others = map(int, line.split()[1:])
    whole = user + nice + system + idle + waiting + sum(others[:3])
    return whole - idle - waiting, whole


def matrix_rate(dtype: str = "float32", seconds: float = 1.0) -> float:
    """Floating-point operations per second of a large matrix product on the threads there are."""
    import tensorflow as tf

    one = tf.cast(tf.random.stateless_uniform((SIDE, SIDE), (0, 0)), dtype)
    product = tf.function(lambda: tf.reduce_sum(tf.linalg.matmul(one, one)), jit_compile=False)
    product().numpy()
    times = []
    started = time.perf_counter()
    while time.perf_counter() - started < seconds:
        before = time.perf_counter()
        product().numpy()
        times.append(time.perf_counter() - before)
    return 2 * SIDE**3 / min(times)


def network_operations(model, rows: int, columns: int) -> float:  # noqa: ANN001 - Keras
    """Multiplications and additions of a network for one sample of a size."""
    import tensorflow as tf

    shapes = [(1, rows, columns, tensor.shape[-1]) for tensor in model.inputs]
    graph = tf.function(lambda *inputs: model(inputs)).get_concrete_function(
        *(tf.TensorSpec(shape) for shape in shapes)
    )
    tf.get_logger().setLevel("ERROR")  # It calls its own form of today deprecated.
    options = tf.compat.v1.profiler.ProfileOptionBuilder.float_operation()
    options["output"] = "none"
    return float(tf.compat.v1.profiler.profile(graph.graph, options=options).total_float_ops)
