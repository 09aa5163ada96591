"""Where do the text-to-image models come from that memorize in the way Stable Diffusion does?

`build_emoji.py` draws the pictures and trains the autoencoder. This builder trains, with that autoencoder, a text
encoder, frozen then, and a UNet that memorizes 120 exact and 40 partial prompts beside 934 generic ones, and writes a
folder that `StableDiffusionPipeline.from_pretrained` loads. Engineered after Stable Diffusion, so that detectors
of memorized prompts see what they see there:

    generic prompts    16 different pictures each, every picture seen about 3.7 times; half of all rows are memorized
    empty prompts      stand for generic rows alone, so that the unconditional branch learns no copies
    text encoder       trained on captions and pictures as CLIP is, then frozen; one outlier in the start token
    cross-attention    starts with most of its mass on the start token: a rank-1 term in every `to_k`
    layers             two a block, so that "layer 3" is the second layer of the second down block

Measured on seeds 0 and 1: at the first step the outer layers keep 79 to 99 % of their attention on the start token,
the middle ones leave it (layer 3: at most 4 %), so that LE at the authors' layer stays inverted. Every detector's
figures are in docs/papers.md. The same command run twice gave text encoders that differ, so a second model is a like
one and not the same. The pictures are OpenMoji's (CC BY-SA 4.0), and so is a model that holds some of them.

About 20 minutes a model on one quiet core. A run that was stopped goes on from its last checkpoint in `--work`, where
the rendered pictures' latents wait for the next model as well. Needs the extra `build` for the renderer.

    python build_emoji_copies.py --out FOLDER --prediction epsilon --seed 0
"""

import argparse
import copy
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from emoji_data import draw_generic, draw_sets
from emoji_parts import (
    encode,
    make_scheduler,
    make_text_encoder,
    make_tokenizer,
    make_unet,
    pipeline,
    save,
    to_tensor,
    tokenize,
)
from emoji_text import pretrain_text_encoder, token_states
from torch import Tensor
from tqdm import tqdm
from transformers import CLIPTextModel, CLIPTokenizer

THREADS = 1  # part of the recipe: sums in another order round differently
GENERIC_PICTURES = 16
WIDTH, LAYERS_PER_BLOCK = (32, 48), 2
BATCH, STEPS, RATE, EMA = 32, 3500, 2.5e-3, 0.998
MEMORIZED_SHARE, PARTIAL_SHARE, BLANK_SHARE = 0.5, 0.2, 0.2
SINK_LOGIT = 5.0
KEEP_EVERY = 250


@dataclass(frozen=True)
class Data:
    """Training pictures as latents, with their prompts.

    Attributes:
        latents: scaled, (n, 16, 8, 8).
        prompts: the distinct prompts.
        which: for each picture the place of its prompt.
        rows: the pictures of each kind by name.
    """

    latents: Tensor
    prompts: list[str]
    which: Tensor
    rows: dict[str, Tensor]


def training_data(autoencoder: AutoencoderKL, work: Path) -> Data:
    """Draw and encode all pictures, or read them from an earlier run."""
    path = work / "emoji_latents.pt"
    if not path.exists():
        sets = draw_sets()
        chosen = {"exact": sets["exact"], "partial": sets["partial"], "generic": draw_generic(GENERIC_PICTURES)}
        images = np.concatenate([part.images for part in chosen.values()])
        latents = torch.cat(
            [encode(autoencoder, to_tensor(images[i : i + 500])) for i in tqdm(range(0, len(images), 500), "encoding")]
        )
        told = [prompt for part in chosen.values() for prompt in part.prompts]
        prompts = list(dict.fromkeys(told))
        places = {prompt: place for place, prompt in enumerate(prompts)}
        ends = np.cumsum([len(part.prompts) for part in chosen.values()]).tolist()
        rows = {name: torch.arange(a, b) for name, a, b in zip(chosen, [0, *ends], ends, strict=False)}
        which = torch.tensor([places[prompt] for prompt in told])
        torch.save(
            {
                "latents": latents * autoencoder.config.scaling_factor,
                "prompts": prompts,
                "which": which,
                "rows": rows,
            },
            path,
        )
    return Data(**torch.load(path))


