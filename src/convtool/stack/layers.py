"""One layer of a stack, from the words of a person or the keys of a TOML table.

::

    conv 3x3 x32 stride=2 same relu        op = "conv"
                                           size = "3x3"
                                           filters = 32
                                           stride = 2
                                           padding = "same"
                                           activation = "relu"

Both become the same mapping of keys to values, and `make_layer` makes a `Layer` of it: what is
checked there holds for both. Whether a layer fits what comes before it is not known here.
"""

import re
import shlex
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

from convtool.errors import UsageError, did_you_mean
from convtool.geometry import (
    ConvSpec,
    Pair,
    Shape,
    choice,
    parse_pair,
    parse_size,
    size_text,
)
from convtool.terms import Activation, Op, PaddingMode


class LayerKind(StrEnum):
    """What a layer does."""

    CONV = "conv"
    TRANSPOSE = "transpose"
    DEPTHWISE = "depthwise"
    POOL = "pool"
    UPSAMPLE = "upsample"
    FLATTEN = "flatten"
    DENSE = "dense"
    RESHAPE = "reshape"


class Pooling(StrEnum):
    """What a pooling window makes of its values."""

    MAX = "max"
    AVERAGE = "average"


class Layer(NamedTuple):
    """One layer, before the size of its input is known.

    Parameters
    ----------
    kind : LayerKind
    spec : ConvSpec
        Stride, padding, dilation, groups, border, output_shape and output_padding. Of a pool:
        how its windows step.
    size : (int, int), optional
        Kernel, pooling window, or factor of an upsample: height, width.
    filters : int, optional
        Output channels; of a depthwise layer filters for each channel, of a dense one units.
    pooling : Pooling
    activation : Activation
    target : (int, int, int), optional
        What a reshape makes of each image: height, width, channels.
    name : str
        Given by the person, or empty.
    kernel : str
        Instead of size and filters: anything that --kernel takes, or an array in a file,
        ``weights.npz:conv1``.
    layout : str
        Order of that array's axes; empty means HWIO, of a transpose HWOI.
    bias : str
        Numbers ``0.1,0.2``, or an array in a file.
    written : str
        What the person wrote, or where it stands.
    """

    kind: LayerKind
    spec: ConvSpec = ConvSpec()
    size: Pair | None = None
    filters: int | None = None
    pooling: Pooling = Pooling.MAX
    activation: Activation = Activation.NONE
    target: tuple[int, int, int] | None = None
    name: str = ""
    kernel: str = ""
    layout: str = ""
    bias: str = ""
    written: str = ""

    @property
    def op(self) -> str:
        """The operator's name in JSON."""
        if self.kind is LayerKind.POOL:
            return "avg_pool2d" if self.pooling is Pooling.AVERAGE else "max_pool2d"
        return _OPS.get(self.kind, str(self.kind))

    @property
    def text(self) -> str:
        """The layer as `parse_layer` reads it, without its name; defaults are left out.

        Of more biases than `BIASES_TOLD` the first ones stand in it.
        """
        return " ".join([str(self.kind), *_words(self)])

    @property
    def biases(self) -> tuple[str, ...]:
        """The numbers that its bias is written as; none where an array in a file holds them."""
        numbers = tuple(re.split(r"[,\s]+", self.bias.strip()))
        return numbers if all(map(_is_number, numbers)) else ()


class WrongValue(UsageError):
    """A key of a layer that cannot be, or whose value cannot.

    Parameters
    ----------
    message, hint : str
    key : str
    """

    def __init__(self, message: str, hint: str = "", key: str = "") -> None:
        super().__init__(message, hint)
        self.key = key


class Stack(NamedTuple):
    """Layers, and what a file says of their input.

    Parameters
    ----------
    layers : tuple of Layer
    input_shape : (N, H, W, C), optional
    scale : float
        Pixel values are multiplied by it.
    mean, deviation : tuple of float
        Then `mean` is taken away and the rest divided by `deviation`, one number per channel.
    folder : Path
        That the names of files in it start from.
    name : str
    """

    layers: tuple[Layer, ...]
    input_shape: Shape | None = None
    scale: float = 1.0
    mean: tuple[float, ...] = ()
    deviation: tuple[float, ...] = ()
    folder: Path = Path()
    name: str = ""


