"""The page in a real browser: it writes, stops, reads files, explains itself, and asks nobody but its own server.

``T5G_SCREENSHOTS=folder`` keeps screenshots to look at.
"""

from __future__ import annotations

import base64
import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import t5g
from support.chromium import Browser, Page, chromium
from support.serving import Running, pdf, running
from t5g.server.batch import Batch

GOLDENS = Path(__file__).parents[1] / "goldens"
TEXT = (
    "httpx is a fully featured HTTP client library for Python 3. It includes an integrated command line client, has "
    "support for both HTTP/1.1 and HTTP/2, and provides both sync and async APIs."
)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with chromium(tmp_path_factory.mktemp("chromium")) as browser:
        yield browser


@pytest.fixture
def page(browser: Browser, server: Running) -> Iterator[Page]:
    page = opened(browser, server)
    yield page
    assert page.problems == []
    assert all(url.startswith((server.url, "data:")) for url in page.requests)


def opened(browser: Browser, server: Running) -> Page:
    """Open the page and wait until it has greeted the server."""
    page = browser.new_page()
    page.resize(1200, 800)
    page.open(f"{server.url}/")
    page.wait_for("document.querySelector('#model').textContent.includes('t5gemma')")
    return page


def begin(page: Page, text: str) -> None:
    """Let the page write about a text."""
    page.click("#source")
    page.evaluate("document.querySelector('#source').select()")
    page.write(text)
    page.press("Enter", control=True)


def write(page: Page, text: str) -> None:
    """Let the page write about a text, to the end."""
    begin(page, text)
    page.wait_for("document.querySelector('#run').hidden || document.querySelector('#output').textContent")
    page.wait_for("!document.querySelector('#run').hidden")


def output(page: Page) -> str:
    return str(page.evaluate("document.querySelector('#output').textContent"))


def drop(page: Page, name: str, kind: str, data: bytes) -> None:
    """Drop a file onto the page."""
    page.evaluate(
        f"""(() => {{
        const bytes = Uint8Array.from(atob({json.dumps(base64.b64encode(data).decode())}), (c) => c.charCodeAt(0));
        const data = new DataTransfer();
        data.items.add(new File([bytes], {json.dumps(name)}, {{ type: {json.dumps(kind)} }}));
        document.body.dispatchEvent(new DragEvent("drop", {{ dataTransfer: data, bubbles: true, cancelable: true }}));
        }})()"""
    )


def test_a_text_is_written(page: Page, model: t5g.Model, monkeypatch: pytest.MonkeyPatch) -> None:
    page.evaluate(
        "window.seen = new Set(); const output = document.querySelector('#output');"
        "new MutationObserver(() => window.seen.add(output.textContent)).observe(output, {childList: true})"
    )
    step, is_shown = Batch._step, threading.Event()

    def shown_step(batch: Batch) -> None:
        step(batch)
        is_shown.wait(0.5)  # a loaded browser would show the texts of several as one; some steps have no text
        is_shown.clear()

    monkeypatch.setattr(Batch, "_step", shown_step)
    begin(page, TEXT)
    n_seen = 0
    while page.evaluate("document.querySelector('#run').hidden || !document.querySelector('#output').textContent"):
        n = page.evaluate("window.seen.size")
        if n > n_seen:
            is_shown.set()
        n_seen = n
    monkeypatch.undo()
    assert output(page) == model.generate(TEXT).text
    assert page.evaluate("window.seen.size") > 3  # it came in pieces
    assert "tokens in" in page.evaluate("document.querySelector('#output-note').textContent")
    assert page.evaluate("document.querySelector('#source-tokens').textContent").endswith(TEXT)
    page.click("#edit")
    write(page, "a tool")
    assert output(page) == model.generate("a tool").text


def test_options_of_the_page(page: Page, model: t5g.Model) -> None:
    page.evaluate("document.querySelector('#prefix').value = 'the'; document.querySelector('#max-tokens').value = '3'")
    write(page, TEXT)
    assert output(page) == model.generate(TEXT, decoder_prefix="the", max_new_tokens=3).text


