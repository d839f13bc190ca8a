"""Random draws in chunks: the first n samples are the same whatever the total count."""

import zlib
from collections.abc import Callable, Iterator

import numpy as np

CHUNK_SIZE = 64  # samples drawn together: their arrays still fit into the processor's cache


def draw_in_chunks(count: int, seed: str, draw_chunk: Callable, chunk_size: int) -> Iterator:
    """Yield chunks of samples. Each chunk has its own random generator, seeded by its number.

    Args:
        count: number of samples, at least 1.
        seed: the same seed gives the same samples.
        draw_chunk: a function of a NumPy random generator, the chunk size and the number of samples
            to return. It must draw random numbers for a whole chunk, then drop what it does not
            need.
        chunk_size: samples in every chunk but the last.

    Raises:
        ValueError: `count` is less than 1.
    """
    if count < 1:
        raise ValueError(f"count must be at least 1, not {count}")
    seed_number = zlib.crc32(seed.encode())
    num_chunks = -(-count // chunk_size)  # rounded up
    for chunk in range(num_chunks):
        rng = np.random.default_rng([seed_number, chunk])
        yield draw_chunk(rng, chunk_size, min(chunk_size, count - chunk * chunk_size))
