"""From an object file to a flat image: bytes that run wherever in memory they are put.

LLVM's code for a unit is position-independent and asks for nothing outside: its places refer to one
another by distance alone. So its sections are laid side by side and the distances filled in once,
when the unit is compiled; to use it later takes no linker, only memory that may be executed. Where
a unit calls a function of the C library it calls a jump at the end of its image instead, whose
address is filled in when the image is loaded::

    49 BB ........   movabs r11, address
    41 FF E3         jmp r11

Source: System V Application Binary Interface, AMD64 Architecture Processor Supplement, chapter 4.
"""

import struct
from typing import NamedTuple

# ELF: of section headers, symbols and relocations.
_SECTION = struct.Struct("<IIQQQQIIQQ")
_SYMBOL = struct.Struct("<IBBHQQ")
_RELOCATION = struct.Struct("<QQq")

_CONTENT, _SYMBOLS, _RELOCATIONS, _EMPTY = 1, 2, 4, 8  # types of sections
_IN_MEMORY, _WRITABLE = 2, 1  # flags of sections
_PC32, _PLT32, _PC64 = 2, 4, 24  # relocations by distance
_X86_64 = 62
_UNDEFINED = 0

# Unwinding tables: units neither raise nor are unwound through.
_LEFT_OUT = (".eh_frame",)

ALIGNMENT = 64

# What an image may want of the C library: no memory, no state.
IMPORTS = ("tanhf", "memset", "memcpy", "memmove")
_JUMP = b"\x49\xbb" + bytes(8) + b"\x41\xff\xe3"
_JUMP_ADDRESS = 2
_HEAD = struct.Struct("<QH")
_IMPORT = struct.Struct("<Q16s")


class Image(NamedTuple):
    """Machine code ready to be put anywhere at a multiple of `ALIGNMENT`.

    Parameters
    ----------
    code : bytes
    entry : int
        Where in it the function begins.
    imports : tuple of (str, int)
        Functions of the C library, and where in the code the 8 bytes of their addresses go.
    """

    code: bytes
    entry: int
    imports: tuple[tuple[str, int], ...] = ()

    def pack(self) -> bytes:
        """Return all of it in a row."""
        head = _HEAD.pack(self.entry, len(self.imports))
        return head + b"".join(_IMPORT.pack(at, n.encode()) for n, at in self.imports) + self.code

    @classmethod
    def unpack(cls, data: bytes) -> "Image":
        """Undo `pack`."""
        entry, count = _HEAD.unpack_from(data)
        end = _HEAD.size + count * _IMPORT.size
        imports = _IMPORT.iter_unpack(data[_HEAD.size : end])
        return cls(data[end:], entry, tuple((n.rstrip(b"\0").decode(), at) for at, n in imports))


class _Section(NamedTuple):
    name: str
    kind: int
    flags: int
    start: int
    size: int
    link: int
    info: int
    align: int


def flatten(data: bytes, symbol: str) -> Image | None:
    """Lay out an object file.

    Parameters
    ----------
    data : bytes
        An ELF object file for x86-64, compiled position-independent in the small code model.
    symbol : str
        The function that is the entry.

    Returns
    -------
    Image or None
        None where the object wants what a flat image cannot have: other functions from outside,
        addresses that depend on where it lies, memory of its own to write to. A linker can do it.
    """
    if data[:6] != b"\x7fELF\2\1" or struct.unpack_from("<H", data, 18)[0] != _X86_64:
        return None
    sections = _sections(data)
    places: dict[int, int] = {}
    code = bytearray()
    for number, one in enumerate(sections):
        if not one.flags & _IN_MEMORY or one.name in _LEFT_OUT or not one.size:
            continue
        if one.kind != _CONTENT or one.flags & _WRITABLE or one.align > ALIGNMENT:
            return None
        code += bytes(-len(code) % max(one.align, 1))
        places[number] = len(code)
        code += data[one.start : one.start + one.size]
    table = next((one for one in sections if one.kind == _SYMBOLS), None)
    if table is None:
        return None
    symbols = list(_SYMBOL.iter_unpack(data[table.start : table.start + table.size]))
    names = [_text(data, sections[table.link].start + name) for name, *_ in symbols]
    imports: dict[str, int] = {}  # where their jumps are
    for one in sections:
        if one.kind != _RELOCATIONS or one.info not in places:
            continue
        for offset, kind, addend in _RELOCATION.iter_unpack(data[one.start : one.start + one.size]):
            number, kind = kind >> 32, kind & 0xFFFFFFFF
            section, value = symbols[number][3:5]
            if section == _UNDEFINED and kind == _PLT32 and names[number] in IMPORTS:
                if names[number] not in imports:
                    imports[names[number]] = len(code)
                    code += _JUMP
                target = imports[names[number]]
            elif section in places and kind in (_PC32, _PLT32, _PC64):
                target = places[section] + value
            else:
                return None
            at = places[one.info] + offset
            struct.pack_into("<q" if kind == _PC64 else "<i", code, at, target + addend - at)
    wanted = tuple((name, at + _JUMP_ADDRESS) for name, at in imports.items())
    for name, (*_, section, value, _) in zip(names, symbols, strict=True):
        if name == symbol and section in places:
            return Image(bytes(code), places[section] + value, wanted)
    return None


def _sections(data: bytes) -> list[_Section]:
    (start,) = struct.unpack_from("<Q", data, 40)
    size, count, names = struct.unpack_from("<HHH", data, 58)
    headers = [_SECTION.unpack_from(data, start + n * size) for n in range(count)]
    names_at = headers[names][4]
    return [
        _Section(_text(data, names_at + name), kind, flags, at, length, link, info, align)
        for name, kind, flags, _, at, length, link, info, align, _ in headers
    ]


def _text(data: bytes, start: int) -> str:
    return data[start : data.index(b"\0", start)].decode()
