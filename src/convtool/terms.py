"""The words of the project: every choice that an option, a TOML key or an argument offers."""

from enum import StrEnum

# What is taken for an image by its name: by --recursive in folders, and as a kernel.
IMAGE_SUFFIXES = frozenset(
    ".png .apng .jpg .jpeg .jpe .tif .tiff .webp .bmp .dib .pbm .pgm .ppm .pnm .gif".split()
)

# The most pixels, over all frames, that an image may claim before it is asked whether it is meant.
MAX_PIXELS = 500_000_000


class Op(StrEnum):
    """Which operator; conv2d_transpose is the adjoint (gradient) of conv2d."""

    CONV2D = "conv2d"
    CONV2D_TRANSPOSE = "conv2d_transpose"


class PaddingMode(StrEnum):
    """How much is added around the image; `explicit` stands for given numbers."""

    VALID = "valid"
    SAME = "same"
    SAME_LOWER = "same-lower"
    FULL = "full"
    FIT = "fit"
    EXPLICIT = "explicit"


class BorderMode(StrEnum):
    """What stands in the padding, in the words of numpy.pad.

    ::

        zero        0 0 0 0 | a b c d | 0 0 0 0
        constant:V  V V V V | a b c d | V V V V
        edge        a a a a | a b c d | d d d d
        reflect     d c b   a b c d   c b a
        symmetric   d c b a | a b c d | d c b a
        wrap        a b c d | a b c d | a b c d
    """

    ZERO = "zero"
    CONSTANT = "constant"
    EDGE = "edge"
    REFLECT = "reflect"
    SYMMETRIC = "symmetric"
    WRAP = "wrap"


class EngineName(StrEnum):
    """Who computes."""

    AUTO = "auto"
    NUMPY = "numpy"
    CPU = "cpu"
    CUDA = "cuda"


class MethodName(StrEnum):
    """How it is computed."""

    AUTO = "auto"
    DIRECT = "direct"
    SEPARABLE = "separable"
    GEMM = "gemm"
    FFT = "fft"


class Activation(StrEnum):
    """The function applied to each response after the bias."""

    NONE = "none"
    RELU = "relu"
    ABS = "abs"
    SIGMOID = "sigmoid"
    TANH = "tanh"


class Combine(StrEnum):
    """What becomes of the responses of several filters; `absmax` keeps the sign."""

    EACH = "each"
    MAGNITUDE = "magnitude"
    SUM = "sum"
    MEAN = "mean"
    MAX = "max"
    ABSMAX = "absmax"
    GRID = "grid"


class RangeMode(StrEnum):
    """How responses become pixels."""

    CLIP = "clip"
    ABS = "abs"
    SIGNED = "signed"
    STRETCH = "stretch"
    RAW = "raw"


class AlphaMode(StrEnum):
    """What becomes of an alpha channel."""

    AUTO = "auto"
    PREMULTIPLY = "premultiply"
    FILTER = "filter"
    KEEP = "keep"
    DROP = "drop"


class Depth(StrEnum):
    """How a channel of a pixel is stored."""

    EIGHT = "8"
    SIXTEEN = "16"
    FLOAT = "float"
