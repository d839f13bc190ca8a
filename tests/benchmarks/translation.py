"""Print training pairs and decoded sentences per second of both translators, against the book's settings.

The book cuts and pads every pair to 20 tokens, gives each head of the Transformer the whole embedding
size, and decodes one sentence at a time, running the whole model on a padded prefix for every word.
Notebooks 04 and 05 make batches of like length, give each head its share, and carry state, keys and
values along in batches. Same pairs, same sizes otherwise, one run, about five minutes on two cores; the
machine should have nothing else to do.
"""

import time
from types import SimpleNamespace

from utils import datasets, decoding, notebook
from utils.models import seq2seq, transformer
from utils.text import END_TOKEN, START_TOKEN, adapt_vectorizers

notebook.start("benchmark")

import keras
import numpy as np
import tensorflow as tf

from tests.test_notebook_code import define

TRAIN, TEST, LENGTH, BATCH, WORDS = 6_000, 2_000, 20, 64, 4_000
CFG = SimpleNamespace(dim=128, dense=512, heads=4, blocks=1, dropout=0.1, places=LENGTH + 1)
PLAIN_WAY = 12  # sentences that the slow loop decodes


class BookEncoder(transformer.TransformerEncoder):
    """The encoder with the book's `key_dim`: every head as large as the embedding."""

    def __init__(self, *sizes, **knobs):
        super().__init__(*sizes, **knobs)
        self.attention = keras.layers.MultiHeadAttention(self.num_heads, key_dim=self.embed_dim)


class BookDecoder(transformer.TransformerDecoder):
    """The decoder with the book's `key_dim`."""

    def __init__(self, *sizes, **knobs):
        super().__init__(*sizes, **knobs)
        self.attention = keras.layers.MultiHeadAttention(self.num_heads, key_dim=self.embed_dim)
        self.cross_attention = keras.layers.MultiHeadAttention(
            self.num_heads, key_dim=self.embed_dim
        )


def transformer(size, kinds):
    """Return notebook 05's model with these layers, and its way of writing."""
    cells = define("05_transformer_translation", "transformer", "writer")
    known = SimpleNamespace(PositionalEmbedding=transformer.PositionalEmbedding, **kinds)
    cells["transformer"].__globals__.update(cfg=CFG, layers=known)
    return cells["transformer"](size, size), cells["writer"]


def train(name, model, data):
    """Print the pace of one epoch, without what is compiled first, and return it."""
    seq2seq.compile_seq2seq(model, 1e-3, 100)
    model.fit(data.take(20), shuffle=False, verbose=0)
    model.fit(data, shuffle=False, verbose=0)  # every group of lengths has been met
    began = time.perf_counter()
    model.fit(data, shuffle=False, verbose=0)
    pace = TRAIN / (time.perf_counter() - began)
    print(f"{name}: {pace:,.0f} training pairs/s")
    return pace


def one_by_one(name, model, vectorizers, texts, vocabulary):
    """Decode as the book does; return sentences per second."""
    reader, speller = vectorizers

    def write(text):
        read = reader([text]).to_tensor(shape=(1, LENGTH))
        words = [START_TOKEN]
        for place in range(LENGTH):
            # The vectorizer adds both marks; the second one stands where the next word will be.
            written = speller([" ".join(words[1:])])[:, :LENGTH].to_tensor(shape=(1, LENGTH))
            both = [read, written]
            logits = model.predict(both, verbose=0) if name == "GRU" else np.asarray(model(both))
            words.append(vocabulary[int(np.argmax(logits[0, place]))])
            if words[-1] == END_TOKEN:
                break

    write(texts[0])  # compiles
    began = time.perf_counter()
    for text in texts[:PLAIN_WAY]:
        write(text)
    return PLAIN_WAY / (time.perf_counter() - began)


def main():
    """Measure both models both ways and print the ratios."""
    pairs = datasets.load_sentence_pairs(TRAIN, 1, TEST)
    notebook.banner(pairs)
    vectorizers = adapt_vectorizers(pairs.train, WORDS)
    vocabulary = [str(word) for word in vectorizers[1].get_vocabulary()]
    source, target = (
        vectorizer(texts)[:, : LENGTH + extra]
        for vectorizer, texts, extra in zip(
            vectorizers, (pairs.train.english, pairs.train.spanish), (0, 1), strict=True
        )
    )
    test = vectorizers[0](pairs.test.english)[:, :LENGTH]
    fixed = source.to_tensor(shape=(None, LENGTH)), target.to_tensor(shape=(None, LENGTH + 1))
    padded = tf.data.Dataset.from_tensor_slices(fixed).shuffle(TRAIN, seed=0).batch(BATCH)
    padded = padded.map(lambda s, t: ((s, t[:, :-1]), t[:, 1:], t[:, 1:] != 0)).cache()
    like = seq2seq.teacher_forcing_batches(source, target, BATCH, 0)
    book = {"TransformerEncoder": BookEncoder, "TransformerDecoder": BookDecoder}
    ours = {
        "TransformerEncoder": transformer.TransformerEncoder,
        "TransformerDecoder": transformer.TransformerDecoder,
    }
    for name in ("GRU", "Transformer"):
        keras.utils.set_random_seed(0)
        if name == "GRU":
            slow, fast = (seq2seq.build_gru_seq2seq(WORDS, WORDS, 128, 256, 0.5) for _ in range(2))
            writer = seq2seq.gru_decode_fns
        else:
            (slow, _), (fast, writer) = transformer(WORDS, book), transformer(WORDS, ours)
        paces = [
            train(f"{name}, the book's settings", slow, padded),
            train(f"{name}, ours", fast, like),
        ]
        naive = one_by_one(name, slow, vectorizers, pairs.test.english, vocabulary)
        seq2seq.translate(
            test[:256], *writer(fast), vocabulary, decoding.greedy_search, max_new_tokens=LENGTH
        )
        began = time.perf_counter()
        seq2seq.translate(
            test, *writer(fast), vocabulary, decoding.greedy_search, max_new_tokens=LENGTH
        )
        decoded = TEST / (time.perf_counter() - began)
        print(
            f"{name}: {naive:.1f} sentences/s one by one, {decoded:,.0f} with what is kept, in batches"
        )
        print(
            f"{name}: ratio {paces[1] / paces[0]:.1f} in training, {decoded / naive:.0f} in decoding"
        )


if __name__ == "__main__":
    main()
