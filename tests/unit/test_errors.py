from __future__ import annotations

import pytest

from hvd_nowcast import errors


def test_every_error_is_drawn_in_the_docstring_with_its_status() -> None:
    kinds = [
        kind
        for kind in vars(errors).values()
        if isinstance(kind, type)
        and issubclass(kind, errors.HvdNowcastError)
        # It has the status of the error it stands for.
        and kind is not errors.JobError
    ]
    assert len(kinds) == 12
    for kind in kinds:
        (line,) = (
            line
            for line in str(errors.__doc__).splitlines()
            if f"{kind.__name__} " in line and line.startswith((" ", "Hvd", "+", "|"))
        )
        assert f" {kind.exit_status} " in line


def test_input_error_names_file_problem_and_remedy() -> None:
    problem = errors.ShardError("a.nc", "expected 3 frames, got 2", "Build it again")
    assert str(problem) == "a.nc: expected 3 frames, got 2. Build it again"
    with pytest.raises(ValueError, match="Build it again"):
        raise problem
