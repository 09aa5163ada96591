"""Does each newer attack find in a trained model what it is for, and what a plain attack does not?

A case a question, on models of this folder or small ones that are trained here (20 minutes of one core):

    filter    frequency filter against plain on `digits-leaky`
    weighed   frequency filter and latent-dimension mask against plain, random and inverse masks on `emoji-leaky`
    ratio     ratio attack with 2 and 4 references against the loss and LiRA with 16
    usage     usage share 0, 0.1, 0.5 and 1 of trained models, and 200 fresh simulations of each
    subjects  persons by several pictures against by one
    finetune  a LoRA on 10 pictures, whose pictures come back, and those of another one, which do not
    black     membership by generated images alone
    erasure   retrained, suppressed on the surface, untouched

Results are stored case by case and what a case computed is stored as well, so that a killed run continues; a case that
is named is judged again. Filter and mask have no target but a measured gain, whichever way it goes: `said` has it.

    python -m tests.benchmarks.newer_attacks [CASE ...] --json tests/benchmarks/results/newer_attacks.json
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import torch

from tests.benchmarks.newer_cases import Case
from tests.benchmarks.suite import RESULTS
from tests.benchmarks.table import arguments, conclude, machine

DIGITS, EMOJI = "tests.benchmarks.newer_digits", "tests.benchmarks.newer_emoji"
CASES: Final[Mapping[str, tuple[str, str]]] = {
    "filter": (DIGITS, "filter_digits"),
    "weighed": (EMOJI, "weighed"),
    "ratio": (DIGITS, "ratio"),
    "usage": (DIGITS, "usage"),
    "subjects": (DIGITS, "subjects"),
    "finetune": (EMOJI, "finetune"),
    "black": (EMOJI, "black_box"),
    "erasure": (DIGITS, "erasure"),
}
COMMITTED: Final = RESULTS / "newer_attacks.json"


def judged(name: str) -> dict[str, Any]:
    """A case's rows, targets and facts."""
    module, function = CASES[name]
    run: Callable[[], Case] = getattr(import_module(module), function)
    found = run()
    told = (run.__doc__ or "").strip().splitlines()[0]
    return {
        "question": told,
        "rows": found.rows,
        "targets": {what: bool(met) for what, met in found.targets.items()},
        "facts": dict(found.facts),
    }


def before(path: Path | None) -> dict[str, Any]:
    """The cases that an earlier run wrote."""
    if path is None or not path.exists():
        return {}
    return dict(json.loads(path.read_text(encoding="utf-8"))["cases"])


def main() -> int:
    """Judge the cases; exit 1 where one misses a target."""
    parser = arguments(__doc__ or "")
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"of {', '.join(CASES)}; all that are not there yet")
    given = parser.parse_args()
    unknown = sorted(set(given.cases) - set(CASES))
    if unknown:
        parser.error(f"there is no case {unknown[0]!r}; cases are {', '.join(CASES)}")
    found, met = before(given.json), True
    for name in given.cases or [name for name in CASES if name not in found]:
        case = judged(name)
        columns = list(dict.fromkeys(column for row in case["rows"] for column in row))
        print(f"\n{name}")
        conclude(case["question"], columns, case["rows"], case["targets"], json_path=None)
        found = before(given.json) | found | {name: case}
        if given.json is not None:
            content = {"question": (__doc__ or "").splitlines()[0], "machine": machine(), "cases": found}
            given.json.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    for name, case in found.items():
        missed = [target for target, reached in case["targets"].items() if not reached]
        met = met and not missed
        print(f"{name}: {'MISSED ' + '; '.join(missed) if missed else 'met'}")
    return 0 if met else 1


if __name__ == "__main__":
    torch.set_num_threads(1)
    sys.exit(main())
