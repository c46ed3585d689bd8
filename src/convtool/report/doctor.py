"""What this machine has, and how its compiled code was made ready."""

import json
import sys
from collections.abc import Iterable
from time import perf_counter

from convtool.batch import Event, Failed
from convtool.doctor.facts import Codec, Facts, Trouble
from convtool.doctor.gpu import Gpu
from convtool.doctor.warm import Measured
from convtool.engine.cpu import machine
from convtool.engine.cuda.device import Device, simulated
from convtool.engine.cuda.rates import Rates
from convtool.report.events import Progress, failure_line
from convtool.report.lines import BAD, DIM, GOOD, WARN, Line, emit, entry


def show(facts: Facts, *, as_json: bool) -> None:
    """Print the facts, and what should be mended to standard error; or all as one object."""
    if as_json:
        print(json.dumps(facts_json(facts)))
        return
    emit(facts_lines(facts))
    emit(map(trouble_line, facts.troubles), sys.stderr)


def facts_lines(facts: Facts) -> list[Line]:
    """Say what the machine has, a section after the other."""
    count, floats = facts.registers
    versions = [f"{name} {version}" for name, version in facts.versions.items()]
    return [
        entry("version", (versions[0], GOOD), f"   {versions[1]}"),
        entry("", ", ".join(versions[2:])),
        entry("processor", (facts.processor, GOOD), (f"   {facts.system}", DIM)),
        entry(
            "",
            f"{_counted(facts.cores, 'core')} to use, {count} vector registers of "
            f"{floats} float32 ({32 * floats} bits)",
        ),
        entry("engines", ("numpy   works", GOOD), ("   the reference", DIM)),
        entry("", *_cpu(facts)),
        entry("", *_cuda(facts.gpu)),
        *_gpus(facts.gpu),
        *_cache(facts.cache, facts.kernels),
        *(entry("" if number else "images", *_codec(c)) for number, c in enumerate(facts.codecs)),
        entry("", *_deep(facts.deep)),
        entry("kernels", f"{facts.presets} presets, {facts.own} of your own in {facts.own_folder}"),
        entry("environment", *_environment(facts)),
    ]


def _cpu(facts: Facts) -> list[tuple[str, str]]:
    if facts.failure:
        return [("cpu     does not work here", BAD)]
    return [("cpu     works", GOOD), (f"   its code is {facts.loading}", DIM)]


def _cuda(gpu: Gpu) -> list[tuple[str, str]]:
    if gpu.works:
        return [("cuda    works", GOOD), (f"   {gpu.toolkit}", DIM)]
    if gpu.failure:
        return [("cuda    does not work here", BAD), (f"   {gpu.failure}", DIM)]
    why = gpu.missing.removeprefix("the engine cuda ")
    way = f": {gpu.hint}" if gpu.hint.startswith("pip ") else ""
    return [("cuda    not here", ""), (f"   optional; {why}{way}", DIM)]


def _gpus(gpu: Gpu) -> list[Line]:
    """Say what each GPU is and was measured to do."""
    lines: list[Line] = []
    for device, failure, rates in zip(gpu.devices, gpu.failures, gpu.rates, strict=True):
        told = [(f"   does not work: {failure}", BAD)] if failure else _rates(rates)
        lines += [entry("" if lines else "gpu", *_device(device, gpu.driver)), entry("", *told)]
    return lines


def _device(device: Device, driver: str) -> list[tuple[str, str]]:
    capability = ".".join(map(str, device.compute))
    return [
        (f"{device.number}  {device.name}", GOOD),
        (f"   {_gib(device.free)} of {_gib(device.memory)} GiB are free", ""),
        (f"   compute capability {capability}, driver for CUDA {driver or '?'}", DIM),
    ]


def _gib(size: int) -> str:
    return f"{size / 2**30:.1f}"


def _rates(rates: Rates | None) -> list[tuple[str, str]]:
    if simulated():
        return [("   simulated: for tests; --engine auto leaves it alone", DIM)]
    if rates is None:
        return [
            ("   not measured: --engine auto leaves it alone", ""),
            ("   convtool doctor --warm measures it", DIM),
        ]
    return [(f"   {rates_text(rates)}", "")]


def rates_text(rates: Rates) -> str:
    """Say what a GPU was measured to do."""
    up, down, copied = (_figure(rate / 1e9) for rate in (rates.up, rates.down, rates.copy))
    flops = _figure(2 * rates.multiply_adds / 1e9)
    return (
        f"{up} GB/s there, {down} GB/s back, {copied} GB/s within, {flops} GFLOP/s, "
        f"{rates.start:.1f} s to begin"
    )


def _figure(number: float) -> str:
    return f"{number:,.0f}" if number >= 100 else f"{number:.3g}"


def _cache(cache: machine.State, kernels: machine.State) -> list[Line]:
    lines = [entry("compiled", f"{_counted(cache.units, 'unit')}, {_size(cache.bytes)}")]
    lines[0].append((f"   in {cache.folder}", DIM))
    if kernels.units:
        lines.append(
            entry("", f"{_counted(kernels.units, 'kernel')} for GPUs, {_size(kernels.bytes)}")
        )
    if cache.stale:
        was = "was" if cache.stale == 1 else "were"
        lines.append(
            entry(
                "",
                f"{_counted(cache.stale, 'file')} {was} made for other versions or processors",
                ("   convtool doctor --clear", DIM),
            )
        )
    if not cache.units and not cache.problem:
        lines.append(
            entry("", ("convtool doctor --warm compiles what the presets need, ahead of time", DIM))
        )
    return lines


