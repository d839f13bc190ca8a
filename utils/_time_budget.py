"""The time budget of a training. What is saved of it is decided in `callbacks`."""

import time

import keras
import numpy as np

from utils.errors import CompanionError


class TimeBudget(keras.callbacks.Callback):
    """Ends training when the next epoch would not fit, or within an epoch when the time is up."""

    def __init__(self, name, max_seconds):
        super().__init__()
        self.name = name
        self.max_seconds = max_seconds

    def on_train_begin(self, logs=None):
        self.start = time.perf_counter()
        self.epoch_seconds = []
        self.cut = False  # within an epoch
        self.stopped = False

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch_start = time.perf_counter()

    def on_train_batch_end(self, batch, logs=None):
        unfinished = self.params["steps"] is None or batch + 1 < self.params["steps"]
        if unfinished and time.perf_counter() - self.start > self.max_seconds:
            self.model.stop_training = True
            self.cut = True

    def on_test_batch_end(self, batch, logs=None):
        if self.cut:
            self.model.stop_evaluating = True

    def on_epoch_end(self, epoch, logs=None):
        now = time.perf_counter()
        epochs = self.params["epochs"]
        self.epoch_seconds.append(now - self.epoch_start)
        finished = epoch if self.cut else epoch + 1
        next_end = now - self.start + np.mean(self.epoch_seconds)
        stops_before_next = next_end > self.max_seconds and not self.model.stop_training
        if finished == epochs or not (self.cut or stops_before_next):
            return
        reached = f"time budget of {self.max_seconds:g} s reached"
        if finished == 0:
            # An untrained model would be measured as if it were trained.
            raise CompanionError(f"{self.name}: {reached} within the first epoch; raise it.")
        self.model.stop_training = True
        self.stopped = True
        # Without one whole epoch in this run, the next one would get no further either.
        if self.cut and len(self.epoch_seconds) == 1:
            advice = "raise it, an epoch takes longer"
        else:
            advice = "run the cell again to continue"
        print(f"{self.name}: {reached} after {finished} of {epochs} epochs; {advice}.")
