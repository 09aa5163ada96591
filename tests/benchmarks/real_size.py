"""What does an audit cost beside its network, at the size of models that are released? Files of 512 x 512, counted.

Folders of JPEG and PNG files are made from photographs of scikit-image and, enlarged, from its LFW faces: crops,
flips and shifts of brightness, with re-encoded copies planted. Measured is an extraction of generations against the
training set without its network (calibration, search, control), in a store: decodes of training images, processor
seconds of all threads, peak memory, at two sizes, and once more from the store; the split check at several sizes of
both sides; opening known files; and the loss of a network that costs nothing. Neighbours are compared with the product
of all pairs in float64, on white noise and constant images as well.

Targets: at most 3 readings of the training set in the first run (one makes the catalogue) and none in the second; time
of calibration and search at most one decode of every image plus the float32 product of all pairs; a split check of at
most 15 decodes an image, statistics included, linear (slope at most 1.1); at most 3 GB above the process at the start,
at both sizes; opening known files at most 1.5 times as long as hashing them; 15 MB an image of 3x512x512 for the loss.

The full sizes of the targets are `--members 2000 --generations 1024 --sides 250 500 1000 2000`; defaults are smaller.

    python -m tests.benchmarks.real_size --json tests/benchmarks/results/real_size.json
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pytest_diffprivacy import options
from pytest_diffprivacy.audit import Auditor
from pytest_diffprivacy.distances import ArrayImages, nearest_images
from pytest_diffprivacy.engine import Engine, Work
from pytest_diffprivacy.evidence import Store
from pytest_diffprivacy.extraction import calibrate_rule, filter_generations
from pytest_diffprivacy.probes import ImageSet, ProbeSet, image_files
from pytest_diffprivacy.probes.validity import split_validity
from pytest_diffprivacy.sources.without_model import stored_search
from tests.benchmarks.resident import peak_resident
from tests.benchmarks.table import Figure, arguments, conclude

NAMES = ("astronaut", "chelsea", "coffee", "rocket", "hubble_deep_field", "retina", "immunohistochemistry", "cat")
COPIED = 20
DELTA = 0.1
COLUMNS = ("what", "images", "side", "seconds", "decodes an image", "peak MB")


def photographs(count: int, side: int, seed: int) -> Any:
    """Crops of photographs and enlarged faces, uint8 (side, side, 3) each, one after the other."""
    from skimage import data

    rng = np.random.default_rng(seed)
    whole = [Image.fromarray(getattr(data, name)()) for name in NAMES]
    faces = [Image.fromarray((255 * face).astype(np.uint8)).convert("RGB") for face in data.lfw_subset()[:100]]
    for number in range(count):
        source = faces[rng.integers(len(faces))] if number % 10 == 9 else whole[rng.integers(len(whole))]
        part = int(min(source.size) * rng.uniform(0.35, 0.95))
        left, top = (int(rng.integers(0, length - part + 1)) for length in source.size)
        image = source.crop((left, top, left + part, top + part)).resize((side, side), Image.Resampling.BICUBIC)
        pixels = np.asarray(image, dtype=np.float32) * rng.uniform(0.75, 1.1) + rng.uniform(-10, 10)
        pixels = pixels[:, ::-1] if rng.random() < 0.5 else pixels
        yield pixels.clip(0, 255).astype(np.uint8)


def folders(root: Path, members: int, others: int, side: int, *, kind: str = "jpg") -> tuple[Path, Path]:
    """Folders of members and of non-members; some of the first members stand there once more, encoded again."""
    found = root / f"members {side}", root / f"others {side}"
    for folder, count, seed in zip(found, (members, others), (1, 2), strict=True):
        folder.mkdir(parents=True, exist_ok=True)
        for number, pixels in enumerate(photographs(count, side, seed)):
            image = Image.fromarray(pixels)
            suffix = "png" if number % 20 == 0 else kind
            image.save(folder / f"{number}.{suffix}", **({"quality": 92} if suffix == "jpg" else {}))
            if seed == 1 and number < min(COPIED, members // 10):
                image.save(folder / f"{number} again.jpg", quality=80)
    return found


def measured(work: Callable[[], Any]) -> tuple[Any, float, Counter[str]]:
    """What a piece of work gives, its processor seconds, and how often each file was decoded."""
    decodes: Counter[str] = Counter()
    decode = image_files.decode_image

    def counted(source: Any, name: str, allowed: int | None = None) -> Any:
        decodes[str(name)] += 1
        return decode(source, name, allowed)

    image_files.decode_image = counted
    started = time.process_time()
    try:
        result = work()
    finally:
        image_files.decode_image = decode
    return result, time.process_time() - started, decodes


def in_session(folder: Path) -> None:
    """Keep what is known of files in this folder."""
    options.activate(options.Session(options.resolve({"cache-dir": str(folder)}, {}, {}), "benchmark"))


def readings(decodes: Counter[str], folder: Path, count: int) -> float:
    """Decodes of the files of a folder, over their number."""
    return sum(n for name, n in decodes.items() if Path(name).parent == folder) / count


def extraction(root: Path, members: Path, others: Path, generations: NDArray[np.uint8]) -> Any:
    """Calibration, search and control, as the claim does them, with its store."""
    probes = ProbeSet(members, others)
    auditor, work = Auditor(engine=Engine(Store(root / "evidence"))), Work()
    search = stored_search(auditor, work)
    rule = calibrate_rule(probes, delta=DELTA, max_false_match_rate=0.4, confidence=0.95, seed=0, search=search)
    return probes, filter_generations([generations], probes.members, rule, search=search)


def extraction_alone(root: str, members: str, others: str, generations: str) -> None:
    """The same in a process of its own, which prints seconds of both runs, readings and peak memory."""
    start = peak_resident()
    folder, images = Path(members), np.load(generations)
    in_session(Path(root) / "evidence")
    lines = []
    opened, seconds, decodes = measured(lambda: len(ImageSet.of(folder, "member")))
    lines.append(("catalogue", seconds, readings(decodes, folder, opened)))
    for run in ("first", "second"):
        (_, found), seconds, decodes = measured(lambda: extraction(Path(root), folder, Path(others), images))
        lines.append((run, seconds, readings(decodes, folder, opened)))
    print(repr((lines, (peak_resident() - start) / 1e6, int(found.copies.sum()), opened)))


def split_alone(members: str, others: str, side: str) -> None:
    """The split check in a process of its own, which prints its seconds, decodes an image and peak memory."""
    start = peak_resident()
    sides = ImageSet.of(members, "member"), ImageSet.of(others, "non-member")
    sides = tuple(images.subset(range(min(int(side), len(images)))) for images in sides)
    _ = [len(images) for images in sides]
    found, seconds, decodes = measured(lambda: split_validity(*sides, near=0.02))
    count = sum(map(len, sides))
    gone = sum(map(len, found.left_out))
    print(repr((seconds, sum(decodes.values()) / count, (peak_resident() - start) / 1e6, gone, count)))


def loss_alone(count: str) -> None:
    """The loss of images of 3x512x512 by a network that costs nothing; prints the peak of all tensors in MB."""
    import torch

    from pytest_diffprivacy.engine.batches import peak_bytes
    from pytest_diffprivacy.membership import loss_scores
    from pytest_diffprivacy.models import NoiseSchedule
    from pytest_diffprivacy.models.network import NetworkDenoiser

    images = torch.rand((int(count), 3, 512, 512), generator=torch.Generator().manual_seed(1))
    model = NetworkDenoiser(lambda x, t: x, NoiseSchedule.linear(), (3, 512, 512), version="idle")
    print(repr(peak_bytes(lambda: loss_scores(model, images, draws=4, batch_size=int(count))) / 1e6))


def alone(name: str, *given: object) -> Any:
    """What a function of this module prints in a process of its own."""
    code = f"from tests.benchmarks.real_size import {name}; {name}(*{[str(value) for value in given]!r})"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return eval(found.stdout.strip().splitlines()[-1], {"__builtins__": {}})


def product_seconds(generations: int, members: int, values: int) -> float:
    """The float32 product of all pairs, from a part of it."""
    a, b = (np.random.default_rng(1).random((n, 16384), dtype=np.float32) for n in (min(generations, 512), 256))
    _ = a[:8] @ b.T
    started = time.process_time()
    _ = a @ b.T
    return (time.process_time() - started) * generations * members * values / (len(a) * len(b) * 16384)


def same_neighbours() -> bool:
    """Whether photographs, white noise and constant images have the neighbours of all products in float64."""
    rng = np.random.default_rng(3)
    shape = (120, 3, 128, 128)
    flat = np.broadcast_to(rng.integers(0, 5, (120, 1, 1, 1), dtype=np.uint8), shape).copy()
    pictures = np.stack(list(photographs(120, 128, 5))).transpose(0, 3, 1, 2)
    for images in (pictures, rng.integers(0, 256, shape, dtype=np.uint8), flat):
        wide = images.reshape(120, -1).astype(np.float64)
        norms = (wide**2).sum(1)
        squared = norms[:30, None] + norms - 2.0 * wide[:30] @ wide.T
        expected = squared.argsort(1, kind="stable")[:, :12]
        found = nearest_images(images[:30], ArrayImages(images), 12)
        if not np.array_equal(found.indices, expected):
            return False
    return True


def known_files(root: Path, count: int) -> float:
    """How long opening known files takes, over hashing them."""
    folder = root / "small"
    folder.mkdir()
    for number, pixels in enumerate(photographs(min(count, 50), 512, 7)):
        Image.fromarray(pixels).save(folder / f"{number}.jpg", quality=92)
    content = [path.read_bytes() for path in folder.iterdir()]
    for number in range(len(content), count):  # a comment makes another file of the same pixels
        (folder / f"{number}.jpg").write_bytes(content[number % len(content)] + number.to_bytes(4, "big"))
    in_session(root / "small evidence")
    len(ImageSet.of(folder, "member"))
    ratios = []
    for _ in range(3):
        _, again, decodes = measured(lambda: len(ImageSet.of(folder, "member")))
        assert not decodes, "known files are not decoded"
        started = time.process_time()
        for path in sorted(folder.iterdir()):
            hashlib.sha256(path.read_bytes()).digest()
        ratios.append(again / (time.process_time() - started))
    return float(np.median(ratios))


def run(members: int, generations: int, sides: list[int], files: int) -> tuple[list[dict[str, Any]], list[Figure]]:
    """All rows and figures."""
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        large = folders(root, max(members, *sides), max(members // 2, *sides), 512)
        peaks = {}
        for side in (128, 512):
            own = folders(root / "small side", members, members // 2, side) if side == 128 else large
            made = np.stack(list(photographs(generations, side, 3))).transpose(0, 3, 1, 2)
            np.save(root / f"made {side}.npy", np.ascontiguousarray(made))
            del made
            lines, peak, _, count = alone("extraction_alone", root / f"run {side}", *own, root / f"made {side}.npy")
            peaks[side] = peak
            for run_, seconds, read in lines:
                rows.append({"what": run_, "images": count, "side": side, "seconds": seconds, "decodes an image": read})
            rows[-1]["peak MB"] = peak
        some = sorted(large[0].glob("*.jpg"))[:200]
        started = time.process_time()
        for path in some:
            image_files.decode_image(path, str(path))
        decode = (time.process_time() - started) / len(some)
        catalogue, first, second = (row for row in rows if row["side"] == 512)
        bare = decode * count + product_seconds(generations, count, 3 * 512 * 512)
        splits = []
        for side in sides:
            seconds, read, peak, _, images = alone("split_alone", *large, side)
            splits.append((images, seconds))
            rows.append(
                {"what": "split check", "images": images, "side": 512, "seconds": seconds, "decodes an image": read,
                 "peak MB": peak}
            )  # fmt: skip
        peaks["split"] = peak
        slope = np.polyfit(np.log([n for n, _ in splits]), np.log([s for _, s in splits]), 1)[0]
        known = known_files(root, files)
        few, many = alone("loss_alone", 2), alone("loss_alone", 10)
        readings_ = catalogue["decodes an image"] + first["decodes an image"]
        figures = [
            Figure("readings of the training set, first run with its catalogue", readings_, 3.0),
            Figure("readings of the training set, second run", second["decodes an image"], 0.0),
            Figure("calibration and search over a decode of each and the product", first["seconds"] / bare, 1.0),
            Figure("split check, decodes' time an image", splits[-1][1] / splits[-1][0] / decode, 15.0),
            Figure("split check, slope of time over images", float(slope), 1.1),
            Figure("peak memory of the extraction at 512, MB", peaks[512], 3000.0),
            Figure("peak memory of the extraction at 128, MB", peaks[128], 3000.0),
            Figure("peak memory of the split check at 512, MB", peaks["split"], 3000.0),
            Figure("opening known files over hashing them", known, 1.5),
            Figure("loss at 3x512x512, MB an image", (many - few) / 8, 15.0),
            Figure("same neighbours as all products", float(same_neighbours()), 1.0, "at least"),
        ]  # fmt: skip
    return rows, figures


def main() -> int:
    """Print the table."""
    parser = arguments(__doc__ or "")
    parser.add_argument("--members", type=int, default=400)
    parser.add_argument("--generations", type=int, default=512)
    parser.add_argument("--sides", type=int, nargs="+", default=[100, 200, 400])
    parser.add_argument("--files", type=int, default=1000)
    given = parser.parse_args()
    rows, figures = run(given.members, given.generations, given.sides, given.files)
    return conclude(__doc__ or "", COLUMNS, rows, {}, json_path=given.json, figures=figures)


if __name__ == "__main__":
    sys.exit(main())
