"""Chromium, as Debian has it, driven by Playwright; and axe, which finds what people with disabilities cannot use."""

import importlib.util
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from playwright.async_api import Page

AXE = "axe-core@4.14.1"
WIDE, PHONE = {"width": 1280, "height": 900}, {"width": 380, "height": 800}


def missing() -> str:
    """Why there is no browser here; empty when there is."""
    if importlib.util.find_spec("playwright") is None:
        return "the package playwright is not installed"
    return "" if _chromium() else "there is no chromium: apt-get install chromium"


def _chromium() -> str | None:
    return shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@asynccontextmanager
async def opened(size: dict[str, int] = WIDE, **options: Any) -> AsyncIterator["Page"]:
    """A page in a new browser. Whatever its scripts report as an error fails the test, but for failed calls."""
    from playwright.async_api import async_playwright

    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=_chromium(), args=["--no-sandbox"])
        context = await browser.new_context(viewport=size, **options)  # type: ignore[arg-type]
        page = await context.new_page()
        errors: list[str] = []
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda line: errors.append(line.text) if _is_error(line) else None)
        page.set_default_timeout(15_000)
        yield page
        await browser.close()
        assert errors == []


def _is_error(line: Any) -> bool:
    return line.type == "error" and not line.text.startswith("Failed to load resource")


@cache
def axe() -> str:
    """The script, from the npm registry; empty where that cannot be had."""
    if not shutil.which("npm"):
        return ""
    with tempfile.TemporaryDirectory() as folder:
        packed = subprocess.run(["npm", "pack", "--silent", AXE], cwd=folder, capture_output=True, text=True)
        if packed.returncode:
            return ""
        shutil.unpack_archive(Path(folder) / packed.stdout.strip().splitlines()[-1], folder)
        return (Path(folder) / "package/axe.min.js").read_text()


async def violations(page: "Page") -> list[str]:
    """What axe finds on the page against WCAG 2.2, levels A and AA."""
    await page.evaluate(axe())
    rules = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
    found = await page.evaluate("rules => axe.run({runOnly: rules})", rules)
    return [
        f"{each['id']}: {node['target']}: {node['failureSummary']}"
        for each in found["violations"]
        for node in each["nodes"]
    ]
