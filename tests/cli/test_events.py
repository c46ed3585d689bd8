"""What is told of each image, where its numbers or its estimates are out of the ordinary."""

import json
from math import inf, nan

import numpy as np
import pytest

from convtool import bank, batch
from convtool.engine import offload
from convtool.engine.cuda.rates import Rates
from convtool.geometry import ConvSpec
from convtool.report import events
from program import noise, save
from shell import run

RATES = Rates("some GPU", up=2e10, down=1e10, copy=1e12, multiply_adds=1e13, start=1.5)


@pytest.fixture
def done(tmp_path, monkeypatch):
    """One request, and what came of its picture."""
    monkeypatch.chdir(tmp_path)
    save("a.png", noise(9, 8))
    spec = ConvSpec.of()
    kernel = batch.kernel_for(spec, bank.load(["blur"]), normalize=False)
    request = batch.Request(spec=spec, kernel=kernel)
    [event] = batch.run(request, batch.prepare(request, batch.expand(["a.png"])))
    return request, event


@pytest.mark.parametrize(
    ("low", "high"), [(nan, nan), (-inf, inf), (0.0, inf), (None, None)], ids=str
)
def test_json_has_neither_nan_nor_infinity(done, low, high):
    request, event = done
    record = events.event_json(request, event._replace(minimum=low, maximum=high))
    values = json.loads(json.dumps(record, allow_nan=False))["values"]
    assert values == {"min": 0.0 if low == 0 else None, "max": None, "clipped": event.clipped}
    assert events.values_text(event._replace(minimum=low, maximum=high)) == "no finite values"


@pytest.fixture
def large(tmp_path, monkeypatch):
    """A picture that is worth a GPU, of which rates are kept."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(offload, "kept", lambda number: RATES)
    monkeypatch.setattr(offload, "_begun", lambda: False)
    np.save("a.npy", np.zeros((1, 4000, 4000, 3), np.uint8))
    np.save("k.npy", np.random.default_rng(0).standard_normal((31, 31)))
    return ("apply", "-n", "-v", "-k", "k.npy", "-o", "y.npy", "a.npy", "--threads", "2")


def test_what_an_engine_takes_to_begin_with_stands_beside_its_estimates(large):
    ran = run(*large)
    assert ran.code == 0, ran.err
    table = ran.out.partition("estimates ")[2].splitlines()[:-1]
    text = "\n".join(table)
    assert len(table) >= 3
    for line in text.splitlines():
        who = line.replace("*", " ").split(",")[0].strip()
        more = {"cpu": " + 20 ms to begin with", "cuda": " + 1.50 s to begin with"}.get(who, "")
        assert line.count(" to begin with") == (1 if more else 0), line
        assert more in line
    assert "cuda, direct" in text
    assert "* cpu, fft" in text


def test_an_engine_that_was_asked_for_is_not_compared(large):
    assert "to begin with" not in run(*large, "--engine", "cpu").out
