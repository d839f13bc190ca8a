"""A loader for each data set; each returns the same type for real data and for the built-in sample.

Downloading and checking files belongs in `downloads`, generating samples in `synthetic`.
"""

from utils.datasets._dataset import Dataset
from utils.datasets.faces import FaceImages, load_faces
from utils.datasets.images import ImageCollection, Images, load_digits, load_image, load_images
from utils.datasets.text import Pairs, Texts, load_reviews, load_sentence_pairs

__all__ = [
    "Dataset",
    "FaceImages",
    "ImageCollection",
    "Images",
    "Pairs",
    "Texts",
    "load_digits",
    "load_faces",
    "load_image",
    "load_images",
    "load_reviews",
    "load_sentence_pairs",
]
