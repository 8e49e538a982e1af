from __future__ import annotations

import json
from pathlib import Path

import keras
import numpy as np
import pytest

from hvd_nowcast.config import ModelSection, OptimiserSection
from hvd_nowcast.errors import CheckpointError
from hvd_nowcast.models.nowcast import build_nowcast
from hvd_nowcast.training.checkpoint import (
    CheckpointFolder,
    assign_arrays,
    fingerprint,
    load_arrays,
    save_arrays,
    variable_arrays,
)
from hvd_nowcast.training.optimiser import build_optimiser


def make_model(filters: int = 4, seed: int = 0) -> tuple[keras.Model, keras.Optimizer]:
    keras.utils.set_random_seed(seed)
    model = build_nowcast(ModelSection(filters=(filters,), centre=4), 2, 1)
    return model, build_optimiser(OptimiserSection(), model)


def test_everything_comes_back(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path, keep=3)
    model, optimiser = make_model()
    optimiser.iterations.assign(17)
    folder.save(17, model, optimiser, {"best_loss": 0.5})
    other, other_optimiser = make_model(seed=1)
    assert fingerprint(other) != fingerprint(model)
    facts, skipped = folder.load_newest(other, other_optimiser)
    assert (facts["step"], facts["best_loss"], skipped) == (17, 0.5, [])
    assert fingerprint(other) == fingerprint(model)
    assert int(other_optimiser.iterations) == 17


def test_fingerprint_sees_one_changed_bit() -> None:
    model, _ = make_model()
    before = fingerprint(model)
    first = model.variables[0]
    values = first.numpy()
    values.flat[0] = np.nextafter(values.flat[0], np.float32(9))
    first.assign(values)
    assert fingerprint(model) != before


def test_arrays_of_every_form_come_back(tmp_path: Path) -> None:
    values = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    arrays = {
        "plain": values,
        "columns first": np.asfortranarray(values),
        "strided": values[:, ::2],
        "a number": np.array(7, np.int64),
        "nothing": values[:0],
        "longer than a piece": np.arange(100_001, dtype=np.float64),
    }
    save_arrays(tmp_path / "x.npz", arrays, {})
    back, _ = load_arrays(tmp_path / "x.npz")
    assert list(back) == list(arrays)
    for name, array in arrays.items():
        assert (back[name].dtype, back[name].shape) == (array.dtype, array.shape)
        np.testing.assert_array_equal(back[name], array)


def test_arrays_outlive_the_next_update() -> None:
    model, optimiser = make_model()
    arrays = variable_arrays(model, optimiser)
    before = {name: array.copy() for name, array in arrays.items()}
    for _ in range(2):
        gradients = [keras.ops.ones_like(v) for v in model.trainable_variables]
        optimiser.apply(gradients, model.trainable_variables)
    after = variable_arrays(model, optimiser)
    assert any((after[name] != before[name]).any() for name in before)
    for name, array in arrays.items():
        np.testing.assert_array_equal(array, before[name])


def test_only_the_newest_are_kept(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path, keep=2)
    model, optimiser = make_model()
    for step in (1, 2, 10):
        folder.save(step, model, optimiser, {})
    assert [path.stem for path in folder.complete()] == ["step-00000002", "step-00000010"]
    assert len(list(tmp_path.iterdir())) == 4


def test_an_unfinished_or_damaged_checkpoint_is_passed_over(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path, keep=5)
    model, optimiser = make_model()
    for step in (1, 2, 3):
        folder.save(step, model, optimiser, {})
    (tmp_path / "step-00000003.json").unlink()
    damaged = tmp_path / "step-00000002.npz"
    content = bytearray(damaged.read_bytes())
    content[len(content) // 2] ^= 1
    damaged.write_bytes(content)
    facts, skipped = folder.load_newest(model, optimiser)
    assert facts["step"] == 1
    assert len(skipped) == 1
    assert "step-00000002" in str(skipped[0])


def test_no_checkpoint_is_no_error(tmp_path: Path) -> None:
    assert CheckpointFolder(tmp_path / "absent", 3).load_newest(*make_model()) == ({}, [])


def test_another_model_is_refused_before_anything_is_assigned(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path, keep=1)
    path = folder.save(1, *make_model(), {})
    arrays, _ = load_arrays(path)
    other, _ = make_model(filters=6)
    before = fingerprint(other)
    with pytest.raises(CheckpointError, match="should have shape"):
        assign_arrays(arrays, path, other)
    assert fingerprint(other) == before


def test_pickled_arrays_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "evil.npz"
    np.savez(path, array=np.array([{"code": 1}], dtype=object))
    import hashlib

    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    path.with_suffix(".json").write_text(json.dumps({"sha256": digest}))
    with pytest.raises(CheckpointError, match="evil"):
        load_arrays(path)


def test_names_do_not_depend_on_what_was_built_before() -> None:
    names = list(variable_arrays(*make_model()))
    assert names == list(variable_arrays(*make_model()))
