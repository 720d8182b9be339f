"""A Plan as JSON. Its keys are stable; the order of the fields is theirs."""

import json

import msgspec

from nvfp4_serve.plan.types import Plan


def render_json(plan: Plan) -> str:
    """Return ``plan`` as indented JSON, ending in no newline."""
    return json.dumps(msgspec.to_builtins(plan), indent=2, ensure_ascii=False)
