"""What both translators share: words and ids, teacher forcing, the GRU to compare with, scores, baselines.

How the next word is chosen belongs in `decoding`, where sentences come from in `datasets`.
"""

from collections import Counter, defaultdict
from dataclasses import replace
from itertools import pairwise

import keras
import numpy as np
from keras import ops

from utils import decoding, training

START, END = "[start]", "[end]"
PADDING, UNKNOWN = 0, 1  # ids that `TextVectorization` gives away first
# Letters, digits and apostrophes make words; every other sign is a token of its own.
SIGN = r"([^\p{L}\p{N}\s'])"


@keras.saving.register_keras_serializable("companion")
def source_words(text):
    """Lower a string tensor and set its punctuation apart: "Who's he?" becomes "who's he ?"."""
    import tensorflow as tf

    return tf.strings.regex_replace(tf.strings.lower(text, "utf-8"), SIGN, r" \1 ")


@keras.saving.register_keras_serializable("companion")
def target_words(text):
    """Do what `source_words` does and put the marks [start] and [end] around it."""
    import tensorflow as tf

    return tf.strings.join([START, source_words(text), END], separator=" ")


def vectorizers(pairs, max_tokens: int):
    """Adapt one `TextVectorization` for each language, on training pairs and nothing else.

    Args:
        pairs: `datasets.Pairs`.
        max_tokens: size of either vocabulary, padding, unknown and marks included.

    Returns:
        Source and target vectorizer; each turns a list of sentences into a ragged tensor of ids (sentences,
        None), those of the target with the ids of [start] and [end] around them.
    """
    import tensorflow as tf

    made = []
    for texts, standardize in ((pairs.english, source_words), (pairs.spanish, target_words)):
        layer = keras.layers.TextVectorization(max_tokens, standardize=standardize, ragged=True)
        layer.adapt(tf.data.Dataset.from_tensor_slices(texts).batch(1024))
        made.append(layer)
    return made


def keep(pairs, vectorizers, length: int, known: bool, most: int):
    """Leave out pairs that are too long, or hold a word that is not in the vocabulary, in all three parts.

    Args:
        pairs: `datasets.SentencePairs`.
        vectorizers: of source and target.
        length: the largest number of tokens of either side, marks included.
        known: whether every word must be in the vocabulary.
        most: the largest number of training pairs; the first ones are kept.

    Returns:
        `SentencePairs` with fewer pairs, in the same order.
    """

    def kept(part, most=None):
        ids = [
            vectorizer(texts)
            for vectorizer, texts in zip(vectorizers, (part.english, part.spanish), strict=True)
        ]
        good = np.all([rows.row_lengths().numpy() <= length for rows in ids], axis=0)
        if known:
            good &= np.all([~np.array([UNKNOWN in row for row in rows.numpy()]) for rows in ids], axis=0)
        places = np.flatnonzero(good)[:most]
        columns = (part.english, part.spanish, part.alignments)
        return type(part)(*([column[i] for i in places] if column else None for column in columns))

    return replace(
        pairs, train=kept(pairs.train, most), validation=kept(pairs.validation), test=kept(pairs.test)
    )


def batches(source, target, batch: int, seed: int | None = None):
    """Make batches for teacher forcing: the decoder reads a target and is asked for the same, one place on.

    Args:
        source, target: ragged ids (pairs, None), from `vectorizers`.
        batch, seed: as for `training.like_lengths`.

    Returns:
        A `tf.data.Dataset` of ((source (batch, length), target without its last place), target without its
        first place, weights): the weights are 1 where the target has a word or [end], and 0 at padding, so
        that loss and weighted metrics count real places only.
    """

    def shifted(source, target):
        weights = ops.cast(target[:, 1:] != PADDING, "float32")  # mirrored models add them up
        return (source, target[:, :-1]), target[:, 1:], weights

    return training.like_lengths(source, target, batch, seed, step=4).map(shifted)


