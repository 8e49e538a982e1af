"""A Spark session: quiet, on loopback where the master is local, and its errors in one line."""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hvd_nowcast.errors import ConfigError, JobError, MissingDependencyError, ParallelError
from hvd_nowcast.optional import import_optional

LOOPBACK = "127.0.0.1"
WORKER_VARIABLE = "spark.executorEnv."
# Java only hands over tasks: compiling and collecting with many threads would take Python's cores.
JAVA_OPTIONS = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"
_LOCAL = re.compile(r"local(-cluster)?(\[.*\])?|spark://(localhost|127\.0\.0\.1|\[::1\]):\d+")
_LOG_SETTINGS = """
rootLogger.level = warn
rootLogger.appenderRef.file.ref = file
appender.file.type = File
appender.file.name = file
appender.file.fileName = {log}
appender.file.layout.type = PatternLayout
appender.file.layout.pattern = %d{{ISO8601}} %p %c{{1}}: %m%n%ex
"""


def is_local(master: str) -> bool:
    """Whether a master and all its executors are on this machine."""
    return _LOCAL.fullmatch(master) is not None


def local_slots(master: str) -> int | None:
    """How many tasks a local master runs at a time; None where only the master knows."""
    if master == "local":
        return 1
    if found := re.fullmatch(r"local\[(\d+|\*)(,\d+)?\]", master):
        return len(os.sched_getaffinity(0)) if found[1] == "*" else int(found[1])
    if found := re.fullmatch(r"local-cluster\[(\d+),\s*(\d+),\s*\d+\]", master):
        return int(found[1]) * int(found[2])
    return None


def parse_settings(texts: Sequence[str]) -> dict[str, str]:
    """Read the values of ``--conf``.

    Raises
    ------
    ConfigError
        When one is no ``key=value``.
    """
    pairs = [text.partition("=") for text in texts]
    for (key, equals, _), text in zip(pairs, texts, strict=True):
        if not key or not equals:
            raise ConfigError(f"--conf {text}: expected a Spark setting as key=value")
    return {key: value for key, _, value in pairs}


def session_settings(
    master: str, given: Mapping[str, str], environment: Mapping[str, str]
) -> dict[str, str]:
    """Settings of a session; those that are given win.

    Parameters
    ----------
    master
        Spark's master.
    given
        Settings of the user.
    environment
        Usually ``os.environ``.
    """
    # TensorFlow would start a thread per core of the node in each task.
    threads = given.get("spark.task.cpus", "1")
    workers = {
        "OMP_NUM_THREADS": threads,
        "TF_NUM_INTRAOP_THREADS": threads,
        "TF_NUM_INTEROP_THREADS": "1",
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "HDF5_USE_FILE_LOCKING": environment.get("HDF5_USE_FILE_LOCKING", "BEST_EFFORT"),
    }
    ours = {
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.executor.extraJavaOptions": JAVA_OPTIONS,
        **{WORKER_VARIABLE + name: value for name, value in workers.items()},
    }
    if is_local(master):
        ours |= {"spark.driver.bindAddress": LOOPBACK, "spark.driver.host": LOOPBACK}
    return {**ours, **given}


def worker_variables(settings: Mapping[str, str]) -> dict[str, str]:
    """Environment variables that settings give to worker processes."""
    return {
        name.removeprefix(WORKER_VARIABLE): value
        for name, value in settings.items()
        if name.startswith(WORKER_VARIABLE)
    }