def _codec(codec: Codec) -> list[tuple[str, str]]:
    words = [word for word, can in (("read", codec.read), ("written", codec.written)) if can]
    does = ", ".join(words) or "neither read nor written"
    return [(f"{codec.format:<10}", ""), (f"{does:<14}", GOOD), (f"  {codec.library}", DIM)]


def _deep(deep: str) -> list[tuple[str, str]]:
    what = "16-bit and float colour: "
    if deep:
        return [(what, ""), (deep, GOOD)]
    return [(what, ""), ("not without pyvips", WARN), ("   pip install 'pyvips[binary]'", DIM)]


def _environment(facts: Facts) -> list[tuple[str, str]]:
    named = ", ".join(f"{name}={value}" for name, value in facts.environment.items())
    where = "a terminal" if facts.terminal else "no terminal"
    return [(named or "nothing is set", ""), (f"   standard output is {where}", DIM)]


def _counted(count: int, thing: str) -> str:
    return f"{count} {thing}" if count == 1 else f"{count} {thing}s"


def _size(count: int) -> str:
    return f"{count / 1e6:.1f} MB" if count >= 1e6 else f"{count / 1e3:.0f} kB"


def trouble_line(trouble: Trouble) -> Line:
    """Say what should be mended, and the way out."""
    return [("warning: ", WARN), (trouble.message, ""), (f" (hint: {trouble.hint})", GOOD)]


def facts_json(facts: Facts) -> dict[str, object]:
    """Return the object that `--json` prints."""
    count, floats = facts.registers
    return {
        "versions": facts.versions,
        "processor": {
            "name": facts.processor,
            "system": facts.system,
            "cores": facts.cores,
            "registers": {"count": count, "float32": floats},
        },
        "engines": {
            "numpy": {"works": True},
            "cpu": {
                "works": not facts.failure,
                "problem": facts.failure,
                "loading": facts.loading,
            },
            "cuda": _cuda_json(facts.gpu, facts.kernels),
        },
        "cache": {**facts.cache._asdict(), "folder": str(facts.cache.folder)},
        "formats": [codec._asdict() for codec in facts.codecs],
        "deep": facts.deep,
        "kernels": {
            "presets": facts.presets,
            "folder": str(facts.own_folder),
            "own": facts.own,
            "broken": [str(path) for path in facts.broken],
        },
        "environment": facts.environment,
        "terminal": facts.terminal,
        "problems": [trouble._asdict() for trouble in facts.troubles],
    }


def _cuda_json(gpu: Gpu, kernels: machine.State) -> dict[str, object]:
    return {
        "works": gpu.works,
        "problem": gpu.missing or gpu.failure,
        "driver": gpu.driver,
        "toolkit": gpu.toolkit,
        "devices": [
            {**device._asdict(), "problem": failure, "rates": rates and rates._asdict()}
            for device, failure, rates in zip(gpu.devices, gpu.failures, gpu.rates, strict=True)
        ],
        "kernels": {"units": kernels.units, "bytes": kernels.bytes},
    }


def show_rates(measured: Iterable[Measured], *, as_json: bool) -> int:
    """Say of each GPU what it was measured to do, as it is measured, or why it was not.

    Returns
    -------
    int
        The exit status: 0, or 1 where a GPU does not work.
    """
    status = 0
    for each in measured:
        status |= each.failed
        if as_json:
            told = each.rates._asdict() if each.rates else {"not_measured": each.why}
            print(json.dumps({"gpu": each.number, **told}))
        elif each.rates:
            emit([[(f"GPU {each.number} measured", GOOD), (f": {rates_text(each.rates)}", "")]])
        else:
            which = "no GPU" if each.number is None else f"GPU {each.number} not"
            style = BAD if each.failed else ""
            emit([[(f"{which} measured", style), (f": {each.why}", "")]])
    return status


def show_cleared(removed: int, *, as_json: bool) -> None:
    """Say how many files were removed, and where."""
    if as_json:
        print(json.dumps({"folder": str(machine.folder()), "removed": removed}))
    else:
        emit([[(f"{_counted(removed, 'file')} removed from {machine.folder()}", "")]])


def follow_warming(events: Iterable[Event], pictures: int, *, as_json: bool) -> int:
    """Show how far the compiling is, then what came of it, even where it was interrupted.

    Parameters
    ----------
    events : iterable of Event
        One for each picture that was filtered.
    pictures : int
        How many there will be.
    as_json : bool
        Print one object instead of a line.

    Returns
    -------
    int
        The exit status: 0, or 1 where a picture failed.
    """
    started, before = perf_counter(), machine.state().units
    failed = done = 0
    try:
        with Progress(pictures, hidden=False) as progress:
            for event in events:
                done += 1
                if isinstance(event, Failed):
                    failed += 1
                    progress.print([failure_line(event)], sys.stderr)
                progress.advance()
    finally:
        compiled = machine.state().units - before
        seconds = perf_counter() - started
        if as_json:
            record = {"folder": str(machine.folder()), "compiled": compiled, "there": before}
            print(json.dumps(record | {"seconds": seconds, "whole": done == pictures}))
        else:
            emit([_warmed(compiled, before, seconds, whole=done == pictures)])
    return 1 if failed else 0


def _warmed(compiled: int, before: int, seconds: float, *, whole: bool) -> Line:
    end = "" if whole else ", not to the end"
    return [
        (f"{_counted(compiled, 'unit')} compiled", GOOD),
        (f" in {seconds:.1f} s{end}, {before} there before; kept in {machine.folder()}", ""),
    ]
