"""Print steps per second and seconds to a given style of the transfer, against the book's settings.

The book sends the photograph, the painting and the picture through the network at every step, sums the
Gram matrices, takes its content from block5_conv2 and walks with SGD; notebook 08 sends the picture alone,
measures both losses against what they should become, and walks with Adam. Same network, pictures, start
and judge (the notebook's style loss), one run, about ten minutes on two cores; the machine should have
nothing else to do.
"""

import time
from types import SimpleNamespace

from utils import datasets, notebook
from utils.models import pretrained
from utils.models.pretrained import to_batch, to_image

notebook.start("benchmark")

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from tests.test_notebook_code import define

SIZE, STEPS, BOOK_STEPS, TRIAL = 256, 100, 200, 30
# The book's weights and its rate of 100 are for VGG19, whose activations are larger than those of the offline
# network: with them, total variation wins there, and the picture only blurs. So both losses that come from
# the network count this much more, and the book's way gets the best of several rates.
STRONGER = 1.0, 30.0
RATES = (100.0, 1_000.0, 3_000.0)
STYLE = tuple(f"block{number}_conv1" for number in range(1, 6))
CFG = SimpleNamespace(content=1.0, style=40.0, variation=1.0, rate=12.0, steps=STEPS)


def notebook_way(network, photograph, painting):
    """Return notebook 08's start, and a function that takes one of its steps."""
    cells = define(
        "08_style_transfer",
        *("distance", "downhill", "gram", "style_loss", "variation", "transfer_loss"),
        **{"tf": tf, "ops": ops, "as_batch": to_batch, "network": network},
        **{"STYLE": STYLE, "cfg": CFG},
    )
    slope = cells["downhill"](cells["transfer_loss"](photograph, painting))
    canvas, optimizer = keras.Variable(to_batch(photograph)), keras.optimizers.Adam(CFG.rate)

    def step():
        optimizer.apply([slope(canvas.value)[1]], [canvas])
        canvas.assign(ops.clip(canvas, 0, 255))

    judge = cells["style_loss"](network, painting)
    features = network.feature_extractor(STYLE)
    return canvas, step, tf.function(lambda picture: judge(features(picture)))


def book_way(network, photograph, painting, rate, stronger):
    """Return the book's start, and a function that takes one of its steps, with its weights and its SGD."""
    content_layer, size = "block5_conv2", photograph.shape[0] * photograph.shape[1]
    features = network.feature_extractor({content_layer, *STYLE})
    fixed = ops.concatenate([to_batch(photograph), to_batch(painting)])
    canvas = keras.Variable(to_batch(photograph))
    falling = keras.optimizers.schedules.ExponentialDecay(rate, decay_steps=100, decay_rate=0.96)
    optimizer = keras.optimizers.SGD(falling)

    def gram(found):
        flat = ops.reshape(ops.transpose(found, (2, 0, 1)), (found.shape[-1], -1))
        return flat @ ops.transpose(flat)

    @tf.function
    def slope(picture):
        with tf.GradientTape() as tape:
            tape.watch(picture)
            found = features(ops.concatenate([fixed, picture]))
            loss = (
                stronger
                * 2.5e-8
                * ops.sum((found[content_layer][2] - found[content_layer][0]) ** 2)
            )
            for layer in STYLE:
                apart = ops.sum((gram(found[layer][1]) - gram(found[layer][2])) ** 2)
                loss += stronger * 1e-6 / len(STYLE) * apart / (4.0 * 3**2 * size**2)
            down = (picture[:, :-1, :-1] - picture[:, 1:, :-1]) ** 2
            right = (picture[:, :-1, :-1] - picture[:, :-1, 1:]) ** 2
            loss += 1e-6 * ops.sum((down + right) ** 1.25)
        return tape.gradient(loss, picture)

    return canvas, lambda: optimizer.apply([slope(canvas.value)], [canvas])


def walk(name, canvas, step, judge, steps, enough=0.0):
    """Take steps until the judge finds the style; return its losses, and the seconds without judging."""
    start = ops.convert_to_numpy(canvas)
    step()  # compiles
    canvas.assign(start)
    losses, seconds = [float(judge(canvas.value))], [0.0]
    while len(losses) <= steps and losses[-1] > enough:
        began = time.perf_counter()
        step()
        ops.convert_to_numpy(canvas)  # waits for it
        seconds.append(seconds[-1] + time.perf_counter() - began)
        losses.append(float(judge(ops.clip(canvas, 0, 255))))
    taken = len(losses) - 1
    print(
        f"{name}: {taken / seconds[-1]:.2f} steps/s; style loss {losses[0]:.3f} at first, {losses[-1]:.3f} "
        f"after {taken} steps, {seconds[-1]:.0f} s"
    )
    return np.array(losses), np.array(seconds)


def main():
    """Measure both ways and print the ratios."""
    pictures, network = datasets.load_images(None, SIZE), pretrained.style_backbone()
    notebook.banner(network, pictures)
    photograph, painting = (
        next(iter(shelf.values())) for shelf in (pictures.photographs, pictures.paintings)
    )
    height, width = photograph.shape[:2]  # the book gives the painting the photograph's shape
    painting = to_image(ops.image.resize(to_batch(painting), (height, width)))
    canvas, step, judge = notebook_way(network, photograph, painting)
    losses, seconds = walk("the notebook's way", canvas, step, judge, STEPS)
    stronger = STRONGER["VGG16" in network.label]
    trials = {}
    for rate in RATES:
        way = book_way(network, photograph, painting, rate, stronger)
        trials[rate] = walk(f"the book's way, rate {rate:g}", *way, judge, TRIAL)[0][-1]
    best = min(trials, key=trials.get)
    book_losses, book_seconds = walk(
        f"the book's way, rate {best:g}",
        *book_way(network, photograph, painting, best, stronger),
        judge,
        BOOK_STEPS,
        losses[-1],
    )
    pace = (book_seconds[-1] / (len(book_seconds) - 1)) / (seconds[-1] / STEPS)
    print(f"steps per second: {pace:.1f} times the book's")
    reached = int(book_losses.argmin())
    first = max(1, int(np.flatnonzero(losses <= book_losses[reached])[0]))
    print(
        f"a style loss of {book_losses[reached]:.3f}: {seconds[first]:.1f} s, the book's way "
        f"{book_seconds[reached]:.1f} s, {book_seconds[reached] / seconds[first]:.0f} times as long"
    )


if __name__ == "__main__":
    main()