_OPS = {
    LayerKind.CONV: "conv2d",
    LayerKind.TRANSPOSE: "conv2d_transpose",
    LayerKind.DEPTHWISE: "depthwise_conv2d",
}

# Other names of a kind, with what they say beside it.
_ALIASES: Mapping[str, dict[str, object]] = {
    "conv2d": {"op": "conv"},
    "convtranspose": {"op": "transpose"},
    "conv2d_transpose": {"op": "transpose"},
    "depthwise_conv2d": {"op": "depthwise"},
    "maxpool": {"op": "pool", "pooling": "max"},
    "max_pool2d": {"op": "pool", "pooling": "max"},
    "avgpool": {"op": "pool", "pooling": "average"},
    "avg_pool2d": {"op": "pool", "pooling": "average"},
}

# Numbers of a bias that a layer's text has.
BIASES_TOLD = 4

_WINDOW = ("size", "stride", "padding", "dilation")
_WEIGHTS = ("kernel", "layout", "bias", "activation")
_CONV = (*_WINDOW, "filters", "border", "flip", *_WEIGHTS)

# The keys of each kind; `name` goes with all of them.
KEYS: Mapping[LayerKind, tuple[str, ...]] = {
    LayerKind.CONV: (*_CONV, "groups"),
    LayerKind.TRANSPOSE: (*_CONV, "groups", "output_shape", "output_padding"),
    LayerKind.DEPTHWISE: _CONV,
    LayerKind.POOL: (*_WINDOW, "pooling"),
    LayerKind.UPSAMPLE: ("size",),
    LayerKind.FLATTEN: (),
    LayerKind.DENSE: ("filters", *_WEIGHTS),
    LayerKind.RESHAPE: ("size",),
}

_GEOMETRY = (
    *("stride", "padding", "dilation", "groups", "border", "flip"),
    *("output_shape", "output_padding"),
)

# The orders of a kernel's axes that frameworks save, the engines' own first.
_LAYOUTS = {
    LayerKind.TRANSPOSE: ("HWOI", "IOHW", "OHWI"),
    LayerKind.DENSE: ("IO", "OI"),
}
_PLAIN_LAYOUTS = ("HWIO", "OIHW", "OHWI")

# What stands for itself, without its key.
_BARE: Mapping[str, tuple[str, ...]] = {
    "padding": tuple(mode for mode in PaddingMode if mode is not PaddingMode.EXPLICIT),
    "activation": tuple(Activation),
    "pooling": (*Pooling, "avg"),
    "flip": ("flip",),
}

_EXAMPLES = {
    LayerKind.CONV: "conv 3x3 x32",
    LayerKind.TRANSPOSE: "transpose 4x4 x32 stride=2",
    LayerKind.DEPTHWISE: "depthwise 3x3",
    LayerKind.POOL: "pool 2x2",
    LayerKind.UPSAMPLE: "upsample 2",
    LayerKind.DENSE: "dense x10",
    LayerKind.RESHAPE: "reshape 7x7x64",
}

# What other programs have as layers, and what to do without; a word that begins like one of these
# is meant, too.
_ABSENT = {
    "batchnorm": "a batch normalization goes into the kernel and bias before it",
    "concat": "layers stand in one row, and none has two inputs",
    "add": "layers stand in one row, and none has two inputs",
    "dropout": "dropout does nothing in a network that has learnt: leave it out",
    "softmax": "no size depends on softmax: leave it out",
    "globalavg": "avgpool with the size of the image is the mean of each channel",
    "globalaverage": "avgpool with the size of the image is the mean of each channel",
    "linear": "dense x10 has 10 units",
}

