"""Run folders: what is saved comes back, and what is damaged is refused in one line."""

import io
import json
import pickle
from pathlib import Path

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
    assert list(np.load(tmp_path / "run/model.npz")) == list(
        model.parameters.views(model.parameters.theta)
    )


@given(st.data())
def test_a_damaged_file_is_one_line_or_the_right_model(data: st.DataObject) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = saved(folder)
        victim = folder / data.draw(st.sampled_from(["config.json", "model.npz"]))
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
        else:
            if victim.name == "model.npz":  # a flipped bit that no checksum covers: not of an array
                assert np.array_equal(loaded.parameters.theta, model.parameters.theta)


def test_a_pickle_is_never_opened(tmp_path: Path) -> None:
    saved(tmp_path)
    touched = tmp_path / "touched"

    class Evil:
        def __reduce__(self) -> tuple:
            return (Path.touch, (touched,))

    buffer = io.BytesIO()
    np.savez(buffer, **{"encoder.mu.b": np.array([Evil()], dtype=object)}, allow_pickle=True)
    for content in (buffer.getvalue(), pickle.dumps(Evil())):
        (tmp_path / "model.npz").write_bytes(content)
        with pytest.raises(ValueError, match="cannot be read"):
            runs.load_run(tmp_path)
    assert not touched.exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 99}, "format 1, got 99"),
        ({"model": "gan"}, "not a run's configuration"),
        ({"dtype": "float16"}, "float16"),
        ({"architecture": {"n_features": 6, "latent": 3, "hidden": [5]}}, "expected encoder.mu.W"),
        ({"architecture": {"n_features": 6, "hidden": [5, 5]}}, "missing or unknown"),
        ({"architecture": {"depth": 6}}, "not a run's configuration"),
        ({"architecture": {"n_features": "6"}}, "config.json"),
        ({"architecture": {"n_features": 10**12, "hidden": [10**12]}}, "config.json"),
    ],
    ids=str,
)
def test_a_configuration_that_does_not_fit_is_refused(
    tmp_path: Path, change: dict, message: str
) -> None:
    saved(tmp_path)
    path = tmp_path / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
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
