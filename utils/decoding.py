"""Decoding strategies for models that predict the next token: greedy, sampling, beam search.

Each strategy takes the model as a function `step`, which maps the last tokens and a state to the
logits of the next tokens and the next state. The state belongs to the model: the hidden vector of
an RNN, the KV cache of a Transformer.
"""

import keras
import numpy as np
from keras import ops

from utils.text import PADDING_ID


def greedy_search(
    step, state, start_id: int, end_id: int, max_new_tokens: int, banned_ids=()
) -> np.ndarray:
    """Generate the most probable token at every step, for all rows of a batch at once.

    Args:
        step: takes the last tokens (batch,) and the state; returns logits (batch, vocabulary) and
            the next state.
        state: nested lists and dicts of arrays whose first axis is the batch.
        start_id: token that the first step gets.
        end_id: token that ends a sequence.
        max_new_tokens: largest number of tokens to generate for a row.
        banned_ids: tokens that are never generated, such as the unknown token.

    Returns:
        Token ids (batch, at most max_new_tokens), int32, without the start; 0 after the end.
    """
    prompt = np.full((_batch_size(state), 1), start_id)

    def most_probable(logits):
        return ops.argmax(logits, axis=-1)

    return _generate(step, state, prompt, end_id, max_new_tokens, most_probable, banned_ids)


def sample(
    step, state, prompt, end_id: int, max_new_tokens: int, seed: int, banned_ids=(), **filters
) -> np.ndarray:
    """Draw every token at random from the model's distribution, for all rows of a batch at once.

    Args:
        step, state, end_id, max_new_tokens, banned_ids: as for `greedy_search`.
        prompt: token ids (batch, length of at least 1) that the model gets first.
        seed: the same seed gives the same tokens.
        filters: temperature, epsilon, top_k, top_p, min_p, as for `filtered_probabilities`.

    Returns:
        Token ids, as from `greedy_search`, without the prompt.
    """
    # A generator of its own: sampling during training must not change the training's randomness.
    generator = keras.random.SeedGenerator(seed)

    def draw(logits):
        log_probabilities = ops.log(filtered_probabilities(logits, **filters))
        return keras.random.categorical(log_probabilities, 1, seed=generator)[:, 0]

    return _generate(step, state, np.asarray(prompt), end_id, max_new_tokens, draw, banned_ids)


