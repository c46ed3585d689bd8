"""convtool: convolve images with the exact semantics of tf.nn.conv2d.

The names below are imported when they are first used, so that ``import convtool`` costs nothing.
"""

from typing import TYPE_CHECKING, Any

from convtool.version import __version__

if TYPE_CHECKING:
    from convtool.engine import conv2d, conv2d_transpose
    from convtool.engine.gradients import conv2d_input_gradient, conv2d_kernel_gradient
    from convtool.errors import ConvtoolError
    from convtool.geometry import ConvPlan, ConvSpec, plan
    from convtool.kernels import Kernel
    from convtool.kernels import load as load_kernel

__all__ = [
    "ConvPlan",
    "ConvSpec",
    "ConvtoolError",
    "Kernel",
    "__version__",
    "conv2d",
    "conv2d_input_gradient",
    "conv2d_kernel_gradient",
    "conv2d_transpose",
    "load_kernel",
    "plan",
]

_PLACES = {
    "conv2d": ("convtool.engine", "conv2d"),
    "conv2d_input_gradient": ("convtool.engine.gradients", "conv2d_input_gradient"),
    "conv2d_kernel_gradient": ("convtool.engine.gradients", "conv2d_kernel_gradient"),
    "conv2d_transpose": ("convtool.engine", "conv2d_transpose"),
    "ConvtoolError": ("convtool.errors", "ConvtoolError"),
    "ConvPlan": ("convtool.geometry", "ConvPlan"),
    "ConvSpec": ("convtool.geometry", "ConvSpec"),
    "plan": ("convtool.geometry", "plan"),
    "Kernel": ("convtool.kernels", "Kernel"),
    "load_kernel": ("convtool.kernels", "load"),
}


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module 'convtool' has no attribute {name!r}")
    from importlib import import_module

    module, attribute = _PLACES[name]
    return getattr(import_module(module), attribute)


def __dir__() -> list[str]:
    return sorted(__all__)
