"""Which latents are used, as a picture."""

import numpy as np
from matplotlib.figure import Figure

from minivae.evaluation import Usage
from minivae.plots.pages import BLUE, INK, ORANGE

MOST = 60
"""Latents that a picture can show with their names."""


def latent_use(usage: Usage, unit: str = "nats per example") -> Figure:
    """The KL of each latent with its error, largest first, over the variance of its mean.

    Both on logarithmic axes, because latents that are off differ by powers of ten; the dotted lines
    are the usual thresholds, 0.01.  What is 0 or below 1e-6 is drawn at 1e-6.
    """
    order = np.argsort(-usage.kl)[:MOST]
    figure = Figure(figsize=(3.6 + 0.2 * len(order), 4.6), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True)
    places, error = np.arange(len(order)), np.nan_to_num(usage.kl_error[order])
    kl = np.maximum(usage.kl[order], 1e-6)
    above.bar(places, kl, color=BLUE)
    above.errorbar(places, kl, yerr=np.minimum(error, 0.99 * kl), fmt="none", ecolor=INK, lw=1)
    below.bar(places, np.maximum(usage.variance[order], 1e-6), color=ORANGE)
    rows = ((above, f"KL [{unit}]", usage.active_by_kl()), (below, "variance of the mean",
            usage.active()))  # fmt: skip
    for plane, label, active in rows:
        plane.set_yscale("log")
        plane.set_ylim(bottom=min(1e-3, plane.get_ylim()[0]))
        plane.axhline(0.01, color=INK, ls=":", lw=1)
        plane.set_ylabel(label)
        plane.set_title(f"{active.sum()} of {len(active)} above 0.01", fontsize=10)
    below.set_xticks(places, [str(k + 1) for k in order], fontsize=8)
    below.set_xlabel("latent, largest KL first")
    return figure
