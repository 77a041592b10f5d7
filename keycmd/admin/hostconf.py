"""host.conf as a join writes it: what the service said, and what the administrator had set before."""

from keycmd import files
from keycmd.admin.places import AdminError
from keycmd.config import SYSTEM_CA

_MOST_BYTES = 16384
_OURS = ("url", "tenant", "host", "token_file", "ca_file", "node", "state_dir", "run_dir")


def kept_lines(places):
    """Return the lines of an earlier host.conf that a join has no say in."""
    try:
        content = (files.read(places.config, _MOST_BYTES) or b"").decode("ascii")
    except (files.FilesError, UnicodeDecodeError) as error:
        raise AdminError("the present %s cannot be kept: %s" % (places.config, error)) from error
    lines = [line.strip() for line in content.split("\n")]
    return [line for line in lines if "=" in line and line[0] != "#" and line.partition("=")[0].strip() not in _OURS]


def text(places, url, tenant, host, node, has_ca, kept):
    """Return the whole file; `kept` are lines of `kept_lines`."""
    values = [("url", url), ("tenant", tenant), ("host", host), ("node", node)]
    values.append(("token_file", places.token))
    values.append(("ca_file", places.ca_file if has_ca else SYSTEM_CA))
    if places.root:
        values += [("state_dir", places.state), ("run_dir", places.run)]
    lines = ["# written by `tms-host join`; a later join keeps the lines below the blank one"]
    lines += ["%s = %s" % pair for pair in values] + [""] + kept
    return "\n".join(lines) + "\n"
