"""Layout, Host and what was asked -> Plan. Pure arithmetic and tables."""

from nvfp4_serve.plan.make import make_plan
from nvfp4_serve.plan.types import Plan, Request, Status

__all__ = ["Plan", "Request", "Status", "make_plan"]
