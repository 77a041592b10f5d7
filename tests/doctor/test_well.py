"""A host that is well."""

NOTES = {"sshd_version", "helper_time"}  # what no configuration can mend, and a measurement


def test_a_host_that_is_well_has_notes_only(host):
    seen = host.doctor()
    assert seen.codes <= NOTES, seen.out
    assert seen.status == 0
    assert "helper_time" in seen.codes, "the helper was not run"
