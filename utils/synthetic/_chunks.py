"""Random numbers in chunks, so that the first n samples are the same whatever is asked for."""

import zlib
from collections.abc import Iterator

import numpy as np

CHUNK = 64  # drawn together: few enough for the arrays to stay near the processor


def draw_in_chunks(count: int, seed: str, make, size: int) -> Iterator:
    """Make things in chunks, each with random numbers of its own, so that no chunk depends on `count`."""
    if count < 1:
        raise ValueError(f"count={count}: give 1 or more")
    for number in range(-(-count // size)):
        random = np.random.default_rng([zlib.crc32(seed.encode()), number])
        yield make(random, size, min(size, count - number * size))
