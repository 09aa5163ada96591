"""Where do `diffusion_model` and `probe_set` come from, and what is said when one of them cannot be used?"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pytest_diffprivacy.models import load_model
from pytest_diffprivacy.statistics import Verdict
from tests.plugin.conftest import MODEL, Project

AUDIT = """
    from pytest_diffprivacy import assert_mia_tpr_below

    def test_members_hidden(diffusion_model, probe_set):
        assert_mia_tpr_below(
            diffusion_model, probe_set, attack="loss", parameters={"draws": 1}, max_fpr=0.1, limit=0.6
        )
"""
ASKS_FOR_THE_MODEL = "def test_model(diffusion_model): ..."
ASKS_FOR_THE_PROBES = """
    def test_probes(probe_set):
        probe_set.check_split()
"""


def slopes(seed: int, count: int, side: int = 8) -> np.ndarray:
    """Different grey images, (count, side, side) in 0..255, each of which gets brighter in one direction."""
    rng, place = np.random.default_rng(seed), np.linspace(-1.0, 1.0, side)
    level, down, right = rng.uniform(-80.0, 80.0, (3, count, 1, 1))
    grain = rng.uniform(-40.0, 40.0, (count, side, side))
    return np.round(128.0 + (level + down * place[:, None] + right * place + grain) / 2.0)


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A saved DDPMPipeline that learned to denoise such images, and none of those that are audited."""
    import torch
    from diffusers import DDPMPipeline, DDPMScheduler, UNet2DModel

    folder = tmp_path_factory.mktemp("checkpoints") / "release-3"
    with torch.random.fork_rng():
        torch.manual_seed(0)
        unet = UNet2DModel(
            sample_size=8,
            in_channels=1,
            out_channels=1,
            block_out_channels=(8,),
            down_block_types=("DownBlock2D",),
            up_block_types=("UpBlock2D",),
            layers_per_block=1,
            norm_num_groups=2,
            add_attention=False,
        )
        scheduler, optimizer = DDPMScheduler(), torch.optim.Adam(unet.parameters(), 0.01)
        images = torch.from_numpy(slopes(7, 512)).float()[:, None] / 127.5 - 1.0
        slower = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 300)
        for _ in range(300):
            clean, times = images[torch.randint(512, (64,))], torch.randint(1000, (64,))
            noise = torch.randn_like(clean)
            error = unet(scheduler.add_noise(clean, noise, times), times).sample - noise
            optimizer.zero_grad()
            error.square().mean().backward()
            optimizer.step()
            slower.step()
    DDPMPipeline(unet=unet, scheduler=scheduler).save_pretrained(folder, safe_serialization=True)
    load_model(folder)  # diffusers imports on demand; a run inside this process would forget what it imported
    return folder