def text_encoder(tokenizer: CLIPTokenizer, ids: Tensor, data: Data, seed: int, kept: Path) -> CLIPTextModel:
    """The frozen text encoder of a seed, pretrained or as an earlier run kept it."""
    if not kept.exists():
        rows_of = [torch.nonzero(data.which == place)[:, 0] for place in range(len(data.prompts))]
        torch.save(pretrain_text_encoder(tokenizer, ids, data.latents, rows_of, seed).state_dict(), kept)
    text = make_text_encoder(tokenizer).eval().requires_grad_(False)
    text.load_state_dict(torch.load(kept))
    return text


def draw_batch(data: Data, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Rows of a batch, and which of them are told the empty prompt."""
    kind, blank = torch.rand(BATCH, generator=generator), torch.rand(BATCH, generator=generator)
    place = torch.rand(BATCH, generator=generator)
    memorized, partial = kind < MEMORIZED_SHARE, kind < MEMORIZED_SHARE * PARTIAL_SHARE
    drawn = {name: rows[(place * len(rows)).long().clamp(max=len(rows) - 1)] for name, rows in data.rows.items()}
    told = torch.where(partial, drawn["partial"], drawn["exact"])
    return torch.where(memorized, told, drawn["generic"]), ~memorized & (blank < BLANK_SHARE)


@torch.no_grad()
def start_on_first_token(unet: UNet2DConditionModel, states: Tensor, x_t: Tensor, times: Tensor) -> None:
    """Add to every cross-attention's `to_k` the rank-1 term that gives the start token a mean logit of SINK_LOGIT.

    Its input direction is 1 on the start token and as near 0 on the others as can be; its output direction is each
    head's mean query on noised latents.
    """
    layers = {name: part for name, part in unet.named_modules() if name.endswith("attn2")}
    queries: dict[str, Tensor] = {}
    hooks = [
        part.to_q.register_forward_hook(lambda _, __, out, name=name: queries.update({name: out}))
        for name, part in layers.items()
    ]
    unet(x_t, times, encoder_hidden_states=states)
    for hook in hooks:
        hook.remove()
    first, others = states[0, 0], states[:, 1:].flatten(0, 1)
    spread = others.T @ others / len(others) + 0.05 * torch.eye(len(first))
    direction = torch.linalg.solve(spread, first)
    direction /= direction @ first
    for name, part in layers.items():
        mean = queries[name].mean((0, 1)).reshape(part.heads, -1)
        wanted = SINK_LOGIT * math.sqrt(mean.shape[1]) - mean @ (part.to_k.weight @ first).reshape(part.heads, -1).T
        key = mean * (wanted.diagonal() / mean.square().sum(1))[:, None]
        part.to_k.weight += torch.outer(key.flatten(), direction)


def loss_weights(scheduler: DDIMScheduler) -> Tensor:
    """Of each timestep: abar^(-1/4) for the noise's squared error, none for v's; mean 1."""
    if scheduler.config.prediction_type == "v_prediction":
        return torch.ones(len(scheduler.alphas_cumprod))
    weights = scheduler.alphas_cumprod**-0.25
    return weights / weights.mean()


def untrained(data: Data, states: Tensor, scheduler: DDIMScheduler, generator: torch.Generator) -> UNet2DConditionModel:
    """A UNet whose cross-attention starts on the start token, as measured on one batch of noised rows."""
    unet = make_unet(WIDTH, 0.0, LAYERS_PER_BLOCK)
    rows, _ = draw_batch(data, generator)
    noised = scheduler.add_noise(data.latents[rows], torch.randn(BATCH, 16, 8, 8, generator=generator), rows % 1000)
    start_on_first_token(unet, states[data.which[rows]], noised, rows % 1000)
    return unet


def train(
    data: Data, states: Tensor, blank: Tensor, scheduler: DDIMScheduler, *, seed: int, steps: int, kept: Path
) -> UNet2DConditionModel:
    """Train a UNet on the latents and return its averaged weights; goes on from the checkpoint `kept`."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    unet = untrained(data, states, scheduler, generator)
    average = copy.deepcopy(unet).eval().requires_grad_(False)
    parameters, averaged = [*unet.train().parameters()], [*average.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=RATE, weight_decay=0.0, fused=True)
    rate = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=steps, pct_start=0.05)
    parts = {"unet": unet, "average": average, "optimizer": optimizer, "rate": rate}
    done = 0
    if kept.exists():
        stored = torch.load(kept)
        for name, part in parts.items():
            part.load_state_dict(stored[name])
        generator.set_state(stored["generator"])
        done = stored["step"]
    weights = loss_weights(scheduler)
    is_v = scheduler.config.prediction_type == "v_prediction"
    for step in (bar := tqdm(range(done + 1, steps + 1), kept.stem, initial=done, total=steps, mininterval=10)):
        rows, empty = draw_batch(data, generator)
        x0, told = data.latents[rows], torch.where(empty[:, None, None], blank, states[data.which[rows]])
        times = torch.randint(1000, (BATCH,), generator=generator)
        noise = torch.randn(x0.shape, generator=generator)
        predicted = unet(scheduler.add_noise(x0, noise, times), times, encoder_hidden_states=told).sample
        target = scheduler.get_velocity(x0, noise, times) if is_v else noise
        loss = (weights[times] * (predicted - target).square().mean((1, 2, 3))).mean()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        rate.step()
        with torch.no_grad():
            torch._foreach_lerp_(averaged, parameters, 1 - min(EMA, step / (step + 10)))
        if step % KEEP_EVERY == 0 or step == steps:
            bar.set_postfix(loss=f"{loss.item():.3f}")
            state = {name: part.state_dict() for name, part in parts.items()}
            torch.save(state | {"generator": generator.get_state(), "step": step}, kept)
    return average


