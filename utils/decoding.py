"""How a model that gives one token after the other is made to write: greedy, by drawing, by beam search.

Every function gets the model as a `step`: from the last tokens and a state to the logits of the next
ones. What the state holds, a recurrent one's vector or a Transformer's keys and values, is the model's
affair.
"""

import keras
import numpy as np
from keras import ops

from utils.text import PADDING_ID


def greedy_search(step, state, start_id: int, end_id: int, max_new_tokens: int) -> np.ndarray:
    """Write the most probable token again and again, for a batch at once.

    Args:
        step: takes the last tokens (batch,) and the state; returns logits (batch, vocabulary) and the next
            state.
        state: nested lists and dicts of arrays whose first axis is the batch.
        start, end: ids of the marks. The first is given to the first step, the second ends a sequence.
        limit: the largest number of tokens to write.

    Returns:
        Ids (batch, at most limit), without the start; behind the end of a sequence stands 0.
    """
    batch = ops.shape(keras.tree.flatten(state)[0])[0]
    return _write(
        step,
        state,
        np.full((batch, 1), start_id),
        end_id,
        max_new_tokens,
        lambda logits: ops.argmax(logits, -1),
    )


def sample(
    step, state, prompt, end_id: int, max_new_tokens: int, seed: int, **chosen
) -> np.ndarray:
    """Draw one token after the other, for a batch at once.

    Args:
        step, state, end, limit: as for `greedy`.
        prompt: ids (batch, length of at least 1) that are read before anything is written.
        seed: two calls with the same one write the same.
        chosen: temperature, epsilon, top_k, top_p, min_p, as for `probabilities`.

    Returns:
        Ids, as from `greedy`, without the prompt.
    """
    # A generator of its own: drawing must not disturb the random numbers of a training that goes on.
    generator = keras.random.SeedGenerator(seed)

    def draw(logits):
        chances = ops.log(filtered_probabilities(logits, **chosen))
        return keras.random.categorical(chances, 1, seed=generator)[:, 0]

    return _write(step, state, np.asarray(prompt), end_id, max_new_tokens, draw)


def filtered_probabilities(
    logits,
    temperature: float = 1.0,
    epsilon: float = 0.0,
    top_k: int | None = None,
    top_p: float = 1.0,
    min_p: float = 0.0,
):
    """Turn logits into the probabilities to draw from: improbable tokens are left out, the others add to 1.

    Temperature comes first. A token stays if each of the other numbers lets it stay; the most probable one
    always does.

    Args:
        logits: (batch, vocabulary).
        temperature: divides the logits; 0 leaves the most probable token alone.
        epsilon: the smallest probability (Hewitt et al. 2022, *Truncation Sampling as Language Model
            Desmoothing*, call it epsilon).
        top_k: how many tokens stay at most (Fan et al. 2018, *Hierarchical Neural Story Generation*).
        top_p: the smallest set of most probable tokens that together have at least this probability stays
            (Holtzman et al. 2020, *The Curious Case of Neural Text Degeneration*).
        min_p: the smallest probability as a share of the largest one (Nguyen et al. 2025, *Turning Up the
            Heat*).

    Returns:
        (batch, vocabulary), float32.

    Raises:
        ValueError: a number is outside its range.
    """
    if temperature < 0 or not 0 < top_p <= 1 or (top_k is not None and top_k < 1):
        raise ValueError(
            "temperature must be 0 or more, top_p above 0 and at most 1, top_k 1 or more."
        )
    if not (0 <= epsilon <= 1 and 0 <= min_p <= 1):
        raise ValueError("epsilon and min_p are probabilities, from 0 to 1.")
    logits = ops.cast(logits, "float32")
    if temperature == 0:
        return ops.one_hot(ops.argmax(logits, axis=-1), logits.shape[-1], dtype="float32")
    # Without the largest, which cancels out, a small temperature would overflow.
    chances = ops.softmax((logits - ops.max(logits, axis=-1, keepdims=True)) / temperature)
    best = ops.max(chances, axis=-1, keepdims=True)
    stays = ops.logical_and(chances >= ops.minimum(epsilon, best), chances >= min_p * best)
    if top_k is not None or top_p < 1:
        order = ops.argsort(-chances, axis=-1)
        ranks = ops.argsort(order, axis=-1)
        if top_k is not None:
            stays = ops.logical_and(stays, ranks < top_k)
        if top_p < 1:
            descending = ops.take_along_axis(chances, order, axis=-1)
            before = ops.cumsum(descending, axis=-1) - descending
            stays = ops.logical_and(stays, ops.take_along_axis(before < top_p, ranks, axis=-1))
    chances = ops.where(stays, chances, 0.0)
    return chances / ops.sum(chances, axis=-1, keepdims=True)


