"""A real browser, driven through its debugging port."""

import asyncio
import json
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import aiohttp

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
_TIMEOUT = 60.0
# What Chromium says to a question that a page has not answered when the next one takes its place.
_LEFT = (
    "Inspected target navigated or closed",
    "Execution context was destroyed",
    "Cannot find default execution context",
)


class Left(Exception):
    """The page that was asked something has made way for another meanwhile."""


class Tab:
    """One page; `noted` keeps dialogs, violations and errors that the browser tells of."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._sent = 0
        self.noted: list[str] = []
        self.requests: list[str] = []

    async def call(self, method: str, **parameters: Any) -> Any:
        self._sent += 1
        await self._socket.send_json({"id": self._sent, "method": method, "params": parameters})
        async with asyncio.timeout(_TIMEOUT):
            while True:
                message = json.loads((await self._socket.receive()).data)
                if message.get("id") == self._sent:
                    if any(words in message.get("error", {}).get("message", "") for words in _LEFT):
                        raise Left(message)
                    assert "error" not in message, message
                    return message["result"]
                await self._note(message)

    async def _note(self, message: dict[str, Any]) -> None:
        method, parameters = message.get("method", ""), message.get("params", {})
        if method == "Page.javascriptDialogOpening":
            self.noted.append(f"dialog: {parameters['message']}")
        elif method == "Log.entryAdded" and "favicon" not in str(parameters):
            self.noted.append(f"{parameters['entry']['source']}: {parameters['entry']['text']}")
        elif method == "Runtime.consoleAPICalled":
            self.noted.append("console")
        elif method == "Network.requestWillBeSent":
            self.requests.append(parameters["request"]["url"])

    async def evaluate(self, expression: str) -> Any:
        result = await self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        return result["result"].get("value")

    async def _until_loaded(self, mark: str) -> None:
        # The browser tells of the load in many ways; asking is the one that never races, but for whom it asks.
        async with asyncio.timeout(_TIMEOUT):
            while True:
                with suppress(Left):
                    if await self.evaluate(f"document.readyState == 'complete' && !window.{mark}") is True:
                        return
                await asyncio.sleep(0.02)

    async def open(self, url: str) -> None:
        await self.evaluate("window.left = 1")
        await self.call("Page.navigate", url=url)
        await self._until_loaded("left")

    async def submit(self, button: str, **fields: str) -> None:
        """Fill fields by their id and click, as a person would; wait for the next page."""
        filled = "".join(
            f"document.getElementById({json.dumps(n)}).value = {json.dumps(v)};" for n, v in fields.items()
        )
        with suppress(Left):  # it was left by the click
            await self.evaluate(f"window.left = 1; {filled} document.querySelector({json.dumps(button)}).click()")
        await self._until_loaded("left")

    async def until_noted(self, words: str) -> None:
        """Wait until the browser has told of something."""
        async with asyncio.timeout(_TIMEOUT):
            while not any(words in line for line in self.noted):
                await self.evaluate("1")  # what it tells comes before the answer
                await asyncio.sleep(0.02)

    async def text(self) -> str:
        return str(await self.evaluate("document.body.innerText"))


@asynccontextmanager
async def chromium(profile: Path) -> AsyncIterator[Tab]:
    assert CHROMIUM, "chromium is missing: sh deploy/debian-packages.sh test"
    process = await asyncio.create_subprocess_exec(
        CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--remote-debugging-port=0",
        f"--user-data-dir={profile}", "about:blank",
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    try:
        port = profile / "DevToolsActivePort"
        async with asyncio.timeout(_TIMEOUT):
            while not (port.exists() and port.read_text().count("\n")):
                await asyncio.sleep(0.05)
        base = f"http://127.0.0.1:{port.read_text().splitlines()[0]}"
        async with aiohttp.ClientSession() as http:
            async with http.put(f"{base}/json/new?about:blank") as response:
                address = (await response.json(content_type=None))["webSocketDebuggerUrl"]
            async with http.ws_connect(address, max_msg_size=0) as socket:
                tab = Tab(socket)
                for domain in ("Page", "Log", "Runtime", "Network"):
                    await tab.call(f"{domain}.enable")
                yield tab
    finally:
        process.terminate()
        await process.wait()