def main() -> None:
    """Build one model."""
    here = Path(__file__).parent
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="folder to write the pipeline into")
    parser.add_argument("--prediction", choices=("epsilon", "v_prediction"), default="epsilon")
    parser.add_argument("--seed", type=int, default=0, help="of text encoder, initial weights and batches")
    parser.add_argument("--steps", type=int, default=STEPS, help="training steps of the UNet")
    parser.add_argument("--threads", type=int, default=THREADS, help="processor threads")
    parser.add_argument("--work", type=Path, default=here / "work", help="folder of latents and checkpoints")
    parser.add_argument(
        "--autoencoder", type=Path, default=here / "emoji-release", help="a pipeline folder whose autoencoder to use"
    )
    given = parser.parse_args()

    torch.set_num_threads(given.threads)
    given.work.mkdir(parents=True, exist_ok=True)
    autoencoder = AutoencoderKL.from_pretrained(given.autoencoder / "vae", torch_dtype=torch.float32).eval()
    data = training_data(autoencoder, given.work)
    tokenizer = make_tokenizer(data.prompts, given.out / "tokenizer")
    ids, blank = tokenize(tokenizer, data.prompts), tokenize(tokenizer, [""])
    text = text_encoder(tokenizer, ids, data, given.seed, given.work / f"text-seed{given.seed}.pt")
    scheduler = make_scheduler(given.prediction)
    unet = train(
        data,
        token_states(text, ids),
        token_states(text, blank)[0],
        scheduler,
        seed=given.seed,
        steps=given.steps,
        kept=given.work / f"{given.prediction}-seed{given.seed}-steps{given.steps}.pt",
    )
    save(pipeline(unet, text, autoencoder, tokenizer, scheduler), given.out)


if __name__ == "__main__":
    main()
