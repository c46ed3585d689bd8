"""The same layer as TensorFlow, Keras, PyTorch, ONNX and JAX see it.

Each framework has its own way to say "as large as before" or "twice as large", and they do not
all mean the same pixels: sizes that agree can hide a sampling grid that is one pixel off.
`compare` puts that side by side, and writes the code that makes exactly this layer in each.
"""

from convtool.frameworks.model import View
from convtool.frameworks.views import compare

__all__ = ["View", "compare"]
