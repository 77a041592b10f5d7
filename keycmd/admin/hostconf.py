"""host.conf as a join writes it: what the service said, and what the administrator had set before."""

from keycmd import files
from keycmd.admin.places import AdminError
from keycmd.config import KEYS, SYSTEM_CA

_MOST_BYTES = 16384
_OURS = ("url", "tenant", "host", "token_file", "ca_file", "node", "state_dir", "run_dir")


def kept(places):
    """Return {key: value} of an earlier host.conf that a join has no say in.

    Raises:
        AdminError: a line is not one that this version knows
    """
    try:
        lines = (files.read(places.config, _MOST_BYTES) or b"").decode("ascii").split("\n")
    except (files.FilesError, UnicodeDecodeError) as error:
        raise AdminError("the present %s cannot be kept: %s" % (places.config, error)) from error
    found = {}
    for line in lines:
        key, equals, value = (word.strip() for word in line.partition("="))
        if not line.strip() or line.strip().startswith("#") or key in _OURS:
            continue
        if not equals or key not in KEYS or key in found:
            raise AdminError("the present %s has the line %.60r, which cannot be kept: mend it" % (places.config, line))
        found[key] = value
    return found


def text(places, url, tenant, host, node, has_ca, more):
    """Return the whole file; `more` is what `kept` found."""
    values = [("url", url), ("tenant", tenant), ("host", host), ("node", node)]
    values.append(("token_file", places.token))
    values.append(("ca_file", places.ca_file if has_ca else SYSTEM_CA))
    if places.root:
        values += [("state_dir", places.state), ("run_dir", places.run)]
    lines = ["# written by `tms-host join`; a later join keeps the lines below the blank one"]
    lines += ["%s = %s" % pair for pair in values] + [""] + ["%s = %s" % pair for pair in sorted(more.items())]
    return "\n".join(lines) + "\n"
