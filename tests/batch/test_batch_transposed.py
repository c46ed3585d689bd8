"""Phases of a transposed convolution, each against counting products one by one."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from convtool.batch.remarks import _transposed_rim, plan_notes
from convtool.batch.transposed import (
    exchanged,
    kernel_for,
    nearest_inputs,
    over_outputs,
    tap_sums,
)
from convtool.errors import KernelError, UsageError
from convtool.geometry import ConvSpec, GeometryError, plan, transposed_axis
from convtool.kernels import Kernel, load
from convtool.terms import Op

TRANSPOSE = Op.CONV2D_TRANSPOSE


def kernel_of(taps):
    return Kernel.from_array("given", np.asarray(taps, float), "inline")


def settled_for(kernel, size, **options):
    shape = (1, *size, 1 if len(kernel.shape) == 2 else kernel.shape[3])
    return plan(ConvSpec.of(TRANSPOSE, **options), shape, kernel.shape)


def axes():
    """Settle every small axis that there is, with its kernel."""
    for o, k, s, d in product((1, 2, 5), (1, 2, 3, 4), (1, 2, 3), (1, 2)):
        for padding in ("same", "same-lower", "valid", "full", (1, 0)):
            for more in {0, s - 1}:
                spec = ConvSpec.of(padding=(padding, (0, 0)) if padding == (1, 0) else padding)
                try:
                    yield transposed_axis(o, k, s, d, spec.padding.axes[0], output_padding=more)
                except GeometryError:
                    continue


AXES = list(axes())


def products(axis, *, beyond):
    """Name the (input, tap) that make each output; inputs that are not there with `beyond`."""
    made = []
    for t in range(axis.i):
        places = [(t + axis.before - a * axis.d, a) for a in range(axis.k)]
        pairs = [(place // axis.s, a) for place, a in places if place % axis.s == 0]
        made.append([(j, a) for j, a in pairs if beyond or 0 <= j < axis.o])
    return made


def test_there_are_many_axes_to_try():
    assert len(AXES) > 500


# Sums of taps


def test_the_taps_that_meet_are_summed_for_every_phase():
    taps = np.array([3.0, 10.0, 100.0, 1000.0])
    for axis in AXES:
        kernel = kernel_of(taps[: axis.k, None])
        settled = settled_for(kernel, (axis.o, 1))._replace(rows=axis)
        sums = tap_sums(kernel, settled)
        assert sums.shape == (min(axis.s, axis.i), 1, 1)
        for t, pairs in enumerate(products(axis, beyond=True)):
            assert sums[t % axis.s, 0, 0] == sum(taps[a] for _, a in pairs), axis


def test_sums_of_a_picture_lie_over_its_outputs():
    kernel = kernel_of(np.arange(1.0, 10).reshape(3, 3))
    settled = settled_for(kernel, (2, 3), stride=(2, 3), padding="valid", output_padding=(1, 0))
    sums = tap_sums(kernel, settled)
    # Rows 0 and 2 meet, row 1 is alone; columns are all alone.
    np.testing.assert_array_equal(sums[:, :, 0], [[1 + 7, 2 + 8, 3 + 9], [4, 5, 6]])
    whole = over_outputs(sums, settled)
    assert whole.shape == (6, 9, 1)
    assert whole.dtype == np.float32
    np.testing.assert_array_equal(whole[:, :, 0], np.tile(sums[:, :, 0], (3, 3)))


def test_a_rotated_kernel_has_its_sums_elsewhere():
    kernel = kernel_of([[1.0, 2.0, 4.0]])
    plain = tap_sums(kernel, settled_for(kernel, (1, 4), stride=(1, 2), padding="valid"))
    turned = tap_sums(kernel, settled_for(kernel, (1, 4), stride=2, padding="valid", flip=True))
    assert plain.ravel().tolist() == [5, 2]
    assert turned.ravel().tolist() == [5, 2]
    pair = kernel_of([[1.0, 2.0]])
    turned = tap_sums(pair, settled_for(pair, (1, 4), stride=2, padding="valid", flip=True))
    assert turned.ravel().tolist() == [2, 1]


def test_rounding_alone_is_nothing():
    kernel = kernel_of([[0.1, 1.0, 0.2, 2.0, -0.3, 3.0]])
    settled = settled_for(kernel, (1, 8), stride=(1, 2), padding="valid")
    assert tap_sums(kernel, settled).ravel().tolist() == [0.0, 6.0]


def test_conv2d_has_one_phase():
    kernel = load("sobel")
    settled = plan(ConvSpec.of(stride=2), (1, 8, 8, 1), kernel.shape, kernel.filters)
    assert tap_sums(kernel, settled).tolist() == [[[0.0, 0.0]]]
    assert over_outputs(tap_sums(kernel, settled), settled).shape == (1, 1, 2)


# Where alpha is read


def test_outputs_take_alpha_from_the_nearest_input():
    for axis in AXES:
        found = nearest_inputs(axis)
        for t in range(axis.i):
            middles = {
                j: abs(j * axis.s - axis.before + (axis.window - 1) / 2 - t) for j in range(-9, 30)
            }
            least = min(middles.values())
            assert found[t] == min(j for j, far in middles.items() if far == least), (axis, t)


# The rim


def test_the_rim_is_what_reads_beyond_the_input():
    every = np.array([True] * 4)
    some = np.array([False, True, True, False])
    for axis in AXES:
        for counting in (every[: axis.k], some[: axis.k]):
            reads = [[j for j, a in pairs if counting[a]] for pairs in products(axis, beyond=True)]
            start = [t + 1 for t, inputs in enumerate(reads) if any(j < 0 for j in inputs)]
            end = [axis.i - t for t, inputs in enumerate(reads) if any(j >= axis.o for j in inputs)]
            assert _transposed_rim(axis, counting) == max([0, *start, *end]), axis


# Kernels


def test_a_kernel_across_channels_counts_its_outputs():
    kernel = kernel_of(np.ones((3, 3, 2, 6)))
    assert kernel.filters == 6
    assert kernel_for(ConvSpec.of(TRANSPOSE), kernel).filters == 2
    assert kernel_for(ConvSpec.of(TRANSPOSE, groups=3), kernel).filters == 6
    assert kernel_for(ConvSpec.of(groups=3), kernel) is kernel


@pytest.mark.parametrize("groups", [1, 2, 3])
def test_exchanging_channels_keeps_groups_apart_and_comes_back(groups):
    weights = np.random.default_rng(0).standard_normal((2, 3, 4, 6))  # HWOI
    hwio = exchanged(weights, groups)
    assert hwio.shape == (2, 3, 6 // groups, 4 * groups)
    for group, i, o in product(range(groups), range(6 // groups), range(4)):
        expected = weights[:, :, o, group * (6 // groups) + i]
        np.testing.assert_array_equal(hwio[:, :, i, group * 4 + o], expected)
    np.testing.assert_array_equal(exchanged(hwio, groups), weights)


@pytest.mark.parametrize("groups", [1, 2])
def test_every_output_channel_is_scaled_to_sum_one(groups):
    weights = np.random.default_rng(1).random((2, 2, 3, 4)) + 0.1
    spec = ConvSpec.of(TRANSPOSE, groups=groups)
    kernel = kernel_for(spec, kernel_of(weights), normalize=True)
    sums = exchanged(kernel.weights, groups).sum(axis=(0, 1, 2))
    np.testing.assert_allclose(sums, np.ones(3 * groups))
    assert kernel.weights.shape == kernel.shape == (2, 2, 3, 4)


def test_a_filter_on_every_channel_is_scaled_as_for_conv2d():
    ones = kernel_of(np.ones((2, 2)))
    for op in Op:
        scaled = kernel_for(ConvSpec.of(op), ones, normalize=True)
        assert scaled.weights.tolist() == [[[0.25, 0.25], [0.25, 0.25]]]
        assert kernel_for(ConvSpec.of(op), ones) is ones
        with pytest.raises(KernelError, match="sum to zero"):
            kernel_for(ConvSpec.of(op), kernel_of([[1.0, -1.0]]), normalize=True)


def test_a_bank_is_refused_with_a_filter_to_pick():
    spec = ConvSpec.of(TRANSPOSE)
    with pytest.raises(UsageError) as caught:
        kernel_for(spec, load("sobel"))
    assert caught.value.message == (
        "conv2d_transpose takes one filter for every channel, but sobel is a bank of 2"
    )
    assert caught.value.hint == "pick one of them, as in --kernel sobel:filter=x"
    with pytest.raises(UsageError, match="--kernel sobel:filter=0"):
        kernel_for(spec, replace(load("sobel"), filter_names=()))


# Notes in the light of the weights


def codes(taps, **options):
    kernel = kernel_of(taps)
    return {note.code: note for note in plan_notes(settled_for(kernel, (8, 8), **options), kernel)}


def test_uneven_overlap_is_told_only_where_sums_differ():
    assert "uneven-overlap" in codes(np.ones((3, 3)), stride=2)
    # 1 2 1 at stride 2 is interpolation: 2, or 1 + 1.
    tent = np.outer([1, 2, 1], [1, 2, 1])
    planned = settled_for(kernel_of(tent), (8, 8), stride=2).notes
    assert [note.code for note in planned] == ["uneven-overlap"]
    assert codes(tent, stride=2) == {}


def test_even_overlap_with_uneven_sums_is_told():
    found = codes([[1.0, 2.0], [3.0, 4.0]], stride=2)
    assert found.keys() == {"uneven-sums"}
    assert found["uneven-sums"].message == (
        "the taps that meet in an output sum to between 1 and 4, in a pattern of 2x2 that shows "
        "in even areas"
    )
    assert codes(np.ones((2, 2)), stride=2) == {}
    assert codes([[1.0, 1.005], [1.0, 1.0]], stride=2) == {}  # half a percent is not seen
    assert codes(np.zeros((2, 2)), stride=2) == {}


def test_layers_of_networks_have_their_notes_from_the_plan():
    weights = np.random.default_rng(0).standard_normal((2, 2, 3, 2))
    assert codes(weights, stride=2) == {}
    assert "uneven-overlap" in codes(np.ones((3, 3, 3, 2)), stride=2)
    even = np.ones((3, 3, 1, 1)) * np.outer([1, 2, 1], [1, 2, 1])[:, :, None, None]
    assert codes(even, stride=2) == {}


def test_gaps_are_told_once():
    found = codes(np.ones((1, 1)), stride=2)
    assert found.keys() == {"unreached"}
