"""How far apart are two images? By RMS pixel difference, the worst of their tiles, or a copy detector."""

from pytest_diffprivacy.distances.embeddings import Embedding, pixel_embedding, torchscript_embedding
from pytest_diffprivacy.distances.hashes import perceptual_hashes
from pytest_diffprivacy.distances.near_pairs import NearPairs, near_pairs
from pytest_diffprivacy.distances.neighbours import ArrayImages, Neighbours, Searched, nearest_images, query_rows
from pytest_diffprivacy.distances.pixels import pairwise_l2, rms
from pytest_diffprivacy.distances.tiled import pairwise_tiled_l2, tile_side, tiled_l2
from pytest_diffprivacy.distances.within import count_within

__all__ = [
    "ArrayImages",
    "Embedding",
    "NearPairs",
    "Neighbours",
    "Searched",
    "count_within",
    "near_pairs",
    "nearest_images",
    "pairwise_l2",
    "pairwise_tiled_l2",
    "perceptual_hashes",
    "pixel_embedding",
    "query_rows",
    "rms",
    "tile_side",
    "tiled_l2",
    "torchscript_embedding",
]