_OTHER_ACTIVATIONS = frozenset(
    "celu elu gelu hard-sigmoid hard-swish leaky-relu leakyrelu mish prelu relu6 selu silu softmax "
    "softplus softsign swish".split()
)


def parse_layer(text: str, number: int = 0) -> Layer:
    """Read a layer as the command line writes it.

    Parameters
    ----------
    text : str
        The kind, then in any order: a size ``3x3``, filters ``x32``, a padding, an activation,
        ``max`` or ``average``, and ``key=value`` for everything that a TOML table takes.
    number : int
        Its place in a stack, from 1, for messages; 0 where it has none.

    Raises
    ------
    UsageError
        For a word that means nothing here; quotes the layer.

    Examples
    --------
    >>> layer = parse_layer("conv 3x3 x32 stride=2 valid relu")
    >>> layer.op, layer.size, layer.filters, layer.spec.stride
    ('conv2d', (3, 3), 32, (2, 2))
    """
    text = text.strip()
    try:
        return make_layer(_values(text), text)
    except UsageError as error:
        where = f"layer {number} ({text})" if number and text else f"layer {number or repr(text)}"
        raise error.within(where) from None


def _values(text: str) -> dict[str, object]:
    """Sort the words of a layer under their keys."""
    try:
        words = shlex.split(text)
    except ValueError:
        raise UsageError("a quotation mark is not closed") from None
    if not words:
        raise UsageError("a layer starts with its kind", f"choose from {', '.join(LayerKind)}")
    values = _kind_values(words[0])
    kind = LayerKind(str(values["op"]))
    for word in words[1:]:
        key, value = _keyed(kind, word)
        if key in values:
            raise UsageError(f"{key} is given twice: {values[key]} and {value}")
        values[key] = value
    return values


def _keyed(kind: LayerKind, word: str) -> tuple[str, object]:
    """Return the key that a word belongs to, and its value."""
    key, equals, value = word.partition("=")
    if equals:
        return key.strip().lower().replace("-", "_"), value
    plain = word.lower().replace("×", "x").replace("_", "-")
    if re.fullmatch(r"x\d+", plain):
        return "filters", plain[1:]
    if re.fullmatch(r"\d+(x\d+)*", plain):
        if kind is not LayerKind.DENSE:
            return "size", plain
        if "x" in plain:
            raise UsageError(
                f"a dense layer has units and no size, but {word!r} is a size",
                f"for example {_EXAMPLES[kind]}; a reshape behind it makes an image of them",
            )
        return "filters", plain
    for key, choices in _BARE.items():
        if plain in choices and key in KEYS[kind]:
            return key, plain == "flip" or plain
    if plain in _OTHER_ACTIVATIONS and "activation" in KEYS[kind]:
        raise UsageError(f"there is no activation {word!r}", _one_of(Activation))
    known = [choice for key, choices in _BARE.items() if key in KEYS[kind] for choice in choices]
    near = did_you_mean(plain, [*known, *KEYS[kind]])
    if near.startswith("did"):
        hint = near
    else:
        hint = f"{_one_of(known)}, or key=value" if known else "only name=… goes with it"
    raise UsageError(f"{word!r} is no word of {_a_layer(kind)}", hint)


def _one_of(words: Iterable[str]) -> str:
    return f"choose from {', '.join(words)}"


def _a_layer(kind: LayerKind) -> str:
    return f"{'an' if kind is LayerKind.UPSAMPLE else 'a'} {kind} layer"


def _kind_values(word: object) -> dict[str, object]:
    """Read a kind by any of its names."""
    plain = str(word).strip().lower()
    if plain in _ALIASES:
        return dict(_ALIASES[plain])
    if plain.startswith("deconv"):
        raise UsageError(
            f"{word!r} is the name of an inverse, which no layer is; a conv whose input and output "
            "change places is a transpose",
            f"for example {_EXAMPLES[LayerKind.TRANSPOSE]}",
        )
    if plain not in tuple(LayerKind):
        raise UsageError(f"there is no layer {word!r}", _instead(plain))
    return {"op": plain}


