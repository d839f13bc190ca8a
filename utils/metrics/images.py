"""How far generated images are from real ones, measured on features of a classifier."""

import numpy as np

ROWS_PER_BLOCK = 1_000  # rows of a kernel matrix that are in memory at once


def kernel_distance(first, second) -> tuple[float, float]:
    """Estimate the kernel distance of two sets of features, and the standard error of the estimate.

    The distance is the squared maximum mean discrepancy (MMD) with the kernel
    k(x, y) = (x·y / d + 1)³, as in KID (Bińkowski et al. 2018), but on features of our own
    classifier, not of Inception. The estimate is the unbiased one of Gretton et al. (2012, lemma 6)
    over all pairs of rows. For two samples of one distribution it is 0 on average, so it is
    negative about as often as positive.

    The standard error covers the sampling of both sets: it estimates the standard deviation over
    fresh draws of the rows of `first` and `second`. It is analytic (Hoeffding's decomposition),
    because a bootstrap draws rows twice and counts them as close pairs. It does not cover the
    training of a generator: train with several seeds for that.

    Args:
        first: features (n, d), independent rows, at least two.
        second: features (m, d), independent rows, at least two.

    Returns:
        The distance and its standard error, both in units of the kernel.

    Raises:
        ValueError: a set has fewer than two rows, or the two have different numbers of features.
    """
    first = np.asarray(first, "float64")  # (n, d)
    second = np.asarray(second, "float64")  # (m, d)
    if first.ndim != 2 or second.ndim != 2 or first.shape[1] != second.shape[1]:
        raise ValueError(
            f"expected features (n, d) and (m, d), got shapes {first.shape} and {second.shape}"
        )
    n = len(first)
    m = len(second)
    if min(n, m) < 2:
        raise ValueError(f"expected at least two rows in each set, got {n} and {m}")

    within_first, _, variance_first = _kernel_moments(first, first, same=True)  # (n,)
    within_second, _, variance_second = _kernel_moments(second, second, same=True)  # (m,)
    across_first, across_second, variance_across = _kernel_moments(first, second)  # (n,), (m,)
    estimate = within_first.mean() + within_second.mean() - 2 * across_first.mean()

    # The variance of the estimate has a part of single rows, 4 Var(g) / n, where g is the mean
    # kernel with the own set minus that with the other one, and a part of pairs, which is all there
    # is if both distributions are equal (Sutherland et al. 2017, "Generative models and model
    # criticism via optimized maximum mean discrepancy").
    pair_part = 2 * variance_first / (n * (n - 1)) + 2 * variance_second / (m * (m - 1))
    pair_part += 4 * variance_across / (n * m)
    row_part = 4 * np.var(within_first - across_first, ddof=1) / n
    row_part += 4 * np.var(within_second - across_second, ddof=1) / m
    # Row means over finitely many rows are noisy, which adds the part of pairs to `row_part` twice.
    row_part = max(0.0, row_part - 2 * pair_part)
    return float(estimate), float(np.sqrt(row_part + pair_part))


def _kernel_moments(x, y, same: bool = False):
    """Return row means, column means and the variance that is left in a kernel matrix without them.

    With `same`, x and y are one set, and the pairs of a row with itself are left out.
    """
    row_sums = np.empty(len(x))
    column_sums = np.zeros(len(y))
    sum_of_squares = 0.0
    for start in range(0, len(x), ROWS_PER_BLOCK):
        rows = np.arange(start, min(start + ROWS_PER_BLOCK, len(x)))
        kernel = x[rows] @ y.T / x.shape[1] + 1  # (rows, len(y))
        kernel = kernel * kernel * kernel  # much faster than ** 3
        if same:
            kernel[np.arange(len(rows)), rows] = 0
        row_sums[rows] = kernel.sum(axis=1)
        column_sums += kernel.sum(axis=0)
        sum_of_squares += np.vdot(kernel, kernel)
    row_count = len(x) - same
    column_count = len(y) - same
    row_means = row_sums / column_count  # (len(x),)
    column_means = column_sums / row_count  # (len(y),)
    mean_square = sum_of_squares / (len(x) * column_count)
    remaining = (
        mean_square + row_means.mean() ** 2 - (row_means**2).mean() - (column_means**2).mean()
    )
    return row_means, column_means, max(0.0, remaining)
