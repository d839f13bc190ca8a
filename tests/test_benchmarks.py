"""The benchmarks' count of floating-point operations, against counts by hand."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.benchmarks import _rate
from utils.batching import bucket_by_length

pytestmark = pytest.mark.tensorflow


def flops_of_step(layer, inputs, *arguments):
    """Return the FLOPs of a forward and a backward pass, the gradient of `inputs` included."""

    @tf.function  # what is counted runs eagerly all the same
    def gradients(inputs):
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            outputs = layer(inputs, *arguments)
        return tape.gradient(outputs, [inputs, *layer.trainable_variables])

    layer(inputs, *arguments)  # builds
    gradients(inputs)  # traced before: it must be counted nevertheless
    with _rate.count_flops() as counter:
        gradients(inputs)
    after = counter.flops
    gradients(inputs)
    assert counter.flops == after, "outside of the context nothing counts"
    return counter.flops


def test_dense_takes_two_per_weight_and_row_three_times():
    assert flops_of_step(keras.layers.Dense(5), tf.ones((2, 7))) == 3 * 2 * (2 * 7 * 5)
    assert flops_of_step(keras.layers.Dense(5), tf.ones((2, 6, 7))) == 3 * 2 * (2 * 6 * 7 * 5)


def test_attention_takes_four_projections_and_two_products_of_positions():
    attention = keras.layers.MultiHeadAttention(num_heads=2, key_dim=3)
    x = tf.random.normal((1, 6, 4))
    projections = 4 * (6 * 4 * 2 * 3)
    scores_and_sums = 2 * (2 * 6 * 6 * 3)
    assert flops_of_step(attention, x, x) == 3 * 2 * (projections + scores_and_sums)


@pytest.mark.parametrize("length", [3, 8])
def test_a_loop_counts_once_per_time_step(length):
    # Keras takes the first step once more, to learn the shape of the output; the first state is
    # a constant and has no gradient.
    kernel, recurrent_kernel = 4 * 3 * 5, 5 * 3 * 5
    forward = (length + 1) * (kernel + recurrent_kernel)
    weight_gradients = length * (kernel + recurrent_kernel)
    input_and_state_gradients = length * kernel + (length - 1) * recurrent_kernel
    expected = 2 * (forward + weight_gradients + input_and_state_gradients)
    assert flops_of_step(keras.layers.GRU(5), tf.ones((1, length, 4))) == expected


def test_a_convolution_takes_its_filter_per_output_value_three_times():
    strided = keras.layers.Conv2D(2, 3, strides=2)  # 9 x 7 to 4 x 3
    expected = 3 * 2 * (4 * 3 * 2) * (3 * 3 * 5)
    assert flops_of_step(strided, tf.ones((1, 9, 7, 5))) == expected


def test_the_forward_count_is_that_of_tensorflows_profiler():
    model = keras.Sequential([keras.Input((9, 7, 5)), keras.layers.Conv2D(4, 3, padding="same")])
    x = tf.ones((2, 9, 7, 5))
    graph = tf.function(lambda x: model.layers[0](x)).get_concrete_function(x).graph
    v1 = tf.compat.v1.profiler
    options = v1.ProfileOptionBuilder(v1.ProfileOptionBuilder.float_operation())
    options = options.with_empty_output().build()
    profiled = v1.profile(graph, options=options).total_float_ops
    with _rate.count_flops() as counter:
        model(x)
    bias_additions = 2 * 9 * 7 * 4
    assert counter.flops == profiled - bias_additions


def test_an_epochs_share_of_the_rate_follows_from_all_its_batches(capsys):
    inputs = keras.Input((None,), dtype="int64")
    vectors = keras.layers.Embedding(10, 4, mask_zero=True)(inputs)
    outputs = keras.layers.Dense(1)(
        keras.layers.GlobalAveragePooling1D()(keras.layers.Dense(3)(vectors))
    )
    model = keras.Model(inputs, outputs)
    model.compile("adam", "mse")
    lengths = np.arange(1, 50)
    batches = bucket_by_length([[1] * n for n in lengths], lengths / 50, 2, 0, bucket_width=10)
    step_times = _rate.StepTimes()
    model.fit(batches, shuffle=False, verbose=0, callbacks=[step_times])
    assert len(step_times.seconds) == len(batches) == 25
    assert step_times.tracing > 0
    # Four buckets of ten rows, one of nine. The first Dense needs all three products, since the
    # embedding learns; so does the second.
    positions = 10 * (10 + 20 + 30 + 40) + 9 * 49
    flops = 3 * 2 * (positions * 4 * 3 + 49 * 3)
    _rate.print_training("Tiny", model, batches, 10.0, 0.0, rate=flops / 4)
    printed = capsys.readouterr().out
    assert "Tiny: 10.0 s, 40% of the rate of a large matrix product" in printed
    assert "at that rate 4.0 s" in printed
