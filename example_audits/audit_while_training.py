"""How does one audit every checkpoint of a training run? A callback for the loops of diffusers' training scripts.

Those scripts have no callback of their own: call this where they save a checkpoint. In `train_unconditional.py`:

    watch = AuditWhileTraining(probes, every=1_000, folder="audit-while-training")
    ...
    if accelerator.sync_gradients:
        global_step += 1
        if accelerator.is_main_process:
            watch(global_step, accelerator.unwrap_model(model), noise_scheduler)

It watches a leak grow; it does not replace the audit of the checkpoint that is released. Stopping at the first
checkpoint that passes would be choosing the model by its test: judge the chosen one on probes that took no part.
"""

from __future__ import annotations

import copy
from pathlib import Path

import torch

from pytest_diffprivacy import Auditor, ProbeSet, assert_mia_tpr_below, load_model
from pytest_diffprivacy.errors import ClaimNotProven
from pytest_diffprivacy.evidence import RunFolder
from pytest_diffprivacy.evidence.records import Claim


class AuditWhileTraining:
    """Judges one membership claim at every `every`-th step and prints a line; records go to the folder.

    Args:
        probes: training images and images of the same kind that the training does not see.
        every: steps between audits.
        folder: where records and evidence go, a run folder a step.
        attack: a cheap attack; "loss", "secmi" and "sima" grow with the leak.
        max_fpr: allowed share of non-members taken for members.
        limit: allowed share of members recognised.
    """

    def __init__(
        self,
        probes: ProbeSet,
        *,
        every: int,
        folder: str | Path,
        attack: str = "loss",
        max_fpr: float = 0.01,
        limit: float = 0.05,
    ) -> None:
        self.probes, self.every, self.folder = probes, every, Path(folder)
        self.attack, self.max_fpr, self.limit = attack, max_fpr, limit
        self.claims: dict[int, Claim] = {}

    def __call__(self, step: int, unet: torch.nn.Module, scheduler: object) -> Claim | None:
        """Audit a copy of the network, so that the one in training keeps its mode and its gradients.

        Returns:
            The claim's record; None at steps between audits.
        """
        if step % self.every:
            return None
        model = load_model(copy.deepcopy(unet), scheduler=scheduler)
        judge = Auditor(run=RunFolder(self.folder, f"step-{step:08}"))
        try:
            claim = assert_mia_tpr_below(
                model, self.probes, attack=self.attack, max_fpr=self.max_fpr, limit=self.limit, auditor=judge
            )
        except ClaimNotProven as error:
            claim = error.claim
        self.claims[step] = claim
        print(f"step {step}: {claim.verdict.value} {claim.value} [{claim.low}, {claim.high}], limit {claim.limit}")
        return claim
