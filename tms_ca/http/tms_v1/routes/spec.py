"""The description of the wire API, as JSON and as YAML."""

import json
from typing import Any

from aiohttp import web

from tms_ca.http.tms_v1.declare import Call, v1

SPEC: web.AppKey[dict[str, Any]] = web.AppKey("tms_v1_spec")
SPEC_PATH, SPEC_YAML_PATH = "/spec", "/spec_yaml"
_WHY = "says what there is, which is no secret"


@v1("GET", SPEC_PATH, why_open=_WHY)
async def spec(call: Call) -> web.StreamResponse:
    """Return this description as JSON."""
    return web.json_response(call.request.config_dict[SPEC], dumps=lambda said: json.dumps(said, indent=2))


@v1("GET", SPEC_YAML_PATH, why_open=_WHY)
async def spec_yaml(call: Call) -> web.StreamResponse:
    """Return this description as YAML."""
    import yaml  # here alone, and seldom

    headers = {"Content-Disposition": 'inline; filename="spec.yaml"', "Content-Type": "application/x-yaml"}
    return web.Response(body=yaml.safe_dump(call.request.config_dict[SPEC], sort_keys=False).encode(), headers=headers)


ENDPOINTS = (spec, spec_yaml)
