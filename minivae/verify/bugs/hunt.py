"""The hunt: each bug's rung with and without the bug."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

from minivae.verify.bugs.planting import Bug
from minivae.verify.certificate import FORMAT, Outcome, circumstances
from minivae.verify.figures import Setting
from minivae.verify.ladder import climb


@dataclass(frozen=True)
class Catch:
    """A bug, and what its rung said without it and with it."""

    bug: Bug
    without: Outcome
    planted: Outcome

    @property
    def caught(self) -> bool:
        """The rung passes on the library as it is, and fails with the bug in it, by a figure.

        A rung that could not be tried because the bug raised an error does not count.
        """
        crashed = any(figure.unit == "error" for figure in self.planted.figures)
        failed = self.planted.verdict == "FAILED" and not crashed
        return self.without.verdict == "passed" and failed

    def as_text(self) -> str:
        """The bug, its symptom and, if it was caught, the figures that gave it away."""
        verdict = f"caught by: {self.bug.rung}" if self.caught else f"MISSED by: {self.bug.rung}"
        lines = [f"{self.bug.name:44} {verdict}", f"    {self.bug.symptom}"]
        for figure in self.planted.figures:
            if not figure.passed:
                lines.append(
                    f"    {figure.name}: {figure.value:.2e} > {figure.tolerance:.1e} {figure.unit}"
                )
        return "\n".join(lines)

    def as_json(self) -> dict[str, Any]:
        """The catch as JSON can hold it."""
        return {
            "name": self.bug.name,
            "pitfall": self.bug.pitfall,
            "symptom": self.bug.symptom,
            "rung": self.bug.rung,
            "caught": self.caught,
            "without": self.without.as_json(),
            "planted": self.planted.as_json(),
        }


def as_json(catches: Iterable[Catch], setting: Setting) -> dict[str, Any]:
    """A hunt as JSON can hold it, with the versions and the machine it is true of."""
    found = [catch.as_json() for catch in catches]
    return {
        "format": FORMAT,
        "level": setting.level,
        "device": str(setting.device),
        **circumstances(),
        "caught": sum(catch["caught"] for catch in found),
        "bugs": found,
    }


def hunt(
    zoo: Iterable[Bug],
    setting: Setting | None = None,
    after_bug: Callable[[Catch], None] | None = None,
) -> list[Catch]:
    """Try every bug's rung with and without the bug; the rung without is tried once for all.

    after_bug  called with every catch as it comes.
    """
    setting = Setting("quick") if setting is None else setting
    clean: dict[Any, Outcome] = {}
    catches = []
    for bug in zoo:
        own = bug.device if setting.device == "cpu" else None
        where = setting if own is None else replace(setting, device=own)
        if (bug.rung, own is None) not in clean:
            clean[bug.rung, own is None] = climb(where, [bug.rung]).outcomes[0]
        with bug.plant():
            planted = climb(where, [bug.rung]).outcomes[0]
        catches.append(Catch(bug, clean[bug.rung, own is None], planted))
        if after_bug is not None:
            after_bug(catches[-1])
    return catches
