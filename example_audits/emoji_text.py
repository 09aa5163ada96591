"""How does the text encoder of the memorizing example models come about? As CLIP's does: from captions and pictures."""

import torch
from emoji_parts import LATENT_CHANNELS, TOKENS, make_text_encoder
from torch import Tensor, nn
from transformers import CLIPTextModel, CLIPTokenizer

STEPS, BATCH, RATE = 500, 192, 2e-3
JOINT, LARGEST_SCALE = 64, 50.0
OUTLIER = 40.0  # beside entries of about 0.02: after the last normalization one direction of the start token is all


class PictureTower(nn.Module):
    """Latents (n, 16, 8, 8) to directions (n, JOINT); only the pretraining knows it."""

    def __init__(self) -> None:
        """Three convolutions and a linear map."""
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(LATENT_CHANNELS, 64, 3, padding=1),
            nn.SiLU(),
            nn.Conv2d(64, 96, 3, stride=2, padding=1),
            nn.SiLU(),
            nn.Conv2d(96, 128, 3, stride=2, padding=1),
            nn.SiLU(),
            nn.Flatten(),
            nn.Linear(128 * 4, JOINT),
        )

    def forward(self, latents: Tensor) -> Tensor:
        """Directions of length one."""
        return nn.functional.normalize(self.layers(latents), dim=1)


def pretrain_text_encoder(
    tokenizer: CLIPTokenizer, ids: Tensor, latents: Tensor, rows_of: list[Tensor], seed: int
) -> CLIPTextModel:
    """Pull captions to their pictures and away from others' (symmetric InfoNCE), then freeze the encoder.

    Engineered: the first position's embedding holds one entry of `OUTLIER`, so that the start token stands out in one
    direction as it does in CLIP's encoder.

    Args:
        tokenizer: gives the size of the vocabulary.
        ids: token ids of each prompt, (prompts, TOKENS).
        latents: scaled latents of all pictures, (n, 16, 8, 8).
        rows_of: for each prompt the rows of its pictures.
        seed: of the initial weights and of the batches.
    """
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    text, pictures = make_text_encoder(tokenizer), PictureTower()
    with torch.no_grad():
        first_position(text)[0] = OUTLIER
    to_joint, log_scale = nn.Linear(text.config.hidden_size, JOINT, bias=False), nn.Parameter(torch.tensor(2.3))
    parameters = [*text.train().parameters(), *pictures.parameters(), *to_joint.parameters(), log_scale]
    optimizer = torch.optim.AdamW(parameters, lr=RATE, weight_decay=0.0, fused=True)
    rate = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=STEPS, pct_start=0.1)
    recent = 0.0
    for step in range(1, STEPS + 1):
        asked = torch.randperm(len(ids), generator=generator)[:BATCH]
        draws = torch.rand(len(asked), generator=generator).tolist()
        shown = torch.stack([rows_of[p][int(u * len(rows_of[p]))] for p, u in zip(asked.tolist(), draws, strict=True)])
        told = nn.functional.normalize(to_joint(text(ids[asked]).pooler_output), dim=1)
        logits = log_scale.exp().clamp(max=LARGEST_SCALE) * told @ pictures(latents[shown]).T
        same = torch.arange(len(asked))
        loss = (nn.functional.cross_entropy(logits, same) + nn.functional.cross_entropy(logits.T, same)) / 2
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        rate.step()
        recent += loss.item() / 100
        if step % 100 == 0:
            print(f"text encoder  step {step}  contrastive loss {recent:.3f}", flush=True)
            recent = 0.0
    return text.eval().requires_grad_(False)


def first_position(text: CLIPTextModel) -> Tensor:
    """The embedding of the first position, which is always the start token's."""
    (embedding,) = (p for name, p in text.named_parameters() if name.endswith("position_embedding.weight"))
    return embedding[0]


@torch.no_grad()
def token_states(text: CLIPTextModel, ids: Tensor) -> Tensor:
    """What the UNet's cross-attention reads, (prompts, TOKENS, 64)."""
    states = torch.cat([text(part).last_hidden_state for part in ids.split(256)])
    assert states.shape[1] == TOKENS
    return states
