"""What the compiled code is told: one record that Python fills and machine code reads.

A job is one convolution. Its output is cut into *items*, a band of rows by a strip of columns of
one image, each of which any thread can do alone. Addresses are numbers here; the arrays behind
them must outlive the job.
"""

import numpy as np

WHOLE = np.int64
ADDRESS = np.uintp

JOB = np.dtype(
    [
        # The images, (N, H, W·C) of one of the types that are read as they are.
        ("image", ADDRESS),
        ("image_bytes", WHOLE),
        ("row_bytes", WHOLE),
        ("width", WHOLE),
        ("channels", WHOLE),
        # Which row, and which pixel of a row, stands at each place of the padded image; -1: fill.
        ("rows", ADDRESS),
        ("columns", ADDRESS),
        ("padded_width", WHOLE),
        ("before", WHOLE),
        ("fill", np.float32),
        # The output, and how its rows are visited: every `residues`-th together, so that a
        # dilation of the rows vanishes. `step` lines further on begins the next row's window; a
        # stride beyond the kernel passes over rows between them, which are not loaded.
        ("out", ADDRESS),
        ("out_rows", WHOLE),
        ("out_columns", WHOLE),
        ("out_pixel_bytes", WHOLE),
        ("out_row_bytes", WHOLE),
        ("out_image_bytes", WHOLE),
        ("row_stride", WHOLE),
        ("row_dilation", WHOLE),
        ("residues", WHOLE),
        ("step", WHOLE),
        ("passed_over", WHOLE),
        ("kernel_rows", WHOLE),
        # Lines: rows in float32 with their border, each split into phases: place m of phase p is
        # column m·phases + p, counted from the strip's first window. A window reaches over so
        # many places of a phase beyond its first.
        ("column_stride", WHOLE),
        ("phases", WHOLE),
        ("reach", WHOLE),
        ("phase_length", WHOLE),
        ("slots", WHOLE),
        # Items, of which output columns.
        ("columns_start", WHOLE),
        ("columns_stop", WHOLE),
        ("bands", WHOLE),
        ("band_rows", WHOLE),
        ("strips", WHOLE),
        ("strip_columns", WHOLE),
        # A tile is so many rows of sums at a time, for each filter; a pixel is `depth` sums.
        ("tile_rows", WHOLE),
        ("pitch", WHOLE),
        ("depth", WHOLE),
        ("depth_pitch", WHOLE),
        ("filters", WHOLE),
        # The scratch memory of a thread, in bytes from its beginning.
        ("block_at", WHOLE),
        ("table_at", WHOLE),
        ("finish_at", WHOLE),
        ("extra_at", WHOLE),
        # The units that do the parts, and what the method needs to know.
        ("load", ADDRESS),
        ("kernel", ADDRESS),
        ("store", ADDRESS),
        ("recipe", ADDRESS),
        # The recipe for whole tiles that are summed right into the output, if they may be.
        ("straight", ADDRESS),
        # What becomes of a sum: see `finish`.
        ("bias", ADDRESS),
        ("depth_biases", WHOLE),
        ("middle", np.float32),
        ("multiply", np.float32),
        ("divide", np.float32),
        ("full", np.float32),
        ("slack", np.float32),
        ("summaries", ADDRESS),
    ],
    align=True,
)

# One for each item: the least and the greatest finite response, and how many were what.
SUMMARY = np.dtype(
    [
        ("least", np.float64),
        ("greatest", np.float64),
        ("below", np.int64),
        ("above", np.int64),
        ("nan", np.int64),
        ("others", np.int64),
    ]
)

# What `taps` needs: a table of where in a line each column of the kernel reads, in floats, and the
# weights (filters, kernel rows, kernel columns).
TAPS = np.dtype(
    [
        ("offsets", ADDRESS),
        ("weights", ADDRESS),
        ("filters", WHOLE),
        ("kernel_rows", WHOLE),
        ("kernel_columns", WHOLE),
        ("step", WHOLE),
        ("channels", WHOLE),
        ("pitch", WHOLE),
    ],
    align=True,
)

# What `fused` needs: beside weights (filters, kernel rows, kernel columns), the numbers for the
# end of a sum, and for each item vectors of the least and greatest response and of how many are
# clipped.
FUSED = np.dtype(
    [
        ("offsets", ADDRESS),
        ("weights", ADDRESS),
        ("fill_row", ADDRESS),
        ("end", ADDRESS),
        ("summaries", ADDRESS),
        ("summary_bytes", WHOLE),
    ],
    align=True,
)

# What `products` needs: the weights as panels (groups, panels, kernel rows, kernel columns, inputs)
# of so many vectors of outputs. `inputs` and `outputs` are those of a group; where the columns of
# a kernel lie side by side in a line, they count as inputs.
PRODUCTS = np.dtype(
    [
        ("offsets", ADDRESS),
        ("weights", ADDRESS),
        ("kernel_rows", WHOLE),
        ("kernel_columns", WHOLE),
        ("inputs", WHOLE),
        ("group_inputs", WHOLE),
        ("outputs", WHOLE),
        ("groups", WHOLE),
        ("step", WHOLE),
        ("tile_rows", WHOLE),
        ("pitch", WHOLE),
        ("depth_pitch", WHOLE),
    ],
    align=True,
)

# What `depthwise` needs: the weights (filters, kernel rows, kernel columns, period).
DEPTHWISE = np.dtype(
    [
        ("offsets", ADDRESS),
        ("weights", ADDRESS),
        ("filters", WHOLE),
        ("kernel_rows", WHOLE),
        ("kernel_columns", WHOLE),
        ("period", WHOLE),
        ("channels", WHOLE),
        ("step", WHOLE),
        ("tile_rows", WHOLE),
        ("pitch", WHOLE),
    ],
    align=True,
)

# What `separable` needs: for each filter, so many pairs of a column and a row of weights, whose
# outer products add up to the filter: (filters, terms, kernel rows), (filters, terms, kernel
# columns).
SEPARABLE = np.dtype(
    [
        ("offsets", ADDRESS),
        ("columns", ADDRESS),
        ("rows", ADDRESS),
        ("filters", WHOLE),
        ("terms", WHOLE),
        ("kernel_rows", WHOLE),
        ("kernel_columns", WHOLE),
        ("step", WHOLE),
        ("channels", WHOLE),
        ("pitch", WHOLE),
        ("line_length", WHOLE),
    ],
    align=True,
)

# What `box` needs: a row of the kernel is summed as `count` sums of `size` pixels and `rest` more.
BOX = np.dtype(
    [
        ("offsets", ADDRESS),
        ("kernel_rows", WHOLE),
        ("size", WHOLE),
        ("count", WHOLE),
        ("rest", WHOLE),
        ("apart", WHOLE),
        ("channels", WHOLE),
        ("pitch", WHOLE),
        ("line_length", WHOLE),
        ("value", np.float32),
    ],
    align=True,
)
