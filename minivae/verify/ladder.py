"""The certificate: a ladder of rungs, each standing on those below it.

    certificate = climb(Setting("quick"))
    print(certificate.as_text())

At the bottom stand derivatives, which do not know whether the objective is the right one; then
densities, which do; then whole worlds whose log p(x) is known; and above them what a training
run adds: steps, batches, seeds and devices.  A rung that fails makes those above it hard to read.
"""

import math
import platform
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from minivae.verify import conduct, densities, derivatives, exactness
from minivae.verify.figures import Figure, Rung, Setting, Skipped

FORMAT = 1
"""Of the certificate as JSON."""

LADDER: tuple[Rung, ...] = (
    Rung("gradients", "backward is the derivative of forward",
         "a forgotten term, a transposed product, another eps in the backward.",
         lambda s: derivatives.gradients(s)),
    Rung("inner products", "<u, J v> = <J^T u, v>, in wider networks too",
         "an index that is wrong only in shapes the gradient checks are too slow for.",
         lambda s: derivatives.inner_products(s)),
    Rung("caches", "explicit caches: gradients add up and nothing is kept on a layer",
         "state on a layer, a gradient that overwrites the one before it.",
         lambda s: derivatives.caches(s)),
    Rung("normalised", "probabilities sum to one, densities integrate to one",
         "a missing 1/2, log sigma, log 2 pi or normaliser.",
         lambda s: densities.normalised(s)),
    Rung("scores", "the mean score is zero and the mean is the mean",
         "probabilities that were clipped, a sigmoid with the sign flipped.",
         lambda s: densities.scores(s)),
    Rung("KL", "the closed form is the integral",
         "a KL without its 1/2, the wrong way round, or in bits.",
         lambda s: densities.divergences(s)),
    Rung("moments", "samples have the moments of their law",
         "exp(logvar) taken as the standard deviation, the mean shown as a sample, shared noise.",
         lambda s: densities.moments(s)),
    Rung("extremes", "nothing overflows and nothing is cut off",
         "a hard clip that leaves no gradient, probabilities instead of logits.",
         lambda s: densities.extremes(s)),
    Rung("eight forms", "eight derivations of the ELBO give one number",
         "a KL taken for the information, its arguments swapped, an average of logarithms.",
         lambda s: exactness.eight_forms(s)),
    Rung("linear VAE", "the linear VAE at its optimum is probabilistic PCA: ELBO = log p(x)",
         "any wrong sum, mean or weight that the right gradient of a wrong objective hides.",
         lambda s: exactness.ppca(s)),
    Rung("bounds", "ELBO <= IWAE_k <= IWAE_2k <= log p(x) against quadrature",
         "one draw instead of k, weights with the wrong sign, evaluation at the mean code.",
         lambda s: exactness.bounds(s)),
    Rung("water-filling", "rate and distortion lie on Shannon's curve for every beta",
         "a weight that is not beta: per latent, per pixel, or twice what it says.",
         lambda s: exactness.water_filling(s)),
    Rung("charges", "the loss charges what it says, the bound stays plain",
         "a KL weight in the reported bound, a floor held against the wrong mean.",
         lambda s: conduct.charges(s)),
    Rung("batch size", "an example costs the same in every batch",
         "a sum over the batch, a mean of batch means, a return inside the loop.",
         lambda s: conduct.batch_size(s)),
    Rung("step 0", "the first loss is known in advance",
         "an output bias that does not know the data, a mean over pixels.",
         lambda s: conduct.step_zero(s)),
    Rung("optimiser", "steps are the textbook's, and a restored optimiser goes on",
         "a missing bias correction, epsilon inside the root, forgotten moments.",
         lambda s: conduct.optimiser(s)),
    Rung("schedules", "warm-ups and cycles start and end where they should",
         "a cycle that is off by one.",
         lambda s: conduct.schedules(s)),
    Rung("determinism", "the same seed gives the same bits",
         "a global seed, a clock, a generator that a resumed run has lost.",
         lambda s: conduct.determinism(s)),
    Rung("dtypes", "float32 stays float32",
         "float64 that creeps in by a constant or by the noise.",
         lambda s: conduct.dtypes(s)),
    Rung("device", "NumPy and the device agree",
         "TF32, a formula that a kernel rounds otherwise, arrays left behind.",
         lambda s: conduct.device(s)),
)  # fmt: skip


