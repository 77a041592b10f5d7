"""Patterns of hosts and accounts in delegations: how one lies within another, and how SQL can sift them."""

from tms_ca.core.names import matches


def narrows(pattern: str, wider: str) -> bool:
    """Tell whether every name that `pattern` matches is one that `wider` matches.

    A `*` in `pattern` is a character that only a `*` of `wider` covers, so a yes is always right.
    """
    return matches(wider, pattern)


def like_pattern(pattern: str) -> str:
    r"""Return the SQL LIKE pattern, escaped with a backslash, of `pattern`."""
    for special in ("\\", "%", "_"):
        pattern = pattern.replace(special, "\\" + special)
    return pattern.replace("*", "%")
