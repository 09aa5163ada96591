"""Records in, documents out: HTML, JSON, SARIF, Markdown, in-toto. Computes and judges nothing, imports no attack."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytest_diffprivacy.report.card import update_card as update_card
    from pytest_diffprivacy.report.compare import compare_runs as compare_runs
    from pytest_diffprivacy.report.lines import run_lines as run_lines
    from pytest_diffprivacy.report.write import write_report as write_report
else:
    from pytest_diffprivacy.lazy import names_of

    __getattr__, __dir__ = names_of(__name__)
