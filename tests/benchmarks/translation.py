"""Print how fast both translators train and decode, and how fast with the book's settings.

The book pads every pair to 20 tokens, gives each head of the Transformer the full embedding size,
and decodes one sentence at a time, running the whole model on a padded prefix for every word.
Notebooks 04 and 05 make batches bucketed by length, divide the embedding size among the heads, and
decode batches with an RNN state or a KV cache. Same pairs, otherwise the same sizes, one run, about
five minutes on two cores; the machine should have nothing else to do. Below each training: where
the seconds of its epoch go.
"""

import time
from types import SimpleNamespace

from utils import datasets, notebook
from utils.models import seq2seq, transformer
from utils.text import END_TOKEN, START_TOKEN, adapt_vectorizers

notebook.start("benchmark")

import keras
import numpy as np
import tensorflow as tf

from tests.benchmarks import _rate
from tests.test_notebook_code import define

TRAIN, TEST, LENGTH, BATCH, WORDS = 6_000, 2_000, 20, 64, 4_000
CFG = SimpleNamespace(
    embed_dim=128,
    dense_dim=512,
    num_heads=4,
    blocks=1,
    dropout=0.1,
    max_positions=LENGTH + 1,
    max_new_tokens=LENGTH,
)
ONE_BY_ONE = 12  # sentences that are decoded one by one


class BookEncoder(transformer.TransformerEncoder):
    """The encoder with the book's `key_dim`: every head has the full embedding size."""

    def __init__(self, *sizes, **options):
        super().__init__(*sizes, **options)
        self.attention = keras.layers.MultiHeadAttention(self.num_heads, key_dim=self.embed_dim)


class BookDecoder(transformer.TransformerDecoder):
    """The decoder with the book's `key_dim`; it has no KV cache."""

    def __init__(self, *sizes, **options):
        super().__init__(*sizes, **options)
        heads = self.num_heads
        self.attention = keras.layers.MultiHeadAttention(heads, key_dim=self.embed_dim)
        self.cross_attention = keras.layers.MultiHeadAttention(heads, key_dim=self.embed_dim)


def build_transformer(vocabulary_size, encoder, decoder):
    """Return notebook 05's model with these blocks, and its `cached_functions`."""
    names = ("build_transformer", "cache_functions", "cached_functions")
    cells = define("05_transformer_translation", *names)
    blocks = SimpleNamespace(
        PositionalEmbedding=transformer.PositionalEmbedding,
        TransformerEncoder=encoder,
        TransformerDecoder=decoder,
    )
    cells["build_transformer"].__globals__.update(cfg=CFG, transformer=blocks)
    return cells["build_transformer"](vocabulary_size, vocabulary_size), cells["cached_functions"]


def train(name, model, data):
    """Print and return the throughput of one epoch, after the model is compiled."""
    seq2seq.compile_seq2seq(model, 1e-3, 100)
    steps = _rate.StepTimes()
    model.fit(data, shuffle=False, verbose=0, callbacks=[steps])
    seconds = _rate.seconds_of(lambda: model.fit(data, shuffle=False, verbose=0))
    print(f"{name}: {TRAIN / seconds:,.0f} training pairs/s")
    _rate.print_training(name, model, data, seconds, steps.tracing, _rate.matmul_rate())
    return TRAIN / seconds


def one_by_one(name, model, vectorizers, texts, vocabulary):
    """Decode as the book does; return sentences per second."""
    source_vectorizer, target_vectorizer = vectorizers

    def decode(text):
        source = source_vectorizer([text]).to_tensor(shape=(1, LENGTH))
        words = [START_TOKEN]
        for position in range(LENGTH):
            # The vectorizer adds [start] and [end]; [end] is at the position of the next word.
            target = target_vectorizer([" ".join(words[1:])])[:, :LENGTH]
            inputs = [source, target.to_tensor(shape=(1, LENGTH))]
            if name == "GRU":
                logits = model.predict(inputs, verbose=0)
            else:
                logits = np.asarray(model(inputs))
            words.append(vocabulary[int(np.argmax(logits[0, position]))])
            if words[-1] == END_TOKEN:
                break

    decode(texts[0])  # compiles
    start = time.perf_counter()
    for text in texts[:ONE_BY_ONE]:
        decode(text)
    return ONE_BY_ONE / (time.perf_counter() - start)


def main():
    """Measure both models both ways and print the ratios."""
    pairs = datasets.load_sentence_pairs(TRAIN, 1, TEST)
    notebook.banner(pairs)
    vectorizers = adapt_vectorizers(pairs.train, WORDS)
    vocabulary = [str(word) for word in vectorizers[1].get_vocabulary()]
    source = vectorizers[0](pairs.train.english)[:, :LENGTH]
    target = vectorizers[1](pairs.train.spanish)[:, : LENGTH + 1]
    test = vectorizers[0](pairs.test.english)[:, :LENGTH]
    arrays = source.to_tensor(shape=(None, LENGTH)), target.to_tensor(shape=(None, LENGTH + 1))
    padded = tf.data.Dataset.from_tensor_slices(arrays).shuffle(TRAIN, seed=0).batch(BATCH)
    padded = padded.map(lambda s, t: ((s, t[:, :-1]), t[:, 1:], t[:, 1:] != 0)).cache()
    bucketed = seq2seq.teacher_forcing_batches(source, target, BATCH, 0)
    for name in ("GRU", "Transformer"):
        keras.utils.set_random_seed(0)
        if name == "GRU":
            slow = seq2seq.build_gru_seq2seq(WORDS, WORDS, 128, 256, 0.5)
            fast = seq2seq.build_gru_seq2seq(WORDS, WORDS, 128, 256, 0.5)
            begin, step = seq2seq.gru_decode_fns(fast)
        else:
            slow, _ = build_transformer(WORDS, BookEncoder, BookDecoder)
            blocks = transformer.TransformerEncoder, transformer.TransformerDecoder
            fast, cached_functions = build_transformer(WORDS, *blocks)
            begin, step = cached_functions(fast)
        book_throughput = train(f"{name}, the book's settings", slow, padded)
        throughput = train(f"{name}, ours", fast, bucketed)
        one = one_by_one(name, slow, vectorizers, pairs.test.english, vocabulary)
        seq2seq.translate(test[:256], begin, step, vocabulary, max_new_tokens=LENGTH)  # traces
        start = time.perf_counter()
        seq2seq.translate(test, begin, step, vocabulary, max_new_tokens=LENGTH)
        batched = TEST / (time.perf_counter() - start)
        print(f"{name}: {one:.1f} sentences/s one by one, {batched:,.0f} with a cache, in batches")
        ratio = throughput / book_throughput
        print(f"{name}: ratio {ratio:.1f} in training, {batched / one:.0f} in decoding")


if __name__ == "__main__":
    main()
