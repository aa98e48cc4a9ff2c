"""The estimator itself: parameters as on the command line, methods as in scikit-learn."""

import copy
from collections.abc import Callable
from typing import Any, Self

import numpy as np

from minivae.arrays import (
    Array,
    Device,
    dtype_name,
    generator,
    standard_normal,
    to_device,
    to_numpy,
    uniform,
)
from minivae.distributions import Gaussian
from minivae.estimator.habits import Habits
from minivae.estimator.parameters import (
    architecture,
    binarisation,
    check_parameters,
    what_needs_grey,
)
from minivae.estimator.randomness import (
    IMPORTANCE,
    SAMPLE,
    OwnNoise,
    black_and_white,
    hold_out,
    own_generators,
    seed_of,
)
from minivae.estimator.validation import (
    as_matrix,
    column_names,
    compare_names,
    explicit_names,
    require_grey,
    require_width,
)
from minivae.evaluation import estimate_likelihood
from minivae.models import VAE, smoothed_mean
from minivae.optimizers import Adam
from minivae.training import History, train

ROWS = 4_000
"""Examples that go through a network at a time: what bounds the memory."""


class VAEEstimator(Habits):
    """A VAE that stands where scikit-learn expects a transformer or a density.

        est = VAEEstimator(latent=8, random_state=0).fit(X)
        est.transform(X)              # (N, K) means of q(z|x)
        est.score(X_test)             # log p(x) in nats per example, higher is better

    Not `VAETransformer`, for a transformer is a kind of network too; an estimator is anything with
    a fit.  The parameters have the names of `minivae train`.  In scikit-learn's own words:
    n_components is `latent`, hidden_layer_sizes `hidden`, max_iter `epochs`, learning_rate_init
    `learning_rate`.

    X is taken as it is: no scaling is hidden here.  The training wants numbers of about unit size,
    so put a scaler before it.  Densities are of what this estimator is given: `score` compares two
    settings of the estimator, not two scalers before it.

    latent        K, the number of latents, and of the columns that `transform` returns.
    hidden        widths of the encoder's hidden layers; the decoder has them in reverse.  () is the
                  linear VAE, whose optimum is probabilistic PCA.
    activation    "relu", "tanh", "sigmoid", "softplus" or "gelu".
    likelihood    "gaussian" for real numbers; "bernoulli" and "continuous-bernoulli" for [0, 1].
    variance      of a Gaussian p(x|z): "shared" (one learned number), "fixed" or "pixel" (an output
                  of the decoder).
    sigma         its standard deviation, fixed or at the start.  None starts at that of the data
                  around their mean, which is the best a decoder can do before it uses z.
    kl_weight     beta; 1 is the ELBO.  It acts in fit only, never on a score.
    free_bits     nats of KL per latent that cost nothing in fit.
    samples       codes drawn for each example and step of fit.
    epochs        of `fit`; `partial_fit` adds one.
    batch_size, learning_rate  of Adam.
    binarisation  of grey values: "none", "threshold" at 1/2, "fixed" (drawn once), "new" (drawn at
                  every use in fit).  None is "new" for a Bernoulli and "none" for the others.
                  Densities are of drawn pixels, and an example's draw is always the same one;
                  `transform` encodes grey values as they are, for they tell more than a draw.
    validation_fraction  of X, held out of fit; the history has its bound after each epoch.
    patience      stop fit after so many epochs without a better held-out bound, and take the
                  parameters of the best one.  None goes through all epochs.
    n_importance  S, the codes that `score_samples` draws for each example.
    dtype         "float32", "float64" or None: that of X in fit, float64 if X has neither.
    device        "cpu" or "cuda"; what goes in and comes out are NumPy arrays.
    random_state  an integer (the seed: the same integer and data give the same numbers to the
                  bit), None (a fresh seed in each fit), or a RandomState or Generator, which each
                  fit asks for a seed.
    verbose       True shows a progress bar.

    After fit: `model_` (the `minivae.VAE`, which everything else in minivae takes), `history_`
    (`minivae.training.History`), `optimizer_`, `seed_`, `n_iter_` (epochs so far),
    `n_features_in_`, and `feature_names_in_` if X had names of columns.

    Pickling works as for every estimator; but loading a pickle can run code.  A model that is to
    be given away is better saved as a run folder (`minivae.runs`), which holds numbers alone.

    Raises  ValueError in fit for a parameter or data that it cannot take; NotFittedError before.
    """

    def __init__(
        self,
        latent: int = 2,
        *,
        hidden: Any = (64,),
        activation: str = "relu",
        likelihood: str = "gaussian",
        variance: str = "shared",
        sigma: float | None = None,
        kl_weight: float = 1.0,
        free_bits: float = 0.0,
        samples: int = 1,
        epochs: int = 100,
        batch_size: int = 64,
        learning_rate: float = 1e-3,
        binarisation: str | None = None,
        validation_fraction: float = 0.0,
        patience: int | None = None,
        n_importance: int = 100,
        dtype: str | None = None,
        device: Device = "cpu",
        random_state: Any = None,
        verbose: bool = False,
    ) -> None:
        self.latent = latent
        self.hidden = hidden
        self.activation = activation
        self.likelihood = likelihood
        self.variance = variance
        self.sigma = sigma
        self.kl_weight = kl_weight
        self.free_bits = free_bits
        self.samples = samples
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.binarisation = binarisation
        self.validation_fraction = validation_fraction
        self.patience = patience
        self.n_importance = n_importance
        self.dtype = dtype
        self.device = device
        self.random_state = random_state
        self.verbose = verbose

    # ---- learning ----

    def fit(self, X: Any, y: Any = None) -> Self:
        """Train from the start for `epochs` epochs; ``y`` is ignored.

        Raises  ValueError for bad data or parameters; FloatingPointError if the loss diverges.
        """
        x, held_out = hold_out(self._first(X), self.validation_fraction, self.seed_)
        self._start(x, column_names(X))
        return self._train(x, held_out, self.epochs)

    def partial_fit(self, X: Any, y: Any = None) -> Self:
        """One more epoch, on ``X``, which may be other data; the first call also starts the model.

        Adam keeps its moments, the epochs count on, and no noise is used twice.  The parameters of
        fit may change in between, where they do not change the network.
        """
        if hasattr(self, "model_"):
            check_parameters(self)
            x = self._given(X)
        else:
            x = self._first(X)
            self._start(x, column_names(X))
        return self._train(x, None, 1)

    def fit_transform(self, X: Any, y: Any = None) -> Any:
        """`fit`, then `transform` of the same data."""
        return self.fit(X).transform(X)

    # ---- codes ----

    def transform(self, X: Any) -> Any:
        """The means of q(z|x): (N, D) -> (N, K), an array or what `set_output` chose."""
        x = self._given(X)
        if binarisation(self) == "threshold":
            x = self._drawn(x)
        means = _in_batches(self.model_.means, x)
        return self._contained(means, self.get_feature_names_out(), X)

    def inverse_transform(self, X: Any) -> np.ndarray:
        """The means of p(x|z) for codes (N, K): (N, D), in the units of the data."""
        self._require_fitted()
        z = as_matrix(X, dtype_name(self.model_.parameters.theta), type(self).__name__)
        require_width(z, self.model_.architecture.latent, type(self).__name__)
        return _in_batches(lambda some: self.model_.decode(some).mean, z)

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Names of the K codes: "vaeestimator0", "vaeestimator1", ..."""
        self._require_fitted()
        fitted = getattr(self, "feature_names_in_", None)
        explicit_names(input_features, fitted, self.n_features_in_)
        prefix = type(self).__name__.lower()
        K = self.model_.architecture.latent
        return np.array([f"{prefix}{k}" for k in range(K)], dtype=object)

    # ---- densities ----

    def score_samples(self, X: Any) -> np.ndarray:
        """An estimate of log p(x) for each example, (N,), in nats.

        log (1/S) sum_s p(x|z_s) p(z_s) / q(z_s|x) with S = `n_importance` draws z_s of q(z|x).  In
        the mean over draws it is a lower bound: the ELBO for S = 1, rising to log p(x) with S
        (Burda, Grosse and Salakhutdinov 2015, theorem 1).  `minivae.estimate_likelihood` computes
        it; here an example's draws depend on the fitted seed and on the example, so that it has
        the same value in every batch and every order.

        `kl_weight` and `free_bits` play no part.  For a density the nats may be positive.
        """
        x = self._drawn(self._given(X))
        noise = OwnNoise(own_generators(x, self.seed_, IMPORTANCE), self.n_importance)
        return -estimate_likelihood(self.model_, x, noise, self.n_importance).nll

    def score(self, X: Any, y: Any = None) -> float:
        """The mean of `score_samples`, in nats per example; ``y`` is ignored."""
        return float(self.score_samples(X).mean())

    def sample(self, n_samples: int = 1, random_state: Any = None) -> np.ndarray:
        """New examples, (n_samples, D): z from N(0, 1), then x from p(x|z), its noise included.

        For the means of p(x|z) alone, give codes to `inverse_transform`.

        random_state  None draws from the fitted seed: the same examples in each call.
        """
        self._require_fitted()
        if n_samples < 1:
            raise ValueError(f"expected n_samples of at least 1, got {n_samples}")
        model, theta = self.model_, self.model_.parameters.theta
        seed = self.seed_ if random_state is None else seed_of(random_state)
        rng = generator(model.device, seed, 0, SAMPLE)
        p = model.decode(standard_normal(rng, (n_samples, model.architecture.latent), theta))
        noise = standard_normal if model.likelihood is Gaussian else uniform
        return to_numpy(p.sample(noise(rng, (n_samples, self.n_features_in_), theta)))

    # ---- what scikit-learn asks ----

    def __sklearn_tags__(self) -> Any:
        """scikit-learn's description of this estimator; the one place that needs it."""
        dtypes = ["float64", "float32"] if self.dtype is None else [self.dtype]
        return self._tags(positive_only=what_needs_grey(self) is not None, preserves_dtype=dtypes)

    def __getstate__(self) -> dict[str, Any]:
        """The attributes, with the model as its architecture and one vector on the host.

        A model's layers are views into theta, and copying them would cut them off from it.
        """
        state = self.__dict__.copy()
        if "model_" in state:
            model = state.pop("model_")
            state["_model"] = model.architecture, model.device, to_numpy(model.parameters.theta)
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        state = dict(state)
        if "_model" in state:
            architecture, device, theta = state.pop("_model")
            model = VAE(architecture, dtype=theta.dtype.name, device=device)
            model.parameters.bind(to_device(np.array(theta), device))  # a copy: it may be read-only
            state |= {"model_": model, "optimizer_": copy.deepcopy(state["optimizer_"])}
        self.__dict__.update(state)

    # ---- the steps of fit ----

    def _first(self, X: Any) -> np.ndarray:
        """The data of a first fit as an array, after parameters and data are found good."""
        check_parameters(self)
        x = as_matrix(X, self.dtype, type(self).__name__)
        require_grey(x, type(self).__name__, what_needs_grey(self))
        self.seed_ = seed_of(self.random_state)
        return x

    def _start(self, x: np.ndarray, names: np.ndarray | None) -> None:
        """A new model for data like ``x``, a new optimiser, an empty history."""
        gaussian = self.likelihood == "gaussian"
        mean = x.mean(axis=0, dtype=np.float64) if gaussian else smoothed_mean(x)
        shape = architecture(self, x)
        optimizer = Adam(self.learning_rate)
        self.model_ = VAE(shape, mean, self.seed_, x.dtype.name, self.device)
        self.optimizer_, self.history_, self.n_iter_ = optimizer, History(), 0
        self.n_features_in_ = x.shape[1]
        self.__dict__.pop("feature_names_in_", None)
        if names is not None:
            self.feature_names_in_ = names

    def _train(self, x: np.ndarray, held_out: np.ndarray | None, epochs: int) -> Self:
        """Go on for some epochs after those of the history."""
        how = binarisation(self)
        self.optimizer_.learning_rate = self.learning_rate
        train(
            self.model_,
            x if how == "new" else self._drawn(x),
            None if held_out is None else self._drawn(held_out),
            epochs=self.n_iter_ + epochs,
            batch_size=int(self.batch_size),
            optimizer=self.optimizer_,
            patience=None if held_out is None else self.patience,
            seed=self.seed_,
            binarisation="new" if how == "new" else "none",
            progress=bool(self.verbose),
            history=self.history_,
            kl_weight=float(self.kl_weight),
            free_bits=float(self.free_bits),
            samples=int(self.samples),
        )
        self.n_iter_ = len(self.history_.rows)
        return self

    # ---- data, on the way in ----

    def _given(self, X: Any) -> np.ndarray:
        """``X`` as an array like that of fit.

        Raises  NotFittedError before fit; ValueError if it is not like the data of fit.
        """
        self._require_fitted()
        whom = type(self).__name__
        compare_names(getattr(self, "feature_names_in_", None), column_names(X), whom)
        x = as_matrix(X, dtype_name(self.model_.parameters.theta), whom)
        require_width(x, self.n_features_in_, whom)
        require_grey(x, type(self).__name__, what_needs_grey(self))
        return x

    def _drawn(self, x: np.ndarray) -> np.ndarray:
        """``x`` in black and white, if `binarisation` says so."""
        return black_and_white(x, binarisation(self), self.seed_)


def _in_batches(compute: Callable[[np.ndarray], Array], x: np.ndarray) -> np.ndarray:
    parts = [to_numpy(compute(x[start : start + ROWS])) for start in range(0, len(x), ROWS)]
    return np.concatenate(parts)
