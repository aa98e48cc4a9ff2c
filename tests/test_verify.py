"""The certificate: green on the library as it is, and every bug of the zoo caught by its rung."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import minivae
from minivae import arrays, cli, exact
from minivae.distributions import Gaussian
from minivae.layers import Dense
from minivae.models import VAE
from minivae.optimizers import Adam
from minivae.verify import (
    LADDER,
    Certificate,
    Figure,
    Outcome,
    Rung,
    Setting,
    Skipped,
    bugs,
    climb,
    gradient_error,
    integrals,
    worst,
)
from minivae.verify import ladder as ladder_module
from minivae.verify.bugs import ZOO, Catch, hunt
from minivae.verify.bugs.planting import Bug, after, both, replaced
from minivae.verify.derivatives import drawn_model

QUICK = Setting("quick")


@pytest.fixture(scope="module")
def certificate() -> Certificate:
    return climb(QUICK)


@pytest.fixture(scope="module")
def catches() -> list[Catch]:
    return hunt(ZOO, QUICK)


# ---- the ladder ----


def test_every_rung_is_green_but_the_device(certificate: Certificate) -> None:
    verdicts = {o.rung.name: o.verdict for o in certificate.outcomes}
    assert verdicts.pop("device") == "skipped"
    assert set(verdicts.values()) == {"passed"}, certificate.as_text()
    assert certificate.passed and "32 passed, 0 FAILED, 1 skipped" in certificate.summary()


def test_every_figure_is_a_number_with_a_unit_and_every_rung_says_what_it_catches(
    certificate: Certificate,
) -> None:
    for outcome in certificate.outcomes:
        assert outcome.rung.catches.endswith(".") and outcome.rung.title
        names = [figure.name for figure in outcome.figures]
        assert len(names) == len(set(names)) and (names or outcome.skipped)
        for figure in outcome.figures:
            assert math.isfinite(figure.value) and figure.unit and figure.tolerance >= 0.0
            assert f"{figure.name:48}" in certificate.as_text()


def test_the_exact_rungs_are_at_rounding(certificate: Certificate) -> None:
    """The tolerances of the issue: 1e-12 for gradients, the eight forms and batches."""
    for outcome in certificate.outcomes:
        if outcome.rung.name in ("gradients", "inner products", "eight forms", "batch size"):
            assert all(figure.tolerance <= 1e-12 for figure in outcome.figures)


def test_names_are_unique_and_choose_rungs() -> None:
    names = [rung.name for rung in LADDER]
    assert len(names) == len(set(names)) == 33
    seen: list[str] = []
    found = climb(QUICK, ["schedules", "KL"], lambda o: seen.append(o.rung.name))
    assert [o.rung.name for o in found.outcomes] == seen == ["KL", "schedules"]
    with pytest.raises(ValueError, match="expected a rung .* got 'kl'"):
        climb(QUICK, ["kl"])


def test_levels() -> None:
    assert [Setting(level).pick(1, 2, 3) for level in ("quick", "standard", "full")] == [1, 2, 3]
    with pytest.raises(ValueError, match="expected level .* got 'slow'"):
        Setting("slow")


@pytest.mark.parametrize(
    ("value", "passed"), [(0.5, True), (1.0, True), (1.5, False), (math.nan, False)]
)
def test_a_figure_is_at_most_its_tolerance(value: float, passed: bool) -> None:
    assert Figure("a", value, 1.0, "nats").passed is passed


def rung(run: Any) -> Rung:
    return Rung("a rung", "a title", "a bug.", run)


def outcome_of(run: Any) -> Outcome:
    return ladder_module._try(rung(run), QUICK)


def test_an_error_in_a_rung_is_a_figure_that_fails() -> None:
    def broken(setting: Setting) -> list[Figure]:
        raise ValueError("two\nlines")

    outcome = outcome_of(broken)
    assert outcome.verdict == "FAILED" and "ValueError: two lines" in outcome.as_text()
    assert outcome.as_json()["figures"][0]["value"] is None
    assert not Certificate((outcome,), QUICK).passed


@pytest.mark.parametrize("kind", [IndexError, KeyError, AttributeError, MemoryError, OSError])
def test_no_error_in_a_rung_ends_the_climb(kind: type[Exception]) -> None:
    def broken(*_: Any, **__: Any) -> Any:
        raise kind("7 is out of bounds")

    with replaced(Dense, "backward", broken):
        found = climb(QUICK, ["caches", "KL"])
    assert [o.verdict for o in found.outcomes] == ["FAILED", "passed"]
    assert kind.__name__ in found.as_text() and not found.passed


def test_a_certificate_of_nothing_does_not_pass() -> None:
    assert not climb(QUICK, []).passed and not Certificate((), QUICK).passed


@pytest.mark.parametrize("place", [0, 1, 2])
def test_the_worst_of_numbers_is_nan_if_one_is(place: int) -> None:
    values: list[Any] = [0.0, np.ones((2, 2)), -1.0]
    assert worst(*values) == 1.0 and worst(-2.0, np.float64(-3.0)) == -2.0
    values[place] = values[place] * math.nan
    assert math.isnan(worst(*values))
    assert math.isnan(worst(0.0, np.array([1.0, math.nan])))


@pytest.mark.parametrize("wrong", [(math.nan, 1.0), (1.0, math.nan)])
def test_a_nan_is_an_infinite_error_of_a_gradient(wrong: tuple[float, float]) -> None:
    g, reference = (np.array([[0.5, v]]) for v in wrong)
    assert gradient_error(g, reference, 1.0) == math.inf
    assert max(0.0, gradient_error(g, reference, 1.0)) == math.inf


def test_a_rung_without_figures_fails_and_a_skipped_one_does_not() -> None:
    def skip(setting: Setting) -> list[Figure]:
        raise Skipped("no such thing here")

    assert outcome_of(lambda s: []).verdict == "FAILED"
    outcome = outcome_of(skip)
    assert outcome.verdict == "skipped" and "no such thing here" in outcome.as_text()
    assert Certificate((outcome,), QUICK).passed


def test_one_figure_that_fails_fails_the_rung() -> None:
    good, bad = Figure("good", 0.0, 1.0, "nats"), Figure("bad", 2.0, 1.0, "nats")
    assert outcome_of(lambda s: [good]).passed
    outcome = outcome_of(lambda s: [good, bad])
    assert not outcome.passed and "2.00e+00 >" in outcome.as_text()


def test_the_device_rung_compares_with_another_library() -> None:
    strict = pytest.importorskip("array_api_strict")
    device = strict.Device("device1")
    setting = Setting("quick", lambda x: strict.asarray(x, device=device))
    outcome = climb(setting, ["device"]).outcomes[0]
    assert outcome.verdict == "passed" and len(outcome.figures) == 6


@pytest.fixture
def without_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> Any:
        raise RuntimeError("the device 'cuda' needs CuPy:\npip install it")

    monkeypatch.setattr(arrays, "import_cupy", missing)


def test_a_named_device_that_is_missing_fails_its_rung(without_gpu: None) -> None:
    certificate = climb(Setting("quick", "cuda"), ["device"])
    (outcome,) = certificate.outcomes
    assert outcome.verdict == "FAILED" and "needs CuPy" in outcome.as_text()
    assert not certificate.passed and certificate.as_json()["passed"] is False
    assert climb(QUICK, ["device"]).outcomes[0].verdict == "skipped"  # none was named


def test_a_device_that_computes_otherwise_is_seen() -> None:
    strict = pytest.importorskip("array_api_strict")
    device = strict.Device("device1")
    wrong = Setting("quick", lambda x: strict.asarray(x * (1.0 + 1e-9), device=device))
    assert climb(wrong, ["device"]).outcomes[0].verdict == "FAILED"


# ---- the integrals ----


@pytest.mark.parametrize(("K", "draws"), [(1, 1), (2, 1), (1, 2), (2, 2)])
def test_noise_has_the_moments_of_the_normal(K: int, draws: int) -> None:
    eps, w = integrals.noise(K, draws, 5)
    assert eps.shape == (draws, 5 ** (K * draws), K) and w.sum() == pytest.approx(1.0)
    for power, moment in ((1, 0.0), (2, 1.0), (3, 0.0), (4, 3.0), (6, 15.0)):
        assert np.einsum("n,snk->sk", w, eps**power) == pytest.approx(moment, abs=1e-12)
    if K * draws > 1:  # independent of each other
        flat = eps.transpose(1, 0, 2).reshape(len(w), -1)
        assert (flat.T * w) @ flat == pytest.approx(np.eye(K * draws), abs=1e-12)


def test_the_bounds_by_integration_agree_and_rise_to_the_evidence() -> None:
    model, x, _ = drawn_model(VAE, np.random.default_rng(1), B=3, latent=1)
    log_p = exact.exact_evidence(model, x, 1e-9).log_evidence
    found = integrals.iwae(model, x, log_p, [1, 2, 4, 1024])
    q = model.encode(x)
    for b in range(3):
        twice = integrals.two_draws(
            lambda z, b=b: model.decode(z).log_prob(x[b]), q.mu[b, 0], q.logvar[b, 0]
        )
        assert found[2][b] == pytest.approx(twice, abs=1e-9)
    assert found[1] == pytest.approx(exact.exact_bound(model, x, 1e-9).elbo, abs=1e-9)
    assert (found[1] < found[2]).all() and (found[2] < found[4]).all()
    gap = log_p - found[1024]
    assert (gap > 0.0).all() and 1024.0 * gap == pytest.approx(
        512.0 * (log_p - integrals.iwae(model, x, log_p, [512])[512]), rel=0.02
    )  # the bias falls as 1/k


# ---- the zoo ----


def test_every_bug_is_caught_by_its_rung(catches: list[Catch]) -> None:
    missed = [catch.as_text() for catch in catches if not catch.caught]
    assert not missed, "\n".join(missed)
    assert len(catches) == len(ZOO) >= 100


def test_every_bug_is_told() -> None:
    rungs = {rung.name for rung in LADDER}
    assert len({bug.name for bug in ZOO}) == len(ZOO)
    for bug in ZOO:
        assert bug.rung in rungs and bug.symptom.endswith(".") and 1 <= bug.pitfall <= 26
        assert bug.plant.__doc__


def test_every_rung_has_a_bug() -> None:
    assert {rung.name for rung in LADDER} == {bug.rung for bug in ZOO}


def test_every_rung_that_gathers_figures_sees_a_nan() -> None:
    seen = {bug.rung for bug in ZOO if bug.name.startswith("nan: ")} | {"optimiser", "walks"}
    assert {rung.name for rung in LADDER} - seen == {"determinism", "files", "dtypes", "device"}


def test_a_bug_may_need_a_device_of_its_own() -> None:
    (bug,) = (bug for bug in ZOO if bug.rung == "device")
    catch = hunt([bug], QUICK)[0]
    wide, narrow = catch.planted.figures[:3], catch.planted.figures[3:]
    assert all(f.passed for f in wide) and not any(f.passed for f in narrow)
    assert all(f.passed and f.value < 2e-6 for f in catch.without.figures)  # far from 1e-5
    assert all(f.value > 5e-5 for f in narrow)


def test_a_bug_is_gone_afterwards_whatever_happens() -> None:
    before = Gaussian.sample, Gaussian.pathwise_grad, Adam.step, Dense.backward
    for bug in ZOO:
        with pytest.raises(KeyError), bug.plant():
            raise KeyError
    assert (Gaussian.sample, Gaussian.pathwise_grad, Adam.step, Dense.backward) == before


def test_planting() -> None:
    class Thing:
        def size(self, n: int) -> int:
            return n

        def half(self, n: int) -> float:
            return n / 2

    thing = Thing()
    changed = after(Thing, "size", lambda result, self, n: result + 10 * n)
    with both(changed, replaced(Thing, "half", lambda self, n: n)):
        assert thing.size(2) == 22 and thing.half(2) == 2
    assert thing.size(2) == 2 and thing.half(2) == 1.0


def test_a_bug_that_its_rung_does_not_see_is_missed() -> None:
    harmless = Bug("nothing", 1, "Nothing.", "schedules", both)
    assert not hunt([harmless], QUICK)[0].caught
    broken = Bug("a crash", 1, "It stops.", "schedules", lambda: replaced(
        ladder_module.conduct, "schedules", raising))  # fmt: skip
    catch = hunt([broken], QUICK)[0]
    assert not catch.caught and "MISSED by: schedules" in catch.as_text()


def raising(setting: Setting) -> list[Figure]:
    raise ValueError("no figure")


def test_a_rung_that_fails_without_the_bug_catches_nothing() -> None:
    slip = replaced(ladder_module.conduct, "schedules", lambda s: [Figure("a", 2.0, 1.0, "nats")])
    with slip:
        assert not hunt([Bug("nothing", 1, "Nothing.", "schedules", both)], QUICK)[0].caught


# ---- the command ----


def short(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    """A ladder of a few rungs."""
    few = tuple(rung for rung in LADDER if rung.name in names)
    monkeypatch.setattr(ladder_module, "LADDER", few)


def test_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    short(monkeypatch, "KL", "schedules", "device")
    page, data = tmp_path / "page.txt", tmp_path / "data.json"
    arguments = ["verify", "--quick", "--text", str(page), "--json", str(data)]
    assert cli.main(arguments) == 0
    out = capsys.readouterr().out
    assert "3 rungs: 2 passed, 0 FAILED, 1 skipped" in out
    assert f"wrote {page}" in out and f"wrote {data}" in out
    for line in page.read_text().splitlines():
        assert line in out
    value = json.loads(data.read_text())
    assert value["passed"] is True and value["level"] == "quick" and value["format"] == 1
    assert [r["name"] for r in value["rungs"]] == ["KL", "schedules", "device"]
    assert value["numpy"] == np.__version__ and value["minivae"] == minivae.__version__
    assert {"blas", "machine", "processor", "date", "python"} <= set(value)
    assert value["date"].endswith(" UTC") and value["date"] in page.read_text()
    before = page.read_bytes()
    assert cli.main(arguments) == 2
    assert "exists already: --force replaces it" in capsys.readouterr().err
    assert page.read_bytes() == before
    assert cli.main([*arguments, "--force"]) == 0


def test_json_round_trip(certificate: Certificate) -> None:
    value = certificate.as_json()
    assert json.loads(json.dumps(value, allow_nan=False)) == value
    for outcome, entry in zip(certificate.outcomes, value["rungs"], strict=True):
        assert entry["verdict"] == outcome.verdict
        got = [Figure(f["name"], f["value"], f["tolerance"], f["unit"]) for f in entry["figures"]]
        assert tuple(got) == outcome.figures
        assert [f["passed"] for f in entry["figures"]] == [f.passed for f in outcome.figures]


def test_a_failing_rung_gives_exit_1(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    short(monkeypatch, "KL")
    bug = next(bug for bug in ZOO if bug.name == "the KL without its 1/2")
    path = tmp_path / "data.json"
    with bug.plant():
        assert cli.main(["verify", "--quick", "--json", str(path)]) == 1
    assert "FAILED" in capsys.readouterr().out
    assert json.loads(path.read_text())["passed"] is False


@pytest.mark.parametrize("option", ["--quick", "--bugs"])
def test_a_named_device_that_is_missing_gives_exit_1_and_one_line(
    option: str, without_gpu: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "data.json"
    assert cli.main(["verify", option, "--device", "cuda", "--json", str(path)]) == 1
    out, error = capsys.readouterr()
    assert error == "minivae: the device 'cuda' needs CuPy: pip install it\n" and not out
    assert not path.exists()


def test_the_help_tells_the_exit_status(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["verify", "--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert "1 if a rung fails, a bug is not caught, or the device that --device names" in text


def test_a_missed_order_of_bounds_is_never_below_zero(certificate: Certificate) -> None:
    """What was missed is a distance: 0 where the order holds, not a small negative number."""
    figures = [f for o in certificate.outcomes for f in o.figures if f.name.endswith("missed by")]
    assert len(figures) == 3 and all(figure.value >= 0.0 for figure in figures)


def test_the_hunt_on_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    some = tuple(bug for bug in ZOO if bug.rung in ("KL", "schedules"))
    monkeypatch.setattr(bugs, "ZOO", some)
    path = tmp_path / "bugs.json"
    assert cli.main(["verify", "--bugs", "--json", str(path)]) == 0
    out = capsys.readouterr().out
    assert f"{len(some)} of {len(some)} bugs caught" in out and some[0].symptom in out
    value = json.loads(path.read_text())
    assert [b["caught"] for b in value["bugs"]] == [True] * len(some) and value["format"] == 1
    assert value["level"] == "quick" and value["caught"] == len(some)
    assert value["numpy"] == np.__version__ and value["device"] == "cpu"
    missed = Bug("nothing", 1, "Nothing.", "schedules", both)
    monkeypatch.setattr(bugs, "ZOO", (*some, missed))
    assert cli.main(["verify", "--bugs"]) == 1
    assert "MISSED by: schedules" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--json", "nowhere/a.json"], "there is no folder nowhere"),
        (["--text", "."], "is no regular file"),
        (["--json", "a", "--text", "a"], "expected two files"),
        (["--json", "a", "--text", "./a"], "expected two files"),
        (["--full", "--quick"], "not allowed with"),
    ],
)
def test_bad_options(
    options: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    try:
        status = cli.main(["verify", *options])
    except SystemExit as stop:
        status = int(stop.code or 0)
    error = capsys.readouterr().err
    assert status == 2 and message in error and error.count("\n") == 1
    assert not list(tmp_path.iterdir())
