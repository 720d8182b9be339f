"""``nvfp4-serve serve``: from a checkpoint to an engine whose answers are right."""

import json
import os
import shlex
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import click

from nvfp4_serve.checkpoint import read_checkpoint, read_layout
from nvfp4_serve.checkpoint.types import Layout, Severity
from nvfp4_serve.cli.interrupts import Interrupts, interrupts
from nvfp4_serve.cli.say import say
from nvfp4_serve.errors import CheckpointError, EngineError, NotRightError
from nvfp4_serve.host import detect_host, load_host
from nvfp4_serve.plan import make_plan
from nvfp4_serve.plan.types import Plan, Request
from nvfp4_serve.ready.canary import read_canary
from nvfp4_serve.ready.gate import explain_end, wait_until_right
from nvfp4_serve.ready.types import Watched
from nvfp4_serve.runtime.engine import find_engine, install_engine, verify_engine
from nvfp4_serve.runtime.identity import engine_spec, flavour_of
from nvfp4_serve.runtime.local import LocalRuntime
from nvfp4_serve.runtime.types import Engine, Instance, Runtime
from nvfp4_serve.units import format_bytes
