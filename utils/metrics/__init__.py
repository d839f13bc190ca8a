"""What is measured: translations, generated images, and the intervals of both."""

from utils.metrics.images import kernel_distance
from utils.metrics.text import (
    NearestSource,
    baseline_scores,
    bleu_by_length,
    bleu_chrf,
    group_references,
)

__all__ = [
    "NearestSource",
    "baseline_scores",
    "bleu_by_length",
    "bleu_chrf",
    "group_references",
    "kernel_distance",
]
