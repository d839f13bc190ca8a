"""Confidence intervals: over seeds, over test examples, of a paired difference, of a proportion."""

import numpy as np
from scipy import stats

VALUES_PER_BATCH = 10_000_000  # resampled values that are in memory at once: 80 MB of float64


def t_interval(values, confidence: float = 0.95) -> tuple[float, float]:
    """Return Student's t-interval for the mean of a few independent runs, such as one per seed.

    Args:
        values: one result per run, at least two; about normally distributed.
        confidence: probability that the interval covers the true mean.

    Returns:
        Lower and upper end, in the units of `values`.

    Raises:
        ValueError: fewer than two values.
    """
    values = _checked(values)
    if np.ptp(values) == 0:  # SciPy returns NaN when the standard error is 0
        return float(values[0]), float(values[0])
    error = stats.sem(values)
    low, high = stats.t.interval(confidence, len(values) - 1, loc=values.mean(), scale=error)
    return float(low), float(high)


def bootstrap_interval(
    values, statistic=np.mean, confidence: float = 0.95, resamples: int = 9_999, seed: int = 0
) -> tuple[float, float]:
    """Return the percentile bootstrap interval of a statistic over examples (Efron 1979).

    Args:
        values: one value per test example, at least two; dozens for a useful interval.
        statistic: function of a 1-D array that returns a number; with an `axis` argument, as
            `np.mean` and `np.median` have, it is called for many resamples at once.
        confidence: probability that the interval covers the true value.
        resamples: number of bootstrap samples.
        seed: the same seed gives the same interval.

    Returns:
        Lower and upper end, in the units of the statistic.

    Raises:
        ValueError: fewer than two values.
    """
    values = _checked(values)
    result = stats.bootstrap(
        (values,),
        statistic,
        n_resamples=resamples,
        batch=max(1, VALUES_PER_BATCH // len(values)),
        confidence_level=confidence,
        method="percentile",
        rng=np.random.default_rng(seed),
    )
    low, high = result.confidence_interval
    return float(low), float(high)


def paired_difference_interval(
    first, second, confidence: float = 0.95, resamples: int = 9_999, seed: int = 0
) -> tuple[float, float]:
    """Return the bootstrap interval of mean(first - second) over the same test examples.

    What makes an example hard for both models cancels, so this interval is narrower than two
    separate intervals suggest.

    Args:
        first: one value per test example from one model, such as 1 for right and 0 for wrong.
        second: the values of the other model for the same examples in the same order.
        confidence, resamples, seed: as for `bootstrap_interval`.

    Returns:
        Lower and upper end; an interval above 0 says that `first` is larger.

    Raises:
        ValueError: different numbers of values, or fewer than two.
    """
    first = _checked(first)
    second = _checked(second)
    if len(first) != len(second):
        raise ValueError(f"expected pairs of values, got {len(first)} and {len(second)}")
    return bootstrap_interval(first - second, np.mean, confidence, resamples, seed)


def difference_in_points(first, second, resamples: int = 9_999) -> tuple[float, float, float]:
    """Compare two models on the same test examples, in points (percent) of accuracy.

    Args:
        first, second: for each test example whether that model is right, as for
            `paired_difference_interval`.
        resamples: number of bootstrap samples.

    Returns:
        The difference first - second, and the lower and upper end of its 95% interval.

    Raises:
        ValueError: different numbers of examples, or fewer than two.
    """
    low, high = paired_difference_interval(first, second, resamples=resamples)
    return 100 * float(np.mean(first) - np.mean(second)), 100 * low, 100 * high


def over_seeds(values) -> tuple[float, float, float]:
    """Return the mean of a few independent runs and the ends of its 95% `t_interval`.

    Raises:
        ValueError: fewer than two values.
    """
    return (float(np.mean(values)), *t_interval(values))


def in_points(difference: tuple[float, float, float]) -> str:
    """Write a difference in points as text, from `difference_in_points` or `over_seeds`."""
    return "{:+.1f} points, 95% interval {:+.1f} to {:+.1f}".format(*difference)


def proportion_interval(successes: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Return Wilson's score interval of a proportion, such as an accuracy (Wilson 1927).

    Args:
        successes: number of successes, 0 to n.
        n: number of independent trials, at least one.
        confidence: probability that the interval covers the true proportion.

    Returns:
        Lower and upper end, 0 to 1.

    Raises:
        ValueError: there are no trials, or more successes than trials.
        TypeError: a number is not an integer.
    """
    low, high = stats.binomtest(successes, n).proportion_ci(confidence, method="wilson")
    return float(low), float(high)


def _checked(values) -> np.ndarray:
    values = np.asarray(values, "float64")
    if values.ndim != 1 or len(values) < 2:
        raise ValueError(f"expected a 1-D array of at least two values, got shape {values.shape}")
    return values
