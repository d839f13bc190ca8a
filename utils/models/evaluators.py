"""Small networks that measure what generators generate: a digit classifier, an attribute regressor.

The generators themselves belong in the notebooks.
"""

import weakref
import zlib

import keras
import numpy as np

from utils import settings, tracking
from utils.callbacks import resume_callbacks
from utils.errors import CompanionError

# What the face reader tells of a face, in the order of its outputs; `drawings.RANGES` says what they mean.
FACE_ATTRIBUTES = (
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


def train_digit_classifier(digits) -> keras.Model:
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
    print(
        f"digit classifier: {right.mean():.1%} of {len(right):,} held-out digits right ({digits.label})"
    )
    return model


def train_attribute_regressor(faces) -> keras.Model:
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
        raise CompanionError(
            'the attributes of photographs are unknown: give datasets.faces(source="sample").'
        )
    knobs = settings.choose(
        quick={"seen": 12_000, "batch": 32},
        live={"seen": 60_000, "batch": 64},
        full={"seen": 300_000, "batch": 64},
    )
    truth = np.stack([faces.train.attributes[name] for name in FACE_ATTRIBUTES], axis=1)
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
    standardised = keras.Model(
        inputs, keras.layers.Dense(len(FACE_ATTRIBUTES))(x), name="face_reader"
    )
    _fit(
        standardised,
        "mse",
        _scaled(faces.train.images),
        (truth - middle) / spread,
        knobs,
        faces.source,
    )
    values = standardised.output * spread.astype("float32") + middle.astype("float32")
    model = keras.Model(inputs, values, name="face_reader")
    told = model.predict(_scaled(faces.test.images), batch_size=250, verbose=0)
    smile, glasses = (FACE_ATTRIBUTES.index(name) for name in ("smile", "glasses"))
    correlation = np.corrcoef(told[:, smile], faces.test.attributes["smile"])[0, 1]
    right = ((told[:, glasses] > 0.5) == (faces.test.attributes["glasses"] > 0.5)).mean()
    print(
        f"face reader: its smiles correlate {correlation:.3f} with the true ones of {len(told):,} held-out "
        f"faces, {right:.1%} right about glasses ({faces.label})"
    )
    return model


def extract_features(model: keras.Model, images) -> np.ndarray:
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
        calls = resume_callbacks(
            model.name, depends_on=config, run=run, max_seconds=55, monitor=None
        )
        model.fit(
            images, targets, batch_size=knobs.batch, epochs=epochs, verbose=0, callbacks=calls
        )