@pytest.fixture(scope="module")
def compilable(pipeline: Path) -> Path:
    """The pipeline after PyTorch's compiler, which cannot be imported twice, was imported."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pytest_diffprivacy.models.compiled.BACKEND", "eager")
        load_model(pipeline, compile=True)
    return pipeline


@pytest.mark.slow
def test_model_and_image_folders_named_in_the_ini_file_are_audited(project: Project, pipeline: Path) -> None:
    (project.path / "release-3").symlink_to(pipeline)
    project.images("train", slopes(1, 60))
    project.images("heldout", slopes(2, 60))
    project.ini(diffprivacy_model="release-3", diffprivacy_members="train", diffprivacy_nonmembers="heldout")
    project.write("audits/test_release.py", AUDIT)
    seen = project.run("--diffprivacy-report=audit.html")
    assert (seen.exit_code, seen.last) == (0, "1 passed")
    claim = project.claim()
    assert claim.verdict is Verdict.PASS
    assert claim.model is not None
    assert (claim.model.name, claim.model.family) == ("release-3", "pixel diffusion, epsilon")
    assert [(side.role, side.origin, side.count) for side in claim.probes] == [
        ("member", "folder train", 60),
        ("non-member", "folder heldout", 60),
    ]
    assert "release-3" in (project.path / "audit.html").read_text()
    named = {option.name: (option.value, option.origin) for option in project.record().options}
    assert named["model"] == ("release-3", "ini file")
    assert named["members"] == ("train", "ini file")


@pytest.mark.slow
def test_the_network_is_compiled_where_an_option_asks_for_it(
    project: Project, compilable: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pytest_diffprivacy.models.compiled.BACKEND", "eager")
    project.images("train", slopes(1, 60))
    project.images("heldout", slopes(2, 60))
    project.ini(diffprivacy_model=str(compilable), diffprivacy_members="train", diffprivacy_nonmembers="heldout")
    project.write("audits/test_release.py", AUDIT)
    seen = project.run("--diffprivacy-compile", "--diffprivacy-report=audit.html")
    assert (seen.exit_code, seen.last) == (0, "1 passed")
    model = project.claim().model
    assert model is not None
    assert model.layout == "compiled (not for derivatives and attention)"
    assert model.deviation.startswith("eps differs from float32 by ")
    assert f"float32, {model.layout} on cpu; {model.deviation}" in (project.path / "audit.html").read_text()


@pytest.mark.slow
def test_the_documented_way_to_bring_a_model_is_to_override_the_fixtures(project: Project) -> None:
    project.write("conftest.py", MODEL)
    project.write("test_release.py", AUDIT)
    project.run()
    claim = project.claim()
    assert claim.model is not None
    assert claim.model.name == "ideal denoiser"
    assert claim.verdict is Verdict.FAIL


def test_the_session_s_auditor_judges_and_records(project: Project) -> None:
    project.write(
        "test_release.py",
        """
        import numpy as np
        from pytest_diffprivacy import Auditor, assert_mia_tpr_below

        def test_members_hidden(diffprivacy):
            assert isinstance(diffprivacy, Auditor)
            scores = np.random.default_rng(0).normal(size=(2, 500))
            claim = assert_mia_tpr_below(*scores, max_fpr=0.05, limit=0.2, auditor=diffprivacy)
            assert diffprivacy.claims == [claim]
        """,
    )
    assert project.run().exit_code == 0
    assert project.claim().verdict is Verdict.PASS


@pytest.mark.parametrize(
    ("audit", "option", "fixture"),
    [(ASKS_FOR_THE_MODEL, "model", "diffusion_model"), (ASKS_FOR_THE_PROBES, "members", "probe_set")],
    ids=["model", "members"],
)
def test_an_unset_fixture_names_option_and_fixture(project: Project, audit: str, option: str, fixture: str) -> None:
    project.write("test_release.py", audit)
    message = refusal(project)
    assert f"`diffprivacy_{option}` in pyproject.toml" in message
    assert f"pass --diffprivacy-{option}" in message
    assert f"override the fixture `{fixture}` in conftest.py" in message


def test_a_claim_that_needs_nonmembers_says_how_to_give_them(project: Project) -> None:
    project.images("train", slopes(1, 6))
    project.ini(diffprivacy_members="train")
    project.write("test_release.py", ASKS_FOR_THE_PROBES)
    assert "set diffprivacy_nonmembers" in refusal(project)


def test_a_missing_model_path_is_named(project: Project, pipeline: Path) -> None:
    project.ini(diffprivacy_model="checkpoints/release-4")
    project.write("test_release.py", ASKS_FOR_THE_MODEL)
    message = refusal(project)
    assert f"Model path '{project.path}/checkpoints/release-4' does not exist." in message
    assert "Give a folder written by pipeline.save_pretrained(...)" in message


def test_a_pickled_checkpoint_is_refused_with_the_command_that_converts_it(project: Project, pipeline: Path) -> None:
    project.write("model.ckpt", "never read")
    project.ini(diffprivacy_model="model.ckpt")
    project.write("test_release.py", ASKS_FOR_THE_MODEL)
    message = refusal(project)
    assert f"'{project.path}/model.ckpt' is a pickle, which can run code when it is loaded." in message
    assert "safe_serialization=True" in message


def test_pickled_weights_in_a_pipeline_are_refused(project: Project, pipeline: Path) -> None:
    for name in ("model_index.json", "unet/config.json", "scheduler/scheduler_config.json"):
        project.write(f"release-3/{name}", (pipeline / name).read_text())
    weights = project.write("release-3/unet/diffusion_pytorch_model.bin", "never read")
    project.ini(diffprivacy_model="release-3")
    project.write("test_release.py", ASKS_FOR_THE_MODEL)
    message = refusal(project)
    assert f"'{weights}' is a pickle" in message
    assert "save_pretrained" in message


def test_a_device_that_is_none_is_named_with_its_option(project: Project, pipeline: Path) -> None:
    project.ini(diffprivacy_model=str(pipeline), diffprivacy_device="gpu")
    project.write("test_release.py", ASKS_FOR_THE_MODEL)
    assert "`diffprivacy_device` must be a device that torch can use here" in refusal(project)


def test_an_empty_nonmember_folder_is_named(project: Project) -> None:
    project.images("train", slopes(1, 6))
    folder = project.images("heldout", slopes(2, 0))
    project.ini(diffprivacy_members="train", diffprivacy_nonmembers="heldout")
    project.write("test_release.py", ASKS_FOR_THE_PROBES)
    assert f"Image folder '{folder}' holds no images (.png, .jpg" in refusal(project)


def test_one_truncated_image_among_good_ones_is_named(project: Project) -> None:
    project.images("train", slopes(1, 6))
    folder = project.images("heldout", slopes(2, 6))
    bad = folder / "003.png"
    bad.write_bytes(bad.read_bytes()[:60])
    project.ini(diffprivacy_members="train", diffprivacy_nonmembers="heldout")
    project.write("test_release.py", ASKS_FOR_THE_PROBES)
    message = refusal(project, lines=2)
    assert "1 of 6 non-member images cannot be used" in message
    assert f"{bad} cannot be read as an image" in message
    assert "Replace or remove it." in message


def test_one_image_of_another_size_is_named(project: Project) -> None:
    project.images("train", slopes(1, 6))
    folder = project.images("heldout", slopes(2, 6))
    project.images("large", slopes(3, 1, side=9))
    (project.path / "large" / "000.png").rename(folder / "large.png")
    project.ini(diffprivacy_members="train", diffprivacy_nonmembers="heldout")
    project.write("test_release.py", ASKS_FOR_THE_PROBES)
    message = refusal(project, lines=2)
    assert f"{folder / 'large.png'} has shape (1, 9, 9), the images before it (1, 8, 8). Resize it." in message


def test_sides_of_different_sizes_are_told_apart(project: Project) -> None:
    project.images("train", slopes(1, 6))
    project.images("heldout", slopes(2, 6, side=9))
    project.ini(diffprivacy_members="train", diffprivacy_nonmembers="heldout")
    project.write("test_release.py", ASKS_FOR_THE_PROBES)
    message = refusal(project)
    assert "Members have shape (1, 8, 8), non-members (1, 9, 9)." in message
    assert "Bring both to the size the model was trained on. ProbeSet(..., resize=, crop=) does" in message


@pytest.mark.slow
def test_images_of_another_size_than_the_model_s_are_refused(project: Project, pipeline: Path) -> None:
    project.images("train", slopes(1, 6, side=9))
    project.images("heldout", slopes(2, 6, side=9))
    project.ini(diffprivacy_model=str(pipeline), diffprivacy_members="train", diffprivacy_nonmembers="heldout")
    project.write("test_release.py", AUDIT)
    message = refusal(project)
    assert "Images must have the model's shape (1, 8, 8), got (1, 9, 9)." in message
    assert "Resize them as the training pipeline did." in message


def test_one_folder_as_members_and_nonmembers_is_refused(project: Project) -> None:
    project.images("train", slopes(1, 6))
    project.ini(diffprivacy_members="train", diffprivacy_nonmembers="train")
    project.write("test_release.py", ASKS_FOR_THE_PROBES)
    message = refusal(project)
    assert "6 of 6 member images are also among the 6 non-members" in message
    assert "They are the same images." in message
    assert "remove the shared images from both sides" in message


def refusal(project: Project, lines: int = 1) -> str:
    """Run the project and return the one message of an audit that could not start; it must show nothing of ours."""
    seen = project.run()
    assert seen.exit_code == 1
    assert seen.last in ("1 failed", "1 error")
    assert seen.tracebacks_into_us == []
    assert "Traceback" not in seen.text
    starts = [
        i for i, line in enumerate(seen.lines) if line.startswith(("UsageError: ", "ModelError: ", "ProbeError: "))
    ]
    assert len(starts) == 1, seen.text
    assert project.record().verdict == "INCOMPLETE"
    return "\n".join(seen.lines[starts[0] : starts[0] + lines])


def test_whom_images_show_is_set_by_an_option(project: Project) -> None:
    for side, people in (("train", "ab"), ("heldout", "cd")):
        for person in people:
            folder = project.path / side / person
            folder.mkdir(parents=True)
            for number, pixels in enumerate(slopes(ord(person), 2)):
                Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{number}.png")
    project.ini(diffprivacy_members="train", diffprivacy_nonmembers="heldout", diffprivacy_subjects="true")
    project.write(
        "test_release.py",
        """
        def test_persons(probe_set):
            assert [len(side) for side in probe_set.subjects] == [2, 2]
            assert sorted(probe_set.subjects[0].names) == ["a", "b"]
        """,
    )
    assert project.run("-p", "no:cacheprovider").last.startswith("1 passed")
