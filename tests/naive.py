"""The truth that the engines are judged by: plain loops in float64, written from the definition."""

import numpy as np


def border_index(q: int, size: int, mode: str) -> int | None:
    """Say which pixel stands at coordinate q; None for a constant. Written from the drawings

    edge        a a | a b c d | d d
    reflect     c b | a b c d | c b
    symmetric   b a | a b c d | d c
    wrap        c d | a b c d | a b
    """
    if 0 <= q < size:
        return q
    if mode in ("zero", "constant"):
        return None
    if mode == "edge":
        return min(max(q, 0), size - 1)
    if mode == "wrap":
        return q % size
    if mode == "symmetric":
        q %= 2 * size
        return q if q < size else 2 * size - 1 - q
    if size == 1:
        return 0
    q %= 2 * (size - 1)
    return q if q < size else 2 * (size - 1) - q


def conv2d(x, w, *, stride, pads, dilation, groups, border="zero", value=0.0):
    """Correlate x (N, H, W, C) with w, HWIO; every sum term by term in float64."""
    n_, h_, w_, c_ = x.shape
    kh, kw, inputs, outputs = w.shape
    (top, bottom), (left, right) = pads
    oh = (h_ + top + bottom - ((kh - 1) * dilation[0] + 1)) // stride[0] + 1
    ow = (w_ + left + right - ((kw - 1) * dilation[1] + 1)) // stride[1] + 1
    y = np.zeros((n_, oh, ow, outputs))
    per_group = outputs // groups
    for n in range(n_):
        for i in range(oh):
            for j in range(ow):
                for a in range(kh):
                    for b in range(kw):
                        u = border_index(i * stride[0] - top + a * dilation[0], h_, border)
                        v = border_index(j * stride[1] - left + b * dilation[1], w_, border)
                        if u is None or v is None:
                            pixel = np.full(c_, float(value))
                        else:
                            pixel = x[n, u, v].astype(float)
                        for o in range(outputs):
                            first = o // per_group * inputs
                            y[n, i, j, o] += pixel[first : first + inputs] @ w[a, b, :, o]
    return y


def depthwise(kernel, channels):
    """Write (kh, kw) as the HWIO kernel with as many groups as channels."""
    return np.repeat(np.asarray(kernel, float)[:, :, None, None], channels, axis=3)


def pads(size, k, s, d, padding):
    """Find padding (before, after) by trying: never by the formulas that are under test."""
    covered = 1 + sum(d for _ in range(k - 1))
    if padding == "valid":
        return 0, 0
    if padding == "full":  # the first window touches the first pixel with its last tap
        return covered - 1, covered - 1
    if padding in ("same", "same-lower"):
        wanted = len(range(0, size, s))
        total = 0
        while len(range(0, size + total - covered + 1, s)) < wanted:
            total += 1
        small = total // 2
        return (small, total - small) if padding == "same" else (total - small, small)
    return padding


def conv2d_transpose(
    x, w, *, stride, pads, dilation, groups, size, border="zero", value=0.0, taps=None
):
    """Give every output what each pixel sends it; x (N, H, W, C), w HWOI, in float64.

    Output t gets pixel j through tap a where t + before = j·s + a·d, and no other: all j and a are
    tried. `taps` collects how many taps reach each output, those from beyond the image too.
    """
    n_, h_, w_, _ = x.shape
    kh, kw, outputs, channels = w.shape
    inputs = channels // groups
    y = np.zeros((n_, *size, outputs * groups))
    reach = [range(-30, h_ + 30), range(-30, w_ + 30)]
    pairs = [
        {
            t: [
                (j, a)
                for j in reach[axis]
                for a in range((kh, kw)[axis])
                if t + pads[axis][0] == j * stride[axis] + a * dilation[axis]
            ]
            for t in range(size[axis])
        }
        for axis in (0, 1)
    ]
    for i in range(size[0]):
        for j in range(size[1]):
            if taps is not None:
                taps[i, j] = len(pairs[0][i]) * len(pairs[1][j])
            for u, a in pairs[0][i]:
                for v, b in pairs[1][j]:
                    row, column = border_index(u, h_, border), border_index(v, w_, border)
                    for o in range(outputs * groups):
                        group, within = divmod(o, outputs)
                        mine = slice(group * inputs, (group + 1) * inputs)
                        if row is None or column is None:
                            y[:, i, j, o] += value * w[a, b, within, mine].sum()
                        else:
                            y[:, i, j, o] += x[:, row, column, mine] @ w[a, b, within, mine]
    return y
