"""Runs PTX without a GPU, and finds what a GPU would trap on, or worse, would not.

Kernels are compiled, but here nobody has a GPU to run them. So their PTX is translated to Python:
a register becomes a vector of NumPy, with a number for each thread, and an instruction a call on
such vectors. Threads that stand at the same place go on together, those furthest behind first,
until all have come to a barrier or to the end::

    add.f32      %f1, %f1, %f2;          f1 = add(f1, f2)
    setp.lt.s64  %p1, %rd1, 2;     ──▶   p1 = less(rd1, two)
    @%p1 bra     $L__BB0_2;              return where(p1, 2, 1), (f1,)

What is found: accesses outside of the array that is meant, accesses that are not aligned to their
size, threads that wait for others which have ended, numbers in shared memory that another thread
wrote or read since the last barrier, and results that two threads write. Registers and memory that
nobody has written hold NaN or large numbers.

It knows the instructions that the kernels here are made of, and raises at others. All float32
operations round as a GPU does, but for a multiply-add, whose sum is rounded to float64 before: once
in 2^29 times that may show, and never where sums are whole numbers below 2^24. `ex2` and `rcp` are
more exact than a GPU's.
"""

import re
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

Vector = np.ndarray[Any, Any]

# Each array lies in the middle of a room of so many bits of addresses, of which it is a small part:
# what runs out of it does not come to another one.
GLOBAL, SHARED = 32, 20

# So many threads, or a block, are run together.
TOGETHER = 4096

# Where a thread stands: at the block of instructions of that number; behind a barrier; at the end.
WAITING, ENDED = 1 << 20, 1 << 30

# In a ledger: several threads.
SEVERAL = -2

TYPES = {
    name: np.dtype(code)
    for name, code in (
        *(("pred", "?"), ("f32", "f4")),
        *((f"{kind}{8 * n}", f"i{n}") for kind in "bs" for n in (1, 2, 4, 8)),
        *((f"u{8 * n}", f"u{n}") for n in (1, 2, 4, 8)),
    )
}


def address(number: int, bits: int = GLOBAL) -> int:
    """Return where an array begins."""
    return (2 * number + 3) << (bits - 1)


class Fault(Exception):
    """What a GPU traps on, or what makes its results a matter of luck."""


