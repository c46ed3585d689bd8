"""Discrete Fourier transforms of a few complex vectors in registers: what `fourier` is made of.

A complex vector is a pair: the real and the imaginary parts of one number for each lane. Most
transforms go across vectors, and every lane is a transform of its own; one goes along the lanes,
which meet at ever shorter distances::

    across   a0 a1 a2 a3     a + b            along   a0 a1 a2 a3 ─▶ a0 + a2 …, a0 - a2 …
             b0 b1 b2 b3     a - b                    ─▶ (a0 + a2) + (a1 + a3), …
"""

import math
from collections.abc import Sequence

import numpy as np
from llvmlite import ir

from convtool.engine.cpu.source.simd import FLOAT, Emitter

Complex = tuple[ir.Value, ir.Value]


def get(e: Emitter, place: ir.Value) -> Complex:
    """Load a complex vector: real parts, then imaginary parts."""
    return e.load(place), e.load(place, e.lanes)


def put(e: Emitter, value: Complex, place: ir.Value) -> None:
    """Store a complex vector likewise."""
    e.store(value[0], place)
    e.store(value[1], place, e.lanes)


def times(e: Emitter, a: Complex, w: Complex) -> Complex:
    """Return a · w."""
    b = e.builder
    real = e.fma(a[0], w[0], b.fneg(b.fmul(a[1], w[1])))
    return real, e.fma(a[0], w[1], b.fmul(a[1], w[0]))


def times_conjugate(e: Emitter, a: Complex, w: Complex) -> Complex:
    """Return a times the conjugate of w."""
    b = e.builder
    imaginary = e.fma(a[1], w[0], b.fneg(b.fmul(a[0], w[1])))
    return e.fma(a[0], w[0], b.fmul(a[1], w[1])), imaginary


def transform(e: Emitter, x: list[Complex], sign: int) -> list[Complex]:
    """Transform across 2, 3, 4, 5 or 8 vectors: sums of x[n] · exp(sign · 2πi · n·k / count)."""
    return _TRANSFORMS[len(x)](e, x, sign)


def along(e: Emitter, x: Complex) -> Complex:
    """Transform along the lanes; the results lie in bit-reversed order."""
    distance = e.lanes // 2
    while distance:
        x = _meet(e, x, distance)
        if distance > 1:
            x = times(e, x, _turns(e, distance))
        distance //= 2
    return x


def along_back(e: Emitter, x: Complex) -> Complex:
    """Undo `along`, and multiply by the number of lanes."""
    distance = 1
    while distance < e.lanes:
        if distance > 1:
            x = times_conjugate(e, x, _turns(e, distance))
        x = _meet(e, x, distance)
        distance *= 2
    return x


def _plus(e: Emitter, a: Complex, b: Complex) -> Complex:
    return e.builder.fadd(a[0], b[0]), e.builder.fadd(a[1], b[1])


def _minus(e: Emitter, a: Complex, b: Complex) -> Complex:
    return e.builder.fsub(a[0], b[0]), e.builder.fsub(a[1], b[1])


def _plus_turned(e: Emitter, a: Complex, b: Complex, sign: int) -> Complex:
    """Return a + sign · i · b."""
    if sign > 0:
        return e.builder.fsub(a[0], b[1]), e.builder.fadd(a[1], b[0])
    return e.builder.fadd(a[0], b[1]), e.builder.fsub(a[1], b[0])


def _plus_part(e: Emitter, a: Complex, b: Complex, factor: float) -> Complex:
    """Return a + factor · b."""
    k = _vector(e, [factor] * e.lanes)
    return e.fma(b[0], k, a[0]), e.fma(b[1], k, a[1])


def _plus_turned_part(e: Emitter, a: Complex, b: Complex, factor: float) -> Complex:
    """Return a + factor · i · b."""
    k, opposite = (_vector(e, [part] * e.lanes) for part in (factor, -factor))
    return e.fma(b[1], opposite, a[0]), e.fma(b[0], k, a[1])


def _two(e: Emitter, x: list[Complex], sign: int) -> list[Complex]:
    return [_plus(e, x[0], x[1]), _minus(e, x[0], x[1])]


