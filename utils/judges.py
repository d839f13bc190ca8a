"""What measures the pictures that generators make: two small networks, their features, a distance of those.

The generators themselves belong in the notebooks, and what is drawn or loaded in `drawings` and `datasets`.
"""

import weakref
import zlib

import keras
import numpy as np

from utils import settings, tracking, training

# What the face reader tells of a face, in the order of its outputs; `drawings.RANGES` says what they mean.
ATTRIBUTES = (
    "smile",
    "glasses",
    "beard",
    "skin",
    "hair",
    "hair_length",
    "turn",
    "light",
    "background",
)

_inner = weakref.WeakKeyDictionary()


def digit_classifier(digits) -> keras.Model:
    """Train a small convolutional network to read digits, or load it where this notebook trained it before.

    Prints one line with its accuracy on the digits of the test part.

    Args:
        digits: what `datasets.digits` returned.

    Returns:
        A model from images (n, 28, 28, 1), floats of 0 to 1, to logits (n, 10), with a layer "features".
    """
    knobs = settings.choose(
        quick={"seen": 14_000, "batch": 64},
        live={"seen": 240_000, "batch": 128},
        full={"seen": 600_000, "batch": 128},
    )
    inputs = keras.Input((28, 28, 1))
    x = inputs
    for filters in (16, 32):
        x = keras.layers.Conv2D(filters, 3, padding="same", activation="relu")(x)
        x = keras.layers.MaxPooling2D()(x)
    x = keras.layers.Conv2D(32, 3, padding="same", activation="relu")(x)
    x = keras.layers.Flatten()(x)
    x = keras.layers.Dense(64, activation="relu", name="features")(x)
    model = keras.Model(inputs, keras.layers.Dense(10)(x), name="digit_classifier")
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    images, held_out = (_scaled(part.images)[..., None] for part in (digits.train, digits.test))
    _fit(model, loss, images, digits.train.labels, knobs, digits.source)
    right = model.predict(held_out, batch_size=500, verbose=0).argmax(axis=1) == digits.test.labels
    print(f"digit classifier: {right.mean():.1%} of {len(right):,} held-out digits right ({digits.label})")
    return model


