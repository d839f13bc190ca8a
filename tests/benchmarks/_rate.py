"""Print what share of the machine's floating-point rate a training reaches, and where time goes.

The physical limit is the rate of one large matrix product. What is counted against it are the
matrix products and convolutions of a training, forward and backward, as they are executed: so
those in the loop of an RNN count once per time step, and no layer needs a formula.

The parts are measured one after the other. On a machine that does other things too they need not
add up, and a share may exceed 100%, as may that of a convolution which the library computes with
fewer operations.
"""

import contextlib
import math
import os
import statistics
import time
from collections import Counter
from types import SimpleNamespace

import keras
import tensorflow as tf

# TensorFlow's debugger uses this hook; there is no public name that sees operations inside loops.
from tensorflow.python.framework import op_callbacks

MATRIX_SIZE = 2048
SAMPLED_BATCHES = 10


def matmul_rate() -> float:
    """Return FLOP/s of one large float32 matrix product: the best of several."""
    matrix = tf.random.normal((MATRIX_SIZE, MATRIX_SIZE))
    seconds = [seconds_of(lambda: tf.matmul(matrix, matrix).numpy()) for _ in range(20)]
    return 2 * MATRIX_SIZE**3 / min(seconds)


def seconds_of(function) -> float:
    """Return the seconds that one call takes."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


@contextlib.contextmanager
def count_flops():
    """Count the FLOPs of the matrix products and convolutions that are executed in this context.

    A product of (n, k) and (k, m) matrices takes 2nkm. A convolution that is padded takes as much
    at the border as inside. Functions of `tf.function` run eagerly meanwhile.

    Yields:
        An object whose attribute `flops` is the count so far.
    """
    counter = SimpleNamespace(flops=0)

    def add(op_type, inputs, attributes, outputs, op_name=None, graph=None):
        counter.flops += _flops(tf.compat.as_str(op_type), inputs, attributes, outputs)

    run_eagerly = tf.config.functions_run_eagerly()
    tf.config.run_functions_eagerly(True)
    op_callbacks.add_op_callback(add)
    try:
        yield counter
    finally:
        op_callbacks.remove_op_callback(add)
        tf.config.run_functions_eagerly(run_eagerly)


def _flops(op_type, inputs, attributes, outputs):
    attributes = dict(zip(attributes[::2], attributes[1::2], strict=True))
    if op_type in ("MatMul", "BatchMatMulV2", "BatchMatMulV3"):
        is_transposed = attributes.get("transpose_a") or attributes.get("adj_x")
        inner = inputs[0].shape[-2 if is_transposed else -1]
        return 2 * math.prod(outputs[0].shape) * inner
    if op_type == "Einsum":
        sizes = {}
        operands = tf.compat.as_str(attributes["equation"]).split("->")[0].split(",")
        for labels, operand in zip(operands, inputs, strict=True):
            sizes.update(zip(labels, operand.shape, strict=True))
        return 2 * math.prod(sizes.values())
    # Each value of a convolution's output meets each weight of its filter once, also on the way
    # back. A filter is (height, width, channels, filters).
    if op_type == "Conv2D":
        return 2 * math.prod(outputs[0].shape) * math.prod(inputs[1].shape[:3])
    if op_type == "Conv2DBackpropInput":
        return 2 * math.prod(inputs[2].shape) * math.prod(inputs[1].shape[:3])
    if op_type == "Conv2DBackpropFilter":
        return 2 * math.prod(inputs[2].shape) * math.prod(outputs[0].shape[:3])
    return 0


class StepTimes(keras.callbacks.Callback):
    """Measure the steps of a `fit`: the first one also traces the model."""

    def on_train_begin(self, logs=None):
        """Begin anew."""
        self.seconds = []

    def on_train_batch_begin(self, batch, logs=None):
        """Start the clock."""
        self.start = time.perf_counter()

    def on_train_batch_end(self, batch, logs=None):
        """Stop the clock."""
        self.seconds.append(time.perf_counter() - self.start)

    @property
    def tracing(self) -> float:
        """Seconds of the first step minus those of a later one."""
        return self.seconds[0] - statistics.median(self.seconds[1:])


def print_training(name: str, model, data, seconds: float, tracing: float, rate: float) -> None:
    """Print where the seconds of an epoch go. The model's weights stay as they are.

    Args:
        name: what the lines begin with.
        model: compiled, and trained for at least one step.
        data: batches (inputs, labels) or (inputs, labels, weights), as `fit` takes them.
        seconds: of one epoch without tracing.
        tracing: seconds of tracing, from `StepTimes`.
        rate: FLOP/s, from `matmul_rate`.
    """
    samples = []
    num_rows = Counter()
    row_by_shape = {}  # a batch of one row for each shape

    def read():
        stride = -(-len(data) // SAMPLED_BATCHES)
        for number, batch in enumerate(_batches(data)):
            shape = _row_shape(batch)
            num_rows[shape] += _num_rows(batch)
            if shape not in row_by_shape:
                row_by_shape[shape] = tf.nest.map_structure(lambda part: part[:1], batch)
            if number % stride == 0:
                samples.append(batch)

    input_seconds = seconds_of(read)
    gradients_of = _gradient_function(model, samples)
    row_flops = {}
    for shape, row in row_by_shape.items():
        with count_flops() as counter:
            gradients_of(*row)
        row_flops[shape] = counter.flops
    flops = sum(num_rows[shape] * row_flops[shape] for shape in num_rows)
    sampled_flops = sum(_num_rows(batch) * row_flops[_row_shape(batch)] for batch in samples)

    gradients = gradients_of(*samples[0])  # traces
    sampled_seconds = seconds_of(lambda: [gradients_of(*batch) for batch in samples])
    update = tf.function(lambda: model.optimizer.apply(gradients, model.trainable_variables))
    weights = model.get_weights()
    update()  # traces
    update_seconds = statistics.median([seconds_of(update) for _ in range(SAMPLED_BATCHES)])
    model.set_weights(weights)
    print_shares(
        name,
        seconds,
        flops / rate,
        sampled_seconds * flops / sampled_flops,
        update_seconds * len(data),
        input_seconds,
        tracing,
    )


def print_shares(name, seconds, least, gradient, optimizer, input_alone, tracing) -> None:
    """Print a training's share of the rate and what takes its seconds.

    Args:
        name: what the lines begin with.
        seconds: of the training; `least`, `gradient` and `optimizer` are parts of them.
        least: seconds that the counted FLOPs take at the rate of a large matrix product.
        gradient: seconds of the forward and the backward pass.
        optimizer: seconds of the optimizer.
        input_alone: seconds to read the batches without training; partly at the same time.
        tracing: seconds before the first step, not among `seconds`.
    """
    rest = seconds - gradient - optimizer
    load = os.getloadavg()[0]
    print(
        f"{name}: {seconds:.1f} s, {least / seconds:.0%} of the rate of a large matrix product; "
        f"load {load:.1f} on {os.cpu_count()} cores\n"
        f"    at that rate {least:.1f} s, the rest of forward and backward "
        f"{gradient - least:.1f} s, optimizer {optimizer:.1f} s, metrics, Python and waiting for "
        f"input {rest:.1f} s\n"
        f"    input alone {input_alone:.1f} s; tracing {tracing:.1f} s, once"
    )


def _batches(data):
    if isinstance(data, tf.data.Dataset):
        return data
    return (data[number] for number in range(len(data)))  # a PyDataset


def _num_rows(batch):
    return tf.nest.flatten(batch)[0].shape[0]


def _row_shape(batch):
    return tuple(tuple(part.shape[1:]) for part in tf.nest.flatten(batch))


def _gradient_function(model, samples):
    """Return the gradients of a batch, traced once for all sizes, as by `fit`."""

    def spec(*parts):
        sizes = [set(sizes) for sizes in zip(*(part.shape[1:] for part in parts), strict=True)]
        shape = [size.pop() if len(size) == 1 else None for size in sizes]
        return tf.TensorSpec([None, *shape], parts[0].dtype)

    def gradients_of(inputs, labels, weights=None):
        with tf.GradientTape() as tape:
            loss = model.compute_loss(inputs, labels, model(inputs, training=True), weights)
        return tape.gradient(loss, model.trainable_variables)

    return tf.function(gradients_of, input_signature=tf.nest.map_structure(spec, *samples))