class Memory:
    """An array in global memory, at an address.

    Parameters
    ----------
    content : ndarray (bytes,), uint8
    address : int
    """

    def __init__(self, content: Vector, address: int) -> None:
        self.content, self.address = content, address
        self.writer = np.full(content.size, -1, np.int32)

    def numbers(self, dtype: np.dtype[Any]) -> Vector:
        """Return the memory as numbers."""
        size = dtype.itemsize
        return self.content[: self.content.size // size * size].view(dtype)


class Statement(NamedTuple):
    """An instruction."""

    name: str
    operands: list[str]
    guard: str
    text: str


class Access(NamedTuple):
    """How an instruction reads or writes memory."""

    text: str
    dtype: np.dtype[Any]
    count: int

    @property
    def bytes(self) -> int:
        return self.dtype.itemsize * self.count


class Block(NamedTuple):
    """Instructions that are done one after the other, as Python.

    Parameters
    ----------
    code : callable
        (run, threads, registers...) to where each thread goes on, and the registers it made.
    reads, writes : tuple of str
        Which registers these are.
    length : int
        How many instructions.
    """

    code: Callable[..., tuple[Any, tuple[Vector, ...]]]
    reads: tuple[str, ...]
    writes: tuple[str, ...]
    length: int


# What instructions do with numbers


def fused(a: Vector, b: Vector, c: Vector) -> Vector:
    """Return a · b + c; of float32, the product is exact."""
    return (np.multiply(a, b, dtype="f8") + c).astype("f4")


def quotient(a: Vector, b: Vector) -> Vector:
    """Divide whole numbers, towards 0."""
    if not b.all():
        raise Fault("a whole number is divided by 0")
    floor = a // b
    return floor + ((floor * b != a) & ((a < 0) != (b < 0)))


def remainder(a: Vector, b: Vector) -> Vector:
    """Return what a division leaves, with the sign of what is divided."""
    return a - quotient(a, b) * b


def upper(a: Vector, b: Vector) -> Vector:
    """Return the upper half of a product of 64 bits each."""
    product = a.astype(object) * b.astype(object)
    return (product >> 64).astype(a.dtype)


def left(a: Vector, places: Vector) -> Vector:
    """Shift; all bits may leave."""
    bits = 8 * a.itemsize
    return np.where(
        places < bits, a << np.minimum(places, bits - 1).astype(a.dtype), a.dtype.type(0)
    )


def right(a: Vector, places: Vector) -> Vector:
    """Shift; the sign comes in, if there is one."""
    bits = 8 * a.itemsize
    shifted = a >> np.minimum(places, bits - 1).astype(a.dtype)
    return shifted if a.dtype.kind == "i" else np.where(places < bits, shifted, a.dtype.type(0))


def permuted(a: Vector, b: Vector, chosen: Vector) -> Vector:
    """Choose four bytes of eight; a fourth bit spreads a byte's sign."""
    eight = [n >> np.int32(8 * i) & np.int32(255) for n in (a, b) for i in range(4)]
    made = np.zeros_like(a)
    for place in range(4):
        choice = chosen >> np.int32(4 * place) & np.int32(15)
        byte = np.choose(choice & np.int32(7), eight)
        byte = np.where(choice > 7, (byte >> np.int32(7)) * np.int32(255), byte)
        made |= byte << np.int32(8 * place)
    return made


BITS: dict[str, Callable[..., Vector]] = {
    "and": np.bitwise_and,
    "or": np.bitwise_or,
    "xor": np.bitwise_xor,
    "not": np.invert,
}
WHOLE = BITS | {
    "add": np.add,
    "sub": np.subtract,
    "mul.lo": np.multiply,
    "mul.hi": upper,
    "mad.lo": lambda a, b, c: a * b + c,
    "div": quotient,
    "rem": remainder,
    "min": np.minimum,
    "max": np.maximum,
    "neg": np.negative,
    "abs": np.abs,
}
# Of the approximations, results below the normal numbers are 0.
REAL = {
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "fma.rn": fused,
    "div.rn": np.divide,
    "sqrt.rn": np.sqrt,
    "min": np.fmin,
    "max": np.fmax,
    "neg": np.negative,
    "abs": np.abs,
    "copysign": lambda sign, size: np.copysign(size, sign),
    "ex2.approx.ftz": np.exp2,
    "rcp.approx.ftz": np.reciprocal,
}
COMPARED = {
    "eq": np.equal,
    "lt": np.less,
    "le": np.less_equal,
    "gt": np.greater,
    "ge": np.greater_equal,
}
COMPARED_WHOLE = COMPARED | {"ne": np.not_equal}
COMPARED_REAL = (
    COMPARED
    | {"num": lambda a, b: (a == a) & (b == b), "nan": lambda a, b: (a != a) | (b != b)}
    | {
        "ne": lambda a, b: (a < b) | (a > b),
        "neu": np.not_equal,
        "equ": lambda a, b: ~((a < b) | (a > b)),
    }
    | {"ltu": lambda a, b: ~(a >= b), "leu": lambda a, b: ~(a > b)}
    | {"gtu": lambda a, b: ~(a <= b), "geu": lambda a, b: ~(a < b)}
)


# Reading


class Kernel:
    """A kernel as Python.

    Parameters
    ----------
    text : str
        PTX with one entry, into which all functions are inlined.
    """

    def __init__(self, text: str) -> None:
        text = re.sub(r"//.*", "", text)
        if re.search(r"\.func\b", text):
            raise NotImplementedError("a function that is not inlined")
        head, _, body = text.partition(".entry")
        parameters, body = body.split("{", 1)
        found = re.findall(r"\.param\s+(?:\.align \d+ )?\.(\w+)\s+([\w$]+)", parameters)
        self.parameters = [TYPES[kind] for kind, _ in found]
        self.places = {name: number for number, (_, name) in enumerate(found)}
        arrays = re.findall(r"\.shared\s+\.align\s+(\d+)\s+\.b8\s+([\w$]+)\[(\d+)\]", head + body)
        self.alignments = [int(align) for align, _, _ in arrays]
        self.shared = [int(size) for _, _, size in arrays]
        self.symbols = {name: address(n, SHARED) for n, (_, name, _) in enumerate(arrays)}
        self.kinds = {
            prefix: TYPES[kind] for kind, prefix in re.findall(r"\.reg \.(\w+)\s+%([a-z]+)<", body)
        }
        statements, self.labels = _statements(body.rsplit("}", 1)[0])
        drafts = [_Draft(self, number, some) for number, some in enumerate(statements)]
        across = {name for draft in drafts for name in draft.reads}
        self.blocks = [draft.block(across) for draft in drafts]
        self.registers = {name: self.dtype(name) for name in across}

    def dtype(self, register: str) -> np.dtype[Any]:
        """Return the type of a register: whole numbers are kept with a sign."""
        prefix = re.match(r"[a-z]+", register)
        assert prefix is not None
        return self.kinds.get(prefix[0], TYPES["s32"])  # else a place in the grid

    def launch(
        self,
        grid: tuple[int, ...],
        block: tuple[int, ...],
        parameters: list[Any],
        arrays: list[Memory],
    ) -> int:
        """Run all blocks; return how many instructions their threads did.

        Parameters
        ----------
        grid, block : (x, y, z)
        parameters : list of numbers
        arrays : list of Memory
            The n-th from 0 on at `address(n)`, or a little behind.
        """
        assert len(parameters) == len(self.parameters), "a parameter for each"
        told = [kind.type(number) for kind, number in zip(self.parameters, parameters, strict=True)]
        threads, blocks = int(np.prod(block)), int(np.prod(grid))
        some, done = max(TOGETHER // threads, 1), 0
        with np.errstate(all="ignore"):
            for first in range(0, blocks, some):
                numbers = np.arange(first, min(first + some, blocks))
                done += _Run(self, grid, block, numbers, told, arrays).run()
        return done


def _statements(body: str) -> tuple[list[list[Statement]], dict[str, int]]:
    """Cut a kernel into blocks of statements; say at which one a label stands."""
    blocks: list[list[Statement]] = [[]]
    labels: dict[str, int] = {}
    for piece in re.findall(r"[\w$]+:|[^;:]+;", body):
        text = " ".join(piece.split())
        if text.endswith(":"):
            if blocks[-1]:
                blocks.append([])
            labels[text[:-1]] = len(blocks) - 1
            continue
        if text.startswith("."):
            assert text.split()[0] in (".reg", ".pragma", ".shared"), text
            continue
        guard, rest = re.match(r"(?:@(!?%\w+) )?(.*);", text).groups()  # type: ignore[union-attr]
        name, _, operands = rest.partition(" ")
        several = re.findall(r"\{[^}]*\}|\[[^\]]*\]|[^,\s]+", operands)
        blocks[-1].append(Statement(name, several, guard or "", text))
        if name.split(".")[0] in ("bra", "bar", "barrier", "ret"):
            blocks.append([])
    if not blocks[-1]:
        blocks.pop()
    return blocks, labels


class _Draft:
    """Translates a block of statements."""

    def __init__(self, kernel: Kernel, number: int, statements: list[Statement]) -> None:
        self.kernel, self.number, self.length = kernel, number, len(statements)
        self.reads: dict[str, None] = {}  # in order
        self.made: dict[str, None] = {}
        self.known: dict[str, Any] = {"np": np}
        self.lines: list[str] = []
        self.next = str(number + 1)
        for statement in statements:
            try:
                self._write(statement)
            except (KeyError, AttributeError) as error:
                raise NotImplementedError(statement.text) from error

    def block(self, across: set[str]) -> Block:
        """Return it as Python; only registers that other blocks read are written."""
        writes = tuple(name for name in self.made if name in across)
        made = "".join(f"{name}, " for name in writes)
        lines = [
            f"def code({', '.join(['run', 'threads', *self.reads])}):",
            *(f"    {line}" for line in self.lines),
            f"    return {self.next}, ({made})",
        ]
        exec("\n".join(lines), self.known)
        return Block(self.known["code"], tuple(self.reads), writes, self.length)

    def _write(self, statement: Statement) -> None:
        base, *parts = statement.name.split(".")
        if statement.guard and base != "bra":
            raise KeyError(statement.guard)
        special = getattr(self, f"_{base}", None)
        if special is not None:
            special(statement, parts)
        elif statement.name == "mul.wide." + parts[-1]:
            self._wide(statement, parts[-1])
        else:
            self._plain(statement, parts)

    def _plain(self, statement: Statement, parts: list[str]) -> None:
        """An operation whose operands and result have one type."""
        kind, stem = parts[-1], ".".join([statement.name.split(".")[0], *parts[:-1]])
        table = {"f": REAL, "p": BITS}.get(kind[0], WHOLE)
        values = [self._value(operand, kind) for operand in statement.operands[1:]]
        call = self._constant(stem.replace(".", "_"), table[stem])
        self._keep(statement.operands[0], f"{call}({', '.join(values)})", TYPES[kind])

    def _wide(self, statement: Statement, kind: str) -> None:
        double = TYPES[f"{kind[0]}{2 * int(kind[1:])}"]
        a, b = (f"{self._value(o, kind)}.astype('{double.str}')" for o in statement.operands[1:])
        self._keep(statement.operands[0], f"{a} * {b}", double)

    def _shl(self, statement: Statement, parts: list[str]) -> None:
        self._shifted(statement, parts[0], left)

    def _shr(self, statement: Statement, parts: list[str]) -> None:
        self._shifted(statement, parts[0].replace("b", "u"), right)

    def _shifted(self, statement: Statement, kind: str, how: Callable[..., Vector]) -> None:
        target, value, places = statement.operands
        call = self._constant(how.__name__, how)
        values = f"{self._value(value, kind)}, {self._value(places, 'u32')}"
        self._keep(target, f"{call}({values})", TYPES[kind])

    def _prmt(self, statement: Statement, parts: list[str]) -> None:
        assert parts == ["b32"]
        values = ", ".join(self._value(operand, "s32") for operand in statement.operands[1:])
        call = self._constant("permuted", permuted)
        self._keep(statement.operands[0], f"{call}({values})", TYPES["s32"])

    def _mov(self, statement: Statement, parts: list[str]) -> None:
        target, source = statement.operands
        value = self._value(source, parts[0])
        if not source.startswith("%"):
            value = f"np.full(threads, {value})"
        self._keep(target, value, TYPES[parts[0]])

    def _cvta(self, statement: Statement, parts: list[str]) -> None:
        assert parts == ["to", "global", "u64"]
        target, source = statement.operands
        self._keep(target, self._value(source, "u64"), TYPES["u64"])

    def _cvt(self, statement: Statement, parts: list[str]) -> None:
        *modes, to, source = parts
        if parts == ["rni", "f32", "f32"]:  # to a whole number, to nearest even
            value = self._value(statement.operands[1], source)
            self._keep(statement.operands[0], f"np.rint({value})", TYPES[to])
            return
        if modes != (["rn"] if to == "f32" else []) or source == "f32":
            raise KeyError(statement.name)
        value = self._value(statement.operands[1], source)
        self._keep(statement.operands[0], f"{value}.astype('{TYPES[to].str}')", TYPES[to])

    def _setp(self, statement: Statement, parts: list[str]) -> None:
        how, *joined, kind = parts
        target, a, b, *others = statement.operands
        call = self._constant(how, (COMPARED_REAL if kind[0] == "f" else COMPARED_WHOLE)[how])
        found = f"{call}({self._value(a, kind)}, {self._value(b, kind)})"
        for way, other in zip(joined, others, strict=True):
            found = f"{self._constant(way, BITS[way])}({found}, {self._value(other, 'pred')})"
        self._keep(target, found, TYPES["pred"])

    def _selp(self, statement: Statement, parts: list[str]) -> None:
        target, a, b, choice = statement.operands
        values = (
            f"{self._value(choice, 'pred')}, {self._value(a, parts[0])}, {self._value(b, parts[0])}"
        )
        self._keep(target, f"np.where({values})", TYPES[parts[0]])

    def _ld(self, statement: Statement, parts: list[str]) -> None:
        space, *_, kind = parts
        target, place = statement.operands
        if space == "param":
            number = self.kernel.places[place[1:-1]]
            dtype = self.kernel.parameters[number]
            assert dtype.itemsize == TYPES[kind].itemsize
            self._keep(target, f"np.full(threads, run.told[{number}])", dtype)
            return
        # Bits are filled up with zeros.
        access = self._access(statement, parts, kind.replace("b", "u"))
        loaded = f"run.load_{space}({access}, {self._place(place)}, {self._register('lane')})"
        targets = target.strip("{}").replace(" ", "").split(",")
        self.lines.append(f"{', '.join(f'_{n}' for n in range(len(targets)))}, = {loaded}")
        for n, name in enumerate(targets):
            self._keep(name, f"_{n}", TYPES[kind.replace("b", "u")])

    def _st(self, statement: Statement, parts: list[str]) -> None:
        space, *_, kind = parts
        place, source = statement.operands
        access = self._access(statement, parts, kind)
        values = "".join(f"{self._value(v.strip(), kind)}, " for v in source.strip("{}").split(","))
        lane = self._register("lane")
        self.lines.append(f"run.store_{space}({access}, {self._place(place)}, {lane}, ({values}))")

    def _access(self, statement: Statement, parts: list[str], kind: str) -> str:
        space, *vector, _ = parts
        if space not in ("global", "shared") or vector not in ([], ["v2"], ["v4"]):
            raise KeyError(statement.name)
        count = int(vector[0][1:]) if vector else 1
        return self._constant(
            f"access_{len(self.lines)}", Access(statement.text, TYPES[kind], count)
        )

    def _place(self, operand: str) -> str:
        """Return the addresses of [register + number] or [symbol + number]."""
        base, _, offset = operand[1:-1].partition("+")
        if not base.startswith("%"):
            return f"np.full(threads, {self.kernel.symbols[base] + int(offset or 0)})"
        place = self._register(self._name(base))
        return f"{place} + {int(offset)}" if offset else place

    def _bra(self, statement: Statement, parts: list[str]) -> None:
        label = statement.operands[0]
        if not statement.guard:
            self.next = f"run.labels[{label!r}]"
            return
        otherwise, condition = self.next, self._register(self._name(statement.guard.lstrip("!")))
        self.next = f"np.where({condition}, run.labels[{label!r}], {otherwise})"
        if statement.guard.startswith("!"):
            self.next = f"np.where({condition}, {otherwise}, run.labels[{label!r}])"

    def _bar(self, statement: Statement, parts: list[str]) -> None:
        assert (parts, statement.operands) == (["sync"], ["0"])
        self.next = str(WAITING + self.number + 1)

    def _ret(self, statement: Statement, parts: list[str]) -> None:
        self.next = str(ENDED)

    def _name(self, operand: str) -> str:
        return operand.removeprefix("%").replace(".", "_")

    def _register(self, name: str) -> str:
        if name not in self.made:
            self.reads[name] = None
        return name

    def _constant(self, name: str, value: Any) -> str:
        self.known[f"c_{name}"] = value
        return f"c_{name}"

    def _value(self, operand: str, kind: str) -> str:
        """Return an operand as numbers of a type."""
        want = TYPES[kind]
        if not operand.startswith("%"):
            number = self._number(operand, want)
            return self._constant(f"{want.name}_{operand}".translate(_PLAIN), number)
        name = self._register(self._name(operand))
        have = self.kernel.dtype(name)
        if have.itemsize > want.itemsize:
            return f"{name}.astype('{want.str}')"
        assert have.itemsize == want.itemsize, operand
        return name if have == want else f"{name}.view('{want.str}')"

    def _number(self, operand: str, want: np.dtype[Any]) -> Any:
        if operand.startswith("0f"):
            return np.frombuffer(bytes.fromhex(operand[2:])[::-1], want)[0]
        whole = self.kernel.symbols[operand] if operand in self.kernel.symbols else int(operand, 0)
        return np.array(whole & (1 << 8 * want.itemsize) - 1, f"u{want.itemsize}").astype(want)[()]

    def _keep(self, target: str, value: str, dtype: np.dtype[Any]) -> None:
        """Put numbers of a type into a register."""
        name = self._name(target)
        have = self.kernel.dtype(name)
        if have.itemsize > dtype.itemsize:
            value = f"{value}.astype('{have.str}')"
        elif have != dtype:
            assert have.itemsize == dtype.itemsize, target
            value = f"({value}).view('{have.str}')"
        self.made[name] = None
        self.lines.append(f"{name} = {value}")


_PLAIN = str.maketrans({"-": "m", "$": "_", ".": "_"})


# Running


class _Run:
    """Some blocks of a grid, whose threads go side by side."""

    def __init__(
        self,
        kernel: Kernel,
        grid: tuple[int, ...],
        block: tuple[int, ...],
        numbers: Vector,
        told: list[Any],
        arrays: list[Memory],
    ) -> None:
        self.kernel, self.labels, self.told, self.arrays = kernel, kernel.labels, told, arrays
        self.threads = int(np.prod(block))
        self.numbers = numbers
        lanes = len(numbers) * self.threads
        self.registers = {name: _unknown(lanes, dtype) for name, dtype in kernel.registers.items()}
        self.registers["lane"] = np.arange(lanes)
        self._place("ctaid", np.repeat(numbers, self.threads), grid)
        self._place("tid", np.tile(np.arange(self.threads), len(numbers)), block)
        self.shared = [_unknown(len(numbers) * size, TYPES["u8"]) for size in kernel.shared]
        self.ledgers = [_Ledger(len(memory) // 4) for memory in self.shared]
        self.at = np.zeros(lanes, np.int64)
        self.epoch = 0

    def _place(self, name: str, numbers: Vector, shape: tuple[int, ...]) -> None:
        """Say where threads or blocks stand."""
        x, y, _ = shape
        for axis, places in zip(
            "xyz", (numbers % x, numbers // x % y, numbers // (x * y)), strict=True
        ):
            self.registers[f"{name}_{axis}"] = places.astype(np.int32)
        size = "ntid" if name == "tid" else "nctaid"
        for axis, count in zip("xyz", shape, strict=True):
            self.registers[f"{size}_{axis}"] = np.full(numbers.size, count, np.int32)

    def run(self) -> int:
        """Run until all have ended; return how many instructions were done."""
        done = 0
        while (first := int(self.at.min())) < ENDED:
            if first >= WAITING:
                self._go_on()
                continue
            lanes = np.flatnonzero(self.at == first)
            block = self.kernel.blocks[first]
            self._step(block, lanes)
            done += block.length * len(lanes)
        return done

    def _step(self, block: Block, lanes: Vector) -> None:
        """Have the threads that stand at a block do it."""
        registers, everyone = self.registers, len(lanes) == len(self.at)
        if everyone:
            taken = [registers[name] for name in block.reads]
        else:
            taken = [registers[name][lanes] for name in block.reads]
        target, made = block.code(self, len(lanes), *taken)
        self.at[lanes] = target
        for name, value in zip(block.writes, made, strict=True):
            if not everyone:
                value, some = registers[name].copy(), value
                value[lanes] = some
            registers[name] = value

    def _go_on(self) -> None:
        """Let threads go on behind a barrier to which all of their block have come."""
        ended = (self.at >= ENDED).reshape(-1, self.threads)
        if (ended.any(axis=1) & ~ended.all(axis=1)).any():
            raise Fault("threads of a block wait for others that have ended")
        self.at[self.at < ENDED] -= WAITING
        self.epoch += 1

    def load_global(self, access: Access, addresses: Vector, lane: Vector) -> list[Vector]:
        """Return what the threads find at their addresses."""
        memory = self._memory(access, addresses, lane)
        first = (addresses - memory.address) // access.dtype.itemsize
        numbers = memory.numbers(access.dtype)
        return [numbers[first + i] for i in range(access.count)]

    def store_global(
        self, access: Access, addresses: Vector, lane: Vector, values: tuple[Vector, ...]
    ) -> None:
        """Put the threads' numbers at their addresses, each of which is one thread's alone."""
        memory = self._memory(access, addresses, lane)
        first = addresses - memory.address
        places = first[:, None] + np.arange(access.bytes)
        thread = (self.numbers[0] * self.threads + lane)[:, None]
        before = memory.writer[places]
        memory.writer[places] = thread
        others = ((before != -1) & (before != thread) | (memory.writer[places] != thread)).any(
            axis=1
        )
        self._check(others, "two threads write one number", access, first, lane)
        numbers = memory.numbers(access.dtype)
        for i, value in enumerate(values):
            numbers[first // access.dtype.itemsize + i] = value

    def load_shared(self, access: Access, addresses: Vector, lane: Vector) -> list[Vector]:
        """Return what the threads find in the memory of their blocks."""
        number, offset = self._shared(access, addresses, lane)
        first = self._words(number, offset, lane)
        wrong = self.ledgers[number].read(first, access.count, lane, self.epoch)
        self._check(wrong, "read, with no barrier since another thread wrote", access, offset, lane)
        numbers = self.shared[number].view(access.dtype)
        return [numbers[first + i] for i in range(access.count)]

    def store_shared(
        self, access: Access, addresses: Vector, lane: Vector, values: tuple[Vector, ...]
    ) -> None:
        """Put the threads' numbers into the memory of their blocks."""
        number, offset = self._shared(access, addresses, lane)
        first = self._words(number, offset, lane)
        wrong = self.ledgers[number].write(first, access.count, lane, self.epoch)
        self._check(
            wrong, "written, with no barrier since another thread did", access, offset, lane
        )
        numbers = self.shared[number].view(access.dtype)
        for i, value in enumerate(values):
            numbers[first + i] = value

    def _memory(self, access: Access, addresses: Vector, lane: Vector) -> Memory:
        """Return the array that the threads access; kernels choose among none."""
        number = int(addresses[0] >> GLOBAL) - 1
        if not 0 <= number < len(self.arrays):
            raise Fault(f"there is no array at {addresses[0]:#x}: {access.text}")
        memory = self.arrays[number]
        offset, size = addresses - memory.address, memory.content.size
        self._aligned(access, addresses, offset, lane)
        outside = (offset < 0) | (offset + access.bytes > size)
        what = f"outside of array {number}, of {size} bytes"
        self._check(outside, what, access, offset, lane)
        return memory

    def _words(self, number: int, offset: Vector, lane: Vector) -> Vector:
        """Return at which words of all blocks' shared memory the threads' words are."""
        return (lane // self.threads * self.kernel.shared[number] + offset) // 4

    def _shared(self, access: Access, addresses: Vector, lane: Vector) -> tuple[int, Vector]:
        """Return which array in shared memory the threads access, and at which bytes."""
        if access.dtype.itemsize != 4:
            raise NotImplementedError(access.text)
        number = int(addresses[0] >> SHARED) - 1
        if not 0 <= number < len(self.shared):
            raise Fault(f"there is no shared array at {addresses[0]:#x}: {access.text}")
        offset, size = addresses - address(number, SHARED), self.kernel.shared[number]
        # An array stands at a multiple of its alignment, and of no more than that.
        self._aligned(access, offset + self.kernel.alignments[number], offset, lane)
        outside = (offset < 0) | (offset + access.bytes > size)
        self._check(outside, f"outside of {size} shared bytes", access, offset, lane)
        return number, offset

    def _aligned(self, access: Access, addresses: Vector, offset: Vector, lane: Vector) -> None:
        wrong = addresses % access.bytes != 0
        self._check(wrong, f"no multiple of {access.bytes} bytes", access, offset, lane)

    def _check(
        self, wrong: Vector, what: str, access: Access, offset: Vector, lane: Vector
    ) -> None:
        """Raise where a thread does something wrong."""
        if not wrong.any():
            return
        n = int(wrong.argmax())
        block, thread = divmod(int(lane[n]), self.threads)
        raise Fault(
            f"{what}: thread {thread} of block {self.numbers[block]} "
            f"at byte {offset[n]}: {access.text}"
        )


class _Ledger:
    """Which thread last wrote and read each word of shared memory, and behind how many barriers."""

    def __init__(self, words: int) -> None:
        self.writer, self.written = np.full(words, -1), np.full(words, -1)
        self.reader, self.seen = np.full(words, -1), np.full(words, -1)

    def read(self, first: Vector, count: int, lane: Vector, epoch: int) -> Vector:
        """Enter what is read; say which threads read what another one wrote just before."""
        words, by = first[:, None] + np.arange(count), lane[:, None]
        wrong = (self.written[words] == epoch) & (self.writer[words] != by)
        others = (self.seen[words] == epoch) & (self.reader[words] != by)
        self.reader[words] = by
        several = others | (self.reader[words] != by)
        self.reader[words[several]] = SEVERAL
        self.seen[words] = epoch
        return wrong.any(axis=1)

    def write(self, first: Vector, count: int, lane: Vector, epoch: int) -> Vector:
        """Enter what is written; say which threads write what another one accessed just before."""
        words, by = first[:, None] + np.arange(count), lane[:, None]
        wrong = (self.written[words] == epoch) & (self.writer[words] != by)
        wrong |= (self.seen[words] == epoch) & (self.reader[words] != by)
        self.writer[words], self.written[words] = by, epoch
        return (wrong | (self.writer[words] != by)).any(axis=1)


def _unknown(count: int, dtype: np.dtype[Any]) -> Vector:
    """Return what nobody has written: NaN, true, or large numbers."""
    if dtype.kind == "b":
        return np.ones(count, dtype)
    return np.full(count * dtype.itemsize, 0x7F if dtype.kind in "iu" else 0xFF, "u1").view(dtype)
