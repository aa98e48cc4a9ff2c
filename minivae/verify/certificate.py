"""What a climb leaves behind: the outcome of every rung, as a page and as JSON."""

import functools
import platform
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np

import minivae
from minivae import blas
from minivae.verify.figures import Figure, Rung, Setting

FORMAT = 1
"""Of the certificate as JSON, and of a hunt's."""


@functools.cache
def circumstances() -> dict[str, Any]:
    """Where and when: versions, BLAS kernel, machine, the time (UTC) of the first look."""
    lines = (line.partition(":") for line in blas.cpuinfo().splitlines())
    models = (value for key, _, value in lines if key.strip() == "model name")
    return {
        "minivae": minivae.__version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "blas": blas.loaded_kernel(),
        "machine": f"{platform.system()} {platform.machine()}",
        "processor": next((m.strip() for m in models), "") or platform.processor(),
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
    }


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
        """Whether rungs were climbed, and none failed."""
        return bool(self.outcomes) and all(outcome.passed for outcome in self.outcomes)

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
        """The certificate as JSON can hold it, with the versions and the machine it is true of."""
        return {
            "format": FORMAT,
            "level": self.setting.level,
            "device": str(self.setting.device),
            **circumstances(),
            "passed": self.passed,
            "rungs": [outcome.as_json() for outcome in self.outcomes],
        }


def heading(setting: Setting) -> str:
    """The first lines of the page."""
    c = circumstances()
    return (
        f"minivae verify, {setting.level}: every figure must be at most its tolerance\n"
        f"minivae {c['minivae']}, Python {c['python']}, NumPy {c['numpy']} with BLAS {c['blas']}, "
        f"{c['date']}\n{c['machine']}, {c['processor']}"
    )
