"""The Transformer's layers: encoder block, decoder block with a KV cache, positional embedding.

Notebooks 03 and 05 build both blocks part by part; later notebooks import them. Complete models
stand in the notebooks, what both translators share in `seq2seq`.
"""

import keras
from keras import ops


class _TransformerBlock(keras.layers.Layer):
    """What both blocks share: sizes, self-attention and the position-wise feed-forward network."""

    attends_to_source = False

    def __init__(self, embed_dim, dense_dim, num_heads, dropout=0.0, **kwargs):
        super().__init__(**kwargs)
        if embed_dim % num_heads:
            raise ValueError(f"embed_dim={embed_dim} is not divisible by num_heads={num_heads}.")
        self.embed_dim = embed_dim
        self.dense_dim = dense_dim
        self.num_heads = num_heads
        self.dropout = dropout
        head_dim = embed_dim // num_heads
        # Sublayers would take the global policy, even in a block that was saved under another one.
        policy = self.dtype_policy
        attention = {"num_heads": num_heads, "key_dim": head_dim, "dtype": policy}
        self.attention = keras.layers.MultiHeadAttention(**attention)
        if self.attends_to_source:
            self.cross_attention = keras.layers.MultiHeadAttention(**attention)
        self.feed_forward_hidden = keras.layers.Dense(dense_dim, activation="relu", dtype=policy)
        self.feed_forward_output = keras.layers.Dense(embed_dim, dtype=policy)
        self.dropout_layer = keras.layers.Dropout(dropout, dtype=policy)
        self.attention_norm = keras.layers.LayerNormalization(dtype=policy)
        if self.attends_to_source:
            self.cross_attention_norm = keras.layers.LayerNormalization(dtype=policy)
        self.feed_forward_norm = keras.layers.LayerNormalization(dtype=policy)
        self.supports_masking = True
        # On a GPU, TensorFlow would compile the model with XLA anew for every length of a batch.
        self.supports_jit = keras.backend.backend() != "tensorflow"

    def _build_feed_forward(self, shape):
        self.feed_forward_hidden.build(shape)
        self.feed_forward_output.build((*shape[:-1], self.dense_dim))
        self.feed_forward_norm.build(shape)

    def _self_attention(self, inputs, mask, use_causal_mask=False):
        # All queries share one row of the mask: which keys are not padding.
        key_mask = None if mask is None else mask[:, None, :]  # (batch, 1, length)
        # Keras's attention removes the mask from the tensor it gets. It gets a copy, so that the
        # mask remains for other layers that use the same tensor.
        copied = ops.copy(inputs)
        attended = self.attention(
            copied, copied, attention_mask=key_mask, use_causal_mask=use_causal_mask
        )
        return self.attention_norm(inputs + self.dropout_layer(attended))

    def _feed_forward(self, attended):
        outputs = self.feed_forward_output(self.feed_forward_hidden(attended))
        return self.feed_forward_norm(attended + self.dropout_layer(outputs))

    def get_config(self):
        """Return the arguments of `__init__`, so that a saved layer can be loaded."""
        return super().get_config() | {
            "embed_dim": self.embed_dim,
            "dense_dim": self.dense_dim,
            "num_heads": self.num_heads,
            "dropout": self.dropout,
        }


@keras.saving.register_keras_serializable("companion")
class TransformerEncoder(_TransformerBlock):
    """An encoder block: self-attention, then a position-wise feed-forward network.

    Dropout, a residual connection and layer normalization follow each of the two, in the order of
    Vaswani et al. 2017, *Attention Is All You Need*, sections 3.1 and 5.4. No position attends to
    padding, so the output at a token does not depend on how much padding follows it.

    Args:
        embed_dim: size of the input and output vectors.
        dense_dim: units of the hidden layer of the feed-forward network.
        num_heads: number of attention heads; each has `embed_dim / num_heads` dimensions.
        dropout: dropout rate, used in training only.

    Raises:
        ValueError: `embed_dim` is not divisible by `num_heads`.
    """

    def build(self, input_shape):
        """Create the weights of every sublayer: a saved model could not be loaded without them."""
        self.attention.build(input_shape, input_shape)
        self.attention_norm.build(input_shape)
        self._build_feed_forward(input_shape)

    def call(self, inputs, mask=None):
        """Encode a batch of sequences.

        Args:
            inputs: (batch, length, embed_dim).
            mask: (batch, length), true at tokens and false at padding; Keras passes it on.

        Returns:
            (batch, length, embed_dim); without meaning at padding.
        """
        return self._feed_forward(self._self_attention(inputs, mask))


