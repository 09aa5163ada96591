"""Models that are built or saved once a session."""

import pytest

from tests.models.builders import golden_model, save_pipeline


@pytest.fixture(scope="session")
def ddpm_folder(tmp_path_factory):
    return save_pipeline(tmp_path_factory.mktemp("models") / "ddpm")


@pytest.fixture(scope="session")
def ddim_folder(tmp_path_factory):
    return save_pipeline(tmp_path_factory.mktemp("models") / "ddim", ddim=True)


@pytest.fixture(scope="session")
def reference_model():
    return golden_model()
