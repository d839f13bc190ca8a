"""Print the encoder's training throughput and accuracy, with the book's settings and with ours.

The book pads every review to 600 tokens, gives each head all 256 dimensions and pools the maximum;
notebook 03 buckets reviews by length, gives each head its share and averages over the tokens. All
other sizes and the reviews are the same; one run, ten minutes on two cores, on an idle machine.
Below each: where the seconds of an epoch go.
"""

import time

from utils import datasets, notebook
from utils.batching import bucket_by_length
from utils.models import transformer

notebook.start("benchmark")

import keras
import numpy as np
import tensorflow as tf

from tests.benchmarks import _rate

TRAIN, TEST, LENGTH, EPOCHS, BATCH = 2_000, 2_000, 600, 2, 32
EMBED_DIM, DENSE_DIM, HEADS = 256, 32, 2


class BookEncoder(transformer.TransformerEncoder):
    """The encoder with the book's `key_dim`: every head as large as the embedding."""

    def __init__(self, *sizes, **kwargs):
        super().__init__(*sizes, **kwargs)
        self.attention = keras.layers.MultiHeadAttention(HEADS, key_dim=EMBED_DIM)


class Maximum(keras.layers.GlobalMaxPooling1D):
    """The book's pooling: it ignores the mask, and passes none on to the loss."""

    supports_masking = True

    def compute_mask(self, inputs, mask=None):
        """Return no mask: each review is one vector now."""
        return None


def classifier(encoder, pool, vocab_size):
    """Return a compiled classifier of token ids; the seed is the same for both."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((None,), dtype="int64")
    vectors = transformer.PositionalEmbedding(LENGTH, vocab_size, EMBED_DIM)(inputs)
    hidden = keras.layers.Dropout(0.5)(pool(encoder(EMBED_DIM, DENSE_DIM, HEADS)(vectors)))
    model = keras.Model(inputs, keras.layers.Dense(1, activation="sigmoid")(hidden))
    model.compile(keras.optimizers.Adam(5e-4), "binary_crossentropy", metrics=["accuracy"])
    return model


def measure(name, model, training_set, test_set):
    """Train, print the throughput without the step that compiles, and return it."""
    steps = _rate.StepTimes()
    model.fit(training_set, steps_per_epoch=3, shuffle=False, verbose=0, callbacks=[steps])
    start = time.perf_counter()
    model.fit(training_set, epochs=EPOCHS, shuffle=False, verbose=0)
    seconds = time.perf_counter() - start
    throughput = EPOCHS * TRAIN / seconds
    accuracy = model.evaluate(test_set, verbose=0)[1]
    interval = 196 * np.sqrt(accuracy * (1 - accuracy) / TEST)
    print(
        f"{name}: {throughput:.1f} reviews/s, test accuracy {accuracy:.1%} ± {interval:.1f} points"
    )
    rate = _rate.matmul_rate()
    _rate.print_training(name, model, training_set, seconds / EPOCHS, steps.tracing, rate)
    return throughput


def main():
    """Measure both ways and print their ratio."""
    reviews = datasets.load_reviews(TRAIN, 1, TEST)
    notebook.banner(reviews)
    vectorizer = keras.layers.TextVectorization(20_000, ragged=True)
    vectorizer.adapt(tf.data.Dataset.from_tensor_slices(reviews.train.texts).batch(256))
    tokens = {
        part: vectorizer(getattr(reviews, part).texts)[:, :LENGTH] for part in ("train", "test")
    }
    labels = {part: getattr(reviews, part).labels for part in tokens}
    padded = {
        part: tf.data.Dataset.from_tensor_slices(
            (rows.to_tensor(shape=(None, LENGTH)), labels[part])
        )
        for part, rows in tokens.items()
    }
    size = vectorizer.vocabulary_size()
    slow = measure(
        "the book's settings",
        classifier(BookEncoder, Maximum(), size),
        padded["train"].shuffle(TRAIN, seed=0).batch(BATCH),
        padded["test"].batch(64),
    )
    fast = measure(
        "bucketed by length, key_dim = embed_dim / heads",
        classifier(transformer.TransformerEncoder, keras.layers.GlobalAveragePooling1D(), size),
        bucket_by_length(tokens["train"], labels["train"], BATCH, seed=0),
        bucket_by_length(tokens["test"], labels["test"], 64),
    )
    print(f"ratio {fast / slow:.1f}")


if __name__ == "__main__":
    main()
