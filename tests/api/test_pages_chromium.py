"""The pages in a real browser: its own headers, its own idea of what a script is."""

from pathlib import Path

from tests.api.chromium import chromium
from tests.api.page_fixtures import ask, status_of
from tests.api.test_pages_security import XSS
from tests.world import PASSWORD, World


async def test_I_04_a_browser_logs_in_and_approves_and_runs_no_script(world: World, tmp_path: Path):
    await world.good("PATCH", "clients/portal", auth=world.operator, json={"display_name": XSS[0]})
    paths = [await ask(world, purpose=payload, constraints={"force_command": payload}) for payload in XSS]
    base = str(world.base).rstrip("/")
    async with chromium(tmp_path / "profile") as tab:
        await tab.open(base + paths[0])
        world.clock.move(30)
        await tab.submit("button.primary", user="alice", password=PASSWORD, code=world.code("alice"))
        for path in paths:
            await tab.open(base + path)
            assert "act for you?" in await tab.text()
        await tab.submit("button.primary", lifetime_seconds="3600")
        assert "may act for you" in await tab.text()
        assert await status_of(world, paths[-1]) == "approved"
        await tab.submit("button.deny")
        assert await status_of(world, paths[-1]) == "revoked"
        await tab.open(base + paths[1])
        await tab.submit("button.deny")
        assert await status_of(world, paths[1]) == "denied"
        await tab.open(base + "/t/default/mfa")
        await tab.submit("form.apart button")
        assert await tab.evaluate("document.querySelector('img.qr').naturalWidth") > 0
        for path in ("/t/default/", "/docs", "/"):
            await tab.open(base + path)
            assert await tab.evaluate("getComputedStyle(document.querySelector('header')).borderBottomStyle") == "solid"
        await tab.open(base + "/t/default/")
        await tab.submit("form.who button")
        assert "Log in" in await tab.text()
        await tab.open(base + "/t/default/")
        assert await tab.evaluate("location.pathname") == "/t/default/login"
        assert tab.noted == []
        await tab.evaluate("document.body.innerHTML = '<img src=x onerror=alert(1)>'")  # would it have told?
        await tab.until_noted("Content Security Policy")  # a page that is left before its image fails says nothing
        assert {url for url in tab.requests if not url.startswith((base, "data:", "about:"))} == set()
