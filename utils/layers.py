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
        self.sequence_length, self.input_dim, self.output_dim = sequence_length, input_dim, output_dim
        self.scale = output_dim**0.5
        near, unit = (keras.initializers.RandomNormal(stddev=spread) for spread in (0.02, 1 / self.scale))
        self.tokens = keras.layers.Embedding(input_dim, output_dim, unit, mask_zero=True)
        self.places = keras.layers.Embedding(sequence_length, output_dim, near)

    def build(self, input_shape):
        """Make both tables."""
        self.tokens.build(input_shape)
        self.places.build((self.sequence_length,))

    def call(self, inputs):
        """Embed token ids of (batch, length) into vectors of (batch, length, output_dim).

        Raises:
            ValueError: the sequence is longer than `sequence_length`.
        """
        length = inputs.shape[1]
        if length is not None and length > self.sequence_length:
            raise ValueError(f"{length} tokens, but only {self.sequence_length} places: cut the text.")
        places = self.places.embeddings[: ops.shape(inputs)[1]]
        return self.scale * (self.tokens(inputs) + places)

    def compute_mask(self, inputs, mask=None):
        """Say which tokens are words: all but 0."""
        return ops.not_equal(inputs, 0)

    def get_config(self):
        """Return what `__init__` needs to make the layer again."""
        sizes = {"sequence_length": self.sequence_length, "input_dim": self.input_dim}
        return super().get_config() | sizes | {"output_dim": self.output_dim}
