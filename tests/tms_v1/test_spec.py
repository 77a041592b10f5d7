"""/spec and /spec_yaml: the description of the wire, as OpenAPI 3.0."""

import json
import re

import jsonschema
import pytest
import yaml
from schemathesis.specs.openapi import definitions

from tms_ca.http.tms_v1.declare import PREFIX
from tms_ca.http.tms_v1.routes import ENDPOINTS
from tms_ca.http.tms_v1.specification import document

SERVERS = ("https://tms.example/v1",)


def operations(found):
    return {
        (method.upper(), path): operation for path, each in found["paths"].items() for method, operation in each.items()
    }


def test_it_is_openapi_3_0_and_every_endpoint_of_the_wire_is_in_it():
    found = document(ENDPOINTS, SERVERS)
    validator = jsonschema.Draft4Validator(definitions.OPENAPI_30)
    validator.validate(found)
    with pytest.raises(jsonschema.ValidationError):
        validator.validate({**found, "openapi": "2.0"})
    assert (found["openapi"], found["info"]["title"], found["info"]["version"]) == ("3.0.0", "TMS Server", "0.3.0")
    assert (found["servers"], found["tags"]) == ([{"url": "https://tms.example/v1"}], [])
    expected = {(endpoint.method, endpoint.path.removeprefix("/v1")) for endpoint in ENDPOINTS
                if endpoint.path.startswith(PREFIX)}  # fmt: skip
    assert set(operations(found)) == expected
    assert len(expected) == 44
    named = set(re.findall(r"#/components/schemas/(\w+)", json.dumps(found)))
    assert named == set(found["components"]["schemas"])
    ids = [operation["operationId"] for operation in operations(found).values()]
    assert len(set(ids)) == len(ids)


def test_headers_queries_and_bodies_are_described():
    found = operations(document(ENDPOINTS, SERVERS))

    def parameters(method, path):
        return {one["name"]: one for one in found[method, path]["parameters"]}

    both = parameters("PATCH", "/tms/client/upd/{client_id}")
    assert set(both) == {
        "client_id", "X-TMS-TENANT", "X-TMS-CLIENT-ID", "X-TMS-CLIENT-SECRET", "X-TMS-ADMIN-ID", "X-TMS-ADMIN-SECRET",
        "app_version", "enabled",
    }  # fmt: skip
    assert {name for name, one in both.items() if one["required"]} == {"client_id", "X-TMS-TENANT"}
    alone = parameters("GET", "/tms/userhosts/{id}")
    assert {name for name, one in alone.items() if one["required"]} == {
        "id", "X-TMS-TENANT", "X-TMS-ADMIN-ID", "X-TMS-ADMIN-SECRET",
    }  # fmt: skip
    assert alone["id"]["schema"] == {"type": "integer"}
    assert set(parameters("GET", "/tms/hello")) == {"name"}
    for method, path in (("POST", "/tms/client"), ("GET", "/tms/tenants/list"), ("GET", "/tms/tenants/{tenant}")):
        headers = {name: one for name, one in parameters(method, path).items() if one["in"] == "header"}
        assert set(headers) == {"X-TMS-TENANT", "X-TMS-ADMIN-ID", "X-TMS-ADMIN-SECRET"}
        assert not any(one["required"] for one in headers.values())
    body = found["POST", "/tms/usermfa"]["requestBody"]["content"]["application/json; charset=utf-8"]["schema"]
    shape = document(ENDPOINTS, SERVERS)["components"]["schemas"][body["$ref"].rpartition("/")[2]]
    assert sorted(shape["required"]) == ["tenant", "tms_user_id", "ttl_minutes"]
    assert shape["properties"]["ttl_minutes"]["type"] == "integer"


def test_refusals_are_described_with_the_shape_that_they_have():
    found = operations(document(ENDPOINTS, SERVERS))
    json_, text = "application/json; charset=utf-8", "text/plain"

    def refusals(method, path):
        return {
            int(status): set(one["content"])
            for status, one in found[method, path]["responses"].items()
            if int(status) >= 400
        }

    assert refusals("POST", "/tms/usermfa") == {
        **{status: {json_} for status in (401, 403, 404, 409, 413, 429, 503)}, 400: {json_, text}, 415: {text},
    }  # fmt: skip
    assert set(refusals("GET", "/tms/client/{client_id}")) == {400, 401, 403, 404, 429, 503}
    assert set(refusals("GET", "/tms/version")) == {400, 429, 503}
    assert {401, 403} <= set(refusals("POST", "/tms/client")) & set(refusals("POST", "/tms/pubkeys/creds/retrieve"))


async def test_anybody_reads_both(started):
    async with started() as tms:
        reply = await tms.call("GET", "/spec")
        assert (reply.status, reply.headers["Content-Type"]) == (200, "application/json; charset=utf-8")
        assert reply.json == document(ENDPOINTS, (f"{tms.world.context.public_url}/v1",))
        assert reply.body.startswith(b'{\n  "')  # for people, too
        reply = await tms.call("GET", "/spec_yaml")
        assert (reply.status, reply.headers["Content-Type"]) == (200, "application/x-yaml")
        assert reply.headers["Content-Disposition"] == 'inline; filename="spec.yaml"'
        assert yaml.safe_load(reply.body) == (await tms.call("GET", "/spec")).json
        assert (await tms.call("HEAD", "/spec")).status == 200
        assert (await tms.call("POST", "/spec")).body == b"method not allowed"


async def test_the_settings_name_the_servers(started):
    async with started(server_urls='["https://tms.example:3000/v1"]') as tms:
        assert (await tms.call("GET", "/spec")).json["servers"] == [{"url": "https://tms.example:3000/v1"}]


async def test_where_the_wire_is_off_there_is_neither(bare_world):
    for path in ("/spec", "/spec_yaml"):
        assert (await bare_world.call("GET", path)).code == "no_such_path"
