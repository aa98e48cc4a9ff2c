"""What a diagnosis says and what it advises, in words and in options of `minivae train`."""

from collections.abc import Mapping
from typing import Any

from minivae.lab.evidence import Spare

COLLAPSED, PARTLY, HEALTHY = "collapsed", "partly collapsed", "healthy"
UNCLEAR, UNFINISHED = "unclear", "not trained to the end"

CAUSES = {
    "untrained": "the model has not been trained",
    "brief": "training was too short: its bound was still rising",
    "decoder": "the decoder does not listen",
    "kl-weight": "the KL weight makes the code too expensive",
    "variance": "the decoder's variance is larger than what the code could explain",
    "both": "the KL weight and the decoder's variance together make the code too expensive",
    "stuck": "training did not find a use that there is",
    "nothing": "there is nothing that would pay for a code",
}
"""What the evidence can speak for."""

WORTH = 0.25
"""Nats per example that a spare latent must be worth beyond three standard errors to be missed."""


def missed(spare: Spare) -> bool:
    """Whether a spare latent is worth something, beyond doubt."""
    return spare.worth.mean > WORTH + 3.0 * spare.worth.standard_error


def changes(cause: str | None, asked: Mapping[str, Any]) -> dict[str, Any]:
    """What to change in the options of the training, by name; nothing where nothing is wrong.

    asked    the options, and the "variance" of a Gaussian decoder.
    Returns  nothing that is in force already, and nothing weaker: the next cure in its place.
    """
    epochs = int(asked.get("epochs", 0)) or 50
    longer: dict[str, Any] = {"epochs": 4 * epochs}
    if cause == "untrained":
        return {"epochs": epochs}
    if cause == "brief":
        return longer
    if cause == "decoder":
        rate = float(asked.get("optimizer", {}).get("learning_rate", 1e-3))
        slower = {"learning_rate": rate / 3.0} if rate > 1e-4 else {}
        return {**slower, **_again(asked)}
    if cause == "stuck":
        return _awake(asked, epochs)
    cheaper: dict[str, Any] = {}
    if cause in ("kl-weight", "both") and float(asked.get("kl_weight", 1.0)) > 1.0:
        cheaper["kl_weight"] = 1.0
    if cause in ("variance", "both") and asked.get("variance", "fixed") == "fixed":
        cheaper["variance"] = "shared"
    return cheaper or (longer if cause in ("kl-weight", "variance", "both") else {})


def _awake(asked: Mapping[str, Any], epochs: int) -> dict[str, Any]:
    """Against latents that sleep on: a warm-up, free bits, more of them, another start."""
    free = float(asked.get("free_bits", 0.0))
    if str(asked.get("kl_schedule", "constant")) == "constant" and free == 0.0:
        return {"kl_schedule": f"linear:epochs={max(1, epochs // 2)}"}
    return {"free_bits": 2.0 * free or 0.1} if free < 1.0 else _again(asked)


def _again(asked: Mapping[str, Any]) -> dict[str, Any]:
    return {"seed": int(asked.get("seed", 0)) + 1}


def sentence(verdict: str, cause: str | None, case: Mapping[str, Any]) -> str:
    """The verdict and its reason, one sentence."""
    K, used = len(case["used"]), int(case["used"].sum())
    told = f"{used} of {K} latents {'is' if used == 1 else 'are'} used"
    if verdict == UNCLEAR:
        return (
            f"unclear: the code is heard by {case['heard'].together} nats per example, which may "
            "be nothing and may be much: too few held-out examples to tell."
        )
    if verdict == UNFINISHED:
        return (
            f"not trained to the end: {told}, but independent pixels are still better, by "
            f"{-case['gain'].mean:.2f} nats per example; the bound was still rising."
        )
    if verdict == HEALTHY:
        if used == K:
            return f"healthy: {told}."
        rest = "the other one has" if K - used == 1 else f"the other {K - used} have"
        return f"healthy: {told}, and {rest} nothing to say that would pay."
    why = CAUSES[str(cause)]
    if verdict == COLLAPSED:
        if cause == "nothing":
            return f"collapsed, and rightly so: {why}."
        return f"collapsed: the decoder ignores its code; {why}."
    if cause == "decoder":
        deaf = int(case["unheard"].sum())
        paid = "is" if deaf == 1 else "are"
        return f"partly collapsed: {told}; {deaf} {paid} paid for and not heard."
    worth = case["spare"].worth
    return (
        f"partly collapsed: {told}, though one more would be worth {worth} nats per example; {why}."
    )


def notes(case: Mapping[str, Any], verdict: str, asked: Mapping[str, Any]) -> list[str]:
    """What a reader of the numbers should know besides."""
    found, information = [], case["surgery"].mutual_information
    limit = case["surgery"].limit
    if information.mean > 0.9 * limit:
        found.append(
            f"the mutual information is near its limit, ln N = {limit:.2f} nats: it says how many "
            "examples there were, not what the code could hold"
        )
    floor = float(asked.get("free_bits", 0.0))
    if floor > 0.0 and case["unheard"].any():
        found.append(
            f"{int(case['unheard'].sum())} latents pay the {floor:g} nats that are free, and are "
            "not heard: a KL that was bought says nothing"
        )
    if verdict == HEALTHY and case["used"].all() and missed(case["spare"]):
        few = missed(case["priced"])
        why = "too few latents" if few else "but the weight or the variance makes them expensive"
        if few and case["rising"]:
            why += ", or too little training"
        found.append(
            f"all latents are used, and one more would be worth at least {case['spare'].worth} "
            f"nats: no collapse, {'but ' if few else ''}{why}"
        )
    if case["rising"] and verdict == HEALTHY:
        found.append("not trained to the end: the bound was still rising")
    if case["gain"].mean < 0.0 and verdict != UNFINISHED:
        found.append("independent pixels are better than this model: overtrained, or not trained")
    return found
