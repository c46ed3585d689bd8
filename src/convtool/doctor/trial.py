"""A first use of the cpu engine, in a process of its own: what is wrong there may end a process."""

import sys

from convtool.errors import ConvtoolError


def main() -> int:
    """Filter a small image with both engines and compare; say what is wrong, if something is."""
    import numpy as np

    from convtool.engine import conv2d

    image = np.arange(5 * 64, dtype=np.uint8).reshape(1, 5, 64, 1)
    kernel = np.ones((3, 3))
    try:
        found = conv2d(image, kernel, dtype="uint8", engine="cpu")
    except (ConvtoolError, ImportError, OSError) as error:
        print(error)
        return 1
    if (found != conv2d(image, kernel, dtype="uint8", engine="numpy")).any():
        print("its results are not those of the reference")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