def _instead(word: str) -> str:
    """Say what there is in the place of a layer that there is not."""
    spelt = word.replace("_", "").replace("-", "")
    if word.replace("_", "-") in {*Activation, *_OTHER_ACTIVATIONS} - {"softmax"}:
        return "an activation is a word of the layer before it: conv 3x3 x32 relu"
    for absent, advice in _ABSENT.items():
        if spelt.startswith(absent):
            return f"{_one_of(LayerKind)}; {advice}"
    near = did_you_mean(word, [*LayerKind, *_ALIASES])
    return near if near.startswith("did") else _one_of(LayerKind)


def make_layer(values: Mapping[str, object], written: str = "") -> Layer:
    """Make a layer of keys and values.

    Parameters
    ----------
    values : mapping of str
        ``op``, and what `KEYS` lists for it; each value as a text, a number or a list.
    written : str
        What to call the layer in messages.

    Raises
    ------
    WrongValue
        For a key that the kind does not take, or a value that cannot be.
    UsageError
        Where something is missing.
    """
    if "op" not in values:
        raise UsageError("a layer needs an op", f"one of {', '.join(LayerKind)}")
    with _of_key("op"):
        values = {**values, **_kind_values(values["op"])}
    kind = LayerKind(str(values.pop("op")))
    _check_keys(kind, values)
    _check_complete(kind, values)
    with _of_key("size"):
        size = None if "size" not in values else _size(values["size"], kind)
    with _of_key("filters"):
        filters = _count(values.get("filters"), "filters")
    with _of_key("pooling"):
        pooling = _pooling(values.get("pooling", Pooling.MAX))
    with _of_key("activation"):
        activation = _activation(_text(values, "activation"))
    with _of_key("name"):
        name = _name(_text(values, "name"))
    with _of_key("kernel"):
        kernel = _text(values, "kernel")
    with _of_key("layout"):
        layout = _layout(kind, _text(values, "layout"))
    with _of_key("bias"):
        bias = _bias(values.get("bias", ""))
    return Layer(
        kind,
        _spec(kind, values, size),
        None if kind is LayerKind.RESHAPE or size is None else (size[0], size[1]),
        filters,
        pooling,
        activation,
        (size[0], size[1], size[-1]) if kind is LayerKind.RESHAPE and size else None,
        name,
        kernel,
        layout,
        bias,
        written,
    )


@contextmanager
def _of_key(key: str) -> Iterator[None]:
    """Note at which key something is found wrong: a file has it on a line of its own."""
    try:
        yield
    except UsageError as error:
        raise WrongValue(error.message, error.hint, key) from None


def check_name(layer: Layer, number: int, names: dict[str, int]) -> None:
    """See that a name means one layer.

    Parameters
    ----------
    layer : Layer
    number : int
        Its place in the stack, from 1.
    names : dict of str to int
        The names before it, with their places; its own is added.

    Raises
    ------
    WrongValue
        Where two layers have the same name; tells both.
    """
    first = names.setdefault(layer.name, number)
    if layer.name and first != number:
        raise WrongValue(
            f"every name means one layer, but layers {first} and {number} are both called "
            f"{layer.name!r}",
            "rename one of them",
            "name",
        )


def _name(text: str) -> str:
    if text.strip().isdecimal():
        raise UsageError(
            f"a name is no whole number, as that is the place of a layer, but {text!r} is one",
            f"for example name=conv{text.strip()}",
        )
    return text


def _check_keys(kind: LayerKind, values: Iterable[str]) -> None:
    """See that a layer has no keys but those of its kind."""
    known = ("name", *KEYS[kind])
    for key in values:
        if key not in known:
            takes = ", ".join(known)
            raise WrongValue(
                f"{_a_layer(kind)} takes {takes}, but not {key}", _near(key, known), key
            )


