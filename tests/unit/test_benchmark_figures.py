"""What the table of the benchmarks says of a figure."""

from __future__ import annotations

import pytest

from benchmarks.figures import Figure


@pytest.mark.parametrize(
    ("figure", "wanted", "verdict"),
    [
        (Figure("a", 2.0, 1.0, 3.0), "", ""),
        (Figure("a", 2.0, 1.0, 3.0, at_least=2.0), "at least 2", "met"),
        (Figure("a", 1.0, 1.0, 3.0, at_least=2.0), "at least 2", "short by 50.0%"),
        (Figure("a", 3.0, 1.0, 3.0, at_most=2.0, reason="b"), "at most 2", "short by 50.0%: b"),
        (Figure("a", 1.0, 1.0, 1.0, 0.9, 1.1), "0.9 to 1.1", "met"),
        (Figure("a", 0.81, 0.8, 0.9, 0.9, 1.1), "0.9 to 1.1", "short by 10.0%"),
        (Figure("a", 1.21, 1.2, 1.3, 0.9, 1.1), "0.9 to 1.1", "short by 10.0%"),
        (Figure("a", None, None, None, 0.9, reason="b"), "at least 0.9", "not measured: b"),
    ],
)
def test_verdict(figure: Figure, wanted: str, verdict: str) -> None:
    assert (figure.wanted, figure.verdict) == (wanted, verdict)
