"""The status page in a real browser, before a real agent with its devices, and before five thousand tags."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from browser import Browser

from edge_agent.cli.demo import ROOT, checked
from edge_agent.cli.demo.stage import Stage
from edge_agent.status.config import WebConfig

sys.path.append(str(ROOT / "tests" / "status"))
from page_bench import FakeView, served, tag

pytestmark = [pytest.mark.ux, pytest.mark.timeout(180)]

SECRET = "correct-horse-battery-staple"
WIDE = "document.documentElement.scrollWidth > document.documentElement.clientWidth"
SHOWS_TAGS = "document.querySelectorAll('#tag-rows tr.tag').length > 5"


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    """The demo line at the speed of life: an OPC UA PLC, two Modbus devices, a broker, an agent with two workers."""
    scenario = ROOT / "simulators" / "scenarios" / "line.yaml"
    made = Stage(ROOT, tmp_path, scenario, checked(ROOT, scenario), 1.0, faults=False, broker=None, workers=2)
    try:
        await made.open()
        await answers(made)
        made.begin()
        yield made
    finally:
        await made.close()


async def answers(stage: Stage) -> None:
    """Wait until the agent's page can be reached."""
    async with asyncio.timeout(30):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", stage.ports["page"])
            except ConnectionRefusedError:
                await asyncio.sleep(0.05)
            else:
                writer.close()
                return


async def clean(page: Browser, host: str) -> None:
    """Fail where the console had something to complain of or anybody but ``host`` was asked."""
    seen = await page.do("seen")
    assert seen["errors"] == []
    assert {urlsplit(url).netloc for url in seen["requests"]} == {host}


async def test_a_device_that_dies_is_bad_within_seconds_with_its_remedy(
    page: Browser, stage: Stage, images: Path, tmp_path: Path
) -> None:
    """From a healthy line to a dead heater and back, without an error in the console or a request to anybody else; light, dark, and on a phone."""
    host = urlsplit(stage.page).netloc
    await page.do("open", url=stage.page)
    await page.do("until", script="document.querySelectorAll('#device-list .badge.good').length === 3", timeout=20_000)
    await page.do("until", script=SHOWS_TAGS, timeout=10_000)
    await page.do("until", script="document.getElementById('health').textContent.includes('ok')", timeout=20_000)
    assert "Nothing." in await page.do("text", selector="#faults")
    assert "worker " in await page.do("text", selector="[data-device=heater]")
    await page.do("until", script="document.querySelectorAll('#event-list li details').length >= 3", timeout=30_000)

    await stage.processes["heater"].end(9)
    took = await page.do("until", script="document.querySelector('[data-code=device_down] dd') !== null", timeout=10_000)
    assert took < 6_000
    told = await page.do("text", selector="[data-code=device_down]")
    assert [word for word in ("device heater", "Remedy", "Mend the network") if word not in told] == []
    assert "just now" not in await page.do("text", selector="[data-device=heater]")
    await page.do("until", script="document.querySelectorAll('#tag-rows .bad').length === 6", timeout=5_000)

    await page.do("click", selector="#tag-rows tr.tag .name")
    assert "device_down" in await page.do("text", selector="#dialog")
    await page.do("press", key="Escape")
    assert not await page.do("run", script="document.getElementById('dialog').open")
    await page.do("run", script="document.activeElement.blur()")
    await page.do("shot", path=str(images / "page-light.png"))
    await page.do("click", selector="#event-list summary")
    await page.do("shot", path=str(tmp_path / "page-whole.png"), full=True)
    await clean(page, host)

    await page.do("open", url=stage.page, scheme="dark")
    await page.do("wait", selector="[data-code=device_down] dd")
    await page.do("until", script=SHOWS_TAGS)
    await page.do("run", script="document.getElementById('devices').scrollIntoView()")
    await asyncio.sleep(1.5)
    await page.do("shot", path=str(images / "page-dark.png"))
    await clean(page, host)

    for width in (360, 320):
        await page.do("open", url=stage.page, width=width, height=780)
        await page.do("wait", selector="[data-code=device_down] dd")
        await page.do("until", script=SHOWS_TAGS)
        assert not await page.do("run", script=WIDE)
        await page.do("run", script="document.getElementById('tags').scrollIntoView()")
        await asyncio.sleep(1)
        await page.do("shot", path=str((images if width == 360 else tmp_path) / "page-phone.png"))
        await page.do("click", selector="#tag-rows tr.tag .name")
        assert not await page.do("run", script=WIDE)
        await page.do("press", key="Escape")
        await clean(page, host)

    await stage.processes["heater"].start()
    await page.do("until", script="document.querySelector('[data-code=device_down]') === null", timeout=15_000)

    await page.do("open", url=f"{stage.page}codes#device_down", width=360)
    assert not await page.do("run", script=WIDE)
    await page.do("shot", path=str(tmp_path / "page-codes.png"))
    await clean(page, host)


