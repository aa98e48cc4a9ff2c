"""The VAE with the habits of scikit-learn: fit, transform, score, in a Pipeline or a grid search.

    vae.py          VAEEstimator
    parameters.py   what the parameters mean, and which are refused
    validation.py   which data are refused, and in which words
    randomness.py   seeds, and noise that belongs to an example wherever it stands
    habits.py       what scikit-learn expects of every estimator, written by hand

scikit-learn is not needed for any of it, and never imported before it asks for its own tags.
"""

from minivae.estimator.vae import VAEEstimator

__all__ = ["VAEEstimator"]
