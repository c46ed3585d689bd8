"""Small image files of every kind, built in memory: name → bytes."""

import io
import struct
import zlib

import numpy as np
from PIL import Image, ImageCms

RNG = np.random.default_rng(20)
GREY = RNG.integers(0, 256, (5, 7), np.uint8)
RGB = RNG.integers(0, 256, (5, 7, 3), np.uint8)
RGBA = RNG.integers(0, 256, (5, 7, 4), np.uint8)
GREY16 = RNG.integers(0, 65536, (5, 7), np.uint16)
RGBA[1:3, 2:5, 3] = 0
RGB16 = RNG.integers(0, 65536, (5, 7, 3), np.uint16)
FLOAT = RNG.normal(size=(5, 7)).astype(np.float32)

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


PNG_MAGIC = b"\x89PNG\r\n\x1a\n"


def saved(image, kind, **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def picture(array, kind, **options):
    return saved(Image.fromarray(array), kind, **options)


def chunk(kind, content=b""):
    return (
        struct.pack(">I", len(content))
        + kind
        + content
        + struct.pack(">I", zlib.crc32(kind + content))
    )


def png(array, *extra, bits=None, colour_type=None, width=None):
    """A PNG file put together by hand, filter 0; `extra` chunks stand before the pixels."""
    array = array if array.ndim == 3 else array[..., None]
    bits = bits or 8 * array.itemsize
    kinds = {1: 0, 2: 4, 3: 2, 4: 6}
    colour_type = kinds[array.shape[2]] if colour_type is None else colour_type
    rows = b"".join(b"\0" + row.astype(array.dtype.newbyteorder(">")).tobytes() for row in array)
    head = struct.pack(
        ">IIBBBBB", width or array.shape[1], array.shape[0], bits, colour_type, 0, 0, 0
    )
    return b"".join(
        [
            PNG_MAGIC,
            chunk(b"IHDR", head),
            *extra,
            chunk(b"IDAT", zlib.compress(rows)),
            chunk(b"IEND"),
        ]
    )


def oriented(turn, order="<"):
    """An EXIF block with a description before the orientation, and bytes behind it."""
    text = b"maker notes"
    entries = struct.pack(order + "HHII", 0x010E, 2, len(text), 38)
    entries += struct.pack(order + "HHIHH", 0x0112, 3, 1, turn, 0)
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", 8)
    return head + struct.pack(order + "H", 2) + entries + struct.pack(order + "I", 0) + text


def tiff(array, photometric, *tags, samples=None):
    """An uncompressed little-endian TIFF of one strip; `tags` are (tag, type, values)."""
    h, w = array.shape[:2]
    samples = samples or (array.shape[2] if array.ndim == 3 else 1)
    kind = {"u": 1, "i": 2, "f": 3}[array.dtype.kind]
    data = array.tobytes()
    wanted = {
        256: (4, [w]), 257: (4, [h]), 258: (3, [8 * array.itemsize] * samples),
        259: (3, [1]), 262: (3, [photometric]), 273: (4, [8]), 277: (3, [samples]),
        278: (4, [h]), 279: (4, [len(data)]), 339: (3, [kind] * samples),
    }  # fmt: skip
    wanted |= {tag: (type_, values) for tag, type_, values in tags}
    start = 8 + len(data) + len(data) % 2
    behind = start + 2 + 12 * len(wanted) + 4
    entries, extra = b"", b""
    for tag, (type_, values) in sorted(wanted.items()):
        packed = struct.pack("<" + {3: "H", 4: "I"}[type_] * len(values), *values)
        entries += struct.pack("<HHI", tag, type_, len(values))
        if len(packed) <= 4:
            entries += packed.ljust(4, b"\0")
        else:
            entries += struct.pack("<I", behind + len(extra))
            extra += packed
    head = b"II*\0" + struct.pack("<I", start) + data.ljust(start - 8, b"\0")
    return head + struct.pack("<H", len(wanted)) + entries + b"\0\0\0\0" + extra


def animation(kind, mode="RGB", **options):
    colours = ["red", "lime", "blue"]
    frames = [Image.new(mode, (4, 3), colour) for colour in colours]
    options = {"duration": [40, 80, 120], "loop": 3} | options
    return saved(frames[0], kind, save_all=True, append_images=frames[1:], **options)


def npy(array, **options):
    buffer = io.BytesIO()
    np.save(buffer, array, **options)
    return buffer.getvalue()


def _palette(transparency=None):
    image = Image.fromarray(GREY % 3)
    image.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255])
    return saved(image, "PNG", **({} if transparency is None else {"transparency": transparency}))


def _pages(*images):
    return saved(images[0], "TIFF", save_all=True, append_images=images[1:])


_TRNS = chunk(b"tRNS", struct.pack(">HHH", *map(int, RGB[1, 2])))
_TRNS16 = chunk(b"tRNS", struct.pack(">HHH", *map(int, RGB16[1, 2])))
_TRNS_GREY16 = chunk(b"tRNS", struct.pack(">H", int(GREY16[1, 2])))
_IMAGE = Image.fromarray(RGB)

