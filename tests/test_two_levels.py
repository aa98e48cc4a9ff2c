"""Two levels of codes: their gradient, what conditions what, and that they train and resume."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minivae import Adam
from minivae.cli import main, session
from minivae.codebook import nearest
from minivae.datasets import load_digits
from minivae.models import TwoLevelArchitecture, TwoLevelVQVAE
from minivae.training import train
from minivae.verify import model_errors


def drawn(seed: int, B: int = 2, **more: Any) -> tuple[TwoLevelVQVAE, np.ndarray]:
    rng = np.random.default_rng(seed)
    small = {"patch": 1, "n_codes": 4, "code_size": 2, "hidden": (3,), "activation": "tanh"}
    shape = TwoLevelArchitecture((2, 4), **{**small, "context": 0, "top": 2, **more})
    model = TwoLevelVQVAE(shape, seed=seed % 1000, dtype="float64")
    model.parameters.theta[...] += 0.3 * rng.normal(size=len(model.parameters))
    return model, rng.integers(0, 2, (B, 8)).astype(float)


@settings(max_examples=15)
@given(
    seed=st.integers(0, 2**32 - 1), B=st.integers(1, 3), context=st.integers(0, 1),
    commitment=st.sampled_from([0.0, 0.25, 2.0]), weight=st.sampled_from([0.0, 1.0]),
)  # fmt: skip
def test_the_gradient_is_that_of_the_surrogate(
    seed: int, B: int, context: int, commitment: float, weight: float
) -> None:
    model, x = drawn(seed, B, context=context)

    def levels() -> Any:
        """z_t and z_b, where codes t' and u are handed on by ``straight``."""
        h = model.encoder.forward(x)[0]
        z_t = model.upper.forward(h)[0]
        return h, z_t

    E = model.codebook.E
    h0, zt0 = levels()
    it = nearest(zt0, E)
    et0 = E[it].copy()
    u0 = model.spread.forward(et0)[0]
    zb0 = model.lower.forward(np.concatenate([h0, u0], axis=1))[0]
    ib = nearest(zb0, E)
    eb0 = E[ib].copy()

    class Result:
        def __init__(self) -> None:
            h, z_t = levels()
            u = model.spread.forward(z_t + (et0 - zt0))[0]
            z_b = model.lower.forward(np.concatenate([h, u], axis=1))[0]
            b = z_b + (eb0 - zb0)
            out, _ = model.decoder.forward(np.concatenate([b, u], axis=1))
            squares = commitment * (((z_t - et0) ** 2).sum() + ((z_b - eb0) ** 2).sum())
            book = model.codebook.E
            squares = squares + weight * (((zt0 - book[it]) ** 2).sum())
            squares = squares + weight * (((zb0 - book[ib]) ** 2).sum())
            self.loss = (squares - model.likelihood(*out).log_prob(x).sum()) / B

    result = model.quantised(x, commitment, weight, False)
    assert float(result.loss) == pytest.approx(float(Result().loss), abs=1e-12)
    errors = model_errors(
        model, lambda g: model.quantised(x, commitment, weight, True) if g else Result()
    )
    assert max(errors.values()) <= 1e-12, errors


def test_the_layout_of_both_levels() -> None:
    model, x = drawn(1, B=3)
    a = model.architecture
    assert (a.n_top, a.positions, a.M, a.latent) == (2, 8, 10, 20)
    codes = model.codes(x)
    assert codes.shape == (3, 10)
    result = model.quantised(x, 0.25, 0.0, False)
    p = model.decode(model.vectors(codes))
    assert p.log_prob(x) == pytest.approx(result.reconstruction, abs=1e-12)
    assert np.array_equal(result.index[:6].reshape(3, 2), codes[:, :2])
    assert np.array_equal(result.index[6:].reshape(3, 8), codes[:, 2:])
    alone = [model.quantised(x[i : i + 1], 0.25, 0.0, False) for i in range(3)]
    assert [float(r.distance[0]) for r in alone] == pytest.approx(result.distance.tolist())
    # an upper code reaches the pixels of its part, and no others
    other = codes.copy()
    other[:, 0] = (other[:, 0] + 1) % 4
    changed = np.abs(model.decode(model.vectors(other)).mean - p.mean).reshape(3, 2, 4)
    assert (changed[:, :, :2] > 0).all() and not changed[:, :, 2:].any()


def test_the_lower_codes_depend_on_the_upper_ones() -> None:
    model, x = drawn(2, B=4)
    before = model.unquantised(x)[8:]
    model.upper.layers[1].b[...] += 1.0  # type: ignore[attr-defined]
    after = model.unquantised(x)
    assert np.abs(after[8:] - before).min() > 0.0
    want = model.quantised(x, 0.25, 0.0, False).z[:8]
    assert np.array_equal(after[:8], want)


def test_a_run_of_two_levels_goes_on_equal_to_the_bit() -> None:
    x = (load_digits().train.x[:150] > 0.5).astype(np.float32)
    shape = TwoLevelArchitecture((8, 8), 4, n_codes=6, code_size=4, hidden=(16,))

    def run(model: TwoLevelVQVAE, epochs: int, **more: Any) -> Any:
        return train(model, x, x[:50], epochs=epochs, batch_size=30, progress=False, **more)

    whole = TwoLevelVQVAE(shape)
    rows = run(whole, 6).rows
    assert rows[-1]["valid_reconstruction"] > rows[0]["valid_reconstruction"] + 2.0
    first, adam = TwoLevelVQVAE(shape), Adam()
    history = run(first, 2, optimizer=adam)
    other = TwoLevelVQVAE(shape, seed=3)
    other.parameters.theta[...] = first.parameters.theta
    run(other, 6, optimizer=adam, history=history)
    assert np.array_equal(other.parameters.theta, whole.parameters.theta)


def test_the_side_of_the_upper_level() -> None:
    assert TwoLevelArchitecture((28, 28), 4).top == 7
    assert TwoLevelArchitecture((28, 28), 2).top == 2
    assert TwoLevelArchitecture((4, 6), 2).top == 1  # 2 x 3 patches: nothing else divides both
    assert TwoLevelArchitecture((8, 8), 8).top == 1  # a single patch
    for top in (3, -1):
        message = rf"a top that divides the 2 x 2 patches \(1, 2\), got {top}"
        with pytest.raises(ValueError, match=message):
            TwoLevelArchitecture((8, 8), 4, top=top)


def test_two_levels_from_the_command_line(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    run = str(tmp_path / "run")
    words = "train --model vq2 --epochs 2 --hidden 8 --batch-size 200 --out"
    assert main([*words.split(), run]) == 0
    monkeypatch.setattr(session, "draw", lambda *_: [])
    assert main(["train", "--resume", run, "--epochs", "3"]) == 0
    assert main(["prior", run, "--epochs", "1", "--hidden", "8"]) == 0
    for command in ("evaluate", "sample", "reconstruct"):
        assert main([command, run]) == 0
    assert "5 codes of 8" in capsys.readouterr().out
    assert main(["train", "--top", "2"]) == 2
    assert "--top belongs to --model vq2" in capsys.readouterr().err
