"""Install the tiny engine that is described in a folder; a process of its own."""

import sys
from pathlib import Path

from nvfp4_serve.cli.interrupts import interrupts
from nvfp4_serve.cli.main import print_error
from nvfp4_serve.errors import ServeError
from nvfp4_serve.runtime.engine import install_engine
from nvfp4_serve.runtime.types import EngineSpec
from stand_in import quiet

folder = Path(sys.argv[1])
spec = EngineSpec(
    flavour="cpu",
    distribution="tiny",
    version="1.0",
    torch="2.13.0",
    requirements=folder / "tiny.txt",
    series=folder / "series.py",
    smoke="tiny",
    installed_bytes=1 << 20,
)
try:
    with interrupts() as signals, signals.allowed():
        install_engine(spec, quiet)
except ServeError as error:
    print_error(error)
    sys.exit(error.exit_code)
except KeyboardInterrupt:
    sys.exit(130)
