"""The OpenAPI document: valid, checked in, and what the service says of itself."""

import json
import re
from pathlib import Path

import jsonschema
import pytest
from schemathesis.specs.openapi.definitions import OPENAPI_31

from tms_ca.http.openapi import document
from tms_ca.http.problems import MEDIA_TYPE, STATUS
from tms_ca.http.routes import ENDPOINTS

CHECKED_IN = Path(__file__).parents[2] / "docs" / "api" / "openapi.json"


def operations(found):
    for path, methods in found["paths"].items():
        for method, operation in methods.items():
            yield path, method.upper(), operation


def test_the_document_is_openapi_3_1():
    jsonschema.Draft202012Validator(OPENAPI_31).validate(document(ENDPOINTS))
    broken = {**document(ENDPOINTS), "openapi": "2.0"}
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft202012Validator(OPENAPI_31).validate(broken)


def test_every_schema_is_json_schema_with_ecma_patterns():
    for name, schema in document(ENDPOINTS)["components"]["schemas"].items():
        jsonschema.Draft202012Validator.check_schema(schema)
        for pattern in re.findall(r'"pattern": "(.*?)"', json.dumps(schema)):
            assert pattern.startswith("^"), (name, pattern)
            assert pattern.endswith("$"), (name, pattern)
            assert "\\\\Z" not in pattern


def test_the_checked_in_document_is_the_codes():
    assert json.loads(CHECKED_IN.read_text()) == document(ENDPOINTS), "run: make openapi"


async def test_the_service_serves_it_to_anyone(bare_world):
    served = await bare_world.good("GET", "/openapi.json")
    assert served == document(ENDPOINTS)


def test_it_has_every_endpoint_and_no_other():
    found = {(path, method): operation["operationId"] for path, method, operation in operations(document(ENDPOINTS))}
    assert found == {(endpoint.path, endpoint.method): endpoint.name for endpoint in ENDPOINTS}


def test_every_reference_leads_somewhere_and_every_schema_is_used():
    found = document(ENDPOINTS)
    named = set(re.findall(r"#/components/schemas/(\w+)", json.dumps(found)))
    assert named == set(found["components"]["schemas"])


def test_every_refusal_is_documented_as_a_problem():
    for path, _, operation in operations(document(ENDPOINTS)):
        statuses = set(operation["responses"])
        assert statuses >= {"400", "401", "403", "500", "503"}, path
        assert "{" not in path or "404" in statuses, path
        for status, response in operation["responses"].items():
            if int(status) >= 400 and "content" in response:
                assert list(response["content"]) == [MEDIA_TYPE], (path, status)
                assert int(status) in {*STATUS.values(), 414, 431, 500}, (path, status)


def test_no_field_is_left_undescribed():
    """Every property has a type (or is a reference): `{}` would take anything."""
    for name, schema in document(ENDPOINTS)["components"]["schemas"].items():
        for field, property_ in schema["properties"].items():
            assert {"type", "$ref", "allOf", "anyOf", "enum"} & set(property_), (name, field)
