"""Is an honest random split accepted, and a confounded one refused?

200 random splits of scikit-learn's digits (200 members, 300 non-members each), and splits that differ without any
model: digits against MNIST digits of one size, and MNIST digits stored as JPEG with two qualities. Also how long the
check takes on 2 x 2,500 images of 16 x 16 pixels (processor time of one thread).

Targets: at least 94 % of the honest splits are accepted; both confounded ones are refused; the check takes at most 10
s.

    python -m tests.benchmarks.split_validity --json tests/benchmarks/results/split_validity.json
"""

from __future__ import annotations

import io
import sys
import time
from typing import Any

import numpy as np
from build_mnist import mnist_images
from numpy.typing import NDArray
from PIL import Image
from sklearn.datasets import load_digits

from pytest_diffprivacy.probes import ImageSet, blind_baseline
from tests.benchmarks.table import arguments, bounds, conclude

COLUMNS = ("split", "members", "others", "accepted", "blind AUROC", "p", "detectable", "differs most in", "seconds")
SPLITS, MEMBERS, OTHERS = 200, 200, 300

Images = NDArray[np.float32]


def jpeg(images: Images, quality: int) -> Images:
    """The same images after JPEG."""
    found = []
    for image in images:
        stored = io.BytesIO()
        Image.fromarray(np.rint(image * 255.0).astype(np.uint8)).save(stored, "jpeg", quality=quality)
        found.append(np.asarray(Image.open(stored), dtype=np.float32) / 255.0)
    return np.stack(found)


def row(name: str, members: Images, others: Images) -> dict[str, Any]:
    """One split."""
    started = time.process_time()
    found = blind_baseline(ImageSet.of(members, "member"), ImageSet.of(others, "non-member"))
    seconds = time.process_time() - started
    assert found is not None
    return {
        "split": name,
        "members": len(members),
        "others": len(others),
        "accepted": not found.confounded,
        "blind AUROC": bounds(found.area.value, found.area.low, found.area.high),
        "p": found.p_value,
        "detectable": found.detectable,
        "differs most in": found.differences[0].name,
        "seconds": round(seconds, 2),
    }


def main() -> int:
    """Print the table."""
    given = arguments(__doc__ or "").parse_args()
    digits = np.unique((load_digits().images / 16.0).astype(np.float32), axis=0)
    mnist = ((mnist_images()[:, 0] + 1.0) / 2.0).astype(np.float32)
    honest = []
    for seed in range(SPLITS):
        order = np.random.default_rng([29, seed]).permutation(len(digits))
        honest.append(row("random", digits[order[:MEMBERS]], digits[order[MEMBERS : MEMBERS + OTHERS]]))
    accepted = float(np.mean([r["accepted"] for r in honest]))
    order = np.random.default_rng(30).permutation(len(mnist))
    shrunk = mnist.reshape(-1, 8, 2, 8, 2).mean((2, 4))[order[:1000]]
    rows = [
        row("MNIST, random", mnist[order[:2500]], mnist[order[2500:]]),
        row("digits against MNIST, 8x8", digits[:1000], shrunk),
        row("JPEG 95 against 75", jpeg(mnist[order[:1000]], 95), jpeg(mnist[order[1000:2000]], 75)),
        row("JPEG 90 against 85", jpeg(mnist[order[:1000]], 90), jpeg(mnist[order[1000:2000]], 85)),
    ]
    targets = {
        f"at least 94 % of {SPLITS} honest splits are accepted ({accepted:.1%})": accepted >= 0.94,
        "digits against MNIST digits are refused": not rows[1]["accepted"],
        "another JPEG quality is refused": not (rows[2]["accepted"] or rows[3]["accepted"]),
        f"2 x 2,500 images take at most 10 s ({rows[0]['seconds']:.1f} s)": rows[0]["seconds"] <= 10.0,
    }
    facts = {"honest splits": SPLITS, "accepted": accepted, "p-values": [r["p"] for r in honest]}
    return conclude(__doc__ or "", COLUMNS, rows, targets, json_path=given.json, facts=facts)


if __name__ == "__main__":
    sys.exit(main())