@dataclass(frozen=True)
class Outcome:
    """What a rung gave: its figures, or the reason why it was skipped; and its time in seconds."""

    rung: Rung
    figures: tuple[Figure, ...]
    seconds: float
    skipped: str = ""

    @property
    def passed(self) -> bool:
        """Whether every figure keeps its tolerance; a skipped rung has none that fails."""
        return bool(self.skipped) or (
            bool(self.figures) and all(figure.passed for figure in self.figures)
        )

    @property
    def verdict(self) -> str:
        """ "passed", "skipped" or "FAILED"."""
        return "skipped" if self.skipped else "passed" if self.passed else "FAILED"

    def as_text(self) -> str:
        """The rung as lines: its title, every figure, and what it would have caught."""
        head = f"{self.rung.name:15} {self.rung.title}"
        lines = [f"{head:82}  {self.verdict:7} {self.seconds:5.1f} s"]
        for f in self.figures:
            sign = "<=" if f.passed else "> "
            lines.append(f"    {f.name:48} {f.value:9.2e} {sign} {f.tolerance:7.1e} {f.unit}")
        if self.skipped:
            lines.append(f"    {self.skipped}")
        return "\n".join([*lines, f"    would have caught: {self.rung.catches}"])

    def as_json(self) -> dict[str, Any]:
        """The outcome as JSON can hold it."""
        return {
            "name": self.rung.name,
            "title": self.rung.title,
            "catches": self.rung.catches,
            "verdict": self.verdict,
            "skipped": self.skipped,
            "seconds": round(self.seconds, 3),
            "figures": [figure.as_json() for figure in self.figures],
        }


@dataclass(frozen=True)
class Certificate:
    """All rungs that were climbed, from bottom to top."""

    outcomes: tuple[Outcome, ...]
    setting: Setting

    @property
    def passed(self) -> bool:
        """Whether no rung failed."""
        return all(outcome.passed for outcome in self.outcomes)

    def summary(self) -> str:
        """One line: how many rungs passed, failed and were skipped, and the time."""
        verdicts = [outcome.verdict for outcome in self.outcomes]
        counts = [f"{verdicts.count(v)} {v}" for v in ("passed", "FAILED", "skipped")]
        seconds = sum(outcome.seconds for outcome in self.outcomes)
        return f"{len(verdicts)} rungs: {', '.join(counts)}; {seconds:.0f} s"

    def as_text(self) -> str:
        """The certificate as a page."""
        rungs = "\n\n".join(outcome.as_text() for outcome in self.outcomes)
        return f"{heading(self.setting)}\n\n{rungs}\n\n{self.summary()}\n"

    def as_json(self) -> dict[str, Any]:
        """The certificate as JSON can hold it, with the versions it was made with."""
        return {
            "format": FORMAT,
            "level": self.setting.level,
            "device": str(self.setting.device),
            "python": platform.python_version(),
            "numpy": np.__version__,
            "passed": self.passed,
            "rungs": [outcome.as_json() for outcome in self.outcomes],
        }


def climb(
    setting: Setting | None = None,
    names: Iterable[str] | None = None,
    after_rung: Callable[[Outcome], None] | None = None,
) -> Certificate:
    """Try the rungs, from bottom to top; a rung that fails does not end it.

    names       of the rungs to try; all by default.
    after_rung  called with every outcome as it comes.
    Raises      ValueError for a name that no rung has.
    """
    setting = Setting() if setting is None else setting
    known = {rung.name: rung for rung in LADDER}
    wanted = list(known) if names is None else list(names)
    for name in wanted:
        if name not in known:
            raise ValueError(f"expected a rung ({', '.join(known)}), got {name!r}")
    outcomes = []
    for rung in LADDER:
        if rung.name in wanted:
            outcomes.append(_try(rung, setting))
            if after_rung is not None:
                after_rung(outcomes[-1])
    return Certificate(tuple(outcomes), setting)


def heading(setting: Setting) -> str:
    """The first line of the page."""
    return (
        f"minivae verify, {setting.level}: every figure must be at most its tolerance "
        f"(Python {platform.python_version()}, NumPy {np.__version__})"
    )


def _try(rung: Rung, setting: Setting) -> Outcome:
    """An error inside a rung is a figure that fails, so that the others are still tried."""
    start = time.perf_counter()
    figures: list[Figure] = []
    skipped = ""
    try:
        with np.errstate(all="ignore"):
            figures = rung.run(setting)
    except Skipped as reason:
        skipped = str(reason)
    except (ArithmeticError, ValueError, TypeError, RuntimeError) as error:
        text = f"{type(error).__name__}: {' '.join(str(error).split())}"
        figures = [Figure(text, math.nan, 0.0, "error")]
    return Outcome(rung, tuple(figures), time.perf_counter() - start, skipped)
