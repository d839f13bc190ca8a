"""How far generated images are from real ones."""

import numpy as np


def kernel_distance(
    first, second, subsets: int = 50, size: int = 500, seed: int = 0
) -> tuple[float, float]:
    """Estimate the kernel distance of two sets of features (Bińkowski et al., ICLR 2018, *KID*).

    It is the unbiased squared maximum mean discrepancy (Gretton et al. 2012, lemma 6) with the kernel
    k(x, y) = (x·y / d + 1)³, averaged over random subsets. Two samples of one distribution give 0 on
    average, so that single estimates are below 0 as often as above.

    Args:
        first, second: features (n, d) and (m, d), at least two of each.
        subsets: how many subsets of each are compared.
        size: features of one subset, or as many as the smaller set has.
        seed: of the subsets' choice.

    Returns:
        The mean over the subsets, and its standard error, which knows the choice of subsets only.
    """
    first, second = (np.asarray(values, "float64") for values in (first, second))
    size = min(size, len(first), len(second))
    if size < 2:
        raise ValueError("kid compares at least two features of each kind")
    random = np.random.default_rng(seed)
    found = []
    for _ in range(subsets):
        x = first[random.choice(len(first), size, replace=False)]
        y = second[random.choice(len(second), size, replace=False)]
        xx, yy, xy = ((a @ b.T / x.shape[1] + 1) ** 3 for a, b in ((x, x), (y, y), (x, y)))
        within = sum(k.sum() - np.trace(k) for k in (xx, yy)) / (size * (size - 1))
        found.append(within - 2 * xy.mean())
    return float(np.mean(found)), float(np.std(found, ddof=min(1, subsets - 1)) / np.sqrt(subsets))
