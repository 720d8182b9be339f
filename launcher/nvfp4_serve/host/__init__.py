"""This machine (or a described one) -> Host."""

from nvfp4_serve.host.detect import detect_host
from nvfp4_serve.host.facts import facts_json, read_facts
from nvfp4_serve.host.types import Gpu, Host

__all__ = ["Gpu", "Host", "detect_host", "facts_json", "read_facts"]
