#!/usr/bin/env python3
"""Checks the site in a browser: `docs/test-site.py SITE SHOTS`, or `make test-site`.

Every page in headless Chromium, 1280 and 400 pixels wide, light and dark: nothing on the console,
no failed request, no picture missing, no horizontal scrolling. Links inside the site must lead
somewhere, anchors included; links out of it must be well formed; nothing is loaded from outside.
Screenshots of every page go to SHOTS.
"""

import base64
import html.parser
import json
import os
import pathlib
import select
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.parse

WIDTHS = (1280, 400)
THEMES = ("light", "navy")
TIMEOUT = 20
# What a page loads by itself, as opposed to what a reader may click.
LOADED = {"script": "src", "img": "src", "link": "href", "iframe": "src", "source": "src"}


class Page(html.parser.HTMLParser):
    """The anchors of a page, and what it refers to."""

    def __init__(self, text):
        super().__init__()
        self.anchors, self.links, self.loads = set(), [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        if "id" in attributes:
            self.anchors.add(attributes["id"])
        if tag == "a" and attributes.get("href"):
            self.links.append(attributes["href"])
        if attributes.get(LOADED.get(tag)):
            self.loads.append(attributes[LOADED[tag]])


def check_links(site):
    """What is wrong with the links of the pages of `site`."""
    pages = {path: Page(path.read_text()) for path in sorted(site.rglob("*.html"))}
    wrong, checked = [], 0
    for path, page in pages.items():
        # It is shown at any address, so its links start from a base of its own.
        if path.name == "404.html":
            continue
        for link in page.links + page.loads:
            checked += 1
            url = urllib.parse.urlsplit(link)
            if url.scheme in ("http", "https"):
                if not url.netloc or " " in link:
                    wrong.append(f"{path.name}: {link} is malformed")
                if link in page.loads:
                    wrong.append(f"{path.name}: {link} is loaded from outside")
                continue
            if url.scheme:
                if url.scheme not in ("mailto", "javascript", "data"):
                    wrong.append(f"{path.name}: {link} has a strange scheme")
                continue
            target = (path.parent / urllib.parse.unquote(url.path)).resolve() if url.path else path
            if not target.is_file() or not target.is_relative_to(site):
                wrong.append(f"{path.name}: {link} leads nowhere")
            elif url.fragment and target in pages:
                if urllib.parse.unquote(url.fragment) not in pages[target].anchors:
                    wrong.append(f"{path.name}: {link}: there is no such anchor")
    if checked < 50:
        wrong.append(f"only {checked} links were found")
    return wrong


class Browser:
    """Headless Chromium, spoken to over a pipe (file descriptors 3 and 4)."""

    def __init__(self, program, profile):
        to_read, self.to = os.pipe()
        self.back, from_write = os.pipe()
        arguments = [program, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
                     "--remote-debugging-pipe", f"--user-data-dir={profile}", "about:blank"]
        # It wants its pipes at 3 and 4, which are ours already: the shell moves them there.
        script = f'exec "$@" 3<&{to_read} 4>&{from_write}'
        self.process = subprocess.Popen(
            ["bash", "-c", script, "-", *arguments], pass_fds=(to_read, from_write),
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        os.close(to_read)
        os.close(from_write)
        self.rest, self.number, self.session, self.events = b"", 0, None, []

    def close(self):
        self.process.terminate()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def message(self, until):
        while b"\0" not in self.rest:
            left = until - time.monotonic()
            if left <= 0 or not select.select([self.back], [], [], left)[0]:
                sys.exit("FAILED: the browser does not answer")
            octets = os.read(self.back, 1 << 16)
            if not octets:
                sys.exit("FAILED: the browser ended")
            self.rest += octets
        text, self.rest = self.rest.split(b"\0", 1)
        return json.loads(text)

    def ask(self, method, **parameters):
        self.number += 1
        request = {"id": self.number, "method": method, "params": parameters}
        if self.session:
            request["sessionId"] = self.session
        os.write(self.to, json.dumps(request).encode() + b"\0")
        until = time.monotonic() + TIMEOUT
        while True:
            answer = self.message(until)
            if answer.get("id") == self.number:
                if "error" in answer:
                    sys.exit(f"FAILED: {method}: {answer['error']['message']}")
                return answer["result"]
            self.events.append(answer)

    def await_event(self, method):
        until = time.monotonic() + TIMEOUT
        while not any(event.get("method") == method for event in self.events):
            self.events.append(self.message(until))

    def evaluate(self, expression):
        result = self.ask("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in result:
            sys.exit(f"FAILED: {expression}: {result['exceptionDetails']}")
        return result["result"].get("value")


PROBE = """({
    heading: document.querySelector('main h1')?.innerText ?? '',
    scrolls: document.scrollingElement.scrollWidth - innerWidth,
    missing: [...document.images].filter(one => !one.naturalWidth).map(one => one.src),
    height: document.scrollingElement.scrollHeight,
    shown: document.querySelector('html').className,
})"""


def complaints(events):
    """What the page said on the console, threw, or could not load."""
    for event in events:
        method, said = event.get("method"), event.get("params", {})
        if method == "Runtime.exceptionThrown":
            yield said["exceptionDetails"].get("text", "exception")
        elif method == "Runtime.consoleAPICalled" and said["type"] in ("error", "warning", "assert"):
            yield " ".join(str(one.get("value", one)) for one in said["args"])
        elif method == "Log.entryAdded" and said["entry"]["level"] in ("error", "warning"):
            yield said["entry"]["text"]
        elif method == "Network.loadingFailed" and not said.get("canceled"):
            yield said["errorText"]
        elif method == "Network.requestWillBeSent":
            url = said["request"]["url"]
            if not url.startswith(("file:", "data:", "blob:")):
                yield f"asks for {url}"


def check_pages(site, shots, program):
    """What is wrong with the pages of `site` in a browser."""
    wrong, seen = [], 0
    with tempfile.TemporaryDirectory() as profile:
        browser = Browser(program, profile)
        try:
            target = browser.ask("Target.createTarget", url="about:blank")["targetId"]
            session = browser.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
            browser.session = session
            for domain in ("Page", "Runtime", "Log", "Network"):
                browser.ask(f"{domain}.enable")
            for path in sorted(site.glob("*.html")):
                if path.name in ("404.html", "toc.html", "print.html"):
                    continue
                for width in WIDTHS:
                    for theme in THEMES:
                        where = f"{path.name}, {width} px, {theme}"
                        browser.ask("Emulation.setDeviceMetricsOverride", width=width, height=900,
                                    deviceScaleFactor=1, mobile=width < 600)
                        browser.ask("Emulation.setEmulatedMedia", features=[
                            {"name": "prefers-color-scheme", "value": "dark" if theme == "navy" else "light"}])
                        browser.events.clear()
                        browser.ask("Page.navigate", url=path.as_uri())
                        browser.await_event("Page.loadEventFired")
                        browser.evaluate("document.fonts.ready.then(() => true)")
                        found = browser.evaluate(PROBE)
                        wrong += [f"{where}: {text}" for text in complaints(browser.events)]
                        if not found["heading"]:
                            wrong.append(f"{where}: no heading")
                        if found["scrolls"] > 0:
                            wrong.append(f"{where}: scrolls sideways by {found['scrolls']} pixels")
                        wrong += [f"{where}: {source} is not shown" for source in found["missing"]]
                        if theme not in found["shown"]:
                            wrong.append(f"{where}: the theme is {found['shown']}")
                        if found["height"] < 300:
                            wrong.append(f"{where}: only {found['height']} pixels high")
                        clip = {"x": 0, "y": 0, "width": width, "height": min(found["height"], 3000), "scale": 1}
                        shot = browser.ask("Page.captureScreenshot", clip=clip, captureBeyondViewport=True)
                        (shots / f"{path.stem}-{width}-{theme}.png").write_bytes(base64.b64decode(shot["data"]))
                        seen += 1
        finally:
            browser.close()
    print(f"{seen} views of {len(list(site.glob('*.html')))} pages, screenshots in {shots}")
    return wrong


def main():
    if len(sys.argv) != 3:
        sys.exit(f"usage: {sys.argv[0]} SITE SHOTS")
    site, shots = (pathlib.Path(argument).resolve() for argument in sys.argv[1:])
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if not program:
        sys.exit(f"{sys.argv[0]}: chromium is missing (Debian package chromium)")
    shots.mkdir(parents=True, exist_ok=True)
    wrong = check_links(site) + check_pages(site, shots, program)
    for one in wrong:
        print(f"FAILED: {one}", file=sys.stderr)
    sys.exit(1 if wrong else 0)


main()
