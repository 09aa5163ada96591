"""Distances of images: RMS of pixels, the worst of their tiles, or a copy detector's; and exact search by them."""

from pytest_diffprivacy.distances.embeddings import Embedding, pixel_embedding, torchscript_embedding
from pytest_diffprivacy.distances.near_pairs import near_pairs, perceptual_hashes
from pytest_diffprivacy.distances.neighbours import ArrayImages, Neighbours, count_within, nearest_images
from pytest_diffprivacy.distances.pixels import pairwise_l2, pairwise_tiled_l2, rms, tiled_l2

__all__ = [
    "ArrayImages",
    "Embedding",
    "Neighbours",
    "count_within",
    "near_pairs",
    "nearest_images",
    "pairwise_l2",
    "pairwise_tiled_l2",
    "perceptual_hashes",
    "pixel_embedding",
    "rms",
    "tiled_l2",
    "torchscript_embedding",
]
