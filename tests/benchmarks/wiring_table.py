"""Does the wiring control hold on the right wiring of each family and library, and catch five wrong ones?

Trained networks: tiny pipelines of each family's own classes (trained_families.py), the digits and emoji examples, and
for a library the digits network in the library's own parametrization (wiring_libraries.py). Wrong: the output is of
another kind or of the other sign, time runs the other way or is a thousandth or a thousandfold, and the network was
trained on inputs in [0, 1].

Target: right is held, and no wrong one is: it is an ERROR ("caught") or cannot PASS ("blur"); "harmless" where the
network makes so little of what is wrong that its errors are at most 1.5 times the right ones.

    python -m tests.benchmarks.wiring_table --json tests/benchmarks/results/wiring_table.json

Rows are kept below build/ as they are done, and are not measured again; `--again` measures all.
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from dataclasses import dataclass, replace
from importlib import import_module
from io import StringIO
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from pytest_diffprivacy import load_model
from pytest_diffprivacy.audit import Auditor, Findings
from pytest_diffprivacy.errors import AuditError
from pytest_diffprivacy.models.prediction import Direct, PredictionType
from pytest_diffprivacy.probes import ImageSet
from pytest_diffprivacy.sources import wiring
from tests.benchmarks import ROOT
from tests.benchmarks.table import arguments, conclude

EXAMPLES: Final = ROOT / "example_audits"
DONE: Final = ROOT / "build" / "wiring_rows.json"
sys.path.append(str(EXAMPLES))
WRONG: Final = ("another kind", "opposite sign", "time reversed", "time x 1000", "range [0, 1]")
COLUMNS: Final = ("family or library", "right", *WRONG)
NOT_ASKED: Final = "black box: images alone, no wiring"


@dataclass(frozen=True)
class Row:
    """A family or library.

    Attributes:
        title: of the row.
        models: each wiring with its model.
        unseen: images that it was not trained on.
    """

    title: str
    models: Callable[[], Iterator[tuple[str, Any]]]
    unseen: Callable[[], ImageSet]


def outcome(model: Any, images: ImageSet) -> tuple[str, list[float]]:
    """What the control says, and the errors that it has seen."""
    findings = Findings()
    try:
        wiring.wiring_control(Auditor(), model, images, findings)
    except AuditError as error:
        return ("caught" if findings.controls else f"caught: {str(error)[:60]}"), []
    (control,) = findings.controls
    shown = re.search(r"Error of .*?: ([0-9e. /+-]+); of", str(control.meaning))
    errors = [float(value) for value in shown[1].split(" / ")] if shown else []
    held = control.outcome.value == "held"
    return ("held" if held else "blur" if findings.unproven else control.outcome.value), errors


def rows() -> Iterator[Row]:
    """Every family of docs/models.md with a grey box, and every library there."""
    from tests.benchmarks.trained_families import FAMILIES

    for family in FAMILIES:

        def load(family: Any = family) -> Any:
            return load_model(family.folder(), **dict(family.arguments))

        yield Row(family.name, lambda load=load: of_pipeline(load), family.unseen)  # type: ignore[misc]
    yield from _examples()
    yield from _libraries()


def _examples() -> Iterator[Row]:
    """Trained models that the examples ship."""
    from digits_probes import digits_probes
    from emoji_probes import RELEASE, V_PREDICTION

    from tests.benchmarks.trained_families import emoji_unseen

    def row(title: str, unseen: Callable[[], ImageSet], folder: Path, **settings: Any) -> Row:
        return Row(title, lambda: of_pipeline(lambda: load_model(folder, **settings)), unseen)

    unseen = digits_probes("digits-release").nonmembers
    yield row("DDPM, DDIM, any UNet2DModel", lambda: unseen, EXAMPLES / "digits-release")
    classes = EXAMPLES / "digits-classes"
    yield row("UNet2DModel with classes and a null label", lambda: _classes(False), classes, null_label=10)
    yield row("UNet2DModel with classes", lambda: _classes(True), classes)
    yield row("Stable Diffusion 1.x, 2.x", emoji_unseen, RELEASE)
    yield row("Stable Diffusion, v_prediction", emoji_unseen, V_PREDICTION)


def _classes(labelled: bool) -> ImageSet:
    from build_digits_classes import split
    from sklearn.datasets import load_digits

    data, unseen = load_digits(), split()[1]
    pixels = (data.images[unseen] / 16.0).astype(np.float32)
    return ImageSet.of(pixels, "non-member", data.target[unseen].tolist() if labelled else None)


def _libraries() -> Iterator[Row]:
    from digits_probes import digits_probes

    from tests.benchmarks.wiring_libraries import Digits, libraries, native

    digits, unseen = Digits(), digits_probes("digits-release").nonmembers
    for title, network, other, span, build in (*native(digits), *libraries(digits)):
        wired = {"right": network, "another kind": other} | changed(network, span)

        def models(wired: Any = wired, build: Any = build) -> Iterator[tuple[str, Any]]:
            return ((name, build(one)) for name, one in wired.items())

        yield Row(title, models, lambda: unseen)


def changed(network: Callable[..., Tensor], span: float) -> dict[str, Callable[..., Tensor]]:
    """The network as it would answer if it had been trained otherwise than it is asked; its times reach to `span`."""
    factor = 1000.0 if span <= 1.0 else 1e-3
    return {
        "opposite sign": lambda x, t, *more: -network(x, t, *more),
        "time reversed": lambda x, t, *more: network(x, span - t, *more),
        "time x 1000": lambda x, t, *more: network(x, t * factor, *more),
        "range [0, 1]": lambda x, t, *more: network(2.0 * x - 1.0, t, *more),
    }


def of_pipeline(load: Callable[[], Any]) -> Iterator[tuple[str, Any]]:
    """A pipeline's model, and the same with its network asked in each wrong way."""
    model = load()
    right = model.predict_eps.__self__
    yield "right", model
    told = getattr(right.parametrization, "times", None)
    span = float(len(model.schedule) - 1 if told is None else told[0] + told[-1])
    wrong = {name: replace(right, output=one) for name, one in changed(right.output, span).items()}
    for name, part in ({"another kind": _other_kind(right)} | wrong).items():
        model.predict_eps = part.predict_eps
        yield name, model


