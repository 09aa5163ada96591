"""What the examples of README and docs stand on: a small project with data, models and what a reader would define.

Written into a folder by `build(folder)`; `SECTIONS` says what a section's reader already has, by page and heading.
"""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import torch
from diffusers import DDPMPipeline, DDPMScheduler, StableDiffusionPipeline, UNet2DModel
from PIL import Image

ROOT = Path(__file__).parents[2]
EMOJI = ROOT / "example_audits" / "emoji-release"
MEMBERS = UNSEEN = 620  # as many as calibrate an extraction

INI = """
[pytest]
addopts = -p no:cacheprovider
pythonpath = .
filterwarnings =
    error
    ignore::pytest_diffprivacy.errors.PromptTruncated
diffprivacy_model = checkpoints/release-3
diffprivacy_members = data/train
diffprivacy_nonmembers = data/heldout
diffprivacy_seed = 3
"""

SMALLER = {"generations=4096": "generations=64, steps=2", "most=50, images=100": "most=2, images=12"}
"""Numbers of the examples that a test has no time for."""

PLAIN = """
import numpy as np, torch
rng = np.random.default_rng(1)
"""

EMOJI_FIXTURES = f"""
import sys; sys.path.insert(0, {str(EMOJI.parent)!r})
from emoji_probes import emoji_pictures
import pytest
from pytest_diffprivacy import ProbeSet, load_model

@pytest.fixture(scope="session")
def diffusion_model():
    return load_model("base", dtype="float32")

@pytest.fixture(scope="session")
def probe_set():
    images, prompts = emoji_pictures("exact")
    unseen, unseen_prompts = emoji_pictures("heldout")
    captions = {{"member_prompts": prompts[:24], "nonmember_prompts": unseen_prompts[:24]}}
    return ProbeSet(images[:24], unseen[:24], prompts=prompts[:24], **captions)
"""

IDEAL = """
from pytest_diffprivacy.models import ideal_denoiser
images = torch.from_numpy(rng.random((40, 1, 8, 8), dtype=np.float32))
model = ideal_denoiser(images)
x_t = x_T = images[0]
"""

SECTIONS = {
    ("README", "Your own network"): "network = torch.nn.Conv2d(1, 1, 3, padding=1)\n",
    ("models", "Another library"): "network = torch.nn.Conv2d(1, 1, 3, padding=1)\n",
    ("models", "A GAN, an API, a folder of generations"): (
        "def my_gan(seeds): return rng.random((len(seeds), 1, 8, 8))\n"
        "class diffusion:\n    sample = staticmethod(lambda batch_size: torch.rand(batch_size, 1, 8, 8))\n"
    ),
    ("data", "Scores made elsewhere"): "member_scores, nonmember_scores = rng.normal(size=900), rng.normal(size=900)\n",
    ("beyond", "What did a fine-tune memorize?"): EMOJI_FIXTURES,
    ("beyond", "Memorized prompts"): EMOJI_FIXTURES,
    ("beyond", "Prompted extraction"): EMOJI_FIXTURES,
    ("beyond", "Sharpness of the landscape"): IDEAL,
    ("beyond", "Mitigations"): EMOJI_FIXTURES
    + """
from pytest_diffprivacy.probes import ImageSet
@pytest.fixture
def text_model(diffusion_model): return diffusion_model
@pytest.fixture
def prompts(): return emoji_pictures("exact")[1][:2]
@pytest.fixture
def training_images(): return [image.transpose(2, 0, 1) / 255.0 for image in emoji_pictures("exact")[0][:2]]
@pytest.fixture
def captioned_images(probe_set):
    images, texts = emoji_pictures("many")
    return ImageSet.of(images[:400], "image", prompts=texts[:400])
@pytest.fixture
def harmless(): return emoji_pictures("many")[1][:1]
""",
    ("beyond", "Epsilon"): """
training_images, canary_images = np.split(rng.random((110, 1, 4, 4), dtype=np.float32), [50])
from pytest_diffprivacy.models import ideal_denoiser
def train(images): return ideal_denoiser(torch.from_numpy(np.asarray(images, dtype=np.float32)))
""",
    ("beyond", "Shadow models"): """
import pytest
from pytest_diffprivacy import ProbeSet
from shadow_code import my_train
POOL = np.load("pool.npy")
@pytest.fixture(scope="session")
def diffusion_model(): return my_train(range(20), 0)
@pytest.fixture(scope="session")
def probe_set(): return ProbeSet(POOL[:20], POOL[20:])
""",
}

