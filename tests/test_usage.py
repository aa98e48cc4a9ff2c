"""Which latents are used: KL, variance of the mean, and the two rules."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from oracles import make_model

from minivae import VAE, Architecture, Autoencoder, load_digits, runs
from minivae.arrays import generator
from minivae.cli import main
from minivae.cli.usage import SURGERY
from minivae.evaluation import Usage, exact_surgery, latent_usage, surgery
from minivae.plots import latent_use


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_kl_and_variance_latent_by_latent() -> None:
    """With Python's sums, one example at a time."""
    model, x, _ = make_model(VAE, rng(), B=7, latent=3)
    usage = latent_usage(model, x, chunk=2)
    for k in range(3):
        kl, mean = [], []
        for row in x:
            q = model.encode(row[None])
            mu, logvar = float(q.mu[0, k]), float(q.logvar[0, k])
            kl.append(0.5 * (mu**2 + math.exp(logvar) - logvar - 1))
            mean.append(mu)
        centre = sum(mean) / 7
        assert math.isclose(usage.kl[k], sum(kl) / 7, rel_tol=1e-12)
        spread = sum((v - sum(kl) / 7) ** 2 for v in kl) / 6
        assert math.isclose(usage.kl_error[k], math.sqrt(spread / 7), rel_tol=1e-10)
        moved = sum((v - centre) ** 2 for v in mean) / 7
        assert math.isclose(usage.variance[k], moved, rel_tol=1e-10)


def test_the_two_rules() -> None:
    usage = Usage(np.array([0.02, 0.001, 3.0]), np.zeros(3), np.array([0.0, 0.05, 0.9]))
    assert usage.active().tolist() == [False, True, True]
    assert usage.active_by_kl().tolist() == [True, False, True]
    assert usage.active(0.5).tolist() == usage.active_by_kl(1.0).tolist() == [False, False, True]


@pytest.mark.parametrize("call", [lambda m, x: latent_usage(m, x, 0)])
def test_a_chunk_below_one_is_refused(call: Any) -> None:
    model, x, _ = make_model(VAE, rng())
    with pytest.raises(ValueError, match="chunk of at least 1, got 0"):
        call(model, x)


def test_an_autoencoder_has_no_posterior() -> None:
    model, x, _ = make_model(Autoencoder, rng())
    with pytest.raises(TypeError, match="Autoencoder: it has no q"):
        latent_usage(model, x)  # type: ignore[arg-type]


# ---- the command, and the picture ----


def saved(folder: Path, latent: int = 2, model: str = "vae") -> Any:
    """A run that was never trained."""
    folder.mkdir()
    kind: Any = VAE if model == "vae" else Autoencoder
    made = kind(Architecture(64, latent, (8,), "tanh"))
    data = {"name": "digits", "validation": 250, "binarisation": "none"}
    runs.save(folder, made, {"model": model, "data": data})
    return made


def test_the_command_prints_what_the_functions_say(tmp_path: Path, capsys: Any) -> None:
    model = saved(tmp_path / "run")
    out = tmp_path / "usage.png"
    argv = ["usage", str(tmp_path / "run"), "--samples", "3", "--seed", "5", "--out", str(out)]
    assert main(argv) == 0
    text = capsys.readouterr().out
    x = load_digits().test.x
    usage = latent_usage(model, x)
    for k in range(2):
        row = f"{usage.kl[k]:8.4f} +- {usage.kl_error[k]:.4f}"
        assert any(row in line and f"{usage.variance[k]:.5f}" in line for line in text.split("\n"))
    order = np.argsort(-usage.kl)
    assert text.index(f"{usage.kl[order[0]]:8.4f}") < text.index(f"{usage.kl[order[1]]:8.4f}")
    found = surgery(model, x, generator("cpu", 5, 0, SURGERY), 3)
    for e in (found.kl, found.mutual_information, found.marginal_kl):
        assert f"{e.mean:9.4f} +- {e.standard_error:.4f} nats per image" in text
    assert f"ln N = {math.log(250):.4f}" in text and f"leave {found.noise:.4f}" in text
    exact = exact_surgery(model, x, 1e-5)
    assert f"by integration: I(x; z) {exact.mutual_information:.5f}" in text
    assert out.read_bytes()[:4] == b"\x89PNG"
    assert main(argv) == 2  # the file is there
    assert "--force" in capsys.readouterr().err


def test_the_command_refuses_an_autoencoder_and_bad_numbers(tmp_path: Path, capsys: Any) -> None:
    saved(tmp_path / "ae", model="ae")
    assert main(["usage", str(tmp_path / "ae")]) == 2
    assert "expected a VAE, got an autoencoder" in capsys.readouterr().err
    saved(tmp_path / "run", latent=3)
    assert main(["usage", str(tmp_path / "run"), "--samples", "0"]) == 2
    assert "expected --samples from 1" in capsys.readouterr().err


def test_the_picture_shows_both_rules() -> None:
    usage = Usage(np.array([0.5, 3.0, 0.0]), np.array([0.1, 0.2, math.nan]), np.array([0.2, 0, 0]))
    above, below = latent_use(usage).axes
    assert [bar.get_height() for bar in above.patches] == [3.0, 0.5, 1e-6]
    assert [bar.get_height() for bar in below.patches] == [1e-6, 0.2, 1e-6]
    assert above.get_title() == "2 of 3 above 0.01" and below.get_title() == "1 of 3 above 0.01"
    assert [t.get_text() for t in below.get_xticklabels()] == ["2", "1", "3"]
