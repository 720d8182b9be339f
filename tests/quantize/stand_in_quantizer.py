"""Stands in for ``quantize/worker.py``: says what it is told to, copies a checkpoint.

The environment variable STAND_IN is a JSON object: ``checkpoint`` is copied to where
the order says, ``say`` are the lines of its answer, ``then`` is what it does at last.
``mkdir`` is a folder that somebody makes meanwhile.
"""

import json
import os
import shutil
import sys
import time
from pathlib import Path

told = json.loads(os.environ["STAND_IN"])
order = json.loads(sys.argv[1])
sys.stderr.write("words of a library\n")
if told["checkpoint"]:
    shutil.copytree(told["checkpoint"], order["out"])
if told.get("mkdir"):
    Path(told["mkdir"]).mkdir()
for line in told["say"]:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
if told["then"] == "wait":
    time.sleep(600)
if told["then"] == "die":
    os.abort()
