"""Every picture, one function each; each returns a Matplotlib Figure and draws nothing on screen.

    plots.samples(images, (8, 8)).savefig("samples.png")

    pages.py       many images as one, and the Figure around them
    pictures.py    samples, reconstructions, the manifold of two latents
    paths.py       walks through the codes: interpolations, traversals
    curves.py      numbers: the latents, their KL, the history of a run
    factors.py     known factors, and what each latent says about them
    codes.py       the codebook of a VQ-VAE, and images as grids of numbers
    compression.py bytes of a code against the error
    holes.py       the density of the codes, and lines that cross it
    rate_distortion.py  a sweep of the KL weight
    gaps.py        the gap of the bound against steps of refinement, and by class
    usage.py       which latents are used, by both rules
    collapse.py    the collapse laboratory: KL per latent over time, for every experiment
    animation.py   figures one after the other, as a GIF

Pictures of images show the mean of p(x|z), grey where the model is in doubt, and say so.
"""

from minivae.plots.animation import gif
from minivae.plots.codes import codebook, codes
from minivae.plots.collapse import collapse
from minivae.plots.compression import compression
from minivae.plots.conditional import completions, styles
from minivae.plots.curves import curves, kl_per_latent, latents
from minivae.plots.factors import factor_shares, rotation
from minivae.plots.gaps import gap_bars, gap_curve
from minivae.plots.holes import holes
from minivae.plots.pages import mosaic
from minivae.plots.paths import cells, interpolation, traversal
from minivae.plots.pictures import MEANS, manifold, reconstructions, samples
from minivae.plots.rate_distortion import rate_distortion
from minivae.plots.usage import latent_use

__all__ = [
    "MEANS",
    "cells",
    "completions",
    "codebook",
    "codes",
    "compression",
    "collapse",
    "curves",
    "factor_shares",
    "gap_bars",
    "gap_curve",
    "gif",
    "holes",
    "interpolation",
    "kl_per_latent",
    "latent_use",
    "latents",
    "manifold",
    "mosaic",
    "rate_distortion",
    "reconstructions",
    "rotation",
    "samples",
    "styles",
    "traversal",
]