def _write(step, state, prompt, end, limit, pick):
    """Read the prompt, then write what `pick` makes of the logits, until every row has ended."""
    for last in prompt.T[:-1]:
        _, state = step(ops.convert_to_tensor(last, dtype="int32"), state)
    last, ended, written = prompt[:, -1], np.zeros(len(prompt), bool), []
    while len(written) < limit and not ended.all():
        logits, state = step(ops.convert_to_tensor(last, dtype="int32"), state)
        last = np.where(ended, PADDING_ID, ops.convert_to_numpy(pick(logits)))
        ended |= last == end
        written.append(last)
    return np.stack(written, axis=1)


def beam_search(
    step,
    state,
    start_id: int,
    end_id: int,
    max_new_tokens: int,
    num_beams: int = 4,
    length_penalty: float = 0.6,
) -> np.ndarray:
    """Keep the `width` best sequences, finished or not, at every step; return the best one at the end.

    A sequence of n tokens, its end included, is worth its log-probability divided by ((5 + n) / 6) to the
    power of `penalty` (Wu et al. 2016, *Google's Neural Machine Translation System*, section 7): without it
    short sequences win, because every further token costs. A width of 1 is greedy search.

    Args:
        step, state, start, end, limit: as for `greedy`.
        width: sequences kept for each row of the batch.
        penalty: 0 for none, 1 for about the mean log-probability of a token.

    Returns:
        Ids, as from `greedy`.

    Raises:
        ValueError: `width` is less than 1.
    """
    if num_beams < 1:
        raise ValueError(f"width={num_beams}: keep at least one sequence.")
    batch = int(ops.shape(keras.tree.flatten(state)[0])[0])
    # The model's row r holds sequence r % width of batch row r // width.
    state = keras.tree.map_structure(lambda values: ops.repeat(values, num_beams, axis=0), state)
    # All begin alike: only the first may be continued, or the beam would hold the same one several times.
    sums = np.where(np.arange(num_beams) == 0, 0.0, -np.inf) * np.ones((batch, 1))
    lengths, ended = np.zeros((batch, num_beams), int), np.zeros((batch, num_beams), bool)
    last, written = np.full((batch, num_beams), start_id), np.zeros((batch, num_beams, 0), int)
    while written.shape[-1] < max_new_tokens and not ended.all():
        logits, state = step(ops.convert_to_tensor(last.reshape(-1), dtype="int32"), state)
        chances = (
            ops.convert_to_numpy(ops.log_softmax(logits, axis=-1))
            .reshape(batch, num_beams, -1)
            .copy()
        )
        chances[ended] = -np.inf
        chances[ended, PADDING_ID] = 0.0  # a finished sequence stays what it is
        totals, lengths = sums[:, :, None] + chances, lengths + ~ended
        worth = totals / ((5 + lengths[:, :, None]) / 6) ** length_penalty
        found = ops.convert_to_numpy(ops.top_k(worth.reshape(batch, -1), num_beams)[1])
        parents, last = np.divmod(found, chances.shape[-1])
        sums = np.take_along_axis(totals.reshape(batch, -1), found, axis=1)
        ended, lengths = (
            np.take_along_axis(values, parents, axis=1) for values in (ended, lengths)
        )
        written = np.take_along_axis(written, parents[:, :, None], axis=1)
        written, ended = (
            np.concatenate([written, last[:, :, None]], axis=2),
            ended | (last == end_id),
        )
        order = (np.arange(batch)[:, None] * num_beams + parents).reshape(-1)
        state = keras.tree.map_structure(
            lambda values, order=order: ops.take(values, order, axis=0), state
        )
    best = written[:, 0]  # the beam is sorted
    return best[:, : max(1, (best != PADDING_ID).any(axis=0).sum())]