def face_reader(faces) -> keras.Model:
    """Train a small convolutional network to tell the attributes of drawn faces, or load it.

    It knows drawn faces only: what it says of a photograph means nothing. Prints one line with the
    correlation of its smiles with the true ones, and how often it is right about glasses, on the test part.

    Args:
        faces: what `datasets.faces` returned for drawn faces.

    Returns:
        A model from images (n, size, size, 3), floats of 0 to 1, to values (n, len(ATTRIBUTES)) in the
        attributes' own units, with a layer "features".

    Raises:
        settings.Stop: the faces are photographs, whose attributes nobody wrote down.
    """
    if faces.train.attributes is None:
        raise settings.Stop(
            'the attributes of photographs are unknown: give datasets.faces(source="sample").'
        )
    knobs = settings.choose(
        quick={"seen": 12_000, "batch": 32},
        live={"seen": 60_000, "batch": 64},
        full={"seen": 300_000, "batch": 64},
    )
    truth = np.stack([faces.train.attributes[name] for name in ATTRIBUTES], axis=1)
    middle, spread = truth.mean(axis=0), truth.std(axis=0) + 1e-6
    inputs = keras.Input(faces.train.images.shape[1:])
    x = keras.layers.Rescaling(2.0, -1.0)(inputs)
    filters, side = 16, faces.train.images.shape[1]
    while side > 5:
        x = keras.layers.Conv2D(filters, 5, strides=2, padding="same", activation="relu")(x)
        filters, side = min(64, 2 * filters), -(-side // 2)
    x = keras.layers.Flatten()(x)
    x = keras.layers.Dense(96, activation="relu", name="features")(x)
    # All attributes count alike in the loss, whatever their units.
    standardised = keras.Model(inputs, keras.layers.Dense(len(ATTRIBUTES))(x), name="face_reader")
    _fit(standardised, "mse", _scaled(faces.train.images), (truth - middle) / spread, knobs, faces.source)
    values = standardised.output * spread.astype("float32") + middle.astype("float32")
    model = keras.Model(inputs, values, name="face_reader")
    told = model.predict(_scaled(faces.test.images), batch_size=250, verbose=0)
    smile, glasses = (ATTRIBUTES.index(name) for name in ("smile", "glasses"))
    correlation = np.corrcoef(told[:, smile], faces.test.attributes["smile"])[0, 1]
    right = ((told[:, glasses] > 0.5) == (faces.test.attributes["glasses"] > 0.5)).mean()
    print(
        f"face reader: its smiles correlate {correlation:.3f} with the true ones of {len(told):,} held-out "
        f"faces, {right:.1%} right about glasses ({faces.label})"
    )
    return model


def features(model: keras.Model, images) -> np.ndarray:
    """Return what the layer "features" of a model says of images.

    Args:
        model: one of this module's, or any other with a layer of that name.
        images: (n, ...), as the model takes them.

    Returns:
        (n, units), float32.
    """
    if model not in _inner:  # a new model for each call would be traced each time
        _inner[model] = keras.Model(model.inputs, model.get_layer("features").output)
    return _inner[model].predict(np.asarray(images, "float32"), batch_size=250, verbose=0)


def kid(first, second, subsets: int = 50, size: int = 500, seed: int = 0) -> tuple[float, float]:
    """Estimate the kernel distance of two sets of features (Bińkowski et al., ICLR 2018, *KID*).

    It is the unbiased squared maximum mean discrepancy (Gretton et al. 2012, lemma 6) with the kernel
    k(x, y) = (x·y / d + 1)³, averaged over random subsets. Two samples of one distribution give 0 on
    average, so that single estimates are below 0 as often as above.

    Args:
        first, second: features (n, d) and (m, d), at least two of each.
        subsets: how many subsets of each are compared.
        size: features of one subset, or as many as the smaller set has.
        seed: of the subsets' choice.

    Returns:
        The mean over the subsets, and its standard error, which knows the choice of subsets only.
    """
    first, second = (np.asarray(values, "float64") for values in (first, second))
    size = min(size, len(first), len(second))
    if size < 2:
        raise ValueError("kid compares at least two features of each kind")
    random = np.random.default_rng(seed)
    found = []
    for _ in range(subsets):
        x = first[random.choice(len(first), size, replace=False)]
        y = second[random.choice(len(second), size, replace=False)]
        xx, yy, xy = ((a @ b.T / x.shape[1] + 1) ** 3 for a, b in ((x, x), (y, y), (x, y)))
        within = sum(k.sum() - np.trace(k) for k in (xx, yy)) / (size * (size - 1))
        found.append(within - 2 * xy.mean())
    return float(np.mean(found)), float(np.std(found, ddof=min(1, subsets - 1)) / np.sqrt(subsets))


def _scaled(images) -> np.ndarray:
    return images.astype("float32") / 255


def _fit(model, loss, images, targets, knobs, source) -> None:
    """Train for about `knobs.seen` images in all, on a step size that falls to zero."""
    epochs = max(1, round(knobs.seen / len(images)))
    steps = epochs * -(-len(images) // knobs.batch)
    # The epochs and the size of a batch are given: no knob of a notebook is needed to tell two judges apart.
    model.compile(keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(2e-3, steps)), loss)
    config = vars(knobs) | {
        "source": source,
        "images": images.shape,
        "first": zlib.crc32(images[:100].tobytes()),
    }
    with tracking.start(model.name, config) as run:
        calls = training.callbacks(model.name, config=config, run=run, budget=55, monitor=None)
        model.fit(images, targets, batch_size=knobs.batch, epochs=epochs, verbose=0, callbacks=calls)
