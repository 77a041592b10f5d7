"""What may be printed to sshd as a line of principals: a plain principal, or options of a short list and a principal.

The options are those that the service writes, in its one order, each at most once but permitopen:
`restrict`, `from="CIDR,CIDR"`, `command="TEXT"`, `permitopen="HOST:PORT"`, `expiry-time="YYYYMMDDHHMMSSZ"`. All of them
narrow what the principal alone would allow; nothing else is ever passed on.
"""

from keycmd.quick import valid_principal

MOST_CHARACTERS = 2048
MOST_PERMITOPEN = 16
_ORDER = ("restrict", "from", "command", "permitopen", "expiry-time")
_DIGITS = frozenset("0123456789")
_CIDR = frozenset("0123456789abcdefABCDEF:./")
_HOST = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789.-:[]*_")


def valid_line(line):
    """Tell whether a line may be printed."""
    options, blank, principal = line.rpartition(" ")
    if not valid_principal(principal):
        return False
    if not blank:
        return True
    found = split_options(options) if len(line) <= MOST_CHARACTERS else None
    if not found:
        return False
    last, opens = -1, 0
    for name, value in found:
        if name not in _ORDER:
            return False
        at = _ORDER.index(name)
        opens += name == "permitopen"
        if at < last or (at == last and name != "permitopen") or opens > MOST_PERMITOPEN or not good_value(name, value):
            return False
        last = at
    return True


def split_options(text):
    """Return [(name, value or None)] of comma-joined options, or None where the text is not that.

    A value stands in double quotes; within them is printable ASCII without quotes, backslashes and `#`.
    """
    found, rest = [], text
    while True:
        end = min(at for at in (rest.find("="), rest.find(","), len(rest)) if at >= 0)
        name, rest = rest[:end], rest[end:]
        value = None
        if rest.startswith("="):
            if rest[1:2] != '"':
                return None
            value, quote, rest = rest[2:].partition('"')
            if not quote or not all(" " <= character <= "~" and character not in "\\#" for character in value):
                return None
        found.append((name, value))
        if not rest:
            return found
        if not rest.startswith(","):
            return None
        rest = rest[1:]


def good_value(name, value):
    """Tell whether an option of the list may have this value; None stands for none."""
    if name == "restrict":
        return value is None
    if not value:
        return False
    if name == "from":
        return all(_cidr(part) for part in value.split(","))
    if name == "permitopen":
        host, colon, port = value.rpartition(":")
        good = port == "*" or (len(port) <= 5 and _DIGITS.issuperset(port) and 0 < int(port or "0") < 65536)
        return bool(host) and bool(colon) and _HOST.issuperset(host) and good
    if name == "expiry-time":
        return len(value) == 15 and value[14] == "Z" and _DIGITS.issuperset(value[:14])
    return True  # a command: its characters are checked already


def _cidr(text):
    """Tell whether a text can be an address with or without a length; sshd reads it by its own rules anyway."""
    address, slash, length = text.partition("/")
    if not address or not _CIDR.issuperset(address) or not ("." in address or ":" in address):
        return False
    return not slash or (1 <= len(length) <= 3 and _DIGITS.issuperset(length) and int(length) <= 128)
