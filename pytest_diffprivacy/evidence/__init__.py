"""Records, fingerprints, the content-addressed store and run folders."""

from pytest_diffprivacy.evidence.arrays import Arrays, read_arrays, write_bytes
from pytest_diffprivacy.evidence.run_folder import RunFolder
from pytest_diffprivacy.evidence.store import Store, fingerprint, library_versions

__all__ = ["Arrays", "RunFolder", "Store", "fingerprint", "library_versions", "read_arrays", "write_bytes"]
