"""The table of figures in README keeps the rows of what was not measured this time."""

from __future__ import annotations

import importlib
import re
from dataclasses import asdict
from pathlib import Path
from types import ModuleType

import pytest

from benchmarks.figures import Figure

ROOT = Path(__file__).parents[2]
ORDER = ("first", "second", "third")


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return importlib.import_module("readme_table")


def found(name: str, value: float, date: str = "2026-11-01", quick: bool = False) -> dict:
    figures = [asdict(Figure(f"speed of {name}", value, value, value, at_least=1.0, ceiling=4.0))]
    return {"name": name, "machine": "A", "date": date, "quick": quick, "figures": figures}


def lines(readme: str) -> list[str]:
    return [line for line in readme.splitlines() if line.startswith("|")][2:]


def test_rows_take_the_place_of_those_of_the_same_benchmark(module: ModuleType) -> None:
    empty = f"# Title\n{module.BEGIN}\n{module.END}\nthe end\n"
    readme = module.updated(empty, [found("third", 3.0), found("first", 0.5)], ORDER)
    assert lines(readme) == [
        "| **first**, A, 2026-11-01 | | | | |",
        "| speed of first | 0.5 (0.5 to 0.5) | 4.00 | at least 1 | short by 50.0% |",
        "| **third**, A, 2026-11-01 | | | | |",
        "| speed of third | 3 (3 to 3) | 4.00 | at least 1 | met |",
    ]
    later = [found("second", 2.0, "2026-11-02", quick=True), found("first", 1.0, "2026-11-02")]
    again = module.updated(readme, later, ORDER)
    assert lines(again) == [
        "| **first**, A, 2026-11-02 | | | | |",
        "| speed of first | 1 (1 to 1) | 4.00 | at least 1 | met |",
        "| **second**, `--quick`, A, 2026-11-02 | | | | |",
        "| speed of second | 2 (2 to 2) | 4.00 | at least 1 | met |",
        *lines(readme)[2:],
    ]
    assert again.startswith("# Title\n") and again.endswith(f"\n\n{module.END}\nthe end\n")
    assert module.updated(again, [], ORDER) == again
    assert lines(module.updated(again, [], ("second",))) == lines(again)[2:4]


def test_a_readme_without_a_place_for_the_table_is_refused(module: ModuleType) -> None:
    with pytest.raises(ValueError, match="there is no table between"):
        module.updated("# Title\n", [], ORDER)


def test_our_own_table_is_one_that_can_be_updated(
    module: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = importlib.import_module("benchmarks.__main__").NAMES
    readme = (ROOT / "README.md").read_text()
    assert module.updated(readme, [], names) == readme
    assert len(set(re.findall(r"^\| \*\*(\w+)\*\*", readme, re.MULTILINE))) > 20
