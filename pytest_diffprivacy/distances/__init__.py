"""How far apart are two images? RMS pixel differences on [0, 1], over whole images or the worst of their tiles."""

from pytest_diffprivacy.distances.neighbours import Neighbours, nearest_images
from pytest_diffprivacy.distances.pixels import pairwise_l2, rms
from pytest_diffprivacy.distances.tiled import pairwise_tiled_l2, tile_side, tiled_l2

__all__ = [
    "Neighbours",
    "nearest_images",
    "pairwise_l2",
    "pairwise_tiled_l2",
    "rms",
    "tile_side",
    "tiled_l2",
]
