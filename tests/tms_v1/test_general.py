"""hello, version, and what is refused before anything is looked at."""

import pytest


async def test_hello(tms):
    reply = await tms.call("GET", "hello")
    assert (reply.status, reply.body) == (200, b"hello!")
    assert reply.headers["Content-Type"] == "text/plain; charset=utf-8"
    reply = await tms.call("GET", "hello?name=Ada%20<b>")
    assert reply.body == b"hello, Ada <b>!"


async def test_version_is_all_strings(tms):
    said = await tms.good("GET", "version")
    assert said["tms_version"] == "0.3.0"
    assert set(said) == {
        "result_code", "result_msg", "tms_version", "git_branch", "git_commit", "git_dirty", "source_ts",
        "rustc_version",
    }  # fmt: skip
    assert all(isinstance(value, str) for value in said.values())


async def test_head_is_answered_as_get_is(tms):
    assert (await tms.call("HEAD", "version")).status == 200


@pytest.mark.parametrize(
    ("method", "path", "status", "text"),
    [
        ("GET", "nothing", 404, b"not found"),
        ("GET", "/v1/", 404, b"not found"),
        ("POST", "version", 405, b"method not allowed"),
    ],
)
async def test_what_is_not_there_is_refused_in_plain_text(tms, method, path, status, text):
    reply = await tms.call(method, path)
    assert (reply.status, reply.body) == (status, text)
    assert reply.headers["Content-Type"].startswith("text/plain")


async def test_without_the_setting_nothing_is_there(world):
    reply = await world.call("GET", "/v1/tms/version")
    assert reply.status == 404
    assert reply.code == "no_such_path"