@keras.saving.register_keras_serializable("companion")
class TransformerDecoder(_TransformerBlock):
    """A decoder block: causal self-attention, cross-attention, position-wise feed-forward network.

    Dropout, a residual connection and layer normalization follow each of the three, in the order of
    Vaswani et al. 2017, section 3.1. A position attends to itself and to earlier ones, never to
    later ones or to padding. A block whose first call has no encoded source has no cross-attention:
    it is the block of a language model (Liu et al. 2018, *Generating Wikipedia by Summarizing Long
    Sequences*, section 4.2).

    Args:
        embed_dim, dense_dim, num_heads, dropout: as for `TransformerEncoder`.

    Raises:
        ValueError: `embed_dim` is not divisible by `num_heads`.
    """

    attends_to_source = True

    def build(self, inputs_shape, encoded_shape=None):
        """Create the weights of every sublayer: a saved model could not be loaded without them."""
        self.has_cross_attention = encoded_shape is not None
        self.attention.build(inputs_shape, inputs_shape)
        self.attention_norm.build(inputs_shape)
        if self.has_cross_attention:
            self.cross_attention.build(inputs_shape, encoded_shape)
            self.cross_attention_norm.build(inputs_shape)
        else:
            del self.cross_attention, self.cross_attention_norm
        self._build_feed_forward(inputs_shape)

    def call(self, inputs, encoded=None, inputs_mask=None, encoded_mask=None, mask=None):
        """Decode all positions at once, as in training.

        Keras passes on the masks: `inputs_mask` and `encoded_mask` to a call with a source, and
        `mask`, which means the same as `inputs_mask`, to a call with one input.

        Args:
            inputs: (batch, length, embed_dim), the target.
            encoded: (batch, source length, embed_dim), the encoder's output; None in a language
                model.
            inputs_mask: (batch, length), true at tokens.
            encoded_mask: (batch, source length), true at tokens.
            mask: used as `inputs_mask` where that is None.

        Returns:
            (batch, length, embed_dim).

        Raises:
            ValueError: there is a source, but the block was built without one, or the reverse.
        """
        self._check_source(encoded)
        if inputs_mask is None:
            inputs_mask = mask
        attended = self._self_attention(inputs, inputs_mask, use_causal_mask=True)
        if encoded is None:
            return self._feed_forward(attended)
        source_mask = None if encoded_mask is None else encoded_mask[:, None, :]
        # A copy, so that the next block still finds the mask of the source.
        crossed = self.cross_attention(attended, ops.copy(encoded), attention_mask=source_mask)
        crossed = self.cross_attention_norm(attended + self.dropout_layer(crossed))
        return self._feed_forward(crossed)

    def _check_source(self, encoded):
        if self.has_cross_attention and encoded is None:
            raise ValueError(f"{self.name} was built with a source: pass `encoded`.")
        if encoded is not None and not self.has_cross_attention:
            raise ValueError(f"{self.name} was built without a source: it cannot attend to one.")

    def init_cache(self, encoded=None, batch_size=None, *, max_length):
        """Allocate the KV cache for decoding, of a fixed size so that a step can be compiled.

        Args:
            encoded: (batch, source length, embed_dim), the encoder's output; None in a language
                model.
            batch_size: number of sequences to generate at once, where there is no `encoded`.
            max_length: largest number of target positions, a prompt included.

        Returns:
            A dict of arrays whose first axis is the batch, for `call_with_cache`.

        Raises:
            ValueError: there is a source, but the block was built without one, or the reverse.
        """
        self._check_source(encoded)
        if encoded is not None:
            batch_size = ops.shape(encoded)[0]
        shape = (batch_size, max_length, self.num_heads, self.embed_dim // self.num_heads)
        cache = {
            "keys": ops.zeros(shape, dtype=self.compute_dtype),
            "values": ops.zeros(shape, dtype=self.compute_dtype),
            "mask": ops.zeros((batch_size, max_length), dtype="bool"),  # true at tokens
        }
        if encoded is not None:
            # The source does not change while decoding: its keys and values are computed once.
            encoded = ops.copy(encoded)  # a copy has no Keras mask, which `Dense` would warn about
            cache["source_keys"] = self.cross_attention.key_dense(encoded)
            cache["source_values"] = self.cross_attention.value_dense(encoded)
        return cache

    def call_with_cache(self, inputs, cache, index, encoded_mask=None, inputs_mask=None):
        """Decode one position, with the keys and values of earlier ones from the cache.

        The output equals that of `call` at this position. Positions must be decoded in order.

        Args:
            inputs: (batch, 1, embed_dim), the target at position `index`.
            cache: from `init_cache` or from the step before.
            index: position, from 0; an integer, or a scalar tensor in a compiled step.
            encoded_mask: (batch, source length), as for `call`.
            inputs_mask: (batch, 1), false where this position is padding; None if it is a token in
                every row.

        Returns:
            (batch, 1, embed_dim), and the cache for the next step.

        Raises:
            ValueError: the integer `index` is beyond the end of the cache. A tensor is not checked:
                beyond the end it overwrites the last position.
        """
        max_length = cache["keys"].shape[1]
        if not ops.is_tensor(index) and index >= max_length:
            raise ValueError(f"Position {index} is beyond the end of a cache of {max_length}.")
        # A copy, without its Keras mask; Keras casts what a layer is called with, but not this.
        inputs = ops.cast(ops.copy(inputs), self.compute_dtype)
        if inputs_mask is None:
            inputs_mask = ops.ones(ops.shape(inputs)[:2], dtype="bool")
        new_key = self.attention.key_dense(inputs)  # (batch, 1, heads, head_dim)
        new_value = self.attention.value_dense(inputs)
        cache = cache | {
            "keys": ops.slice_update(cache["keys"], (0, index, 0, 0), new_key),
            "values": ops.slice_update(cache["values"], (0, index, 0, 0), new_value),
            "mask": ops.slice_update(cache["mask"], (0, index), inputs_mask),
        }
        attended = _attend_to_cache(self.attention, inputs, *_until(index, cache))
        attended = self.attention_norm(inputs + attended)
        if self.has_cross_attention:
            source = cache["source_keys"], cache["source_values"], encoded_mask
            crossed = _attend_to_cache(self.cross_attention, attended, *source)
            attended = self.cross_attention_norm(attended + crossed)
        return self._feed_forward(attended), cache

    def compute_output_shape(self, inputs_shape, encoded_shape=None):
        """Return the shape of the target: the source changes only its values."""
        return inputs_shape


def _until(index, cache):
    """Return keys, values and mask of the positions up to `index`."""
    if not ops.is_tensor(index):
        # A known length: attention computes nothing for positions that are still empty.
        return tuple(cache[name][:, : index + 1] for name in ("keys", "values", "mask"))
    # In a compiled step every shape is fixed, so later positions are masked instead.
    positions = ops.arange(cache["mask"].shape[1])  # (max_length,)
    mask = ops.logical_and(cache["mask"], positions <= index)  # (batch, max_length)
    return cache["keys"], cache["values"], mask


def _attend_to_cache(attention, inputs, keys, values, mask):
    """Apply a `MultiHeadAttention` to keys and values that it computed in an earlier step."""
    query = attention.query_dense(inputs)  # (batch, 1, heads, head_dim)
    key_mask = None if mask is None else mask[:, None, None, :]  # (batch, 1, 1, length)
    attended = ops.dot_product_attention(query, keys, values, mask=key_mask)
    return attention.output_dense(attended)  # (batch, 1, embed_dim)


@keras.saving.register_keras_serializable("companion")
class PositionalEmbedding(keras.layers.Layer):
    """A token embedding plus a learned positional embedding; token id 0 is padding, for the mask.

    The sum is multiplied by sqrt(output_dim), by which Vaswani et al. 2017, section 3.4, multiply
    the token embeddings. Each dimension of a token then has a standard deviation of about 1, large
    enough for attention to tell tokens apart, while the weights themselves stay small. Positional
    embeddings start close to zero, so that order is learned where it helps. Section 3.5 and row E
    of table 3 compare learned positional embeddings with sinusoids and find nearly identical
    results.

    Args:
        sequence_length: length of the longest sequence, the number of positions that are learned.
        input_dim: size of the vocabulary, padding and unknown included.
        output_dim: size of the output vectors.
    """

    def __init__(self, sequence_length, input_dim, output_dim, **kwargs):
        super().__init__(**kwargs)
        self.sequence_length = sequence_length
        self.input_dim = input_dim
        self.output_dim = output_dim
        self.scale = output_dim**0.5
        position_init = keras.initializers.RandomNormal(stddev=0.02)
        token_init = keras.initializers.RandomNormal(stddev=1 / self.scale)
        self.token_embedding = keras.layers.Embedding(
            input_dim, output_dim, token_init, mask_zero=True, dtype=self.dtype_policy
        )
        self.position_embedding = keras.layers.Embedding(
            sequence_length, output_dim, position_init, dtype=self.dtype_policy
        )

    def build(self, input_shape):
        """Create the weights of both embeddings."""
        self.token_embedding.build(input_shape)
        self.position_embedding.build((self.sequence_length,))

    def call(self, inputs, start_index=0):
        """Embed a batch of token ids.

        Args:
            inputs: (batch, length), token ids.
            start_index: position of the first of them, for a decoder that gets one token at a time;
                an integer, or a scalar tensor in a compiled step.

        Returns:
            (batch, length, output_dim).

        Raises:
            ValueError: the sequence is longer than `sequence_length`. This is not checked if
                `start_index` or the length is a tensor.
        """
        length = ops.shape(inputs)[1]
        if not ops.is_tensor(start_index):
            self._check_length(inputs.shape[1], start_index)
        tokens = self.token_embedding(inputs)  # (batch, length, output_dim)
        # The same positions for every row of the batch. Sliced, not looked up by the layer: the
        # gradient of a lookup is sparse, and two mirrored copies that look up the same rows do not
        # train as one model does (tests/proofs/devices.py).
        table = ops.convert_to_tensor(self.position_embedding.embeddings)
        positions = ops.slice(table, (start_index, 0), (length, self.output_dim))
        return self.scale * (tokens + positions)

    def compute_mask(self, inputs, mask=None):
        """Return (batch, length): true at tokens, false at padding."""
        return ops.not_equal(inputs, 0)

    def compute_output_shape(self, input_shape):
        """Return the shape without a call: JAX has no positions for a length that is not known."""
        self._check_length(input_shape[1])
        return (*input_shape, self.output_dim)

    def _check_length(self, length, start_index=0):
        if length is not None and start_index + length > self.sequence_length:
            raise ValueError(
                f"The sequence has {start_index + length} tokens, but only {self.sequence_length} "
                "positions have an embedding: truncate it or increase sequence_length."
            )

    def get_config(self):
        """Return the arguments of `__init__`, so that a saved layer can be loaded."""
        sizes = {"sequence_length": self.sequence_length, "input_dim": self.input_dim}
        return super().get_config() | sizes | {"output_dim": self.output_dim}
