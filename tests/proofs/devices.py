"""Prove that one setting, COMPANION_DEVICES, trains on several devices with the same result.

Two parts of the CPU stand in for two GPUs. The reviews encoder and the translator train on one and
on both, from the same start and on the same batches, and must agree. Then notebooks 03 and 05 run
in the quick profile on two. About nine minutes: `python tests/proofs/devices.py`.
"""

import json
import os
import subprocess
import sys
import time

from tests.proofs import common
from utils import notebook, settings

# How far the numbers of a whole notebook may be apart, whose batches have uneven halves: shares of
# test samples, such as an accuracy, and scores from 0 to 100, such as BLEU.
SHARE_TOLERANCE = 0.1
SCORE_TOLERANCE = 3.0

LENGTH, VOCAB_SIZE, EMBED_DIM, BATCH_SIZE, EPOCHS = 12, 40, 16, 16, 2


def train(kind: str, even: bool, kill: int | None = None) -> dict:
    """Train a small model as the notebooks do.

    Args:
        kind: "encoder", of notebook 03, or "translator", of notebook 05.
        even: whether both devices get equally many tokens and rows of every batch; if not, lengths
            vary, the last batch is odd, and the batches are shuffled.
        kill: the epoch after which the process dies, or None.

    Returns:
        The losses by epoch, and the sum of the absolute weights.
    """
    import keras
    import numpy as np
    import tensorflow as tf

    from utils.batching import bucket_by_length
    from utils.callbacks import resume_callbacks
    from utils.models import seq2seq, transformer

    rng = np.random.default_rng(0)
    lengths = np.full(128, LENGTH) if even else rng.integers(3, LENGTH + 1, 121)
    ids = rng.integers(4, VOCAB_SIZE, lengths.sum())
    tokens = tf.RaggedTensor.from_row_lengths(ids, lengths)
    keras.utils.set_random_seed(0)
    source = keras.Input((None,), dtype="int64")
    encoded = transformer.TransformerEncoder(EMBED_DIM, EMBED_DIM, 2)(
        transformer.PositionalEmbedding(LENGTH, VOCAB_SIZE, EMBED_DIM)(source)
    )
    seed = None if even else 3
    if kind == "encoder":
        pooled = keras.layers.GlobalAveragePooling1D()(encoded)
        model = keras.Model(source, keras.layers.Dense(1, activation="sigmoid")(pooled))
        model.compile(keras.optimizers.Adam(1e-2), "binary_crossentropy", metrics=["accuracy"])
        labels = (tokens == 7).to_tensor().numpy().any(axis=1).astype("uint8")
        data = bucket_by_length(tokens, labels, BATCH_SIZE, seed)
    else:
        target = keras.Input((None,), dtype="int64")
        vectors = transformer.PositionalEmbedding(LENGTH, VOCAB_SIZE, EMBED_DIM)(target)
        decoded = transformer.TransformerDecoder(EMBED_DIM, EMBED_DIM, 2)(vectors, encoded)
        model = keras.Model([source, target], keras.layers.Dense(VOCAB_SIZE)(decoded))
        data = seq2seq.teacher_forcing_batches(tokens, tokens[:, ::-1], BATCH_SIZE, seed)
        seq2seq.compile_seq2seq(model, 1e-2, EPOCHS * len(data))
    calls = resume_callbacks(f"{kind} {even}", monitor=None)
    if kill is not None:
        dies = keras.callbacks.LambdaCallback(
            on_epoch_begin=lambda epoch, logs: epoch == kill and os._exit(9)
        )
        calls.append(dies)
    history = model.fit(data, epochs=EPOCHS, shuffle=False, verbose=0, callbacks=calls)
    weights = float(sum(np.abs(value).sum() for value in model.get_weights()))
    return {
        "losses": history.history["loss"],
        "weights": weights,
        "devices": settings.device_summary(),
    }


def elsewhere(devices: int, jobs: list[list], runs) -> list[dict]:
    """Run trainings in a new process with that many devices; a kill ends it early."""
    command = [sys.executable, "-m", "tests.proofs.devices", "child", json.dumps(jobs)]
    env = common.environment(runs, COMPANION_DEVICES=str(devices), PYTHONPATH=str(common.ROOT))
    done = subprocess.run(command, cwd=common.ROOT, env=env, capture_output=True, text=True)
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    if done.returncode not in (0, 9):
        raise RuntimeError(done.stderr[-2000:])
    return [json.loads(line) for line in lines]


def apart(one: dict, other: dict) -> float:
    """Return the largest relative distance between losses and weights of two trainings."""
    pairs = [*zip(one["losses"], other["losses"], strict=True), (one["weights"], other["weights"])]
    return max(abs(a - b) / abs(a) for a, b in pairs)


def far_apart(one: dict, other: dict) -> list[str]:
    """Name the numbers of two summaries that differ by more than the tolerances; times may differ.

    A summary without a number that the other one has differs in it.
    """
    names = []
    for name in common.differences(one, other):
        values = (one.get(name), other.get(name))
        if not all(isinstance(value, int | float) for value in values):
            names.append(name)
            continue
        tolerance = SCORE_TOLERANCE if name.endswith(("BLEU", "chrF")) else SHARE_TOLERANCE
        if abs(values[0] - values[1]) > tolerance:
            names.append(name)
    return names


def main() -> int:
    """Compare one device with two, then run the two notebooks on two."""
    if sys.argv[1:2] == ["child"]:
        notebook.start("99_devices")
        for job in json.loads(sys.argv[2]):
            print(json.dumps(train(*job)), flush=True)
        return 0
    start = time.perf_counter()
    rows = []
    kinds = ("encoder", "translator")
    even, odd = ([[kind, is_even] for kind in kinds] for is_even in (True, False))
    one = elsewhere(1, even + odd, common.fresh("devices", "one"))
    two = elsewhere(2, even + odd, common.fresh("devices", "two"))
    for kind, first, second in zip(kinds, one, two, strict=False):
        distance = apart(first, second)
        lost = (
            "nothing"
            if distance < 1e-4 and "mirrored on 2" in second["devices"]
            else f"{distance:.2g}"
        )
        rows.append(
            {"what": f"{kind}, equal shares", "one against two": f"{distance:.1e}", "lost": lost}
        )
    for number, kind in enumerate(kinds):
        runs = common.fresh("devices", "cut")
        elsewhere(2, [[kind, False, 1]], runs)
        (resumed,) = elsewhere(2, [[kind, False]], runs)
        distance = apart(two[2 + number], resumed)
        rows.append(
            {
                "what": f"{kind}, two devices, shuffled, killed and resumed",
                "one against two": f"{distance:.1e}",
                "lost": "nothing" if distance == 0 else "an equal result",
            }
        )
    for number in ("03", "05"):
        summaries = []
        for devices in (1, 2):
            runs = common.fresh("devices", number, str(devices))
            env = common.environment(runs, COMPANION_DEVICES=str(devices))
            common.run_notebook(number, env)
            summaries.append(common.summary(runs, number))
        different = far_apart(*(summary["numbers"] for summary in summaries))
        rows.append(
            {
                "what": f"notebook {number}, shares within {SHARE_TOLERANCE}, "
                f"scores within {SCORE_TOLERANCE}",
                "one against two": "\n".join(summary["headline"] for summary in summaries),
                "lost": f"numbers {different}" if different else "nothing",
            }
        )
    return common.report("One device against two", rows, start)


if __name__ == "__main__":
    sys.exit(main())
