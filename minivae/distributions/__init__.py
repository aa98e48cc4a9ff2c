"""Distributions as values: an object holds the parameters and knows the formulas.

A distribution of vectors sums over its last axis: everything per example, in nats.  Parameters and
values broadcast, so one class serves a variance per pixel, one per model and a fixed one.

``score`` is the statistician's word for the derivative of log p(v) with respect to the parameters
(in the diffusion literature it is the derivative with respect to v: here `grad_value`).  It is
elementwise, of the broadcast shape; what has a ``d`` in its name has the shape of the array after
the d.
"""

from minivae.distributions.bernoulli import Bernoulli
from minivae.distributions.categorical import Categorical
from minivae.distributions.cholesky import CholeskyGaussian
from minivae.distributions.continuous_bernoulli import ContinuousBernoulli
from minivae.distributions.gaussian import Gaussian

__all__ = ["Bernoulli", "Categorical", "CholeskyGaussian", "ContinuousBernoulli", "Gaussian"]