@contextmanager
def spark_context(master: str, settings: Mapping[str, str], log: Path) -> Iterator[Any]:
    """A SparkContext, stopped at the end; what Spark logs goes to a file.

    Parameters
    ----------
    master
        Spark's master: ``local[2]``, ``spark://host:7077``, ``yarn``, ...
    settings
        See `session_settings`.
    log
        The file.

    Raises
    ------
    MissingDependencyError
        When there is no pyspark or no Java.
    ParallelError
        When Spark does not start, or loses its executors.
    JobError
        When a task fails for a reason that we do not know.
    """
    pyspark = import_optional("pyspark", "Spark jobs need pyspark", "'hvd_nowcast[spark]'")
    _require_java()
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    if is_local(master):
        os.environ.setdefault("SPARK_LOCAL_IP", LOOPBACK)
        os.environ.setdefault("SPARK_LOCAL_HOSTNAME", LOOPBACK)
    with TemporaryDirectory(prefix="hvd-nowcast-") as folder, _one_message(log):
        log_settings = Path(folder) / "log4j2.properties"
        log_settings.write_text(_LOG_SETTINGS.format(log=log), encoding="utf-8")
        options = f"{JAVA_OPTIONS} -Dlog4j2.configurationFile={log_settings}"
        configuration = pyspark.SparkConf().setMaster(master).setAppName("hvd-nowcast")
        configuration.set("spark.driver.extraJavaOptions", options)
        configuration.setAll(settings.items())
        context = _started(pyspark, configuration, log)
        application = context.applicationId
        try:
            yield context
        finally:
            context.stop()
            _remove_executor_folders(Path(str(pyspark.__file__)).parent, application)


def _started(pyspark: Any, configuration: Any, log: Path) -> Any:
    from pyspark.java_gateway import launch_gateway

    try:
        # Where a context was before, its Java is used again.
        gateway = pyspark.SparkContext._gateway
        if gateway is None:
            # What Java prints besides Spark's log, as when one of its threads comes too late to be
            # told of an executor that was lost.
            with log.open("a", encoding="utf-8") as errors:
                gateway = launch_gateway(configuration, {"stderr": errors})
        return pyspark.SparkContext(gateway=gateway, conf=configuration)
    except (pyspark.errors.PySparkException, *_java_errors()) as problem:
        raise ParallelError(
            f"Spark does not start on --master {configuration.get('spark.master')}: "
            f"{_first_line(_java_message(problem))}. Details are in {log}"
        ) from problem


def _remove_executor_folders(spark_home: Path, application: str) -> None:
    # Executors of local-cluster[...] log into a folder of the installed package.
    shutil.rmtree(spark_home / "work" / application, ignore_errors=True)


@contextmanager
def _one_message(log: Path) -> Iterator[None]:
    try:
        yield
    except _java_errors() as problem:
        raise explain(_java_message(problem), log) from problem


def _java_errors() -> tuple[type[Exception], ...]:
    from py4j.protocol import Py4JError

    return Py4JError, ConnectionError


def _java_message(problem: Exception) -> str:
    java = getattr(problem, "java_exception", None)
    return str(problem if java is None else java.getMessage())


def _first_line(text: str) -> str:
    return text.strip().partition("\n")[0].rstrip(".") or "no reason given"


def explain(message: str, log: Path) -> ParallelError | JobError:
    """One line out of what Spark says of a failed job.

    Parameters
    ----------
    message
        Of the Java exception; it holds the Python traceback of the task where there is one.
    log
        Where Spark's log is.
    """
    text, _, _ = message.partition("\n\n\tat ")
    before, traceback, lines = text.partition("Traceback (most recent call last):")
    if not traceback:
        return ParallelError(f"Spark gave up: {_first_line(before)}. Details are in {log}")
    raised = [line for line in lines.splitlines() if line and not line[0].isspace()]
    cause = raised[-1] if raised else "no reason given"
    if cause.startswith("ModuleNotFoundError"):
        return ParallelError(
            f"an executor lacks a package ({cause}). Give executors the environment of the "
            "driver: the same PYSPARK_PYTHON on all nodes, or --conf spark.archives=..."
        )
    return JobError(f"a Spark task failed: {cause}. Please report it with {log}", 1)


def _require_java() -> None:
    home = os.environ.get("JAVA_HOME")
    if shutil.which("java") is None and not (home and (Path(home) / "bin" / "java").exists()):
        raise MissingDependencyError(
            "Spark jobs need Java 8, 11 or 17 (Debian: apt install openjdk-17-jre-headless), or "
            "JAVA_HOME where it is"
        )
