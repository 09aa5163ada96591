"""What does exactness cost? The exact nearest training images against the fastest searches there are.

Speed, one thread each, in one process, a chunk of queries after the other, so that all sides see the same machine, in
seconds of processor time, so that other work on it does not count: the 50 nearest of 50,000 images of 3x32x32 for
10,000 generations, by this project, by faiss IndexFlatL2, by scikit-learn's brute force, and the bare float32 matrix
product of the same size (NumPy's or torch's, whichever is faster). Tiled l2 of 500 generations of 3x64x64 against the
plain l2 of all pairs, by this project and by torch.cdist.

Memory: processes of their own search sets that are drawn block by block and never held; what the peak lies above the
memory of the same process before the search, for 10,000 generations and 10,000 images, and for double of both.

Targets: at least 0.9 times the throughput of faiss and of scikit-learn, whichever is faster, and of the bare product;
peak memory above the inputs under 512 MB, and at most 5 % more when both sides double; tiled at most 2 times plain l2,
this project's and torch.cdist's.

    python -m tests.benchmarks.neighbours --json tests/benchmarks/results/neighbours.json
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from statistics import median
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from pytest_diffprivacy.distances import ArrayImages, nearest_images, neighbours, pairwise_l2, pairwise_tiled_l2
from pytest_diffprivacy.distances.bounds import Features
from pytest_diffprivacy.slices import in_batches
from tests.benchmarks.resident import peak_resident
from tests.benchmarks.table import Figure, arguments, conclude

QUERIES, SEARCHED, K = 10_000, 50_000, 50
SHAPE = (3, 32, 32)
CHUNK = 5_000
SPEED, MEMORY_LIMIT, GROWTH, TILED = 0.9, 512.0, 1.05, 2.0
MEMORY_SEARCHED = 10_000


def seconds(work: Callable[[], object]) -> float:
    """Processor time of one call, which runs on one thread."""
    started = time.process_time()
    work()
    return time.process_time() - started


def bare_product(library: str, a: NDArray[np.float32], b: NDArray[np.float32]) -> None:
    """The matrix product alone, in blocks, since its result would not fit."""
    for start in range(0, len(b), 4096):
        part = b[start : start + 4096].T
        _ = a @ part if library == "numpy" else torch.from_numpy(a) @ torch.from_numpy(part)


def speed() -> list[dict[str, Any]]:
    """Seconds of every side over all queries."""
    import faiss
    from sklearn.neighbors import NearestNeighbors

    torch.set_num_threads(1)
    faiss.omp_set_num_threads(1)
    rng = np.random.default_rng(0)
    searched = rng.random((SEARCHED, *SHAPE), dtype=np.float32)
    queries = rng.random((QUERIES, *SHAPE), dtype=np.float32)
    flat, flat_queries = searched.reshape(SEARCHED, -1), queries.reshape(QUERIES, -1)
    index = faiss.IndexFlatL2(flat.shape[1])
    index.add(flat)
    brute = NearestNeighbors(n_neighbors=K, algorithm="brute", n_jobs=1).fit(flat)
    sides: dict[str, Callable[[slice], object]] = {
        "this project": lambda part: nearest_images(queries[part], ArrayImages(searched), K),
        "faiss IndexFlatL2": lambda part: index.search(flat_queries[part], K),
        "scikit-learn, brute force": lambda part: brute.kneighbors(flat_queries[part]),
        "bare product, NumPy": lambda part: bare_product("numpy", flat_queries[part], flat),
        "bare product, torch": lambda part: bare_product("torch", flat_queries[part], flat),
    }
    for side in sides.values():
        side(slice(0, 16))  # first calls set up threads and buffers
    taken = dict.fromkeys(sides, 0.0)
    for start in range(0, QUERIES, CHUNK):
        for name, side in reversed(sides.items()) if start else sides.items():
            taken[name] += seconds(lambda part=slice(start, start + CHUNK), side=side: side(part))
            print(f"{name}: {taken[name]:.1f} s after {start + CHUNK} queries", file=sys.stderr, flush=True)
    return [{"what": name, "seconds": t, "queries a second": QUERIES / t} for name, t in taken.items()]


def tiled() -> list[dict[str, Any]]:
    """Seconds for all pairs of 500 images, median of 7 alternating calls."""
    images = np.random.default_rng(0).random((500, 3, 64, 64), dtype=np.float32)
    flat = torch.from_numpy(images).flatten(1)
    sides: dict[str, Callable[[], object]] = {
        "tiled l2": lambda: pairwise_tiled_l2(images),
        "plain l2": lambda: pairwise_l2(images),
        "plain l2, torch.cdist": lambda: torch.cdist(flat, flat),
    }
    runs = [{name: seconds(side) for name, side in sides.items()} for _ in range(8)][1:]
    return [{"what": name, "seconds": median(run[name] for run in runs)} for name in sides]


class Drawn:
    """Images that are drawn when they are read, so that only what a search holds counts."""

    image_shape, in_bytes = SHAPE, False

    def __init__(self, count: int, seed: int) -> None:
        self._count, self._seed = count, seed

    @property
    def features(self) -> Features:
        """Of images this small nobody asks for bounds."""
        raise NotImplementedError

    def __len__(self) -> int:
        return self._count

    def pixels(self, indices: Sequence[int]) -> NDArray[np.float32]:
        """A block of random images, the same at every reading from this place."""
        rng = np.random.default_rng([self._seed, indices[0]])
        return rng.random((len(indices), *SHAPE), dtype=np.float32)


def search_stream(queries: int, searched: int) -> None:
    """Search block by block, as where a set is too large to be held; print the peak above the start in megabytes."""
    neighbours.HELD_BYTES = 0
    start = peak_resident()
    found = 0
    for part in in_batches(queries, neighbours.QUERY_BYTES // (4 * int(np.prod(SHAPE)))):
        images = Drawn(queries, 1).pixels(range(part.start, part.stop))
        found += len(nearest_images(images, Drawn(searched, 2), K).indices)
    assert found == queries
    print((peak_resident() - start) / 1e6)


def peak_megabytes(queries: int, searched: int) -> float:
    """The same in a process of its own."""
    code = f"from tests.benchmarks.neighbours import search_stream; search_stream({queries}, {searched})"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return float(result.stdout)


def main() -> int:
    """Print the table."""
    parser = arguments(__doc__ or "")
    given = parser.parse_args()
    with threadpool_limits(1):
        rows, pairs = speed(), tiled()
    rate = {row["what"]: row["queries a second"] for row in rows}
    fastest = max(rate["faiss IndexFlatL2"], rate["scikit-learn, brute force"])
    bare = max(rate["bare product, NumPy"], rate["bare product, torch"])
    taken = {row["what"]: row["seconds"] for row in pairs}
    full, double = peak_megabytes(QUERIES, MEMORY_SEARCHED), peak_megabytes(2 * QUERIES, 2 * MEMORY_SEARCHED)
    rows += pairs
    rows += [
        {"what": f"peak MB, {QUERIES} generations, {MEMORY_SEARCHED} images", "seconds": full},
        {"what": f"peak MB, {2 * QUERIES} generations, {2 * MEMORY_SEARCHED} images", "seconds": double},
    ]
    own = rate["this project"]
    figures = [
        Figure("nearest neighbours: throughput over the faster library's", own / fastest, SPEED, "at least"),
        Figure("nearest neighbours: throughput over the bare product's", own / bare, SPEED, "at least"),
        Figure("nearest neighbours: peak memory above the inputs, MB", full, MEMORY_LIMIT),
        Figure("nearest neighbours: peak memory when both sides double", double / full, GROWTH),
        Figure("tiled l2: time over plain l2's", taken["tiled l2"] / taken["plain l2"], TILED),
        Figure("tiled l2: time over torch.cdist's", taken["tiled l2"] / taken["plain l2, torch.cdist"], TILED),
    ]
    columns = ("what", "seconds", "queries a second")
    return conclude(__doc__ or "", columns, rows, {}, json_path=given.json, figures=figures)


if __name__ == "__main__":
    sys.exit(main())
