"""The examples for models that are not diffusers' do what they say, in a few lines each."""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pytest_diffprivacy import Auditor, ProbeSet, UsageError, Verdict, assert_no_extraction, options
from pytest_diffprivacy.audit import current, current_auditor

EXAMPLES = Path(__file__).parents[1] / "example_audits"


@pytest.fixture(autouse=True)
def examples(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The examples can be imported, and judge in memory."""
    monkeypatch.syspath_prepend(str(EXAMPLES))
    monkeypatch.setattr(current, "_current", None)
    session = options.activate(None)
    yield
    options.activate(session)


SPREAD = 0.2  # of an image around its prototype, in [-1, 1]
PROTOTYPES = torch.from_numpy(np.random.default_rng(4).choice([-0.2, 0.2], (6, 1, 4, 4)).astype(np.float32))


@pytest.fixture(scope="module")
def probes() -> ProbeSet:
    rng = np.random.default_rng(5)
    images = PROTOTYPES.numpy()[rng.integers(0, 6, 36)] + rng.normal(0.0, SPREAD, (36, 1, 4, 4))
    return ProbeSet(*np.split((images.astype(np.float32) + 1.0) / 2.0, 2))


def expected_image(x: torch.Tensor, alpha: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
    """E[x0 | alpha x0 + sigma n = x] for images around the prototypes: what a network learns that copies none."""
    alpha, sigma = alpha.view(-1, 1, 1, 1, 1), sigma.view(-1, 1, 1, 1, 1)
    variance = (alpha * SPREAD) ** 2 + sigma**2
    away = x[:, None] - alpha * PROTOTYPES
    means = PROTOTYPES + alpha * SPREAD**2 / variance * away
    weights = torch.softmax(-(away**2 / variance).sum((2, 3, 4)) / 2.0, 1)
    return (weights[:, :, None, None, None] * means).sum(1)


class NoisePrediction(torch.nn.Module):
    """eps(x_t, t) of these images."""

    def forward(self, x: torch.Tensor, times: torch.Tensor) -> torch.Tensor:
        from own_eps_network import BETAS

        abar = torch.from_numpy(np.cumprod(1.0 - BETAS)).float()[times]
        alpha, sigma = abar.sqrt(), (1.0 - abar).sqrt()
        return (x - alpha.view(-1, 1, 1, 1) * expected_image(x, alpha, sigma)) / sigma.view(-1, 1, 1, 1)


class KarrasDenoiser(torch.nn.Module):
    """D(x, sigma) of these images."""

    def forward(self, x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        return expected_image(x, torch.ones_like(sigma), sigma)


@pytest.mark.parametrize("name", ["own_eps_network", "own_karras_denoiser", "own_image_api", "own_scores"])
def test_an_example_is_short(name: str) -> None:
    code = [line for line in (EXAMPLES / f"{name}.py").read_text("utf-8").splitlines() if line.strip()]
    assert len(code) <= 32


@pytest.mark.parametrize(
    ("name", "network"), [("own_eps_network", NoisePrediction()), ("own_karras_denoiser", KarrasDenoiser())]
)
def test_a_network_is_audited(name: str, network: torch.nn.Module, probes: ProbeSet) -> None:
    module = __import__(name)
    module.audit(network, probes)
    (claim,) = current_auditor().claims
    assert claim.verdict is Verdict.PASS
    assert claim.model is not None
    assert claim.model.name.startswith("my ")
    assert [c.kind for c in claim.controls if c.outcome.value == "held"][:1] == ["positive"]


class Api(BaseHTTPRequestHandler):
    """Answers with a picture of its seed."""

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        shade = np.random.default_rng(asked["seed"]).integers(0, 256, (4, 4, 3), dtype=np.uint8)
        if asked["prompt"] is not None:
            shade[0, 0] = len(asked["prompt"])
        buffer = io.BytesIO()
        Image.fromarray(shade).save(buffer, "PNG")
        self.send_response(200)
        self.end_headers()
        self.wfile.write(buffer.getvalue())

    def log_message(self, format: str, *args: object) -> None:
        """Nothing is printed."""


@pytest.fixture
def url() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Api)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    server.server_close()
    thread.join()


def test_an_image_api_is_a_black_box(url: str) -> None:
    from own_image_api import image_api

    api = image_api(url)
    images = api.generate([1, 2], prompts=["cat", "horse"])
    assert images.shape == (2, 3, 4, 4)
    assert (images[:, :, 0, 0] * 255.0).round().int()[:, 0].tolist() == [3, 5]
    assert torch.equal(api.generate([2])[0], api.generate([1, 2])[1])
    images = np.random.default_rng(6).random((80, 3, 4, 4), dtype=np.float32)
    probes, judge = ProbeSet(images[:40], images[40:]), Auditor()
    claim = assert_no_extraction(api, probes, generations=40, max_false_match_rate=0.2, max_rate=0.3, auditor=judge)
    assert claim.verdict is Verdict.PASS
    assert claim.model is not None
    assert (claim.model.name, claim.model.access) == ("my API", "black box")


def test_scores_made_elsewhere_are_judged(tmp_path: Path, probes: ProbeSet) -> None:
    from own_scores import audit

    scores = np.random.default_rng(7).random(36)
    names = [f"member {i}" for i in range(18)] + [f"non-member {i}" for i in range(18)]
    rows = [f"{name},{score}" for name, score in zip(names, scores, strict=True)]
    (tmp_path / "scores.csv").write_text("\n".join(["id,my_attack", *rows]), encoding="utf-8")
    assert audit(tmp_path / "scores.csv", probes).verdict is Verdict.PASS
    (tmp_path / "scores.csv").write_text("\n".join(["id,my_attack", *rows[1:]]), encoding="utf-8")
    with pytest.raises(UsageError, match="1 ids are probes without a score"):
        audit(tmp_path / "scores.csv", probes)
