import os
import signal
from pathlib import Path

import pytest
from hypothesis import settings

# In the background of some shells Ctrl-C is ignored, by what is started there as well: the tests
# send it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


# The cuda engine is tried in Numba's simulator, unless there is a GPU to try it on. Numba looks at
# this when it is imported.
if os.environ.get("CONVTOOL_TEST_GPU", "0") == "0":
    os.environ.setdefault("NUMBA_ENABLE_CUDASIM", "1")

# The same cases in every run, and printed when one fails; CONVTOOL_TEST_EXAMPLES asks for more.
settings.register_profile("fixed", derandomize=True, deadline=None, print_blob=True)
settings.load_profile("fixed")

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="session")
def samples() -> Path:
    return ROOT / "sample_images"


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory):
    """No colour, and nobody's own presets."""
    for name in ("NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path_factory.getbasetemp() / "no-config"))


def examples(count: int) -> int:
    """How many random cases a property is tried on."""
    return int(os.environ.get("CONVTOOL_TEST_EXAMPLES", count))
