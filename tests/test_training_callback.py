"""The example callback audits a copy, and leaves the network in training as it was."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import DDPMScheduler, UNet2DModel

from pytest_diffprivacy import ProbeSet
from pytest_diffprivacy.evidence import RunFolder


@pytest.fixture(autouse=True)
def examples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "example_audits"))


@pytest.mark.slow
def test_every_second_step_is_audited_on_a_copy(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from audit_while_training import AuditWhileTraining

    torch.manual_seed(0)
    unet = UNet2DModel(
        sample_size=4,
        in_channels=1,
        out_channels=1,
        block_out_channels=(8,),
        down_block_types=("DownBlock2D",),
        up_block_types=("UpBlock2D",),
        norm_num_groups=4,
        layers_per_block=1,
    ).train()
    images = np.random.default_rng(1).random((240, 1, 4, 4)).astype(np.float32)
    probes = ProbeSet(images[:120], images[120:])
    watch = AuditWhileTraining(probes, every=2, folder=tmp_path, attack="sima", max_fpr=0.05, limit=0.3)
    before = {name: weight.clone() for name, weight in unet.state_dict().items()}
    assert watch(1, unet, DDPMScheduler()) is None
    claim = watch(2, unet, DDPMScheduler())
    assert claim is not None
    assert list(watch.claims) == [2]
    assert capsys.readouterr().out.startswith(f"step 2: {claim.verdict.value} ")
    assert RunFolder(tmp_path, "step-00000002").claims() == [claim]
    assert unet.training
    assert all(weight.requires_grad for weight in unet.parameters())
    assert all(torch.equal(before[name], weight) for name, weight in unet.state_dict().items())
    assert "audit_while_training" in sys.modules
