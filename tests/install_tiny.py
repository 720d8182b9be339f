"""Install the tiny engine that is described in a folder; a process of its own."""

import sys
from pathlib import Path

from nvfp4_serve.cli.interrupts import interrupts
from nvfp4_serve.cli.main import print_error
from nvfp4_serve.errors import ServeError
from nvfp4_serve.runtime.engine import install_engine
from stand_in import quiet
from tiny_engine import tiny_spec

folder = Path(sys.argv[1])
try:
    with interrupts() as signals, signals.allowed():
        install_engine(tiny_spec(folder), quiet)
except ServeError as error:
    print_error(error)
    sys.exit(error.exit_code)
except KeyboardInterrupt:
    sys.exit(130)
