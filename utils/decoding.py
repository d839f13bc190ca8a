"""How a model that gives one token after the other is made to write: greedy and by beam search, in batches.

Every function gets the model as a `step`: from the last tokens and a state to the logits of the next
ones. What the state holds, a recurrent one's vector or a Transformer's keys and values, is the model's
affair.
"""

import keras
import numpy as np
from keras import ops

PADDING = 0


def greedy(step, state, start: int, end: int, limit: int) -> np.ndarray:
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
    last, ended, written = np.full(batch, start), np.zeros(batch, bool), []
    while len(written) < limit and not ended.all():
        logits, state = step(ops.convert_to_tensor(last, dtype="int32"), state)
        last = np.where(ended, PADDING, ops.convert_to_numpy(ops.argmax(logits, axis=-1)))
        ended |= last == end
        written.append(last)
    return np.stack(written, axis=1)


def beam_search(
    step, state, start: int, end: int, limit: int, width: int = 4, penalty: float = 0.6
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
    if width < 1:
        raise ValueError(f"width={width}: keep at least one sequence.")
    batch = int(ops.shape(keras.tree.flatten(state)[0])[0])
    # The model's row r holds sequence r % width of batch row r // width.
    state = keras.tree.map_structure(lambda values: ops.repeat(values, width, axis=0), state)
    # All begin alike: only the first may be continued, or the beam would hold the same one several times.
    sums = np.where(np.arange(width) == 0, 0.0, -np.inf) * np.ones((batch, 1))
    lengths, ended = np.zeros((batch, width), int), np.zeros((batch, width), bool)
    last, written = np.full((batch, width), start), np.zeros((batch, width, 0), int)
    while written.shape[-1] < limit and not ended.all():
        logits, state = step(ops.convert_to_tensor(last.reshape(-1), dtype="int32"), state)
        chances = ops.convert_to_numpy(ops.log_softmax(logits, axis=-1)).reshape(batch, width, -1).copy()
        chances[ended] = -np.inf
        chances[ended, PADDING] = 0.0  # a finished sequence stays what it is
        totals, lengths = sums[:, :, None] + chances, lengths + ~ended
        worth = totals / ((5 + lengths[:, :, None]) / 6) ** penalty
        found = ops.convert_to_numpy(ops.top_k(worth.reshape(batch, -1), width)[1])
        parents, last = np.divmod(found, chances.shape[-1])
        sums = np.take_along_axis(totals.reshape(batch, -1), found, axis=1)
        ended, lengths = (np.take_along_axis(values, parents, axis=1) for values in (ended, lengths))
        written = np.take_along_axis(written, parents[:, :, None], axis=1)
        written, ended = np.concatenate([written, last[:, :, None]], axis=2), ended | (last == end)
        order = (np.arange(batch)[:, None] * width + parents).reshape(-1)
        state = keras.tree.map_structure(lambda values, order=order: ops.take(values, order, axis=0), state)
    best = written[:, 0]  # the beam is sorted
    return best[:, : max(1, (best != PADDING).any(axis=0).sum())]