def compile(model, rate: float, steps: int) -> None:
    """Compile a translator whose outputs are logits, for the batches that `batches` makes.

    The loss is the mean over the real places of a batch. Keras would divide the sum by all places, padding
    included, and then two ways of padding give two losses.

    Args:
        model: takes (source, target) ids and returns logits (batch, length, vocabulary).
        rate: the largest learning rate of Adam, reached after a twentieth of the steps; from there it falls
            to 0 along a cosine (Loshchilov and Hutter 2017, *SGDR*, without restarts).
        steps: batches of the whole training.
    """
    warm = max(1, steps // 20)
    rates = keras.optimizers.schedules.CosineDecay(
        0.0, max(1, steps - warm), warmup_target=rate, warmup_steps=warm
    )
    loss = keras.losses.SparseCategoricalCrossentropy(True, reduction="mean_with_sample_weight")
    model.compile(keras.optimizers.Adam(rates), loss, weighted_metrics=["accuracy"])


def gru(source_words: int, target_words: int, dim: int, units: int, dropout: float, encoder=None):
    """Make the translator of notebook 04: a GRU reads the source into one vector, another writes from it.

    Args:
        source_words, target_words: sizes of the vocabularies.
        dim, units, dropout: of the embeddings, of either GRU, before the logits.
        encoder: layer from (batch, length, dim) to (batch, units); else a bidirectional GRU, summed.

    Returns:
        A model of (source, target) ids to logits (batch, target length, `target_words`).
    """
    both = keras.layers.Bidirectional(keras.layers.GRU(units), merge_mode="sum", name="encoder")
    read = keras.Input((None,), dtype="int64", name="source")
    vector = (encoder or both)(keras.layers.Embedding(source_words, dim, mask_zero=True)(read))
    written = keras.Input((None,), dtype="int64", name="target")
    vectors = keras.layers.Embedding(target_words, dim, mask_zero=True, name="words")(written)
    states = keras.layers.GRU(units, return_sequences=True, name="decoder")(vectors, initial_state=vector)
    hidden = keras.layers.Dropout(dropout)(states)
    return keras.Model([read, written], keras.layers.Dense(target_words, name="logits")(hidden))


def gru_writer(model):
    """Return what `translate` needs of a model from `gru`: how its state begins, and a step on from it."""
    encode = keras.Model(model.inputs[0], model.get_layer("encoder").output)
    words, decoder, logits = (model.get_layer(name) for name in ("words", "decoder", "logits"))

    def step(ids, state):
        _, state = decoder.cell(ops.take(words.embeddings, ids, axis=0), state)
        return logits(state[0]), state

    return lambda ids: [encode(ids)], step


def translate(rows, begin, step, vocabulary, search=decoding.greedy, limit: int = 40, batch: int = 256):
    """Translate sentences in batches of like length.

    Args:
        rows: ragged ids (sentences, None) of the source.
        begin: from source ids (batch, length) to the state of decoding.
        step, search, limit: as for `decoding.greedy`, and which of its kind to use.
        vocabulary: of the target vectorizer.

    Returns:
        A finished sentence for each row.
    """
    import tensorflow as tf

    start, end = (vocabulary.index(mark) for mark in (START, END))
    order, found = np.argsort(rows.row_lengths(), kind="stable"), []
    for first in range(0, len(order), batch):
        ids = tf.gather(rows, order[first : first + batch]).to_tensor()
        found += sentences(search(step, begin(ids), start, end, limit), vocabulary)
    return [found[place] for place in np.argsort(order)]


def sentences(ids, vocabulary: list[str]) -> list[str]:
    """Write token ids as sentences: marks gone, punctuation where it belongs, a capital at the beginning.

    Args:
        ids: (sentences, length), padded with 0; what follows [end] is left out.
        vocabulary: of the target vectorizer.
    """
    return [join(vocabulary[i] for i in row if i != PADDING) for row in np.asarray(ids)]


def join(words) -> str:
    """Make a sentence of words and signs, which end at [end]."""
    text, opened, glue = "", False, ""
    for word in words:
        if word == START:
            continue
        if word == END:
            break
        if word == '"':
            opened = not opened
            closes = not opened
        else:
            closes = word in ".,;:!?)%…»"
        text += word if closes else glue + word
        # After an opening sign, and within a number such as 3.5 or 10:30, nothing is set apart.
        glue = "" if word in "¿¡(«$" or (word == '"' and opened) else " "
    start = next((place for place, letter in enumerate(text) if letter.isalpha()), 0)
    return text[:start] + text[start : start + 1].upper() + text[start + 1 :]


def references(pairs) -> dict[str, list[str]]:
    """Gather all translations of each English sentence, in the order of the pairs."""
    found = defaultdict(list)
    for english, spanish in zip(pairs.english, pairs.spanish, strict=True):
        found[english].append(spanish)
    return dict(found)


def score(translations: list[str], references: list[list[str]]) -> dict[str, float]:
    """Score sentences against all the translations that people gave, upper and lower case alike.

    BLEU counts n-grams of words that some reference has (Papineni et al. 2002), chrF those of letters
    (Popović 2015), both as sacrebleu computes them (Post 2018); 100 is a perfect match.

    Args:
        translations: one for each sentence.
        references: the accepted translations of each, at least one.

    Returns:
        {"BLEU": 0 to 100, "chrF": 0 to 100}.
    """
    import sacrebleu

    most = max(map(len, references))
    streams = [[row[place] if place < len(row) else None for row in references] for place in range(most)]
    return {
        "BLEU": sacrebleu.corpus_bleu(translations, streams, lowercase=True).score,
        "chrF": sacrebleu.corpus_chrf([t.lower() for t in translations], _lower(streams)).score,
    }


def score_by_length(translations, references, lengths, edges=(1, 5, 6, 7, 8, 9, 10, 1_000), least: int = 15):
    """Score sentences of each length by themselves.

    Args:
        translations, references: as for `score`.
        lengths: number of source tokens of each sentence.
        edges: each group reaches from one of them to below the next.
        least: groups of fewer sentences are left out, their score would be chance.

    Returns:
        Name of the group, such as "5 tokens", to BLEU.
    """
    found = {}
    for low, high in pairwise(edges):
        inside = np.flatnonzero((np.asarray(lengths) >= low) & (np.asarray(lengths) < high))
        if len(inside) >= least:
            name = (
                f"up to {high - 1}"
                if low == edges[0]
                else f"{low} and more"
                if high == edges[-1]
                else f"{low}"
            )
            scores = score([translations[i] for i in inside], [references[i] for i in inside])
            found[f"{name} tokens"] = scores["BLEU"]
    return found


def _lower(streams):
    return [[text and text.lower() for text in stream] for stream in streams]


class NearestSource:
    """A translator without a network: it gives the translation of the most similar training sentence.

    Similar is a large cosine between bags of words, rare words counting more (TF-IDF); where several training
    pairs are equally near, the most frequent translation wins.
    """

    def __init__(self, pairs):
        self.spanish = np.array(pairs.spanish)
        self.bags = [set(_words(text)) for text in pairs.english]
        rows = defaultdict(list)
        for row, bag in enumerate(self.bags):
            for word in bag:
                rows[word].append(row)
        self.rows = {word: np.array(found) for word, found in rows.items()}
        self.rarity = {w: float(np.log(1 + len(self.bags) / len(found))) for w, found in self.rows.items()}
        self.norms = np.array([np.sqrt(sum(self.rarity[w] ** 2 for w in bag)) for bag in self.bags]) + 1e-9

    def __call__(self, english: str) -> str:
        """Translate a sentence; one without any known word gets the most frequent of all translations."""
        known = [word for word in set(_words(english)) if word in self.rows]
        likeness = np.zeros(len(self.bags))
        for word in known:
            likeness[self.rows[word]] += self.rarity[word] ** 2
        likeness /= self.norms
        nearest = np.flatnonzero(likeness >= likeness.max() - 1e-9)
        return str(Counter(self.spanish[nearest].tolist()).most_common(1)[0][0])


def _words(text: str) -> list[str]:
    return source_words(text).numpy().decode().split()


def baselines(train, english: list[str], references: list[list[str]]) -> dict[str, dict[str, float]]:
    """Score what needs no network: the source as it is, and the translation of the nearest training sentence.

    Args:
        train: training pairs.
        english, references: as for `score`.
    """
    nearest = NearestSource(train)
    return {
        "copy the source": score(english, references),
        "nearest training sentence": score([nearest(text) for text in english], references),
    }


def leaderboard(rows: list[dict], alt: str) -> None:
    """Show what each translator reached: a table, then its BLEU as bars.

    Args:
        rows: from `tracking.leaderboard("translation", ...)`, baselines among them, which have no accuracy,
            parameters, seconds or speed.
        alt: text alternative of the figure.
    """
    from utils import plots

    rows = sorted(rows, key=lambda row: row["bleu"])

    def cell(row, key, form):
        return form.format(row[key]) if row.get(key) is not None else ""

    plots.table(
        [
            {
                "translator": row["model"],
                "BLEU": cell(row, "bleu", "{:.1f}"),
                "chrF": cell(row, "chrf", "{:.1f}"),
                "next token": cell(row, "accuracy", "{:.1%}"),
                "parameters": cell(row, "parameters", "{:,}"),
                "training": cell(row, "seconds", "{:.0f} s"),
                "sentences/s": cell(row, "pace", "{:,.0f}"),
                "notebook": row["notebook"][:2],
            }
            for row in rows
        ]
    )
    plots.bars({row["model"]: row["bleu"] for row in rows}, "BLEU on the same test sentences", "BLEU", alt)
