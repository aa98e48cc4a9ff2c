"""Damage of every kind to a run folder: a right result, or one line that says what is wrong.

pytest tests/test_fuzz.py                     a part of it, in seconds
pytest tests/test_fuzz.py -m slow             5,000 damaged folders
"""

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minivae import VAE, Adam, Architecture, runs, smoothed_mean, train
from minivae.training import History

FILES = ("config.json", "card.json", "checkpoint.json", "checkpoints/last-3.npz",
         "checkpoints/best-2.npz")  # fmt: skip
HOSTILE: list[Any] = [
    None, True, False, 0, -1, 1, 2, 3.5, -0.0, 1e308, float("nan"), float("inf"), 10**30, -(10**30),
    "", "x", "../../etc/passwd", "\0", "é" * 100, [], {}, [[]], [None], {"name": None}, [1] * 1000,
    10**400, "adam", "sgd", "float64", "float16", "ae", "vae", "bernoulli", "pixel", "last", "best",
]  # fmt: skip


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of three epochs, its second the best; the files of a training, not a copy of them."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    folder.mkdir()
    x = np.random.default_rng(0).integers(0, 2, (40, 6)).astype(np.float32)
    model, optimizer, history = VAE(Architecture(6, 2, (5,)), smoothed_mean(x)), Adam(), History()
    train(model, x, x[:9], epochs=3, optimizer=optimizer, history=history, progress=False)
    history.rows[1]["valid_elbo"] = 0.0
    history.best_theta = model.parameters.theta * 2
    config = {
        "model": "vae", "data": {"name": "digits", "validation": 250, "binarisation": "new"},
        "training": {
            "epochs": 5, "batch_size": 64, "seed": 0, "optimizer": optimizer.settings(),
            "clip": None, "patience": 3, "learning_rate_schedule": "constant",
            "kl_schedule": "constant", "kl_weight": 1.0, "free_bits": 0.0, "samples": 1,
        },
    }  # fmt: skip
    runs.save(folder, model, config, optimizer, history)
    data = runs.load_data(config)
    runs.write_sealed(folder / "card.json", runs.card(data, 0, "cpu", 1))
    assert set(FILES) <= {str(p.relative_to(folder)) for p in folder.rglob("*")}
    return folder


def flip(content: bytes, rng: random.Random) -> bytes:
    damaged = bytearray(content)
    for _ in range(rng.choice([1, 1, 1, 8, 100])):
        damaged[rng.randrange(len(damaged))] ^= 1 << rng.randrange(8)
    return bytes(damaged)


def cut(content: bytes, rng: random.Random) -> bytes:
    return content[: rng.randrange(len(content))]


def extend(content: bytes, rng: random.Random) -> bytes:
    return content + rng.randbytes(rng.choice([1, 10, 5000]))


def drop(content: bytes, rng: random.Random) -> bytes:
    a = rng.randrange(len(content))
    return content[:a] + content[a + rng.randint(1, 50) :]


def repeat(content: bytes, rng: random.Random) -> bytes:
    a = rng.randrange(len(content))
    return content[:a] + content[a : a + rng.randint(1, 50)] + content[a:]


def noise(content: bytes, rng: random.Random) -> bytes:
    return rng.randbytes(rng.choice([0, 1, len(content)]))


BYTES: list[Callable[[bytes, random.Random], bytes]] = [flip, cut, extend, drop, repeat, noise]


def damage(folder: Path, rng: random.Random) -> str:
    """One damage; what it was."""
    victim = folder / rng.choice(FILES)
    kind = rng.random()
    if kind < 0.08:
        victim.unlink()
        return f"{victim.name} removed"
    if kind < 0.16:
        other = folder / rng.choice(FILES)
        shutil.copy(other, folder / "spare")
        (folder / "spare").replace(victim)
        return f"{victim.name} replaced by {other.name}"
    if kind < 0.2:
        victim.unlink()
        victim.mkdir()
        return f"{victim.name} a folder"
    if kind < 0.6 or victim.suffix != ".json":
        how = rng.choice(BYTES)
        victim.write_bytes(how(victim.read_bytes(), rng))
        return f"{victim.name}: {how.__name__}"
    return reseal(victim, rng)


def reseal(path: Path, rng: random.Random) -> str:
    """A value somewhere in the JSON is another one, and the seal is right again."""
    value = runs.read_sealed(path)
    node: Any = value
    trail = []
    while True:
        key = rng.choice(list(node) if isinstance(node, dict) else range(len(node)))
        trail.append(str(key))
        inner = node[key]
        if not isinstance(inner, dict | list) or not inner or rng.random() < 0.2:
            break
        node = inner
    if rng.random() < 0.15:
        del node[key]
        what = "gone"
    else:
        node[key] = rng.choice(HOSTILE)
        what = repr(node[key])[:40]
    if path.name == "config.json" and "format" in value and type(value["format"]) is not int:
        value["format"] = runs.FORMAT
    seal_as_is(path, value)
    return f"{path.name}: {'.'.join(trail)} = {what}"


def seal_as_is(path: Path, value: dict[str, Any]) -> None:
    """`write_sealed` puts the format back; a hostile hand need not."""
    from minivae.runs.files import SEAL, _digest

    path.write_text(json.dumps({**value, SEAL: _digest(value)}))


def check(whole: Path, scratch: Path, seed: int) -> str:
    """Damage a copy and load it in every way; what was damaged."""
    rng = random.Random(seed)
    folder = scratch / "run"
    shutil.copytree(whole, folder)
    try:
        what = damage(folder, rng)
        for load in (runs.load_run, runs.load_training,
                     lambda f: runs.load_run(f, checkpoint="best"),
                     lambda f: runs.load_run(f, checkpoint="last")):  # fmt: skip
            try:
                got = load(folder)
            except ValueError as error:
                assert "\n" not in str(error) and str(folder) in str(error), what
                assert len(str(error)) < 600, what
            else:
                model = got[0]
                assert np.isfinite(model.parameters.theta).all(), what
        return what
    except Exception as error:
        error.add_note(f"seed {seed}: {what}")
        raise
    finally:
        shutil.rmtree(folder)


@pytest.mark.parametrize("start", range(0, 400, 100))
def test_damaged_folders(whole: Path, tmp_path: Path, start: int) -> None:
    kinds = {check(whole, tmp_path, seed).split(":")[0] for seed in range(start, start + 100)}
    assert len(kinds) > 10


@pytest.mark.slow
def test_five_thousand_damaged_folders(whole: Path, tmp_path: Path) -> None:
    kinds = [check(whole, tmp_path, seed) for seed in range(1000, 6000)]
    print(f"{len(kinds)} damaged folders, {len(set(kinds))} different damages")