def _near(key: str, known: Iterable[str]) -> str:
    near = did_you_mean(key, known)
    return near if near.startswith("did") else ""


def _check_complete(kind: LayerKind, values: Mapping[str, object]) -> None:
    """See that a layer says how large it is, and only once."""
    if "kernel" in values and kind is not LayerKind.DENSE:
        for key in ("size", "filters"):
            if key in values:
                raise WrongValue(
                    f"a kernel has a size and filters of its own, but {key} is given too",
                    f"leave out {key}, or the kernel",
                    key,
                )
        return
    if "layout" in values and "kernel" not in values:
        raise WrongValue(
            "layout says how a kernel is stored, but there is no kernel",
            "leave it out, or say kernel=net.safetensors:conv1.weight",
            "layout",
        )
    weighted = kind in (LayerKind.CONV, LayerKind.TRANSPOSE)
    needed = [key for key in ("size", "filters") if key in KEYS[kind]]
    if kind is LayerKind.DEPTHWISE:
        needed = ["size"]
    missing = [key for key in needed if key not in values]
    if missing:
        or_kernel = ", or a kernel" if weighted or kind is LayerKind.DEPTHWISE else ""
        raise UsageError(
            f"{_a_layer(kind)} needs {' and '.join(needed)}{or_kernel}; "
            f"{' and '.join(missing)} {'are' if missing[-1] == 'filters' else 'is'} missing",
            _how_many(kind) if missing == ["filters"] else f"for example {_EXAMPLES[kind]}",
        )


def _how_many(kind: LayerKind) -> str:
    """Say how a number of filters is written."""
    if kind is LayerKind.DENSE:
        return f"for example {_EXAMPLES[kind]}"
    says = f"x32, in a file filters = 32, makes 32 feature maps: {_EXAMPLES[kind]}"
    depthwise = "; depthwise filters each channel by itself"
    return says + depthwise if kind is LayerKind.CONV else says


def _size(value: object, kind: LayerKind) -> tuple[int, ...]:
    if kind is not LayerKind.RESHAPE:
        return parse_pair(value, "size")  # type: ignore[arg-type]
    numbers = parse_size(value) if isinstance(value, str) else value
    if (
        not isinstance(numbers, tuple | list)
        or len(numbers) != 3
        or not all(type(n) is int and n > 0 for n in numbers)
    ):
        raise UsageError(
            f"a reshape needs height, width and channels, each at least 1, not {value}",
            f"for example {_EXAMPLES[kind]}",
        )
    return tuple(numbers)


def _spec(kind: LayerKind, values: Mapping[str, object], size: tuple[int, ...] | None) -> ConvSpec:
    """Read the geometry, as the options of `apply` are read; a pool steps by its own size."""
    given = {key: values[key] for key in _GEOMETRY if key in values}
    with _of_key("groups"):
        if "groups" in given:
            given["groups"] = _count(given["groups"], "groups")
    with _of_key("flip"):
        if "flip" in given:
            given["flip"] = _flag(given["flip"], "flip")
    if kind is LayerKind.POOL:
        given = {"stride": size, "padding": "valid", **given}
    op = Op.CONV2D_TRANSPOSE if kind is LayerKind.TRANSPOSE else Op.CONV2D
    try:
        return ConvSpec.of(op, **given)  # type: ignore[arg-type]
    except UsageError as error:
        raise WrongValue(error.message, error.hint, _culprit(op, given)) from None


def _culprit(op: Op, given: Mapping[str, object]) -> str:
    """Return which key of a geometry cannot be by itself; nothing if they do not go together."""
    for key, value in given.items():
        try:
            ConvSpec.of(op, **{key: value})  # type: ignore[arg-type]
        except UsageError:
            return key
    return ""


def _count(value: object, name: str) -> int | None:
    if value is None:
        return None
    if isinstance(value, str) and re.fullmatch(r"-?\d+", value.strip()):
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise UsageError(f"{name} must be a whole number, not {value!r}")
    if value < 1:
        raise UsageError(f"{name} must be at least 1, but is {value}")
    return value