SHADOWS = """
import numpy as np
import torch
from pytest_diffprivacy.models import ideal_denoiser

def my_train(indices, seed):
    return ideal_denoiser(torch.from_numpy(np.load("pool.npy")[list(indices)] / np.float32(255)))
"""


def build(folder: Path) -> None:
    """Write the data and the models that the examples name."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (MEMBERS + UNSEEN, 8, 8), dtype=np.uint8)
    _images(folder / "data" / "train", pixels[:MEMBERS])
    _images(folder / "data" / "heldout", pixels[MEMBERS:])
    _images(folder / "data" / "all_probes", pixels[:40])
    _images(folder / "generated", pixels[:5])
    np.save(folder / "pool.npy", pixels[:40, None])
    (folder / "shadow_code.py").write_text(SHADOWS)
    (folder / "data" / "heldout_captions.txt").write_text("\n".join(f"a drawing of thing {i}" for i in range(40)))
    _network(folder)
    (folder / "base").symlink_to(EMOJI)
    _adapter(folder)
    _tables(folder, rng)


def _images(folder: Path, pixels: np.ndarray) -> None:
    folder.mkdir(parents=True)
    for index, image in enumerate(pixels):
        Image.fromarray(image).save(folder / f"{index:04}.png")


def _network(folder: Path) -> None:
    torch.manual_seed(0)
    unet = UNet2DModel(
        sample_size=8, in_channels=1, out_channels=1, block_out_channels=(8,), layers_per_block=1, norm_num_groups=4,
        down_block_types=("DownBlock2D",), up_block_types=("UpBlock2D",),
    ).eval()  # fmt: skip
    DDPMPipeline(unet=unet, scheduler=DDPMScheduler()).save_pretrained(folder / "checkpoints" / "release-3")
    unet.save_pretrained(folder / "checkpoints" / "unet")


def _adapter(folder: Path) -> None:
    from peft import LoraConfig
    from peft.utils import get_peft_model_state_dict

    from tests.claims.lora import emoji_pipeline

    unet = emoji_pipeline().unet
    unet.add_adapter(LoraConfig(r=2, lora_alpha=2, target_modules=["to_q", "to_k"], init_lora_weights=False))
    StableDiffusionPipeline.save_lora_weights(folder / "adapter", unet_lora_layers=get_peft_model_state_dict(unet))


def _tables(folder: Path, rng: np.random.Generator) -> None:
    """Scores of another program: of each image, and of each generation."""
    ids = [f"member {i}" for i in range(MEMBERS)] + [f"non-member {i}" for i in range(UNSEEN)]
    scores = {name: rng.normal(size=len(ids)) for name in ("base", "tuned")}
    _table(folder / "scores.csv", ids, scores)
    _table(folder / "errors.csv", ids, {"rms": rng.uniform(0.1, 0.2, len(ids))})
    _table(folder / "nearest.csv", ids, {"count": rng.integers(0, 3, len(ids)).astype(float)})
    for name, count in (("generations", 900), ("unseen", 700)):
        _table(
            folder / f"{name}.csv", [f"{name} {i}" for i in range(count)], {"similarity": rng.uniform(0, 0.4, count)}
        )


def _table(path: Path, ids: list[str], columns: dict[str, np.ndarray]) -> None:
    with path.open("w", newline="") as file:
        written = csv.writer(file)
        written.writerow(["id", *columns])
        written.writerows(zip(ids, *(column.tolist() for column in columns.values()), strict=True))
