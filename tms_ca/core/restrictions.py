"""What a login may do less than its certificate says: the restrictions of its host and of its delegation, together.

A restriction takes away, whoever set it: source addresses intersect, two commands must be the same, and so must a
command and the certificate's own. What cannot be satisfied together is a refusal with a code, never a line that sshd
would have to make sense of. The line's grammar is that of sshd(8), AUTHORIZED_KEYS FILE FORMAT, less all that is not
needed: `restrict`, `from`, `command`, `permitopen`, `expiry-time`, in this order.
"""

import re
from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Network, ip_network

from tms_ca.core.errors import Invalid
from tms_ca.core.facts import Denial, DenialReason
from tms_ca.core.model import Restrictions
from tms_ca.core.names import check_force_command
from tms_ca.core.times import compact_utc

MOST_DESTINATIONS = 16
MOST_CHARACTERS = 1900  # of a line's options: the helpers take lines of 2048, and a principal has up to 128
# Within quotes: a quote or a backslash would end or bend them, and `#` begins a comment for sshd wherever it stands.
COMMAND = r"^[ !$-\[\]-~]{1,1024}$"
DESTINATION = r"^([A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?|\[[0-9a-f:.]{2,45}\]):[1-9][0-9]{0,4}$"
_COMMAND = re.compile(COMMAND)
_DESTINATION = re.compile(DESTINATION)
# What every line of ours must be; tests hold each line against it, and so do the helpers on the hosts.
OPTIONS = re.compile(
    r"(?:restrict(?:,|$))?"
    r"(?:from=\"[0-9a-f.:/]{2,49}(?:,[0-9a-f.:/]{2,49}){0,95}\"(?:,|$))?"
    r"(?:command=\"[ !$-\[\]-~]{1,1024}\"(?:,|$))?"
    r"(?:permitopen=\"[A-Za-z0-9.:\[\]-]{3,260}\"(?:,|$)){0,16}"
    r"(?:expiry-time=\"[0-9]{14}Z\")?(?<!,)"
)

_Network = IPv4Network | IPv6Network


def valid_command(text: str) -> bool:
    """Tell whether `text` may be forced by a restriction: printable ASCII without quote, backslash and `#`."""
    return _COMMAND.fullmatch(text) is not None and text.strip() == text


def valid_destination(text: str) -> bool:
    """Tell whether `text` is HOST:PORT, an IPv6 address in brackets."""
    return _DESTINATION.fullmatch(text) is not None and int(text.rpartition(":")[2]) < 65536


def check_command(text: str) -> str:
    """Return `text`, unchanged, where a restriction may force it.

    Raises:
        Invalid: it cannot stand in a line for sshd

    """
    if not valid_command(check_force_command(text)):
        raise Invalid(
            "bad_force_command",
            "a command in a restriction is up to 1024 of printable ASCII without quote, backslash and #, "
            "and has no blank at its ends",
        )
    return text


def check_destinations(wanted: Iterable[str]) -> tuple[str, ...]:
    """Return destinations sorted, each once.

    Raises:
        Invalid: more than 16, or one that is not HOST:PORT

    """
    found = sorted(set(wanted))
    if len(found) > MOST_DESTINATIONS:
        raise Invalid("bad_permit_open", f"more than {MOST_DESTINATIONS} destinations")
    for one in found:
        if not valid_destination(one):
            raise Invalid("bad_permit_open", f"{one[:64]!r} is not HOST:PORT, such as db.example.org:5432")
    return tuple(found)


def options_line(
    wanted: Iterable[Restrictions | None], critical_options: Iterable[tuple[str, str]], ends_at: int
) -> str | Denial:
    """Return the options that say what all that is `wanted` says, or why no login can satisfy them all.

    `critical_options` are the certificate's own, which sshd applies by itself; `ends_at` is when the tightest grant
    ends, in Unix seconds. Nothing wanted is "".
    """
    rules = [rule for rule in wanted if rule is not None]
    own = dict(critical_options)
    sources = _sources([rule.source_address for rule in rules], own.get("source-address", ""))
    if isinstance(sources, Denial):
        return sources
    command = _command([rule.force_command for rule in rules if rule.force_command is not None], own)
    if isinstance(command, Denial):
        return command
    destinations = _destinations([rule.permit_open for rule in rules if rule.permit_open])
    if isinstance(destinations, Denial):
        return destinations
    options = ["restrict"] if any(rule.restrict for rule in rules) else []
    if sources:
        options.append(f'from="{",".join(sources)}"')
    if command is not None:
        options.append(f'command="{command}"')
    options += [f'permitopen="{one}"' for one in destinations]
    if any(rule.expiry for rule in rules):
        options.append(f'expiry-time="{compact_utc(ends_at)}"')
    line = ",".join(options)
    if len(line) > MOST_CHARACTERS:
        return Denial(
            DenialReason.RESTRICTIONS_TOO_LONG,
            f"the restrictions of host and delegation make {len(line)} characters, and hosts take {MOST_CHARACTERS}",
        )
    return line


def forced_command(wanted: Iterable[Restrictions | None], critical_options: Iterable[tuple[str, str]]) -> str | None:
    """Return the command that a login is forced to run that `options_line` lets in; None where there is none."""
    commands = [rule.force_command for rule in wanted if rule is not None and rule.force_command is not None]
    return commands[0] if commands else dict(critical_options).get("force-command")


def _sources(lists: Iterable[tuple[str, ...]], of_certificate: str) -> tuple[str, ...] | Denial:
    """Return where all the lists allow a login from; () for anywhere. The certificate's own counts where any does."""
    given = [[ip_network(text) for text in texts] for texts in lists if texts]
    if not given:
        return ()
    if of_certificate:
        given.append([ip_network(text) for text in of_certificate.split(",")])
    common, *rest = given
    for others in rest:
        common = [narrow for one in common for other in others if (narrow := _both(one, other)) is not None]
    found = tuple(dict.fromkeys(str(network) for network in common))
    if not found:
        return Denial(
            DenialReason.SOURCES_DISJOINT,
            "host, delegation and certificate allow logins from no common address; one of them must be widened",
        )
    return found


def _both(one: _Network, other: _Network) -> _Network | None:
    if isinstance(one, IPv4Network) and isinstance(other, IPv4Network):
        return one if one.subnet_of(other) else other if other.subnet_of(one) else None
    if isinstance(one, IPv6Network) and isinstance(other, IPv6Network):
        return one if one.subnet_of(other) else other if other.subnet_of(one) else None
    return None


def _command(commands: list[str], own: dict[str, str]) -> str | Denial | None:
    if not commands:
        return None
    if len({*commands, own.get("force-command", commands[0])}) > 1:
        # sshd would refuse such a login, too, and tell nobody why.
        return Denial(
            DenialReason.COMMANDS_DIFFER,
            "host, delegation and certificate force different commands; only one command can be forced",
        )
    return commands[0]


def _destinations(lists: list[tuple[str, ...]]) -> list[str] | Denial:
    if not lists:
        return []
    common = sorted(set(lists[0]).intersection(*lists[1:]))
    if not common:
        return Denial(
            DenialReason.DESTINATIONS_DISJOINT,
            "host and delegation allow forwarding to no common destination; one of them must be widened",
        )
    return common