def _three(e: Emitter, x: list[Complex], sign: int) -> list[Complex]:
    both, apart = _plus(e, x[1], x[2]), _minus(e, x[1], x[2])
    middle, part = _plus_part(e, x[0], both, -0.5), sign * math.sqrt(0.75)
    return [
        _plus(e, x[0], both),
        _plus_turned_part(e, middle, apart, part),
        _plus_turned_part(e, middle, apart, -part),
    ]


def _four(e: Emitter, x: list[Complex], sign: int) -> list[Complex]:
    a, b = _plus(e, x[0], x[2]), _minus(e, x[0], x[2])
    c, d = _plus(e, x[1], x[3]), _minus(e, x[1], x[3])
    return [
        _plus(e, a, c),
        _plus_turned(e, b, d, sign),
        _minus(e, a, c),
        _plus_turned(e, b, d, -sign),
    ]


def _five(e: Emitter, x: list[Complex], sign: int) -> list[Complex]:
    a, b = _plus(e, x[1], x[4]), _minus(e, x[1], x[4])
    c, d = _plus(e, x[2], x[3]), _minus(e, x[2], x[3])
    cosines = [math.cos(math.tau * n / 5) for n in (1, 2)]
    sines = [math.sin(math.tau * n / 5) * sign for n in (1, 2)]
    one = _plus_part(e, _plus_part(e, x[0], a, cosines[0]), c, cosines[1])
    two = _plus_part(e, _plus_part(e, x[0], a, cosines[1]), c, cosines[0])

    def turned(middle: Complex, of_b: float, of_d: float) -> Complex:
        return _plus_turned_part(e, _plus_turned_part(e, middle, b, of_b), d, of_d)

    return [
        _plus(e, _plus(e, x[0], a), c),
        turned(one, sines[0], sines[1]),
        turned(two, sines[1], -sines[0]),
        turned(two, -sines[1], sines[0]),
        turned(one, -sines[0], -sines[1]),
    ]


def _eight(e: Emitter, x: list[Complex], sign: int) -> list[Complex]:
    a = [_plus(e, x[n], x[n + 4]) for n in range(4)]
    b = [_minus(e, x[n], x[n + 4]) for n in range(4)]
    # Eighths of a turn are (1 ± i) / √2; the root is left to the multiply-adds at the end.
    p, q = _plus_turned(e, b[0], b[2], sign), _plus_turned(e, b[0], b[2], -sign)
    u, v = _plus_turned(e, b[1], b[1], sign), _plus_turned(e, b[3], b[3], -sign)
    r, s = _minus(e, u, v), _plus(e, u, v)
    even, root = _four(e, a, sign), math.sqrt(0.5)
    return [
        even[0],
        _plus_part(e, p, r, root),
        even[1],
        _plus_turned_part(e, q, s, sign * root),
        even[2],
        _plus_part(e, p, r, -root),
        even[3],
        _plus_turned_part(e, q, s, -sign * root),
    ]


_TRANSFORMS = {2: _two, 3: _three, 4: _four, 5: _five, 8: _eight}


def _meet(e: Emitter, x: Complex, distance: int) -> Complex:
    """Of lanes a and b at that distance, return a + b in the one and a - b in the other."""
    other = [lane ^ distance for lane in range(e.lanes)]
    signs = _vector(e, [-1 if lane & distance else 1 for lane in range(e.lanes)])
    real, imaginary = (e.fma(part, signs, e.pick([part], other)) for part in x)
    return real, imaginary


def _turns(e: Emitter, distance: int) -> Complex:
    lanes = range(e.lanes)
    turns = [lane % distance / (2 * distance) if lane & distance else 0 for lane in lanes]
    real = _vector(e, [math.cos(math.tau * turn) for turn in turns])
    return real, _vector(e, [-math.sin(math.tau * turn) for turn in turns])


def _vector(e: Emitter, values: Sequence[float]) -> ir.Constant:
    # LLVM's text takes no constant that a float32 cannot hold.
    return ir.Constant(e.vector, [ir.Constant(FLOAT, float(np.float32(v))) for v in values])
