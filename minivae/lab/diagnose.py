"""Is it posterior collapse, why, and what now: a verdict about any VAE, with its evidence.

    found = diagnose(model, train_x, held_x, training, history)
    print(found.sentence)

*Collapsed*: the decoder ignores its code.  Held-out images are as likely with the code of another.

*Partly collapsed*: latents that are not used could raise the held-out ELBO, or latents are paid for
and not heard.  A latent that is silent because nothing it could say is worth its nats is at the
optimum: more latents than the data have use for is no disease.

*Unclear*: with so few held-out images the fall may be nothing, and it may be much.

*Not trained to the end*: the code is heard, but the model is worse than one without a code, and its
bound was still rising.  What its latents will do nobody knows.

*Healthy*: everything else.

Which latents could raise the ELBO is measured, by `spare_latent`.  The same measurement at another
KL weight or another variance says why they do not:

    at the weight and the variance of the training it would pay   -> training did not find it
    only at weight 1                                              -> the KL weight
    only at the variance that fits                                -> sigma^2 is too large
    never                                                         -> nothing to say; the optimum

Source  Lucas and others (2019): in a linear VAE collapse is a property of the optimum, of where the
        data's eigenvalues lie against kl_weight * sigma^2, not a fault of the bound.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from minivae.arrays import generator
from minivae.distributions import Gaussian
from minivae.evaluation import Estimate
from minivae.evaluation.surgery import Surgery, surgery
from minivae.evaluation.usage import Usage, latent_usage
from minivae.lab.advice import (
    COLLAPSED,
    HEALTHY,
    PARTLY,
    UNCLEAR,
    UNFINISHED,
    WORTH,
    changes,
    missed,
    notes,
    sentence,
)
from minivae.lab.evidence import (
    CODES,
    LIMIT,
    Drawn,
    Heard,
    Spare,
    drawn,
    fitting_variance,
    heard,
    spare_latent,
    without_code,
)
from minivae.models import VAE

AUDIBLE = 0.1
"""A latent is heard if exchanging it costs at least this share of the KL that it pays."""

SILENT = 0.01
"""A latent with less KL than this, in nats, says nothing."""


@dataclass(frozen=True)
class Diagnosis:
    """A verdict and what it rests on.  All numbers in nats per held-out example.

    verdict   COLLAPSED, PARTLY, UNCLEAR, UNFINISHED or HEALTHY
    cause     a key of `CAUSES`, or None where healthy or unclear
    sentence  the verdict, and why
    changes   options of `minivae train` to try, by name; empty if there is nothing to repair
    used, silent, unheard   (K,) bool, one of them for each latent: it is used; it says nothing; it
              pays a KL, and the decoder does not notice when it is exchanged
    gain      ELBO - log p(x) of the best model without a code
    spare     one more latent, with weight 1 and the variance that fits
    priced    the same at the weight and the variance of the training
    rising    the history says that the bound was still rising when the training ended
    variance, fitting   sigma^2 of a Gaussian decoder, and the mean squared error; None for others
    """

    verdict: str
    cause: str | None
    sentence: str
    changes: dict[str, Any]
    usage: Usage
    surgery: Surgery
    heard: Heard
    gain: Estimate
    reconstruction_gain: Estimate
    spare: Spare
    priced: Spare
    used: np.ndarray
    silent: np.ndarray
    unheard: np.ndarray
    kl_weight: float
    variance: float | None
    fitting: float | None
    rising: bool
    notes: list[str] = field(default_factory=list)


def diagnose(
    model: VAE,
    train_x: np.ndarray,
    held_x: np.ndarray,
    training: Mapping[str, Any] | None = None,
    history: Sequence[Mapping[str, float]] | None = None,
    seed: int = 0,
) -> Diagnosis:
    """Examine a VAE.

    train_x   (N, D) what it was trained on, as its likelihood takes it: already black and white
              for a Bernoulli.  Baselines and directions come from here.
    held_x    (N, D) what it was not trained on.  All that is reported is measured here.
    training  the options of the training: kl_weight, free_bits, epochs, ...  None: weight 1.
    history   a row for each epoch of training; empty for none, None if it is not known.
    Uses      at most the first `LIMIT` examples of each.
    Raises    ValueError, one line, for data that the model cannot take, or fewer than 2 examples.
    """
    train_x, held_x = model.check(train_x[:LIMIT]), model.check(held_x[:LIMIT])
    if len(train_x) < 2 or len(held_x) < 2:
        got = f"{len(train_x)} and {len(held_x)}"
        raise ValueError(f"expected at least 2 examples to train on and 2 held out, got {got}")
    asked = {"variance": model.architecture.variance, **(training or {})}
    train, held = drawn(model, train_x), drawn(model, held_x)
    case = _examine(model, train, held, asked, seed)
    case["rising"] = bool(history and still_rising(history))
    verdict = _verdict(case, asked)
    cause = None
    if verdict in (COLLAPSED, PARTLY):
        cause = _cause(model, train, held, case, history)
    elif verdict == UNFINISHED:
        cause = "brief"
    case["notes"] = notes(case, verdict, asked)
    told = sentence(verdict, cause, case)
    return Diagnosis(verdict, cause, told, changes(cause, asked), **case)


def _examine(
    model: VAE, train: Drawn, held: Drawn, asked: Mapping[str, Any], seed: int
) -> dict[str, Any]:
    """Every measurement, by the names that they have in a `Diagnosis`."""
    beta, fitting = float(asked.get("kl_weight", 1.0)), fitting_variance(model, train)
    twin, x = model.twin("float64"), held.x
    q = twin.encode(x)
    z = q.sample(generator("cpu", seed, 0, CODES).standard_normal(q.mu.shape))
    listening = heard(lambda z: twin.decode(z).log_prob(x), z, seed)
    use = latent_usage(model, x)
    bare = without_code(model, train.x).log_prob(x)
    reconstruction = held.log_px() - bare
    variance = None
    if isinstance(held.pixels, Gaussian) and fitting is not None:
        variance = float(np.exp(held.pixels.logvar).mean())
    silent = use.kl < SILENT
    # Few examples, or densities with wide tails: then a latent may seem unheard by chance.
    sure = listening.each + 3.0 * listening.error < np.maximum(use.kl, WORTH)
    unheard = ~silent & (listening.each < AUDIBLE * use.kl) & sure
    return {
        "usage": use,
        "surgery": surgery(model, x, generator("cpu", seed, 1, CODES)),
        "heard": listening,
        "gain": Estimate.of(reconstruction - q.kl()),
        "reconstruction_gain": Estimate.of(reconstruction),
        "spare": _spare(train, held, 1.0, fitting),
        "priced": spare_latent(train, held, beta),
        "used": ~silent & ~unheard,
        "silent": silent,
        "unheard": unheard,
        "kl_weight": beta,
        "variance": variance,
        "fitting": fitting,
    }


def _spare(train: Drawn, held: Drawn, beta: float, variance: float | None) -> Spare:
    """What one more latent would be worth at another KL weight and variance."""
    return spare_latent(train.with_variance(variance), held.with_variance(variance), beta)


def _verdict(case: Mapping[str, Any], asked: Mapping[str, Any]) -> str:
    together, kl, used = case["heard"].together, case["surgery"].kl.mean, case["used"]
    doubt = 3.0 * together.standard_error
    # A code that pays is heard for its KL at least; this one for less than half of it, for sure.
    little = together.mean + doubt <= max(WORTH, 0.5 * kl)
    if case["silent"].all() or (little and not used.any()):
        return COLLAPSED
    if together.mean <= max(SILENT, doubt):  # it may be nothing
        return COLLAPSED if little else UNCLEAR
    # Below the floor of the free bits a KL costs nothing, heard or not.
    free = 1.5 * float(asked.get("free_bits", 0.0))
    if (case["unheard"] & (case["usage"].kl > max(free, 0.1))).any():
        return PARTLY
    if not used.all() and missed(case["spare"]):
        return PARTLY
    worse = case["gain"].mean < -3.0 * case["gain"].standard_error
    return UNFINISHED if worse and case["rising"] else HEALTHY


def _cause(
    model: VAE,
    train: Drawn,
    held: Drawn,
    case: Mapping[str, Any],
    history: Sequence[Mapping[str, float]] | None,
) -> str:
    """The cause that the evidence speaks for, the first of `CAUSES` that fits.

    That a latent is paid for and not heard is a symptom: of weights that are zero, but as well of a
    training that has hardly begun, or of a variance beside which no code counts.  So those are
    asked for first.
    """
    if history is not None and not history:
        return "untrained"
    deaf, unheard = deaf_to(model), case["unheard"] & (case["usage"].kl > 0.1)
    if (unheard & deaf).any() or (missed(case["priced"]) and deaf.all()):
        return "decoder"
    if case["rising"] and (missed(case["priced"]) or unheard.any()):
        return "brief"
    if missed(case["priced"]):
        return "stuck"
    beta, fitting = case["kl_weight"], case["fitting"]
    if beta > 1.0 and missed(_spare(train, held, 1.0, None)):
        return "kl-weight"
    if fitting is not None and missed(_spare(train, held, beta, fitting)):
        return "variance"
    if missed(case["spare"]):
        return "both"
    return "decoder" if unheard.any() else "nothing"


def still_rising(history: Sequence[Mapping[str, float]], by: float = 0.25) -> bool:
    """Whether the bound rose by more than ``by`` nats from the last quarter but one to the last.

    The held-out bound where there is one.  Fewer than four epochs cannot tell, and are brief.
    """
    if len(history) < 4:
        return True
    name = next((n for n in ("valid_elbo", "train_elbo") if n in history[0]), None)
    if name is None:
        return False
    bound, n = np.array([row[name] for row in history]), len(history) // 4
    return bool(bound[-n:].mean() - bound[-2 * n : -n].mean() > by)


def deaf_to(model: VAE, n: int = 64) -> np.ndarray:
    """Which latents the decoder does not hear at all, (K,) bool.

    Its output stays the same to a millionth when the latent alone moves from -3 to 3, far out in
    the prior, with the others anywhere.  A decoder that training made hard of hearing is not deaf:
    its weights became small, not zero.
    """
    K, decoder = model.architecture.latent, model.twin("float64").decoder
    z = generator("cpu", 0, 2, CODES).standard_normal((n, K))
    deaf = np.empty(K, bool)
    for k in range(K):
        ends = []
        for end in (-3.0, 3.0):
            moved = z.copy()
            moved[:, k] = end
            ends.append(np.concatenate(decoder.forward(moved)[0], axis=1))
        deaf[k] = np.abs(ends[1] - ends[0]).max() < 1e-6
    return deaf