def filtered_probabilities(
    logits,
    temperature: float = 1.0,
    epsilon: float = 0.0,
    top_k: int | None = None,
    top_p: float = 1.0,
    min_p: float = 0.0,
):
    """Return the distribution to sample from: without improbable tokens, the others add up to 1.

    The temperature is applied first. A token remains if every filter lets it pass; the most
    probable token always remains.

    Args:
        logits: (batch, vocabulary).
        temperature: divides the logits; at 0 only the most probable token remains.
        epsilon: smallest probability (Hewitt et al. 2022, *Truncation Sampling as Language Model
            Desmoothing*: epsilon sampling).
        top_k: largest number of tokens (Fan et al. 2018, *Hierarchical Neural Story Generation*).
        top_p: the smallest set of most probable tokens whose probabilities add up to at least this
            remains (Holtzman et al. 2020, *The Curious Case of Neural Text Degeneration*: nucleus
            sampling).
        min_p: smallest probability as a fraction of the largest one (Nguyen et al. 2025, *Turning
            Up the Heat*).

    Returns:
        (batch, vocabulary), float32.

    Raises:
        ValueError: an argument is out of range.
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
    # Softmax does not depend on the maximum; without this, a small temperature would overflow.
    logits = logits - ops.max(logits, axis=-1, keepdims=True)
    probabilities = ops.softmax(logits / temperature)  # (batch, vocabulary)
    largest = ops.max(probabilities, axis=-1, keepdims=True)  # (batch, 1)
    passes_epsilon = probabilities >= ops.minimum(epsilon, largest)
    passes_min_p = probabilities >= min_p * largest
    remains = ops.logical_and(passes_epsilon, passes_min_p)
    if top_k is not None or top_p < 1:
        order = ops.argsort(-probabilities, axis=-1)  # token ids, the most probable first
        ranks = ops.argsort(order, axis=-1)  # for each token id its rank in that order
        if top_k is not None:
            remains = ops.logical_and(remains, ranks < top_k)
        if top_p < 1:
            # A token belongs to the nucleus if those before it do not yet add up to top_p.
            descending = ops.take_along_axis(probabilities, order, axis=-1)
            sum_before = ops.cumsum(descending, axis=-1) - descending
            in_nucleus = ops.take_along_axis(sum_before < top_p, ranks, axis=-1)
            remains = ops.logical_and(remains, in_nucleus)
    probabilities = ops.where(remains, probabilities, 0.0)
    return probabilities / ops.sum(probabilities, axis=-1, keepdims=True)


def beam_search(
    step,
    state,
    start_id: int,
    end_id: int,
    max_new_tokens: int,
    num_beams: int = 4,
    length_penalty: float = 0.6,
    banned_ids=(),
) -> np.ndarray:
    """Extend the `num_beams` most probable hypotheses at every step; return the best finished one.

    A hypothesis of n tokens, the end included, has as its score the log-probability divided by
    ((5 + n) / 6) ** length_penalty (Wu et al. 2016, *Google's Neural Machine Translation System*,
    section 7). Without the division short hypotheses win, because every token lowers the sum.

    A hypothesis that ends among the `num_beams` best candidates of its step is finished: it leaves
    the beam and cannot be lost. A row is done once it has `num_beams` finished hypotheses. A row
    that has none after `max_new_tokens` steps returns its best unfinished one. With one beam this
    is greedy search.

    Args:
        step, state, start_id, end_id, max_new_tokens, banned_ids: as for `greedy_search`.
        num_beams: number of hypotheses that are extended, for each row of the batch.
        length_penalty: 0 for none, 1 for about the mean log-probability of a token.

    Returns:
        Token ids, as from `greedy_search`.

    Raises:
        ValueError: `num_beams` is less than 1.
    """
    if num_beams < 1:
        raise ValueError(f"num_beams must be at least 1, not {num_beams}.")
    batch_size = _batch_size(state)
    # The model sees batch_size * num_beams rows; those of one batch row are neighbours.
    state = keras.tree.map_structure(lambda array: ops.repeat(array, num_beams, axis=0), state)
    tokens = np.full((batch_size, num_beams, max_new_tokens), PADDING_ID, "int32")
    last = np.full((batch_size, num_beams), start_id)
    # At first all beams are the same: only one may be extended, or the others would repeat it.
    sums = np.full((batch_size, num_beams), -np.inf)  # log-probabilities of the live hypotheses
    sums[:, 0] = 0.0
    # Of the finished hypotheses of a row only the best one can be returned.
    best_tokens = np.full((batch_size, max_new_tokens), PADDING_ID, "int32")
    best_scores = np.full(batch_size, -np.inf)
    num_finished = np.zeros(batch_size, dtype=int)
    rows = np.arange(batch_size)

    for position in range(max_new_tokens):
        logits, state = step(ops.convert_to_tensor(last.reshape(-1), dtype="int32"), state)
        logits = _ban(ops.cast(logits, "float32"), banned_ids)
        log_probabilities = ops.log_softmax(logits, axis=-1)
        log_probabilities = ops.convert_to_numpy(log_probabilities)
        log_probabilities = log_probabilities.reshape(batch_size, num_beams, -1)
        totals = sums[:, :, None] + log_probabilities  # (batch, beams, vocabulary)
        # At most one candidate of each beam ends: 2 * num_beams leave enough that do not.
        totals, parents, last = _best_candidates(totals, 2 * num_beams)  # each (batch, 2 * beams)
        tokens = np.take_along_axis(tokens, parents[:, :, None], axis=1)
        tokens[:, :, position] = last

        # A row that is done takes no more: its result must not depend on the rest of the batch.
        ends = last == end_id
        finishes = ends & np.isfinite(totals) & (num_finished < num_beams)[:, None]
        finishes[:, num_beams:] = False  # a candidate too improbable for the beam
        # Candidates are sorted and of equal length: the first that finishes has the best score.
        winner = finishes.argmax(axis=1)  # (batch,)
        scores = totals[rows, winner] / ((6 + position) / 6) ** length_penalty
        improves = finishes.any(axis=1) & (scores > best_scores)
        best_scores[improves] = scores[improves]
        best_tokens[improves] = tokens[rows, winner][improves]
        num_finished += finishes.sum(axis=1)
        if (num_finished >= num_beams).all():
            break

        # The best candidates that do not end are the next beam; a stable sort keeps their order.
        live = np.argsort(ends, axis=1, kind="stable")[:, :num_beams]
        tokens = np.take_along_axis(tokens, live[:, :, None], axis=1)
        last = np.take_along_axis(last, live, axis=1)
        sums = np.take_along_axis(totals, live, axis=1)
        parents = np.take_along_axis(parents, live, axis=1)
        # The model's state must follow: each beam continues that of its parent.
        model_rows = rows[:, None] * num_beams + parents  # (batch, beams)
        state = _take_rows(state, model_rows.reshape(-1))

    # Live hypotheses are sorted: the first one is the best.
    best_tokens = np.where(num_finished[:, None] > 0, best_tokens, tokens[:, 0])
    columns = np.flatnonzero((best_tokens != PADDING_ID).any(axis=0))
    return best_tokens[:, : columns[-1] + 1] if columns.size else best_tokens[:, :0]


def _generate(step, state, prompt, end_id, max_new_tokens, choose, banned_ids):
    """Feed the prompt, then generate what `choose` makes of the logits until all rows end."""
    batch_size = len(prompt)
    generated = np.full((batch_size, max_new_tokens), PADDING_ID, "int32")
    if max_new_tokens == 0:
        return generated
    # The logits after all prompt tokens but the last predict what is known already.
    for last in prompt.T[:-1]:
        _, state = step(ops.convert_to_tensor(last, dtype="int32"), state)
    last = prompt[:, -1]
    ended = np.zeros(batch_size, dtype=bool)
    for position in range(max_new_tokens):
        logits, state = step(ops.convert_to_tensor(last, dtype="int32"), state)
        chosen = ops.convert_to_numpy(choose(_ban(logits, banned_ids)))  # (batch,)
        last = np.where(ended, PADDING_ID, chosen)
        generated[:, position] = last
        ended |= last == end_id
        if ended.all():
            break
    return generated[:, : position + 1]


def _best_candidates(totals, count):
    """Return totals, beams and last tokens of the best of (batch, beams, vocabulary)."""
    vocabulary_size = totals.shape[-1]
    totals = totals.reshape(len(totals), -1)  # (batch, beams * vocabulary)
    indices = ops.convert_to_numpy(ops.top_k(totals, min(count, totals.shape[1]))[1])
    parents, tokens = np.divmod(indices, vocabulary_size)
    return np.take_along_axis(totals, indices, axis=1), parents, tokens


def _batch_size(state):
    return int(ops.shape(keras.tree.flatten(state)[0])[0])


def _take_rows(state, rows):
    return keras.tree.map_structure(lambda array: ops.take(array, rows, axis=0), state)


def _ban(logits, banned_ids):
    """Set the logits of tokens that must not be generated to minus infinity."""
    if not len(banned_ids):
        return logits
    is_banned = np.isin(np.arange(logits.shape[-1]), list(banned_ids))  # `isin` takes no set
    return ops.where(is_banned, -np.inf, logits)
