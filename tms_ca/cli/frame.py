"""The frame of the operator's commands: a verb is one declaration, and one function here runs it.

A verb names an endpoint of the API (or a deed of the same form) and how its inputs are typed on a command line; the
inputs go through the endpoint's own shapes, so the API and the command line accept and refuse the same things.
"""

import argparse
import asyncio
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from marshmallow import Schema

from schemas.base import misnamed
from tms_ca.app import open_context
from tms_ca.cli import show
from tms_ca.cli.init import FIRST_TENANT, local_operator
from tms_ca.cli.inputs import FIELD, NOTHING, Argument
from tms_ca.cli.usage import Help
from tms_ca.core.access import Action
from tms_ca.core.errors import NotFound
from tms_ca.core.model import ALL_TENANTS
from tms_ca.http.context import Context
from tms_ca.http.cursors import encode_cursor
from tms_ca.http.endpoint import Call, Endpoint, Page, load
from tms_ca.settings import load_settings
from tms_ca.store import migrate, rows
from tms_ca.store.engine import database_url

MOST_SHOWN = 1000  # of a list, unless --limit says otherwise
_MOST_AT_ONCE = 1000  # what a list of the API gives in one page

Values = dict[str, Any]
Offline = Callable[[Path, Mapping[str, Any]], Any]  # a deed that needs no open database: (data directory, inputs)


def succeeded(_: Any) -> int:
    """Return the exit code of a verb that either works or raises."""
    return 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Verb:
    """One command: what it does, what it takes and how its result looks to people."""

    name: str
    does: Endpoint | Offline
    arguments: tuple[Argument, ...] = ()
    text: str = ""  # help; empty: the endpoint's own first line
    columns: tuple[str, ...] = ()  # of a list
    done: str = ""  # a sentence for a verb that returns nothing, with {inputs}
    say: Callable[[Any], str] | None = None  # what people read, where neither table nor list of fields fits
    prepare: Callable[[Values, argparse.Namespace], None] | None = None  # inputs that need more than a type
    code: Callable[[Any], int] = succeeded


@dataclass(frozen=True, slots=True)
class Noun:
    """A kind of thing, with its verbs."""

    name: str
    text: str
    verbs: tuple[Verb, ...]
    examples: str = field(default="", repr=False)


def deed(handler: Callable[[Call[Any]], Any], needs: Action, *, path: str = "", body: Schema | None = None,
         returns: Schema | None = None) -> Endpoint:  # fmt: skip
    """Return something to do that the API has no endpoint for, in an endpoint's form."""
    return Endpoint("CLI", path, needs, handler, body=body, returns=returns, text=handler.__doc__ or "")


def run(verb: Verb, options: argparse.Namespace) -> int:
    """Run one verb: collect its inputs, do it, show the result; return the exit code."""
    values: Values = {
        name.removeprefix(FIELD): None if value is NOTHING else value
        for name, value in vars(options).items()
        if name.startswith(FIELD) and value is not None
    }
    if verb.prepare is not None:
        verb.prepare(values, options)
    data: Path = options.data.absolute()
    if isinstance(verb.does, Endpoint):
        result = asyncio.run(_within_service(verb.does, data, options, dict(values)))
    else:
        result = verb.does(data, values)
    print(_shown(verb, options, result, values), end="")
    return verb.code(result)


async def _within_service(does: Endpoint, data: Path, options: argparse.Namespace, values: Values) -> Any:
    settings = load_settings(data)
    migrate.require(database_url(settings.database_url))
    async with open_context(settings) as context:
        names = re.findall(r"\{(\w+)\}", does.path)
        path = {name: values.pop(name) for name in names if name in values}
        for name, value in path.items():
            wrong = misnamed(name, value)
            if wrong is not None:
                raise NotFound(f"{name}_unknown", wrong)
        tenant = path.get("tenant", options.tenant)
        if tenant != ALL_TENANTS:
            await context.directory.get(rows.TENANTS, tenant)
        body = None if does.body is None else load(does.body, values)
        return await _results(does, context, tenant, path, body, values, getattr(options, "limit", 0))


async def _results(does: Endpoint, context: Context, tenant: str, path: Mapping[str, str], body: Any, values: Values,
                   wanted: int) -> Any:  # fmt: skip
    """Return what `does` returns; of a list, as many pages as are wanted."""
    found: list[object] = []
    cursor: str | None = None
    while True:
        query: Mapping[str, Any] = {}
        if does.query is not None:
            paged = {} if "limit" not in does.query.fields else {"limit": str(min(wanted - len(found), _MOST_AT_ONCE))}
            following = {} if cursor is None else {"cursor": cursor}
            query = load(does.query, {**values, **paged, **following})
        # The handlers that verbs name use what the call says, never the HTTP request that is not there.
        call = Call(context, local_operator(), tenant, path, query, body, {})
        result = await does.handler(call)
        if not isinstance(result, Page):
            return result if does.returns is None else does.returns.dump(result)
        assert does.returns is not None
        found.extend(does.returns.dump(result.items, many=True))
        if result.next is None or len(found) >= wanted:
            return show.Listing(found, more=result.next is not None)
        cursor = encode_cursor(result.next)


def _shown(verb: Verb, options: argparse.Namespace, result: Any, values: Values) -> str:
    if isinstance(result, show.Listing):
        show.note_more(result)
    elif isinstance(result, Mapping) and "secret" in result:
        show.note_secret()
    if options.json:
        return show.as_json(result)
    if verb.say is not None:
        return verb.say(result)
    if isinstance(result, show.Listing):
        return show.table(verb.columns, result.items)
    if result is None:
        return show.printable(verb.done.format_map(values)) + "\n"
    return show.record(result)


def add(commands: Any, noun: Noun) -> None:
    """Add a noun and its verbs to the parser."""
    parser = commands.add_parser(
        noun.name, help=noun.text, description=noun.text, epilog=noun.examples and f"examples:\n{noun.examples}",
        formatter_class=Help,
    )  # fmt: skip
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    for verb in noun.verbs:
        text = verb.text or (verb.does.text if isinstance(verb.does, Endpoint) else "")
        first, _, rest = text.strip().partition("\n")
        about = first + "\n" + "\n".join(line.strip() for line in rest.splitlines())
        one = verbs.add_parser(verb.name, help=first, description=about.strip(),
                               formatter_class=Help)  # fmt: skip
        groups: dict[str, Any] = {}
        for argument in verb.arguments:
            place = one
            if argument.one_of:
                group = groups.get(argument.one_of)
                if group is None:
                    required = not argument.one_of.endswith("?")
                    group = groups[argument.one_of] = one.add_mutually_exclusive_group(required=required)
                place = group
            place.add_argument(*argument.flags, **argument.keywords)
        if isinstance(verb.does, Endpoint) and verb.does.query is not None and "limit" in verb.does.query.fields:
            one.add_argument("--limit", type=int, default=MOST_SHOWN, metavar="N",
                             help=f"show at most N (default: {MOST_SHOWN})")  # fmt: skip
        _add_common(one)
        one.set_defaults(run=lambda options, verb=verb: run(verb, options))


def _add_common(parser: argparse.ArgumentParser) -> None:
    common = parser.add_argument_group("of every command")
    common.add_argument("--data", type=Path, metavar="DIR",
                        help="the data directory (default: $TMS_CA_DATA, else ./tms-ca-data)")  # fmt: skip
    common.add_argument("--tenant", default=FIRST_TENANT, metavar="NAME", help="the tenant (default: default)")
    common.add_argument("--json", action="store_true", help="print JSON, in the shapes of the API")
