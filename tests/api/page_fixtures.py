"""A browser for tests: keeps cookies, reads forms out of HTML, sends them as a real one does."""

from dataclasses import dataclass, field
from html.parser import HTMLParser
from http.cookies import SimpleCookie
from typing import Any
from urllib.parse import urlencode

import pyotp
from yarl import URL

from tests.world import PASSWORD, World, wrong_code

BROWSER_POST = {
    "Origin": "null",
    "Sec-Fetch-Site": "same-origin",
}  # what Chromium sends under Referrer-Policy no-referrer


@dataclass
class Form:
    action: str
    method: str
    fields: dict[str, str] = field(default_factory=dict)
    other_actions: list[str] = field(default_factory=list)


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.forms: list[Form] = []
        self.links: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self._select = ""
        self._open = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.tags.append((tag, found))
        if tag == "form":
            self.forms.append(Form(found["action"] or "", found.get("method") or "get"))
            self._open = True
        elif tag == "a":
            self.links.append(found.get("href") or "")
        elif tag == "input" and self._open:
            self.forms[-1].fields[found["name"] or ""] = found.get("value") or ""
        elif tag == "select":
            self._select = found["name"] or ""
        elif tag == "option" and ("selected" in found or self._select not in self.forms[-1].fields):
            self.forms[-1].fields[self._select] = found.get("value") or ""
        elif tag == "button" and "formaction" in found:
            self.forms[-1].other_actions.append(found["formaction"] or "")

    def handle_endtag(self, tag: str) -> None:
        if tag == "form":
            self._open = False

    def handle_data(self, data: str) -> None:
        self.text.append(data)


@dataclass(frozen=True)
class Seen:
    """One answer."""

    status: int
    headers: Any
    body: str
    path: str

    def read(self) -> _Reader:
        reader = _Reader()
        reader.feed(self.body)
        return reader

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.read().text).split())

    def form(self, ending: str) -> Form:
        found = [form for form in self.read().forms if form.action.endswith(ending)]
        assert len(found) == 1, (ending, [form.action for form in self.read().forms], self.text)
        return found[0]


@dataclass
class Browser:
    world: World
    cookies: dict[str, str] = field(default_factory=dict)

    async def request(self, method: str, path: str, *, headers: dict[str, str] | None = None, **more: Any) -> Seen:
        url = URL(str(self.world.base).rstrip("/") + path, encoded=True)
        sent = dict(headers or {})
        if self.cookies:
            sent["Cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        async with self.world.http.request(method, url, headers=sent, allow_redirects=False, **more) as response:
            body = (await response.read()).decode()
            for line in response.headers.getall("Set-Cookie", []):
                for name, morsel in SimpleCookie(line).items():
                    if morsel["max-age"] == "0":
                        self.cookies.pop(name, None)
                    else:
                        self.cookies[name] = morsel.value
            return Seen(response.status, response.headers.copy(), body, path)

    async def get(self, path: str, *, headers: dict[str, str] | None = None) -> Seen:
        return await self.request("GET", path, headers=headers)

    async def open(self, path: str) -> Seen:
        """Follow redirects, as people do."""
        seen = await self.get(path)
        for _ in range(5):
            if seen.status != 303:
                break
            seen = await self.get(seen.headers["Location"])
        return seen

    async def post(self, path: str, fields: dict[str, str], *, headers: dict[str, str] | None = None) -> Seen:
        sent = {**BROWSER_POST, "Content-Type": "application/x-www-form-urlencoded", **(headers or {})}
        return await self.request("POST", path, data=urlencode(fields), headers=sent)

    async def send(self, form: Form, **changes: str) -> Seen:
        return await self.post(form.action, {**form.fields, **changes})

    async def submit(self, form: Form, **changes: str) -> Seen:
        """Send a form and follow where it leads."""
        seen = await self.send(form, **changes)
        return await self.open(seen.headers["Location"]) if seen.status == 303 else seen

    async def log_in(self, user: str, *, code: str = "", tenant: str = "default") -> Seen:
        page = await self.get(f"/t/{tenant}/login")
        return await self.submit(page.form("/login"), user=user, password=PASSWORD, code=code)


def code_of(world: World, seed: str) -> str:
    return pyotp.TOTP(seed.replace(" ", "")).at(world.clock.now())


def wrong_code_of(world: World, seed: str) -> str:
    return wrong_code(seed.replace(" ", ""), world.clock.now())


async def verified(world: World, user: str = "alice") -> Browser:
    """Return a browser in which `user` is logged in and MFA-current."""
    world.clock.move(30)
    browser = Browser(world)
    page = await browser.log_in(user, code=world.code(user))
    assert page.status == 200, page.text
    assert "tms" in browser.cookies
    return browser


async def ask(world: World, **more: Any) -> str:
    """Let the client ask alice for a delegation; return the path of its page."""
    wish = {"user": "alice", "client_id": "portal", "host": "h1", "account": "alice", **more}
    asked = await world.delegate(**wish, approve=False)
    return f"/t/default/delegations/{asked['id']}"


async def status_of(world: World, path: str) -> str:
    """Return what the API says about the delegation of a page."""
    return str((await record(world, path))["status"])


async def record(world: World, path: str) -> dict[str, Any]:
    found = await world.good("GET", f"delegations/{path.rpartition('/')[2]}", auth=world.operator)
    assert isinstance(found, dict)
    return found
