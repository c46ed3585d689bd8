"""All frameworks beside one plan."""

from convtool.frameworks import jax, keras, onnx, pytorch, tensorflow
from convtool.frameworks.model import Idiom, View, around_of, sides
from convtool.geometry import ConvPlan

_FRAMEWORKS = (
    ("TensorFlow", tensorflow),
    ("Keras", keras),
    ("PyTorch", pytorch),
    ("ONNX", onnx),
    ("JAX", jax),
)


def compare(plan: ConvPlan) -> tuple[View, ...]:
    """Say how each framework sees a layer, and how it is written there.

    Parameters
    ----------
    plan : ConvPlan
        Of conv2d or conv2d_transpose.

    Returns
    -------
    tuple of View
        TensorFlow, Keras, PyTorch, ONNX, JAX.
    """
    return tuple(
        _view(plan, name, module.idiom(plan), tuple(module.code(plan)))
        for name, module in _FRAMEWORKS
    )


def _view(plan: ConvPlan, name: str, idiom: Idiom, code: tuple[str, ...]) -> View:
    if idiom.grids is None:
        return View(name, idiom.text, None, None, (0, 0), False, idiom.refuses, idiom.note, code)
    rows, cols = idiom.grids
    size = rows.size, cols.size
    shift = plan.rows.before - rows.before, plan.cols.before - cols.before
    bordered = any(around_of(sides(plan)))
    agrees = size == plan.output_shape[1:3] and shift == (0, 0) and not bordered
    pads = rows.before, rows.after, cols.before, cols.after
    return View(name, idiom.text, size, pads, shift, agrees, idiom.refuses, idiom.note, code)
