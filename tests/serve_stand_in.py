"""Serve the stand-in as `nvfp4-serve serve` would: PORT [--detach] BEHAVIOUR..."""

import sys

from nvfp4_serve.cli.interrupts import interrupts
from nvfp4_serve.cli.main import leave, print_error
from nvfp4_serve.cli.say import say
from nvfp4_serve.cli.session import Job, serve_plan
from nvfp4_serve.errors import ServeError
from nvfp4_serve.runtime.local import LocalRuntime
from stand_in import CANARY, COMMAND, plan_of

behaviour = [word for word in sys.argv[2:] if word != "--detach"]
job = Job(
    plan=plan_of(int(sys.argv[1]), *behaviour),
    canary=CANARY,
    detach="--detach" in sys.argv,
    seconds=30,
)
try:
    with interrupts() as signals:
        serve_plan(
            job, LocalRuntime(COMMAND, say, grace=60.0, orphan_grace=0.2), signals
        )
except ServeError as error:
    print_error(error)
    leave(error.exit_code)
except KeyboardInterrupt:
    leave(130)