# Read by Pillow alone.
FILES = {
    "png grey": picture(GREY, "PNG"),
    "png grey+alpha": picture(RGBA[..., :2], "PNG"),
    "png rgb": picture(RGB, "PNG"),
    "png rgba": picture(RGBA, "PNG"),
    "png 1 bit": picture(GREY > 99, "PNG"),
    "png palette": _palette(),
    "png palette, one colour clear": _palette(1),
    "png palette, soft": _palette(b"\x10\x80\xff"),
    "png rgb, one colour clear": png(RGB, _TRNS),
    "png 16-bit grey": picture(GREY16, "PNG"),
    "png 16-bit grey, one clear": png(GREY16, _TRNS_GREY16),
    "png exif": picture(RGB, "PNG", exif=oriented(6)),
    "apng": animation("PNG"),
    "apng rgba": animation("PNG", "RGBA"),
    "apng with another default picture": animation("PNG", default_image=True, duration=[40, 80]),
    "jpeg grey": picture(GREY, "JPEG"),
    "jpeg rgb": picture(RGB, "JPEG"),
    "jpeg cmyk": saved(_IMAGE.convert("CMYK"), "JPEG"),
    "tiff 1 bit": picture(GREY > 99, "TIFF"),
    "tiff grey": picture(GREY, "TIFF"),
    "tiff rgb": picture(RGB, "TIFF", compression="tiff_lzw"),
    "tiff rgba": picture(RGBA, "TIFF"),
    "tiff rgb and spare": saved(Image.fromarray(RGBA[..., :3]).convert("RGBX"), "TIFF"),
    "tiff palette": saved(_IMAGE.quantize(4), "TIFF"),
    "tiff cmyk": saved(_IMAGE.convert("CMYK"), "TIFF"),
    "tiff ycbcr": saved(_IMAGE.convert("YCbCr"), "TIFF"),
    "tiff lab": saved(Image.new("LAB", (4, 3), (128, 128, 128)), "TIFF"),
    "tiff 16-bit grey": picture(GREY16, "TIFF"),
    "tiff 16-bit grey, white is zero": tiff(GREY16, 0),
    "tiff signed 16-bit": tiff(GREY16.astype(np.int16), 1),
    "tiff 32-bit": tiff(GREY16.astype(np.uint32) << 16, 1),
    "tiff float": picture(FLOAT, "TIFF"),
    "tiff premultiplied": tiff(RGBA, 2, (338, 3, [1])),
    "tiff pages": _pages(Image.fromarray(GREY), Image.fromarray(255 - GREY)),
    "tiff turned": tiff(RGB, 2, (274, 3, [8])),
    "webp rgb": picture(RGB, "WEBP", lossless=True),
    "webp rgba": picture(RGBA, "WEBP", lossless=True, exact=True),
    "webp animation": animation("WEBP", lossless=True),
    "bmp grey": picture(GREY, "BMP"),
    "bmp rgb": picture(RGB, "BMP"),
    "pbm": saved(Image.fromarray(GREY > 99), "PPM"),
    "pgm": picture(GREY, "PPM"),
    "ppm": picture(RGB, "PPM"),
    "pgm 16-bit": picture(GREY16, "PPM"),
    "ppm 16-bit": b"P6 # comment\n7 5\n65535\n" + RGB16.astype(">u2").tobytes(),
    "ppm 16-bit plain": b"P3\n7 5\n65535\n#\n" + " ".join(map(str, RGB16.ravel())).encode(),
    "pfm": picture(FLOAT, "PPM"),
    "gif grey": picture(GREY, "GIF"),
    "gif rgb": picture(RGB, "GIF"),
    "gif animation": animation("GIF"),
    "gif clear": saved(Image.fromarray(RGBA), "GIF"),
    "tga": picture(RGB, "TGA"),
    "npy": npy(RGB),
    "npy float": npy(FLOAT.astype(np.float64)),
    "npy fortran": npy(np.asfortranarray(RGB16)),
}  # fmt: skip

# Read by libvips, for Pillow would cut them down.
DEEP = {
    "png 16-bit rgb": png(RGB16),
    "png 16-bit rgb, one clear": png(RGB16, _TRNS16),
    "png 16-bit rgba": png(np.dstack([RGB16, GREY16])),
    "png 16-bit grey+alpha": png(RGB16[..., :2]),
    "png 16-bit rgb, exif": png(RGB16, chunk(b"eXIf", oriented(6))),
    "tiff 16-bit rgb": tiff(RGB16, 2),
    "tiff 16-bit rgba": tiff(np.dstack([RGB16, GREY16]), 2, (338, 3, [2])),
    "tiff 16-bit grey+alpha": tiff(RGB16[..., :2], 1, (338, 3, [2])),
    "tiff 16-bit premultiplied": tiff(np.dstack([RGB16, GREY16]), 2, (338, 3, [1])),
    "tiff 16-bit rgb turned": tiff(RGB16, 2, (274, 3, [5])),
    "tiff 16-bit rgb and spare": tiff(np.dstack([RGB16, GREY16]), 2, (338, 3, [0])),
    "tiff 16-bit cmyk": tiff(np.dstack([RGB16, GREY16]), 5),
    "tiff float rgb": tiff(RGB16.astype(np.float32), 2),
}
