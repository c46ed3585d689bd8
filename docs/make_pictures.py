"""Make the pictures of the README: ``python docs/make_pictures.py`` with convtool installed.

Each picture is what the command line writes for the sample images, set side by side with the
command under it.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

DOCS = Path(__file__).parent
SAMPLES = DOCS.parent / "sample_images"
GAP, TEXT = 8, 22

SHEET = [
    ("gaussian:sigma=4", "--border reflect"),
    ("motion:length=21,angle=30", "--border reflect"),
    ("disk:radius=6", "--border reflect"),
    ("unsharp:amount=2,sigma=2", "--border reflect"),
    ("emboss", "--border reflect"),
    ("outline", "--border reflect"),
    ("sobel", "--border reflect"),
    ("kirsch", "--border reflect --range stretch"),
    ("laplacian-4", "--border reflect --range signed"),
    ("log:sigma=2", "--border reflect --range stretch"),
    ("dog:sigma1=2,sigma2=4", "--border reflect --range stretch"),
    ("gabor:wavelength=6,theta=45", "--border reflect --range stretch"),
]


def convtool(command: str, *arguments: str) -> None:
    """Run a command without its report."""
    subprocess.run([sys.executable, "-m", "convtool", command, "-q", *arguments], check=True)


def apply(image: Path, kernel: str, options: str, folder: Path) -> Image.Image:
    """Run ``convtool apply`` and open what it wrote."""
    output = folder / "out.png"
    convtool("apply", "-k", kernel, *options.split(), "-o", str(output), str(image))
    with Image.open(output) as result:
        return result.convert("RGB")


def enlarge(image: Path, kernel: str, border: str, folder: Path) -> Image.Image:
    """Run ``convtool transpose`` at stride 4 and open what it wrote."""
    output = folder / "enlarged.png"
    options = ("--stride", "4", "--border", border)
    convtool("transpose", "-k", kernel, *options, "-o", str(output), str(image))
    with Image.open(output) as result:
        return result.convert("RGB")


def sheet(tiles: list[tuple[str, Image.Image]], columns: int) -> Image.Image:
    """Set pictures side by side, each over its caption."""
    width = max(tile.width for _, tile in tiles)
    height = max(tile.height for _, tile in tiles) + TEXT
    rows = -(-len(tiles) // columns)
    page = Image.new("RGB", (columns * (width + GAP) + GAP, rows * (height + GAP) + GAP), "white")
    draw = ImageDraw.Draw(page)
    font = ImageFont.load_default(13)
    for number, (caption, tile) in enumerate(tiles):
        x = GAP + number % columns * (width + GAP)
        y = GAP + number // columns * (height + GAP)
        page.paste(tile, (x, y))
        draw.text((x, y + height - TEXT + 3), caption, fill="black", font=font)
    return page


def main() -> None:
    """Make every picture."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        cat = SAMPLES / "chelsea.png"
        small = (300, 200)
        tiles = [
            (kernel, apply(cat, kernel, options, folder).resize(small, Image.Resampling.LANCZOS))
            for kernel, options in SHEET
        ]
        sheet(tiles, 3).save(DOCS / "presets.jpg", quality=82)

        astronaut = SAMPLES / "astronaut.png"
        with Image.open(astronaut) as image:
            before = image.convert("RGB").resize((256, 256), Image.Resampling.LANCZOS)
        after = apply(astronaut, "sobel", "--stride 2 --padding same", folder)
        pair = [("512x512, at half size", before)]
        pair.append(("sobel, stride 2, same: 256x256", after))
        sheet(pair, 2).save(DOCS / "sobel.jpg", quality=85)

        maps = folder / "maps.png"
        stack = ["--stack", str(DOCS / "stacks" / "edges.toml"), "--show", "edges,texture"]
        convtool("apply", *stack, "-o", str(maps), str(astronaut))
        with Image.open(maps) as image:
            image.save(DOCS / "maps.jpg", quality=80)

        eye = folder / "eye.png"
        with Image.open(cat) as image:
            image.convert("RGB").crop((100, 70, 190, 130)).save(eye)
        enlarged = []
        for kernel, border in (("bilinear:factor=4", "edge"), ("bilinear:factor=4", "zero")):
            caption = f"{kernel}, --border {border}"
            enlarged.append((caption, enlarge(eye, kernel, border, folder)))
        uneven = "6x6:" + " 1/4" * 36
        enlarged.append(("6x6 of 1/4: uneven overlap", enlarge(eye, uneven, "edge", folder)))
        sheet(enlarged, 3).save(DOCS / "enlarged.jpg", quality=85)


if __name__ == "__main__":
    main()
