"""What is recognised at a glance is what was asked, and one whole request."""

from hypothesis import given
from hypothesis import strategies as st

from tms_ca.http import glance, heads
from tms_ca.http.glance import Glance, endpoint_of

HEAD = b"POST /api/v1/tenants/default/%s HTTP/1.1\r\nHost: x\r\nAuthorization: Basic YTpi\r\nContent-Length: 2\r\n\r\n"
ISSUE, CHECK = HEAD % b"certificates" + b"{}", HEAD % b"hosts/h1/principals" + b"{}"


def expected(data: bytes) -> str | None:
    line = heads.whole(data)
    return None if line is None else endpoint_of(line)


def test_a_head_that_was_seen_is_known_whatever_its_body_and_no_other_is():
    seen = Glance()
    assert [seen.endpoint(data) for data in (ISSUE, CHECK, ISSUE, ISSUE[:-2] + b"[]")] == [
        "issue_certificate", "check_login", "issue_certificate", "issue_certificate",
    ]  # fmt: skip
    assert seen.endpoint(ISSUE.replace(b"certificates", b"certificatez")) == "other"


def test_more_or_less_than_one_whole_request_is_none_also_where_its_head_was_seen():
    seen = Glance()
    assert seen.endpoint(ISSUE) == "issue_certificate"
    for data in (ISSUE[:-1], ISSUE + b"x", ISSUE + CHECK, ISSUE[:-2], ISSUE[:40], b"", b"\r\n\r\n"):
        assert seen.endpoint(data) is None


@given(st.lists(st.tuples(st.sampled_from([ISSUE, CHECK]), st.integers(0, 140), st.binary(max_size=3)), max_size=6))
def test_what_is_remembered_never_says_other_than_looking_does(pieces):
    seen = Glance()
    for whole, cut, more in pieces:
        for data in (whole, whole[:cut] + more, whole + more):
            assert seen.endpoint(data) == expected(data)


def test_it_keeps_no_secret_and_no_more_heads_than_it_may(monkeypatch):
    monkeypatch.setattr(glance, "MOST_HEADS", 3)
    seen = Glance()
    for number in range(10):
        assert seen.endpoint(HEAD % b"%d/certificates" % number + b"{}") == "issue_certificate"
        assert len(seen._known) <= 3
    assert b"YTpi" not in b"".join(seen._known)
