"""The threat model lists attacks; what defends is no attack."""

from pytest_diffprivacy.report.threats import threats


def test_a_mitigation_is_not_listed_among_the_attacks(run):
    defence = run.claims[0].methods[0].model_copy(update={"name": "sail", "title": "SAIL"})
    for kind, listed in (("mitigation", False), ("extraction", True)):
        claim = run.claims[0].model_copy(update={"kind": kind, "methods": (defence,)})
        rows = threats(run.model_copy(update={"claims": (claim,)}))
        assert ("SAIL" in [row.title for row in rows]) == listed
