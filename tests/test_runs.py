"""Run folders: what is saved comes back, and what is damaged is refused in one line."""

import hashlib
import io
import os
import pickle
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minivae import VAE, Architecture, runs


def saved(folder: Path, seed: int = 3) -> VAE:
    model = VAE(Architecture(6, 2, (5,)), seed=seed)
    folder.mkdir(exist_ok=True)
    runs.save(folder, model, {"model": "vae"})
    return model


def test_a_model_comes_back_bit_for_bit(tmp_path: Path) -> None:
    model = saved(tmp_path / "run")
    loaded, config = runs.load_run(tmp_path / "run")
    assert np.array_equal(loaded.parameters.theta, model.parameters.theta)
    assert loaded.parameters.theta.dtype == np.float32
    assert loaded.architecture == model.architecture and config["format"] == runs.FORMAT
    assert list(np.load(tmp_path / "run/checkpoints/last-0.npz")) == list(
        model.parameters.views(model.parameters.theta)
    )


@given(st.data())
def test_a_damaged_file_is_one_line_or_the_right_model(data: st.DataObject) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = saved(folder)
        victim = folder / data.draw(
            st.sampled_from(["config.json", "checkpoint.json", "checkpoints/last-0.npz"])
        )
        content = bytearray(victim.read_bytes())
        place = data.draw(st.integers(0, len(content) - 1))
        if data.draw(st.booleans()):
            content[place] ^= 1 << data.draw(st.integers(0, 7))
        else:
            del content[place:]
        victim.write_bytes(bytes(content))
        try:
            loaded, _ = runs.load_run(folder)
        except ValueError as error:
            assert "\n" not in str(error) and str(folder) in str(error)
        else:  # white space of JSON, no more
            assert victim.suffix == ".json"
            assert np.array_equal(loaded.parameters.theta, model.parameters.theta)