def _flag(value: object, name: str) -> bool:
    if isinstance(value, str) and value.lower() in ("true", "false"):
        return value.lower() == "true"
    if not isinstance(value, bool):
        raise UsageError(f"{name} must be true or false, not {value!r}")
    return value


def _text(values: Mapping[str, object], key: str) -> str:
    value = values.get(key, "")
    if not isinstance(value, str):
        raise UsageError(f"{key} must be a text, not {value!r}", f'{key} = "…"')
    return value


def _activation(text: str) -> Activation:
    if text.strip().lower().replace("_", "-") in _OTHER_ACTIVATIONS:
        raise UsageError(f"there is no activation {text!r}", _one_of(Activation))
    return choice(Activation, text or Activation.NONE, "activation")


def _pooling(value: object) -> Pooling:
    return choice(Pooling, "average" if value == "avg" else value, "pooling")  # type: ignore[arg-type]


def _layout(kind: LayerKind, text: str) -> str:
    known = _LAYOUTS.get(kind, _PLAIN_LAYOUTS)
    if text and text.upper() not in known:
        raise UsageError(f"the layout of a {kind} kernel is {' or '.join(known)}, not {text!r}")
    return text.upper()


def _bias(value: object) -> str:
    """Return numbers as a text, and a text as it is."""
    if isinstance(value, str):
        return value
    numbers = value if isinstance(value, list) else [value]
    if not all(type(n) in (int, float) for n in numbers) or not numbers:
        raise UsageError(f"bias must be a number, a list of them or an array's name, not {value!r}")
    return ",".join(map(str, numbers))


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _words(layer: Layer) -> list[str]:
    """Write out what a layer says beyond its kind."""
    spec, pool = layer.spec, layer.kind is LayerKind.POOL
    words = [f"kernel={shlex.quote(layer.kernel)}"] if layer.kernel else []
    if layer.layout:
        words.append(f"layout={layer.layout}")
    if layer.target:
        words.append(size_text(layer.target))
    if layer.size:
        words.append(size_text(layer.size))
    if layer.filters:
        words.append(f"x{layer.filters}")
    if pool and layer.pooling is not Pooling.MAX:
        words.append(layer.pooling)
    if spec.stride != (layer.size if pool else (1, 1)):
        words.append(f"stride={_pair_text(spec.stride)}")
    if spec.dilation != (1, 1):
        words.append(f"dilation={_pair_text(spec.dilation)}")
    if spec.padding.mode is not (PaddingMode.VALID if pool else PaddingMode.SAME):
        explicit = spec.padding.mode is PaddingMode.EXPLICIT
        words.append(
            f"padding={_pads_text(spec.padding.amounts)}" if explicit else spec.padding.mode
        )
    if spec.groups > 1:
        words.append(f"groups={spec.groups}")
    for key in ("output_shape", "output_padding"):
        if (pair := getattr(spec, key)) is not None:
            words.append(f"{key}={_pair_text(pair)}")
    if str(spec.border) != "zero":
        words.append(f"border={spec.border}")
    if spec.flip:
        words.append("flip")
    if layer.bias:
        words.append(f"bias={_bias_text(layer)}")
    if layer.activation is not Activation.NONE:
        words.append(layer.activation)
    return words


def _bias_text(layer: Layer) -> str:
    """Write a bias as it was given, or the first of many numbers."""
    if len(layer.biases) > BIASES_TOLD:
        return f"{','.join(layer.biases[:BIASES_TOLD])},…"
    return shlex.quote(layer.bias)


def _pair_text(pair: Pair) -> str:
    return str(pair[0]) if pair[0] == pair[1] else size_text(pair)


def _pads_text(amounts: tuple[int, int, int, int]) -> str:
    """Write pads as shortly as --padding takes them."""
    top, bottom, left, right = amounts
    if (top, left) == (bottom, right):
        return _pair_text((top, left))
    return ",".join(map(str, amounts))
