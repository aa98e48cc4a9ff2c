"""The certificate: a ladder of rungs, each standing on those below it.

    certificate = climb(Setting("quick"))
    print(certificate.as_text())

At the bottom stand derivatives, which do not know whether the objective is the right one; then
densities, which do; then whole worlds whose log p(x) is known; and above them what a training
run adds: steps, batches, seeds and devices.  A rung that fails makes those above it hard to read.
"""

import math
import time
from collections.abc import Callable, Iterable

import numpy as np

from minivae.verify import (
    conditions,
    conduct,
    densities,
    derivatives,
    estimates,
    exactness,
    machines,
    order,
    quantised,
    running,
    values,
)
from minivae.verify.certificate import Certificate, Outcome
from minivae.verify.figures import Figure, Rung, Setting, Skipped

LADDER: tuple[Rung, ...] = (
    Rung("activations", "activations are the textbook's, and blocks of an array are its parts",
         "a look-alike whose backward fits it, a block's end that is never written.",
         lambda s: values.activations(s)),
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
    Rung("EM", "every round of EM climbs, to probabilistic PCA",
         "an M step that forgets how uncertain the codes are.",
         lambda s: estimates.em(s)),
    Rung("bounds", "ELBO <= IWAE_k <= IWAE_2k <= log p(x) against quadrature",
         "fewer draws than k, weights with the wrong sign, evaluation at the mean code.",
         lambda s: exactness.bounds(s)),
    Rung("IWAE", "the gradient of the importance-weighted bound is its mean's",
         "samples that all pull alike, a weight that was differentiated twice or not at all.",
         lambda s: estimates.iwae(s)),
    Rung("conditions", "a conditional bound closes on log p(x|y) where both networks know y",
         "a label that one network is not told, a learned prior that is left out, a probe that is "
         "judged on what it was fitted on, a class that training never saw.",
         lambda s: conditions.conditions(s)),
    Rung("water-filling", "rate and distortion lie on Shannon's curve for every beta",
         "a weight that is not beta: per latent, per pixel, or twice what it says.",
         lambda s: exactness.water_filling(s)),
    Rung("estimators", "pathwise, score function and doubly reparameterized: one mean, the truth",
         "a baseline that biases, weights that are not squared, a score with the wrong sign.",
         lambda s: estimates.estimators(s)),
    Rung("error bars", "standard errors, effective sample sizes and bits are what they are called",
         "a spread that is not divided by sqrt(N), bits that are not divided by the pixels.",
         lambda s: estimates.error_bars(s)),
    Rung("annealing", "annealed importance sampling finds a known log p(x), from both sides",
         "temperatures that do not add up to one, a move that is never rejected.",
         lambda s: estimates.annealing(s)),
    Rung("order", "what is predicted in an order sums to one and looks only back",
         "a mask off by one, an order taken for its inverse, masks averaged as logarithms.",
         lambda s: order.in_order(s)),
    Rung("quantisation", "straight through, k-means and a cost per example: the VQ-VAE",
         "swapped codebook and commitment terms, averages that start wrong, ties, dead entries.",
         lambda s: quantised.codes(s)),
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
    Rung("training", "a training run is the loop that can be written by hand",
         "gradients that are never emptied, options that are ignored, noise that repeats itself.",
         lambda s: running.training_run(s)),
    Rung("determinism", "the same seed gives the same bits",
         "a global seed, a clock, a generator that a resumed run has lost.",
         lambda s: conduct.determinism(s)),
    Rung("files", "what is saved comes back, and nothing that is loaded runs",
         "a checkpoint that is unpickled, a theta that changes on its way.",
         lambda s: running.files(s)),
    Rung("walks", "walks between codes keep to the sphere, and grids to the quantiles",
         "a straight line called an arc, an even grid where codes are not even.",
         lambda s: values.walks_and_grids(s)),
    Rung("dtypes", "float32 stays float32",
         "float64 that creeps in by a constant or by the noise.",
         lambda s: machines.dtypes(s)),
    Rung("precision", "float32 gives the values of float64, far out too",
         "e^89 in single precision, a formula that cancels.",
         lambda s: machines.precision(s)),
    Rung("device", "NumPy and the device agree, in float64 and in float32",
         "TF32, a formula that a kernel rounds otherwise, arrays left behind.",
         lambda s: machines.device(s)),
)  # fmt: skip


def climb(
    setting: Setting | None = None,
    names: Iterable[str] | None = None,
    after_rung: Callable[[Outcome], None] | None = None,
) -> Certificate:
    """Try the rungs, from bottom to top; a rung that fails does not end it.

    names       of the rungs to try; all by default.  A certificate of no rung does not pass.
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
    except Exception as error:  # whatever it was, it belongs to this rung
        text = f"{type(error).__name__}: {' '.join(str(error).split())}"
        figures = [Figure(text, math.nan, 0.0, "error")]
    return Outcome(rung, tuple(figures), time.perf_counter() - start, skipped)
