"""Plain loops that the library's claims are held against."""

import numpy as np


def correlate(image, taps):
    """Cross-correlate without padding."""
    kh, kw = taps.shape
    oh, ow = image.shape[0] - kh + 1, image.shape[1] - kw + 1
    y = np.zeros((oh, ow))
    for i in range(oh):
        for j in range(ow):
            for a in range(kh):
                for b in range(kw):
                    y[i, j] += image[i + a, j + b] * taps[a, b]
    return y


def impulse(taps):
    """A picture that is 0 but for a 1, just large enough for every tap to meet it once."""
    kh, kw = taps.shape
    image = np.zeros((2 * kh - 1, 2 * kw - 1))
    image[kh - 1, kw - 1] = 1
    return image


def step(taps):
    """A step from 0 to 1 to the right, wide enough to see the whole transition."""
    kh, kw = taps.shape
    image = np.zeros((kh, 2 * kw))
    image[:, kw:] = 1
    return image


def ramp(height, width, right=1.0, down=0.0):
    """A picture that grows by so much a pixel."""
    return down * np.arange(height)[:, None] + right * np.arange(width)[None, :]
