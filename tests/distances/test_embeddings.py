"""Embeddings: unit vectors with a name and a digest, and a TorchScript file only where its digest is vouched for."""

import hashlib
import warnings

import numpy as np
import pytest
import torch

from pytest_diffprivacy.distances import Embedding, pixel_embedding, torchscript_embedding
from pytest_diffprivacy.errors import AuditError, UsageError


def images(count, seed, *, channels=1, side=8):
    return np.random.default_rng(seed).random((count, channels, side, side), dtype=np.float32)


def test_small_images_are_their_own_vectors():
    batch = images(70, 1)
    vectors = pixel_embedding().vectors(batch)
    flat = batch.reshape(70, -1).astype(np.float64) + 1e-3
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(vectors, flat / np.linalg.norm(flat, axis=1, keepdims=True), rtol=1e-6)


def test_larger_images_are_shrunk_and_hardly_change_for_it():
    small = images(3, 2, channels=3, side=16)
    large = small.repeat(4, axis=2).repeat(4, axis=3)
    embedding = pixel_embedding(16)
    assert embedding.vectors(large).shape == (3, 768)
    likeness = embedding.vectors(large) @ embedding.vectors(small).T
    assert likeness.diagonal().min() > 0.95
    assert np.triu(likeness, 1).max() < 0.85


def test_a_black_image_is_like_every_flat_image():
    flat = np.stack([np.full((1, 4, 4), value, dtype=np.float32) for value in (0.0, 0.5, 1.0)])
    vectors = pixel_embedding().vectors(flat)
    np.testing.assert_allclose(vectors @ vectors.T, 1.0, atol=1e-6)


def test_two_versions_of_a_callable_have_two_digests():
    one, two = (Embedding.of(lambda x: x.flatten(1), name="mine", version=version) for version in ("1", "2"))
    assert one.name == "mine 1"
    assert one.digest != two.digest
    with pytest.raises(UsageError, match="`name` and `version` must not be empty"):
        Embedding.of(lambda x: x, name="mine", version="")


@pytest.mark.parametrize(
    ("function", "error", "message"),
    [
        (lambda x: x, UsageError, r"`function` must give embeddings \(2, dimensions\), got \(2, 1, 8, 8\)"),
        (lambda x: x.flatten(1)[:1], UsageError, r"got \(1, 64\)"),
        (lambda x: x.flatten(1) / 0.0, AuditError, "mine 1 gives an image a vector that is zero or not finite"),
        (lambda x: x.flatten(1) * 0.0, AuditError, "zero or not finite"),
    ],
)
def test_what_is_no_embedding_is_refused(function, error, message):
    with pytest.raises(error, match=message):
        Embedding.of(function, name="mine", version="1").vectors(images(2, 3))


class Shrunk(torch.nn.Module):
    """Stands for a copy detector."""

    def forward(self, x):
        return torch.nn.functional.avg_pool2d(x, 4).flatten(1)


@pytest.fixture(scope="module")
def script(tmp_path_factory):
    path = tmp_path_factory.mktemp("detector") / "detector.torchscript.pt"
    with warnings.catch_warnings():  # newer torch advises against TorchScript; detectors are published as such
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.save(torch.jit.trace(Shrunk(), torch.zeros(1, 3, 16, 16)), path)
    return path


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("channels", [1, 3])
def test_a_torchscript_file_is_fed_resized_and_normalized_images(script, channels):
    batch = images(3, 4, channels=channels, side=16)
    embedding = torchscript_embedding(script, sha256=digest(script), size=16)
    coloured = torch.from_numpy(batch).expand(-1, 3, -1, -1)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    expected = Shrunk()((coloured - mean[:, None, None]) / std[:, None, None])
    expected = expected / expected.norm(dim=1, keepdim=True)
    np.testing.assert_allclose(embedding.vectors(batch), expected.numpy(), atol=1e-6)
    assert embedding.digest == digest(script)
    assert embedding.name == "TorchScript detector.torchscript.pt at 16x16"


def test_a_torchscript_file_that_takes_other_images_is_an_error_with_the_cure(tmp_path):
    class Sized(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.reshape(-1, 3 * 16 * 16)

    path = tmp_path / "sized.pt"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.script(Sized()).save(path)
    embedding = torchscript_embedding(path, sha256=digest(path), size=17)
    with pytest.raises(AuditError, match=r"sized.pt does not take images \(1, 3, 17, 17\): .*Give the `size`"):
        embedding.vectors(images(1, 3))


def test_a_torchscript_file_with_another_digest_is_not_run(script):
    with pytest.raises(UsageError, match=r"`sha256` must be the digest of detector\.torchscript\.pt, got '00.*trust"):
        torchscript_embedding(script, sha256="00" * 32)


def test_a_file_that_is_missing_or_no_torchscript_is_refused(tmp_path):
    with pytest.raises(UsageError, match="does not exist"):
        torchscript_embedding(tmp_path / "none.pt", sha256="00" * 32)
    other = tmp_path / "other.pt"
    other.write_bytes(b"no program")
    with pytest.raises(UsageError, match=r"must be a TorchScript file, got 'other\.pt', which is none"):
        torchscript_embedding(other, sha256=digest(other))
