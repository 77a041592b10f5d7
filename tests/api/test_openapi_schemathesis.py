"""H-01: schemathesis asks the running service about every operation of its own document, thousands of times."""

import asyncio
import json
import re
import sys
from pathlib import Path

import pytest

from tests.api.test_contract import INSIDE, PROBLEM
from tests.conftest import running_world

EXAMPLES = 3  # of each kind for each operation; the coverage phase adds some forty more
# What a JSON schema cannot say is refused with 400 as well: a public key's curve, a redirect_uri's host.
# A wrong secret is 401 ten times a minute and 429 then; that each operation refuses who has none is in test_matrix.py.
UNFAIR = "positive_data_acceptance,ignored_auth"
CONFIG = """
[parameters]
"path.tenant" = "default"

[checks.negative_data_rejection]
# 413 is a refusal too.
expected-statuses = [400, 401, 403, 404, 405, 409, 413, 414, 415, 429, 431]
"""


async def schemathesis(world, directory: Path, authorization: str) -> tuple[int, str, list[dict]]:
    """Run it, all checks; return its exit code, its report and every exchange."""
    (directory / "schemathesis.toml").write_text(CONFIG)
    program = Path(sys.executable).with_name("schemathesis")
    process = await asyncio.create_subprocess_exec(
        program, "--config-file", directory / "schemathesis.toml", "run", f"{world.base}openapi.json",
        *("-H", f"Authorization: {authorization}", "-n", str(EXAMPLES), "--phases", "examples,coverage,fuzzing"),
        *("--checks", "all", "--exclude-checks", UNFAIR, "--report-har-path", directory / "har.json", "--output-truncate", "false"),
        *("--no-color", "--continue-on-failure", "--warnings", "off", "--workers", "1"),
        # How long an answer takes, above all one with a new RSA key, says something about the machine alone.
        *("--max-response-time", "300", "--request-timeout", "300", "--suppress-health-check", "too_slow"),
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT, cwd=directory,
    )  # fmt: skip
    output, _ = await process.communicate()
    exchanges = json.loads((directory / "har.json").read_text())["log"]["entries"]
    return process.returncode or 0, output.decode(), exchanges


def check_answers(exchanges):
    """F-09 over all answers: nothing of the inside, problems throughout, one Server header."""
    for exchange in exchanges:
        answer = exchange["response"]
        headers = {header["name"].lower(): header["value"] for header in answer["headers"]}
        text = answer["content"].get("text", "")
        assert answer["status"] < 500, (exchange["request"]["url"], text)
        assert headers["server"] == "tms-ca"
        assert re.fullmatch(r"[0-9a-f]{13}", headers["x-request-id"])
        if answer["status"] >= 400:
            assert headers["content-type"].startswith(PROBLEM), exchange["request"]["url"]
            # A detail repeats, in quotes, some of what was sent; the document's own words are what is looked at.
            assert not INSIDE.search(re.sub(r"'[^']*'|\\\"[^\"]*\\\"", "", text)), text


# An operator reaches most of the service, a client the rest; each of the databases has one of them.
@pytest.mark.parametrize("who", ["operator", "client"])
async def test_H_01_schemathesis_finds_nothing(request, tmp_path, clock, who):
    if who == "operator":
        url = await request.getfixturevalue("postgres").fresh()
    else:
        url = f"sqlite:///{tmp_path / 'tms.db'}"
    async with running_world(tmp_path / "data", url, clock) as world:
        await world.furnish()
        authorization = world.operator if who == "operator" else world.clients["portal"]
        code, output, exchanges = await schemathesis(world, tmp_path, authorization)
    print(output[output.find("= SUMMARY =") :])
    assert code == 0, output[-8000:]
    assert len(exchanges) >= 1000  # of each: 2,000 in all
    check_answers(exchanges)
    # The cases are random; that some succeed shows that the credential was good and the shapes were understood.
    assert sum(exchange["response"]["status"] < 300 for exchange in exchanges) >= 10
