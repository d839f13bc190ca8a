"""What is measured: translations, generated images, and the uncertainty of both."""

from utils.metrics.images import kernel_distance
from utils.metrics.intervals import (
    bootstrap_interval,
    paired_difference_interval,
    proportion_interval,
    t_interval,
)
from utils.metrics.text import (
    bleu_by_length,
    bleu_chrf,
    bleu_difference,
    bleu_interval,
    group_references,
    nearest_translations,
)

__all__ = [
    "bleu_by_length",
    "bleu_chrf",
    "bleu_difference",
    "bleu_interval",
    "bootstrap_interval",
    "group_references",
    "kernel_distance",
    "nearest_translations",
    "paired_difference_interval",
    "proportion_interval",
    "t_interval",
]
