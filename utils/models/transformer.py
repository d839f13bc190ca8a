"""The Transformer layers that more than one notebook uses; each is built in the open where it is introduced.

Models do not belong here, nor does what only one notebook needs.
"""

import keras
from keras import ops


@keras.saving.register_keras_serializable("companion")
class TransformerEncoder(keras.layers.Layer):
    """One block of a Transformer encoder: attention, then a small network for each position.

    Both parts are followed by dropout, a residual connection and layer normalisation, in the order of Vaswani
    et al. 2017, *Attention Is All You Need*, sections 3.1 and 5.4. Padding is never attended to: what stands
    at a real position does not depend on how much padding follows. Notebook 03 builds it part by part.

    Args:
        embed_dim: size of the vectors that come in and go out.
        dense_dim: units of the hidden layer between them.
        num_heads: how many heads share the `embed_dim` dimensions among them.
        dropout: the share that each part drops of its output while training.

    Raises:
        ValueError: `embed_dim` cannot be divided among the heads.
    """

    def __init__(self, embed_dim, dense_dim, num_heads, dropout=0.0, **kwargs):
        super().__init__(**kwargs)
        if embed_dim % num_heads:
            raise ValueError(f"embed_dim={embed_dim} cannot be divided among {num_heads} heads.")
        self.embed_dim, self.dense_dim = embed_dim, dense_dim
        self.num_heads, self.dropout = num_heads, dropout
        self.attention = keras.layers.MultiHeadAttention(num_heads, key_dim=embed_dim // num_heads)
        self.hidden = keras.layers.Dense(dense_dim, activation="relu")
        self.projection = keras.layers.Dense(embed_dim)
        self.drop = keras.layers.Dropout(dropout)
        self.attention_norm = keras.layers.LayerNormalization()
        self.projection_norm = keras.layers.LayerNormalization()
        self.supports_masking = True

    def build(self, input_shape):
        """Make the weights of every part, without which a saved file could not be loaded."""
        self.attention.build(input_shape, input_shape)
        self.hidden.build(input_shape)
        self.projection.build((*input_shape[:-1], self.dense_dim))
        self.attention_norm.build(input_shape)
        self.projection_norm.build(input_shape)

    def call(self, inputs, mask=None):
        """Encode a batch.

        Args:
            inputs: (batch, length, embed_dim).
            mask: (batch, length), true where there is a word; Keras hands it over.

        Returns:
            (batch, length, embed_dim).
        """
        # One row for all queries: (batch, 1, length) says which keys may be looked at.
        allowed = None if mask is None else mask[:, None, :]
        attended = self.drop(self.attention(inputs, inputs, attention_mask=allowed))
        attended = self.attention_norm(inputs + attended)
        projected = self.drop(self.projection(self.hidden(attended)))
        return self.projection_norm(attended + projected)

    def get_config(self):
        """Return what `__init__` needs to make the layer again."""
        sizes = {"embed_dim": self.embed_dim, "dense_dim": self.dense_dim}
        return super().get_config() | sizes | {"num_heads": self.num_heads, "dropout": self.dropout}


@keras.saving.register_keras_serializable("companion")
class TransformerDecoder(keras.layers.Layer):
    """One block of a Transformer decoder: attention to the past, attention to the source, a small network.

    Each part is followed by dropout, a residual connection and layer normalisation, in the order of
    Vaswani et al. 2017, section 3.1. A place attends to itself and to earlier ones, never to later ones
    or to padding, so that what stands at a place does not depend on what follows. Called without a source it
    has no part that attends to one: the block of a language model (Liu et al. 2018, *Generating Wikipedia
    by Summarizing Long Sequences*, section 4.2). Notebook 05 builds it part by part.

    Args:
        embed_dim, dense_dim, num_heads, dropout: as for `TransformerEncoder`.

    Raises:
        ValueError: `embed_dim` cannot be divided among the heads.
    """

    def __init__(self, embed_dim, dense_dim, num_heads, dropout=0.0, **kwargs):
        super().__init__(**kwargs)
        if embed_dim % num_heads:
            raise ValueError(f"embed_dim={embed_dim} cannot be divided among {num_heads} heads.")
        self.embed_dim, self.dense_dim = embed_dim, dense_dim
        self.num_heads, self.dropout = num_heads, dropout
        self.attention = keras.layers.MultiHeadAttention(num_heads, key_dim=embed_dim // num_heads)
        self.cross_attention = keras.layers.MultiHeadAttention(
            num_heads, key_dim=embed_dim // num_heads
        )
        self.hidden = keras.layers.Dense(dense_dim, activation="relu")
        self.projection = keras.layers.Dense(embed_dim)
        self.drop = keras.layers.Dropout(dropout)
        self.attention_norm = keras.layers.LayerNormalization()
        self.cross_norm = keras.layers.LayerNormalization()
        self.projection_norm = keras.layers.LayerNormalization()
        self.supports_masking = True

    def build(self, inputs_shape, encoded_shape=None):
        """Make the weights of every part, without which a saved file could not be loaded."""
        self.attention.build(inputs_shape, inputs_shape)
        if encoded_shape is None:
            del self.cross_attention, self.cross_norm
        else:
            self.cross_attention.build(inputs_shape, encoded_shape)
            self.cross_norm.build(inputs_shape)
        self.hidden.build(inputs_shape)
        self.projection.build((*inputs_shape[:-1], self.dense_dim))
        self.attention_norm.build(inputs_shape)
        self.projection_norm.build(inputs_shape)

    def call(self, inputs, encoded=None, inputs_mask=None, encoded_mask=None):
        """Decode a batch. Keras fills in both masks by their names; one called `mask` would stay empty.

        Args:
            inputs: (batch, length, embed_dim), what has been written so far.
            encoded: (batch, source length, embed_dim), what the encoder made of the source; without it, now
                and always, the layer is a language model's.
            inputs_mask, encoded_mask: (batch, length) and (batch, source length), true where there is a word.

        Returns:
            (batch, length, embed_dim).
        """
        words = None if inputs_mask is None else inputs_mask[:, None, :]
        source = None if encoded_mask is None else encoded_mask[:, None, :]
        attended = self.attention(inputs, inputs, attention_mask=words, use_causal_mask=True)
        attended = self.attention_norm(inputs + self.drop(attended))
        if encoded is None:
            return self._project(attended)
        # Keras's attention takes the mask off the tensor that it is given: the next block would find none.
        crossed = self.cross_attention(attended, ops.copy(encoded), attention_mask=source)
        crossed = self.cross_norm(attended + self.drop(crossed))
        return self._project(crossed)

    def _project(self, crossed):
        projected = self.projection(self.hidden(crossed))
        return self.projection_norm(crossed + self.drop(projected))

    def init_cache(self, encoded=None, batch=None):
        """Compute what stays the same for all steps of decoding: keys and values of the source.

        Args:
            encoded: (batch, source length, embed_dim), or nothing in a language model.
            batch: how many texts a language model is to write at once.

        Returns:
            A cache for `call_with_cache`: a dict of arrays whose first axis is the batch.
        """
        batch = batch if encoded is None else ops.shape(encoded)[0]
        nothing = ops.zeros((batch, 0, self.num_heads, self.embed_dim // self.num_heads))
        cache = {"keys": nothing, "values": nothing}
        if encoded is None:
            return cache
        encoded = ops.copy(encoded)  # without its mask, which projections would warn of
        cross = self.cross_attention
        return cache | {
            "source keys": cross.key_dense(encoded),
            "source values": cross.value_dense(encoded),
        }

    def call_with_cache(self, inputs, cache, encoded_mask=None):
        """Decode one more place, from keys and values kept of those before: equal to `call` at that place.

        Args:
            inputs: (batch, 1, embed_dim).
            cache: from `init_cache`, or from the step before.
            encoded_mask: as for `call`.

        Returns:
            (batch, 1, embed_dim), and the cache for the next step.
        """
        inputs = ops.copy(inputs)
        keys = ops.concatenate([cache["keys"], self.attention.key_dense(inputs)], axis=1)
        values = ops.concatenate([cache["values"], self.attention.value_dense(inputs)], axis=1)
        attended = self.attention_norm(inputs + _attend(self.attention, inputs, keys, values))
        if "source keys" in cache:
            source = None if encoded_mask is None else encoded_mask[:, None, None, :]
            crossed = _attend(
                self.cross_attention, attended, cache["source keys"], cache["source values"], source
            )
            attended = self.cross_norm(attended + crossed)
        return self._project(attended), cache | {"keys": keys, "values": values}

    def compute_output_shape(self, inputs_shape, encoded_shape=None):
        """The shape stays as it is."""
        return inputs_shape

    def get_config(self):
        """Return what `__init__` needs to make the layer again."""
        sizes = {"embed_dim": self.embed_dim, "dense_dim": self.dense_dim}
        return super().get_config() | sizes | {"num_heads": self.num_heads, "dropout": self.dropout}


def _attend(attention, query, keys, values, mask=None):
    """Do what a `MultiHeadAttention` does, for keys and values that have been computed before."""
    mixed = ops.dot_product_attention(attention.query_dense(query), keys, values, mask=mask)
    return attention.output_dense(mixed)


@keras.saving.register_keras_serializable("companion")
class PositionalEmbedding(keras.layers.Layer):
    """A vector for each token plus one for its place, both learned; token 0 is padding and makes the mask.

    Both tables are multiplied by the root of their width, as in section 3.4 of Vaswani et al. 2017: vectors
    then have about unit length in each dimension, large enough for attention to tell them apart, while the
    numbers that are learned stay small. Places begin close to zero, so that order is learned where it
    helps. Section 3.5 and row E of table 3 compare learned places with sinusoids and find them equal.

    Args:
        sequence_length: the longest sequence, and the number of places learned.
        input_dim: size of the vocabulary, padding and unknown included.
        output_dim: size of the vectors.
    """

    def __init__(self, sequence_length, input_dim, output_dim, **kwargs):
        super().__init__(**kwargs)
        self.sequence_length, self.input_dim, self.output_dim = (
            sequence_length,
            input_dim,
            output_dim,
        )
        self.scale = output_dim**0.5
        near, unit = (
            keras.initializers.RandomNormal(stddev=spread) for spread in (0.02, 1 / self.scale)
        )
        self.token_embedding = keras.layers.Embedding(input_dim, output_dim, unit, mask_zero=True)
        self.position_embedding = keras.layers.Embedding(sequence_length, output_dim, near)

    def build(self, input_shape):
        """Make both tables."""
        self.token_embedding.build(input_shape)
        self.position_embedding.build((self.sequence_length,))

    def call(self, inputs, start_index=0):
        """Embed token ids of (batch, length) into vectors of (batch, length, output_dim).

        Args:
            inputs: token ids.
            start_index: the position of the first of them, for a decoder that gets one token at a time.

        Raises:
            ValueError: the sequence is longer than `sequence_length`.
        """
        self._check(inputs.shape[1], start_index)
        places = self.position_embedding.embeddings[
            start_index : start_index + ops.shape(inputs)[1]
        ]
        return self.scale * (self.token_embedding(inputs) + places)

    def compute_mask(self, inputs, mask=None):
        """Say which tokens are words: all but 0."""
        return ops.not_equal(inputs, 0)

    def compute_output_shape(self, input_shape):
        """Tell it without a call: JAX cannot cut a table to a length that is still open."""
        self._check(input_shape[1])
        return (*input_shape, self.output_dim)

    def _check(self, length, first=0):
        if length is not None and first + length > self.sequence_length:
            raise ValueError(
                f"{first + length} tokens, but only {self.sequence_length} places: cut the text."
            )

    def get_config(self):
        """Return what `__init__` needs to make the layer again."""
        sizes = {"sequence_length": self.sequence_length, "input_dim": self.input_dim}
        return super().get_config() | sizes | {"output_dim": self.output_dim}
