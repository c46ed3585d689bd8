"""The way through an item: rows loaded once as lines, a tile of sums at a time."""

import numpy as np
from numba import types

from convtool.engine.cpu.job import JOB
from convtool.engine.cpu.source.memory import ADDRESS, COUNT, addresses, call, numbers, record_at

record = record_at(JOB)
SIGNATURE = types.void(ADDRESS, COUNT, ADDRESS)

load = call(ADDRESS, ADDRESS, COUNT, COUNT, ADDRESS)
kernel = call(ADDRESS, ADDRESS, ADDRESS, COUNT, ADDRESS)
store = call(ADDRESS, COUNT, ADDRESS, ADDRESS, COUNT, ADDRESS)


def walk(address, item, scratch):
    """Compute item number `item` of a job, with the thread's scratch memory."""
    job = record(address)
    strip = item % job.strips
    band = item // job.strips
    residue = band // job.bands
    band %= job.bands
    image = residue // job.residues
    residue %= job.residues
    # Output rows residue, residue + residues, …, and of these the band's.
    start = band * job.band_rows
    stop = (job.out_rows - residue + job.residues - 1) // job.residues
    if start + job.band_rows < stop:
        stop = start + job.band_rows
    wide = job.columns_stop - job.columns_start
    first_column = wide * strip // job.strips
    columns = wide * (strip + 1) // job.strips - first_column
    first_column += job.columns_start
    rows = numbers(job.rows)
    slot_bytes = job.phases * job.phase_length * 4
    reached = (job.tile_rows - 1) * job.step + job.kernel_rows
    table = addresses(scratch + job.table_at)
    block = scratch + job.block_at
    pixels = job.image + image * job.image_bytes
    before = image * job.out_image_bytes + first_column * job.out_pixel_bytes
    result = job.out + np.uintp(before)
    have = start * job.step
    m = start
    while m < stop:
        valid = stop - m
        if job.tile_rows < valid:
            valid = job.tile_rows
        first = m * job.step
        last = first + (valid - 1) * job.step + job.kernel_rows - 1
        if have < first:
            have = first
        for q in range(have, last + 1):
            passed = (q // job.step) * job.passed_over
            source = rows[np.uintp(residue * job.row_stride + (q + passed) * job.row_dilation)]
            place = np.uintp(0)
            if source >= 0:
                place = pixels + np.uintp(source * job.row_bytes)
            slot = scratch + np.uintp((q % job.slots) * slot_bytes)
            load(job.load, address, place, first_column, columns, slot)
        have = last + 1
        for u in range(reached):
            q = first + u
            if q > last:  # under sums that nobody will see: any line
                q = last
            table[np.uintp(u)] = scratch + np.uintp((q % job.slots) * slot_bytes)
        if job.straight != 0 and valid == job.tile_rows:
            place = result + np.uintp(m * job.out_row_bytes)
            extra = scratch + job.extra_at
            kernel(job.kernel, job.straight, scratch + job.table_at, place, columns, extra)
            m += job.tile_rows
            continue
        kernel(
            job.kernel, job.recipe, scratch + job.table_at, block, columns, scratch + job.extra_at
        )
        for t in range(valid):
            i = residue + (m + t) * job.residues
            place = result + np.uintp(i * job.out_row_bytes)
            sums = block + np.uintp(t * job.pitch * 4)
            store(job.store, address, item, sums, place, columns, scratch + job.finish_at)
        m += job.tile_rows


def unit() -> tuple[object, object]:
    """Return the unit (job, item, scratch)."""
    return SIGNATURE, walk
