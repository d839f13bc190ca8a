"""Print how much faster five epochs on bags of bigrams are than with the book's settings.

The book vectorizes in every epoch, with four parallel calls, in batches of 32; notebook 01
vectorizes once, caches float16 and shuffles batches of 64. Same reviews, same network, one run; the
machine should have nothing else to do. Below each: where the seconds of a further epoch go.
"""

import time

from utils import datasets, notebook

notebook.start("benchmark")

import keras
import tensorflow as tf

from tests.benchmarks import _rate

EPOCHS = 5


def build_network(vocabulary_size):
    inputs = keras.Input((vocabulary_size,))
    hidden = keras.layers.Dropout(0.5)(keras.layers.Dense(16, activation="relu")(inputs))
    model = keras.Model(inputs, keras.layers.Dense(1, activation="sigmoid")(hidden))
    model.compile("rmsprop", "binary_crossentropy", metrics=["accuracy"])
    return model


def training_seconds(name, dataset, vocabulary_size, rate):
    model = build_network(vocabulary_size)
    steps = _rate.StepTimes()
    began = time.perf_counter()
    model.fit(dataset, epochs=EPOCHS, shuffle=False, verbose=0, callbacks=[steps])
    seconds = time.perf_counter() - began
    epoch_seconds = _rate.seconds_of(lambda: model.fit(dataset, shuffle=False, verbose=0))
    _rate.print_training(name, model, dataset, epoch_seconds, steps.tracing, rate)
    return seconds


def main():
    """Measure both and print their ratio."""
    reviews = datasets.load_reviews(validation=1, test=1)
    notebook.banner(reviews)
    vectorizer = keras.layers.TextVectorization(20_000, output_mode="multi_hot", ngrams=2)
    vectorizer.adapt(tf.data.Dataset.from_tensor_slices(reviews.train.texts).batch(256))
    source = tf.data.Dataset.from_tensor_slices((reviews.train.texts, reviews.train.labels))
    book = source.batch(32).map(lambda text, label: (vectorizer(text), label), num_parallel_calls=4)
    vectors = source.batch(64).map(
        lambda text, label: (tf.cast(vectorizer(text), "float16"), label)
    )
    vectors = (
        vectors.unbatch().cache().apply(tf.data.experimental.assert_cardinality(len(reviews.train)))
    )
    cached = vectors.shuffle(len(reviews.train), seed=0).batch(64).prefetch(tf.data.AUTOTUNE)
    size = vectorizer.vocabulary_size()
    rate = _rate.matmul_rate()
    book_seconds = training_seconds("the book's settings", book, size, rate)
    cached_seconds = training_seconds("the notebook's", cached, size, rate)
    print(
        f"{EPOCHS} epochs, the book's settings {book_seconds:.1f} s, "
        f"the notebook's {cached_seconds:.1f} s"
    )
    print(f"ratio {book_seconds / cached_seconds:.1f}")


if __name__ == "__main__":
    main()