def replaced(folder: Path, content: bytes) -> None:
    """Another last-0.npz, with sizes and checksums that fit: damage by a person, not by chance."""
    (folder / "checkpoints/last-0.npz").write_bytes(content)
    progress = runs.read_sealed(folder / "checkpoint.json")
    progress["last"] |= {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    del progress["format"]
    runs.write_sealed(folder / "checkpoint.json", progress)


def npz(save: Any = np.savez, **arrays: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    save(buffer, **arrays)
    return buffer.getvalue()


def test_a_pickle_is_never_opened(tmp_path: Path) -> None:
    model = saved(tmp_path)
    arrays = model.parameters.views(model.parameters.theta)
    touched = tmp_path / "touched"

    class Evil:
        def __reduce__(self) -> tuple:
            return (Path.touch, (touched,))

    evil = np.array([Evil()] * 10, dtype=object)
    for content in (npz(**{**arrays, "encoder.mu.b": evil}), pickle.dumps(Evil()) * 20):
        replaced(tmp_path, content)
        with pytest.raises(ValueError, match="cannot be read"):
            runs.load_run(tmp_path)
    assert not touched.exists()


def test_arrays_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    model = saved(tmp_path)
    good = dict(model.parameters.views(model.parameters.theta))
    b = good["encoder.mu.b"]
    less = {name: value for name, value in good.items() if name != "encoder.mu.b"}
    for content, message in [
        (npz(**good, more=b), "missing or unknown: more"),
        (npz(**less, odd=b), "missing or unknown: encoder.mu.b, odd"),
        (npz(**{**good, "encoder.mu.b": b.astype("f8")}), r"expected encoder.mu.b .* float64"),
        (npz(**{**good, "encoder.mu.b": b[:1]}), r"\(2,\) float32, got \(1,\)"),
        (npz(**{**good, "encoder.mu.b": b.astype("c8")}), "got .* complex64"),
        (npz(**{**good, "encoder.mu.b": b * np.float32("nan")}), "a nan or an infinity"),
        (npz(np.savez_compressed, **{**good, "encoder.mu.b": np.zeros(999, "f4")}), "compressed"),
        (npz(**good) + b"\0" * 10**5, "bytes"),
        (b"", "more parameters than the checkpoint holds"),
    ]:
        replaced(tmp_path, content)
        with pytest.raises(ValueError, match=message) as caught:
            runs.load_run(tmp_path)
        assert "\n" not in str(caught.value) and str(tmp_path) in str(caught.value)


@pytest.mark.parametrize("file", ["/etc/passwd", "../x.npz", "checkpoints/../x.npz", "x.npz", 3])
def test_a_checkpoint_outside_its_folder_is_refused(tmp_path: Path, file: Any) -> None:
    saved(tmp_path)
    progress = runs.read_sealed(tmp_path / "checkpoint.json")
    del progress["format"]
    progress["last"]["file"] = file
    runs.write_sealed(tmp_path / "checkpoint.json", progress)
    with pytest.raises(ValueError, match="not the progress of a run"):
        runs.load_run(tmp_path)


def test_an_edited_file_is_noticed(tmp_path: Path) -> None:
    saved(tmp_path)
    path = tmp_path / "config.json"
    path.write_text(path.read_text().replace('"latent": 2', '"latent": 3'))
    with pytest.raises(ValueError, match="config.json: damaged or edited"):
        runs.load_run(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 1}, "format 2, got 1"),
        ({"format": 99}, "format 2, got 99"),
        ({"model": "gan"}, "not a run's configuration"),
        ({"dtype": "float16"}, "float16"),
        ({"architecture": {"n_features": 6, "latent": 3, "hidden": [5]}}, "expected encoder.mu.W"),
        ({"architecture": {"n_features": 6, "hidden": [5, 5]}}, "missing or unknown"),
        ({"architecture": {"depth": 6}}, "not a run's configuration"),
        ({"architecture": {"n_features": "6"}}, "config.json"),
        ({"architecture": {"n_features": 10**12, "hidden": [10**12]}}, "config.json"),
        ({"data": 3}, "expected data with name"),
        ({"training": []}, "expected training"),
    ],
    ids=str,
)
def test_a_configuration_that_does_not_fit_is_refused(
    tmp_path: Path, change: dict, message: str
) -> None:
    saved(tmp_path)
    path = tmp_path / "config.json"
    runs.write_sealed(path, runs.read_sealed(path) | change)
    with pytest.raises(ValueError, match=message) as caught:
        runs.load_run(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_write_that_fails_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    runs.write(path, "old")

    def full(*args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        runs.write(path, "new")
    assert path.read_text() == "old" and [p.name for p in tmp_path.iterdir()] == ["file"]


def test_a_history_keeps_every_digit(tmp_path: Path) -> None:
    rows = [{"epoch": 1, "train_elbo": -1 / 3}, {"epoch": 2, "train_elbo": 1e-300}]
    runs.write_history(tmp_path / "history.csv", rows)
    assert runs.read_history(tmp_path / "history.csv") == rows


def test_a_folder_that_promises_more_than_it_has_fills_no_memory(tmp_path: Path) -> None:
    """The size in checkpoint.json is a claim; what counts is the file's."""
    saved(tmp_path)
    progress = runs.read_sealed(tmp_path / "checkpoint.json")
    progress["last"]["bytes"] = 10**15
    runs.write_sealed(tmp_path / "checkpoint.json", progress)
    config = runs.read_sealed(tmp_path / "config.json")
    config["architecture"] |= {"n_features": 100_000, "hidden": [100_000]}
    runs.write_sealed(tmp_path / "config.json", config)
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match="more parameters than the checkpoint holds"):
            runs.load_run(tmp_path)
        assert tracemalloc.get_traced_memory()[1] < 1e7
    finally:
        tracemalloc.stop()


def test_a_folder_without_data_says_so(tmp_path: Path) -> None:
    saved(tmp_path)
    with pytest.raises(ValueError, match="does not say which data"):
        runs.load_data(runs.load_run(tmp_path)[1])


def test_a_pipe_in_place_of_a_file_is_refused(tmp_path: Path) -> None:
    saved(tmp_path)
    (tmp_path / "config.json").unlink()
    os.mkfifo(tmp_path / "config.json")
    with pytest.raises(ValueError, match="no regular file"):
        runs.load_run(tmp_path)
