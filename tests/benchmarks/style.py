"""Compare style transfer in notebook 08 with the book's settings, in steps and loss per second.

The book sends photograph, painting and generated image through the network at every step, sums
the Gram matrices, takes the content from block5_conv2 and uses SGD. Notebook 08 sends only the
generated image, measures its distance to each target relative to that target, and uses Adam. The
network, the images, the start and the measure (the notebook's style loss) are the same. One run
takes about ten minutes on two cores; the machine should have nothing else to do. Below each line:
where the seconds of its steps go.
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

from tests.benchmarks import _rate
from tests.test_notebook_code import define

SIZE = 256  # longer side of the images
STEPS = 100  # of the notebook's settings
BOOK_STEPS = 200
TRIAL_STEPS = 30  # to choose the book's learning rate
# The book's weights and its learning rate of 100 are for VGG19, whose activations are larger than
# those of the offline VGG16: there, total variation dominates, and the image only blurs. So with
# VGG16 the losses that come from the network get this factor, and the book's learning rate is the
# best of several.
VGG16_FACTOR = 30.0
LEARNING_RATES = (100.0, 1_000.0, 3_000.0)
STYLE_LAYERS = tuple(f"block{number}_conv1" for number in range(1, 6))
CFG = SimpleNamespace(content=1.0, style=40.0, variation=1.0, rate=12.0, steps=STEPS)


def build_notebook_step(network, photograph, painting):
    """Build one step of notebook 08.

    Returns:
        The generated image as a variable (1, height, width, 3), a function from an image to the
        gradient, one that applies a gradient to the generated image, and a function from images to
        the notebook's style loss.
    """
    cells = define(
        "08_style_transfer",
        *("distance", "downhill", "gram", "style_loss", "variation", "transfer_loss"),
        network=network,
        STYLE=STYLE_LAYERS,
        cfg=CFG,
    )
    loss_and_gradient = cells["downhill"](cells["transfer_loss"](photograph, painting))
    image = keras.Variable(to_batch(photograph))
    optimizer = keras.optimizers.Adam(CFG.rate)

    def gradient_of(images):
        _, gradient, _ = loss_and_gradient(images)
        return gradient

    def apply(gradient):
        optimizer.apply([gradient], [image])
        image.assign(ops.clip(image, 0, 255))

    style_loss = cells["style_loss"](network, painting)
    features = network.feature_extractor(STYLE_LAYERS)
    return image, gradient_of, apply, tf.function(lambda images: style_loss(features(images)))


def build_book_step(network, photograph, painting, learning_rate, factor):
    """Build one step with the book's losses, weights and SGD.

    Returns:
        The generated image as a variable (1, height, width, 3), a function from an image to the
        gradient, and one that applies a gradient to the generated image.
    """
    content_layer = "block5_conv2"
    num_pixels = photograph.shape[0] * photograph.shape[1]
    features = network.feature_extractor({content_layer, *STYLE_LAYERS})
    references = ops.concatenate([to_batch(photograph), to_batch(painting)])
    image = keras.Variable(to_batch(photograph))
    schedule = keras.optimizers.schedules.ExponentialDecay(
        learning_rate, decay_steps=100, decay_rate=0.96
    )
    optimizer = keras.optimizers.SGD(schedule)

    def gram(activations):  # (height, width, filters)
        filters = activations.shape[-1]
        flat = ops.reshape(ops.transpose(activations, (2, 0, 1)), (filters, -1))
        return flat @ ops.transpose(flat)  # (filters, filters)

    @tf.function
    def gradient_of(images):  # (1, height, width, 3)
        with tf.GradientTape() as tape:
            tape.watch(images)
            # In each layer: photograph, painting, generated image.
            activations = features(ops.concatenate([references, images]))
            content, _, generated = ops.unstack(activations[content_layer], 3)
            loss = factor * 2.5e-8 * ops.sum((generated - content) ** 2)
            for layer in STYLE_LAYERS:
                _, style, generated = ops.unstack(activations[layer], 3)
                difference = ops.sum((gram(style) - gram(generated)) ** 2)
                scale = 4.0 * 3**2 * num_pixels**2
                loss += factor * 1e-6 / len(STYLE_LAYERS) * difference / scale
            down = (images[:, :-1, :-1] - images[:, 1:, :-1]) ** 2
            right = (images[:, :-1, :-1] - images[:, :-1, 1:]) ** 2
            loss += 1e-6 * ops.sum((down + right) ** 1.25)
        return tape.gradient(loss, images)

    def apply(gradient):
        optimizer.apply([gradient], [image])

    return image, gradient_of, apply


def measure(label, image, gradient_of, apply, style_loss, max_steps, target_loss=0.0):
    """Take steps until the style loss reaches a target; print a line, and where the time goes.

    Returns:
        The style loss at the start and after each step, and the seconds until then. The seconds
        exclude the time that computing the style loss takes.
    """
    start = ops.convert_to_numpy(image)
    first_seconds = _rate.seconds_of(lambda: apply(gradient_of(image.value)))  # traces
    image.assign(start)
    losses = [float(style_loss(image.value))]
    seconds = [0.0]
    gradient_seconds = 0.0
    while len(losses) <= max_steps and losses[-1] > target_loss:
        began = time.perf_counter()
        gradient = gradient_of(image.value)
        ops.convert_to_numpy(gradient)  # waits for it
        gradient_seconds += time.perf_counter() - began
        apply(gradient)
        ops.convert_to_numpy(image)
        seconds.append(seconds[-1] + time.perf_counter() - began)
        losses.append(float(style_loss(ops.clip(image, 0, 255))))
    num_steps = len(losses) - 1
    print(
        f"{label}: {num_steps / seconds[-1]:.2f} steps/s; style loss {losses[0]:.3f} at first, "
        f"{losses[-1]:.3f} after {num_steps} steps, {seconds[-1]:.0f} s"
    )
    with _rate.count_flops() as counter:
        gradient_of(image.value)
    _rate.print_shares(
        label,
        seconds[-1],
        num_steps * counter.flops / _rate.matmul_rate(),
        gradient_seconds,
        seconds[-1] - gradient_seconds,
        0.0,
        first_seconds - seconds[-1] / num_steps,
    )
    return np.array(losses), np.array(seconds)


def main():
    """Measure both settings and print the ratios."""
    images = datasets.load_images(None, SIZE)
    network = pretrained.style_backbone()
    notebook.banner(network, images)
    photograph = next(iter(images.photographs.values()))
    painting = next(iter(images.paintings.values()))
    # The book resizes the painting to the photograph's size.
    height, width = photograph.shape[:2]
    painting = to_image(ops.image.resize(to_batch(painting), (height, width)))
    *step, style_loss = build_notebook_step(network, photograph, painting)
    losses, seconds = measure("notebook", *step, style_loss, STEPS)

    factor = VGG16_FACTOR if network.name == "VGG16" else 1.0
    trial_losses = {}
    for learning_rate in LEARNING_RATES:
        step = build_book_step(network, photograph, painting, learning_rate, factor)
        label = f"book, learning rate {learning_rate:g}"
        trial_losses[learning_rate] = measure(label, *step, style_loss, TRIAL_STEPS)[0][-1]
    best = min(trial_losses, key=trial_losses.get)
    step = build_book_step(network, photograph, painting, best, factor)
    book_losses, book_seconds = measure(
        f"book, learning rate {best:g}", *step, style_loss, BOOK_STEPS, losses[-1]
    )

    seconds_per_step = seconds[-1] / STEPS
    book_seconds_per_step = book_seconds[-1] / (len(book_seconds) - 1)
    print(f"steps per second: {book_seconds_per_step / seconds_per_step:.1f} times the book's")
    book_step = int(book_losses.argmin())
    first_step = max(1, int(np.flatnonzero(losses <= book_losses[book_step])[0]))
    book_time = book_seconds[book_step]
    notebook_time = seconds[first_step]
    print(
        f"a style loss of {book_losses[book_step]:.3f}: notebook {notebook_time:.1f} s, book "
        f"{book_time:.1f} s, {book_time / notebook_time:.0f} times as long"
    )


if __name__ == "__main__":
    main()