def test_stop_and_copy(page: Page, server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    import time

    step = Batch._step
    monkeypatch.setattr(Batch, "_step", lambda batch: (time.sleep(0.2), step(batch))[1])
    page.click("#source")
    page.write(TEXT)
    page.click("#run")
    page.wait_for("document.querySelector('#output').textContent")
    page.press("Escape")
    page.wait_for("document.querySelector('#output-note').textContent === 'stopped'")
    server.wait_until("t5g_running", 0)
    assert not page.evaluate("document.querySelector('#copy').disabled")
    page.click("#copy")
    page.wait_for("/cop/.test(document.querySelector('#output-note').textContent)")


def test_files(page: Page, model: t5g.Model) -> None:
    drop(page, "a.txt", "text/plain", "a tool für Texte".encode())
    page.wait_for("document.querySelector('#source').value === 'a tool für Texte'")
    drop(page, "a.pdf", "application/pdf", pdf("A tool for the text."))
    page.wait_for("document.querySelector('#source-note').textContent === 'a.pdf'")
    page.click("#run")
    page.wait_for("/tokens in/.test(document.querySelector('#output-note').textContent)")
    assert page.evaluate("document.querySelector('#source').value") == "A tool for the text."
    assert output(page) == model.generate("A tool for the text.").text
    drop(page, "a.png", "image/png", b"no image")
    page.wait_for("document.querySelector('#error').textContent === 'this model reads no images'")


def test_images(browser: Browser) -> None:
    with t5g.Model(GOLDENS / "v2-images.gguf") as model, running(model) as server:
        page = opened(browser, server)
        drop(page, "shape.jpg", "image/jpeg", (GOLDENS.parents[1] / "examples" / "shape.jpg").read_bytes())
        page.wait_for("document.querySelectorAll('#images img').length === 1")
        page.wait_for("document.querySelector('#images img').naturalWidth > 0")
        page.evaluate("document.querySelector('#max-tokens').value = '5'")
        write(page, "<start_of_image> what is it")
        path = GOLDENS.parents[1] / "examples" / "shape.jpg"
        assert output(page) == model.generate("<start_of_image> what is it", images=path, max_new_tokens=5).text
        assert page.problems == []


def test_it_shows_where_the_decoder_looked(page: Page, model: t5g.Model) -> None:
    write(page, TEXT)
    page.wait_for("!document.querySelector('#hint').hidden")
    weight = "Number(span.style.getPropertyValue('--weight'))"
    lit = f"[...document.querySelectorAll('#source-tokens span')].filter((span) => {weight} > 0)"
    assert page.evaluate(f"{lit}.length") == 0
    page.point_at("#output span:nth-child(2)")
    page.wait_for(f"{lit}.length > 0")
    first = page.evaluate(f"{lit}.map((s) => s.textContent)")
    page.evaluate("document.querySelector('#output').focus()")
    page.press("ArrowRight")
    page.wait_for("document.querySelector('#output span:nth-child(3)').className === 'chosen'")
    assert page.evaluate(f"{lit}.map((s) => s.textContent)") != first


def test_a_key_is_asked_for(browser: Browser, model: t5g.Model) -> None:
    with running(model, api_key="right") as server:
        page = browser.new_page()
        page.open(f"{server.url}/")
        page.wait_for("!document.querySelector('#key-form').hidden")
        page.click("#key")
        page.write("right")
        page.press("Enter")
        page.wait_for("document.querySelector('#model').textContent.includes('t5gemma')")
        write(page, "a tool")
        assert output(page) == model.generate("a tool").text


def test_policy(server: Running) -> None:
    for path, kind in (("/", "text/html"), ("/page/page.js", "text/javascript"), ("/page/page.css", "text/css")):
        answer = server.get(path)
        assert answer.status == 200
        assert answer.headers["content-type"].startswith(kind)
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert "unsafe" not in answer.headers["content-security-policy"]
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert b"http://" not in answer.content
        assert b"https://" not in answer.content


@pytest.mark.parametrize(("width", "scheme"), [(1200, "light"), (1200, "dark"), (390, "light"), (390, "dark")])
def test_it_fits_and_follows_the_system(page: Page, width: int, scheme: str, tmp_path: Path) -> None:
    page.resize(width, 800, mobile=width < 700)
    page.prefer(scheme)
    write(page, TEXT)
    if page.evaluate("document.querySelectorAll('#output span').length > 4"):
        page.point_at("#output span:nth-child(4)")
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    channels = page.evaluate("getComputedStyle(document.body).backgroundColor.match(/[0-9]+/g).map(Number)")
    assert (sum(channels) > 600) == (scheme == "light")
    columns = page.evaluate("getComputedStyle(document.querySelector('main')).gridTemplateColumns.split(' ').length")
    assert columns == (1 if width < 700 else 2)
    folder = Path(os.environ.get("T5G_SCREENSHOTS") or tmp_path)
    page.screenshot(folder / f"page-{scheme}-{width}.png")