def _other_kind(part: Any) -> Any:
    """Declared as v, or as eps where it is v; of preconditioned networks, as the clean image itself."""
    declared = part.parametrization
    if isinstance(declared, Direct):
        kind = PredictionType.EPS if declared.kind is not PredictionType.EPS else PredictionType.V
        return replace(part, parametrization=replace(declared, kind=kind))
    bare = replace(declared, c_skip=np.zeros_like(declared.c_skip), c_out=np.ones_like(declared.c_out))
    return replace(part, parametrization=bare)


def _measured(row: Row) -> dict[str, str]:
    """A cell a wiring; of a wrong one that is held, how much larger its errors are than the right one's."""
    unseen, cells, right = row.unseen(), {"family or library": row.title}, list[float]()
    for name, model in row.models():
        said, errors = outcome(model, unseen)
        if name == "right":
            right = errors
        elif said == "held":
            times = max(one / other for one, other in zip(errors, right, strict=True))
            said = f"held, errors up to {times:.2f} times the right ones"
            said = said if times > HARMLESS else f"harmless: {said}"
        cells[name] = said
    return cells


def _conclude(found: list[dict[str, str]], path: Path | None) -> int:
    targets = {f"{row['family or library']}: right is held": row["right"] == "held" for row in found}
    for row in found:
        passed = [name for name in WRONG if row[name].startswith("held")]
        targets[f"{row['family or library']}: no wrong one passes"] = not passed
    black_box = {"family or library": "Kandinsky 2.2"} | dict.fromkeys(COLUMNS[1:], NOT_ASKED)
    return conclude(__doc__ or "", COLUMNS, [*found, black_box], targets, json_path=path)


def main() -> int:
    """Print the table; the JSON is written anew after each row."""
    parser = arguments(__doc__ or "")
    parser.add_argument("--again", action="store_true", help="measure rows that are done already")
    given = parser.parse_args()
    files = [Path(str(module.__file__)) for module in (wiring, import_module(JUDGE))]
    code = hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()
    kept = {} if given.again or not DONE.exists() else json.loads(DONE.read_text())
    done: dict[str, dict[str, str]] = kept.get(code, {})
    for row in rows():
        if row.title not in done:
            done[row.title] = _measured(row)
            DONE.parent.mkdir(exist_ok=True)
            DONE.write_text(json.dumps({code: done}, indent=1))
        print(done[row.title], file=sys.stderr, flush=True)
        with redirect_stdout(StringIO()):
            _conclude(list(done.values()), given.json)
    return _conclude(list(done.values()), given.json)


HARMLESS: Final = 1.5
"""Times the right errors, up to which a network is hardly asked wrongly: it makes little of what is wrong."""
JUDGE: Final = "pytest_diffprivacy.statistics.wiring"

if __name__ == "__main__":
    torch.set_num_threads(1)
    sys.exit(main())