async def test_five_thousand_tags_are_shown_and_searched_at_once(page: Browser) -> None:
    """The first rows stand within two seconds of the request, a search answers in a tenth of one, and few rows are in the document."""
    view = FakeView([tag(number) for number in range(5_000)])
    async with served(view) as port:
        began = await page.do("open", url=f"http://127.0.0.1:{port}/")
        await page.do("until", script=SHOWS_TAGS)
        ready = await page.do("run", script="Date.now()")
        assert ready - began < 2_000
        assert "5,000" in await page.do("text", selector="#tags-n")
        assert await page.do("run", script="document.querySelectorAll('#tag-rows tr').length") < 80
        await page.do("run", script="document.getElementById('tag-box').scrollTop = 1e9")
        await page.do("until", script="document.getElementById('tag-rows').textContent.includes('t4999')", timeout=1_000)
        took = await page.do(
            "run",
            script="(() => { const began = performance.now(), q = document.getElementById('q'); q.value = 't432'; "
            "q.dispatchEvent(new Event('input')); return performance.now() - began; })()",
        )
        assert took < 100
        assert await page.do("run", script="document.querySelectorAll('#tag-rows tr.tag').length") == 10
        await clean(page, f"127.0.0.1:{port}")


async def test_the_page_is_for_keyboards_and_readers_too(page: Browser) -> None:
    """Every control has a name, the tab key reaches the parts in order, and text stands out from its background (WCAG 2.2, 1.4.3) in both schemes."""
    async with served(FakeView([tag(number) for number in range(50)])) as port:
        for scheme in ("light", "dark"):
            await page.do("open", url=f"http://127.0.0.1:{port}/", scheme=scheme)
            await page.do("wait", selector="[data-code=device_down] dd")
            assert await page.do("run", script=CONTRAST) == []
        assert await page.do("run", script=NAMELESS) == []
        reached = []
        for _ in range(24):
            await page.do("press", key="Tab")
            reached.append(await page.do("run", script="document.activeElement.id || document.activeElement.textContent"))
        assert reached[0] == "Skip to content"
        order = [reached.index(name) for name in ("q", "by-device", "by-quality", "tag-box")]
        assert order == sorted(order)
        tree = await page.do("accessible")
        assert "columnheader" in tree
        assert 'region "Tags, scrollable"' in tree


async def test_a_page_with_a_token_asks_for_it(page: Browser, tmp_path: Path, images: Path) -> None:
    """Nothing is shown before it; a wrong one is refused in words, the right one opens, also for the next visit, until somebody logs out."""
    file = tmp_path / "token"
    file.write_text(SECRET)
    file.chmod(0o600)
    async with served(FakeView([tag(1)]), WebConfig(listen="127.0.0.1:0", token_file=file)) as port:
        await page.do("open", url=f"http://127.0.0.1:{port}/", width=360, height=640)
        await page.do("wait", selector="#login")
        assert not await page.do("run", script="document.body.innerText.includes('gw1')")
        await page.do("fill", selector="#token", value="a-guess-of-somebody")
        await page.do("press", key="Enter")
        await page.do("until", script="document.getElementById('refused').textContent === 'This is not the token.'")
        await page.do("shot", path=str(images / "page-token.png"))
        await page.do("fill", selector="#token", value=SECRET)
        await page.do("press", key="Enter")
        await page.do("wait", selector="[data-code=device_down]")
        assert await page.do("run", script="document.cookie") == ""
        await page.do("run", script="location.reload()")
        await page.do("wait", selector="[data-code=device_down]")
        await page.do("click", selector="#logout")
        await page.do("wait", selector="#login")


async def test_an_agent_that_has_gone_is_said_to_be_gone(page: Browser) -> None:
    """What stands there is called old, and the page goes on by itself when the agent is back."""
    async with served(FakeView([tag(1)])) as port:
        await page.do("open", url=f"http://127.0.0.1:{port}/")
        await page.do("wait", selector="[data-code=device_down]")
    await page.do("wait", selector="#away", timeout=10_000)
    assert "has not answered since" in await page.do("text", selector="#away")
    async with served(FakeView([tag(1)]), WebConfig(listen=f"127.0.0.1:{port}")):
        await page.do("until", script="document.getElementById('away').hidden", timeout=10_000)


NAMELESS = """
[...document.querySelectorAll('a, button, input, select, summary, [tabindex="0"]')].filter((each) => !each.closest('[hidden], dialog:not([open])')
  && !(each.textContent.trim() || each.getAttribute('aria-label') || (each.labels && each.labels.length))).map((each) => each.outerHTML)
"""

CONTRAST = """
(() => {
  const light = ([r, g, b]) => { const c = [r, g, b].map((v) => { v /= 255; return v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; }); return 0.2126 * c[0] + 0.7152 * c[1] + 0.0722 * c[2]; };
  const rgb = (text) => text.match(/[0-9.]+/g).map(Number);
  const behind = (element) => { for (let each = element; each; each = each.parentElement) { const c = rgb(getComputedStyle(each).backgroundColor); if (c.length < 4 || c[3] > 0) return c; } return [255, 255, 255]; };
  const poor = [];
  for (const element of document.querySelectorAll('body *')) {
    if (![...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim()) || !element.checkVisibility() || element.closest('noscript')) continue;
    const a = light(rgb(getComputedStyle(element).color)), b = light(behind(element)), ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) poor.push(`${element.tagName} ${element.className} ${element.textContent.slice(0, 30)} ${ratio.toFixed(2)}`);
  }
  return poor;
})()
"""
