"""The results of the collapse laboratory as JSON, and back; and the table of them."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from minivae.evaluation import Estimate
from minivae.lab.collapse import CAUSES, CURES, Look, Result
from minivae.lab.evidence import finite


def as_json(result: Result) -> dict[str, Any]:
    """A result as plain values, with its units."""
    return {
        "cause": result.cause,
        "cure": result.cure,
        "units": "nats per image, mean and standard error over held-out images",
        "is_bound": result.is_bound,
        "bound" if result.is_bound else "objective": _pair(result.bound),
        "heard": _pair(result.heard),
        "encoder_steps": result.encoder_steps,
        "decoder_steps": result.decoder_steps,
        "looks": [
            {
                "epoch": look.epoch,
                "kl": look.kl.tolist(),
                "variance": look.variance.tolist(),
                "active": look.active,
                "mutual_information": _pair(look.mutual_information),
            }
            for look in result.looks
        ],
    }


def _pair(value: Estimate) -> list[float | None]:
    return [finite(value.mean), finite(value.standard_error)]


def from_json(value: dict[str, Any]) -> Result:
    """The result that `as_json` wrote.

    Raises  ValueError, one line, for anything else.
    """
    try:
        looks = [
            Look(
                int(look["epoch"]), np.array(look["kl"], float), np.array(look["variance"], float),
                Estimate(*map(float, look["mutual_information"])),
            )
            for look in value["looks"]
        ]  # fmt: skip
        bound = value["bound" if value["is_bound"] else "objective"]
        return Result(
            str(value["cause"]), str(value["cure"]), bool(value["is_bound"]), looks,
            Estimate(*map(float, bound)), Estimate(*map(float, value["heard"])),
            int(value["encoder_steps"]), int(value["decoder_steps"]),
        )  # fmt: skip
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"not a result of the collapse laboratory ({error!r})") from None


def table(results: Iterable[Result]) -> list[str]:
    """A line for each experiment, under a head with the units; what the words mean below.

    A cure has helped where the code is heard: a KL alone is no help, it can be bought.
    """
    results = list(results)
    lines = [
        f"{'cause':13}{'cure':11}{'ELBO':>16}{'KL':>7}{'active':>7}{'information':>14}{'heard':>15}",
    ]
    for r in results:
        last = r.last
        mark = " " if r.is_bound else "*"
        count = f"{last.active}/{len(last.kl)}"
        lines.append(
            f"{r.cause:13}{r.cure:11}{str(r.bound):>16}{mark}{last.kl.sum():6.2f}{count:>7}"
            f"{str(last.mutual_information):>14}{str(r.heard):>15}  {verdict(r, results)}"
        )
    lines += [
        "nats per held-out image, +- the standard error; active: latents whose posterior mean has",
        "a variance above 0.01; information: I(x; z), at most ln N; heard: the fall of log p(x|z)",
        "when every image gets the code of another; alive or cured: heard for more than the KL",
    ]
    if not all(r.is_bound for r in results):
        lines.append(
            "* an objective, not an ELBO: a decoder that sees x has no bound on log p(x), and no "
            "rank among the others"
        )
    return lines


def verdict(result: Result, results: Iterable[Result]) -> str:
    """What to call the experiment, in two or three words."""
    alive = is_heard(result)
    if result.cure == "none":
        return "alive" if alive else "collapsed"
    if not alive:
        if result.heard.mean > max(0.1, 3.0 * result.heard.standard_error):
            return "heard for less than it costs"
        bought = result.last.kl.sum() > 0.5
        return "no help: KL not heard" if bought else "no help"
    pair = (r for r in results if (r.cause, r.cure) == (result.cause, "none"))
    before = next(pair, None)
    if before is None or not is_heard(before):
        return "cured"
    gain = result.bound.mean - before.bound.mean
    if not result.is_bound:
        return "alive"
    return "better" if gain > 0.25 else "worse" if gain < -0.25 else "as good"


def is_heard(result: Result) -> bool:
    """Whether the decoder notices beyond doubt, and for more than the code costs.

    A code that is worth its KL is: log p(x|z) gains more than the KL by it, and the wrong code does
    more harm than none.
    """
    cost = max(0.1, float(result.last.kl.sum()))
    return result.heard.mean > max(cost, 3.0 * result.heard.standard_error)


def legend() -> list[str]:
    """What the names of causes and cures mean."""
    return [
        *(f"  {c.name:13}{c.what}" for c in CAUSES.values()),
        *(f"  {c.name:13}{c.what}" for c in CURES.values()),
    ]
