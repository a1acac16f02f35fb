"""A real browser for tests of the pages: what it asked for and complained of is held against every visit."""

import shutil
import time
from contextlib import contextmanager
from urllib.parse import urlsplit

FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
DESKTOP, PHONE, SMALL = (1280, 900), (390, 844), (360, 740)

CONTRAST = """() => {
  const canvas = document.createElement("canvas").getContext("2d", {willReadFrequently: true});
  const known = new Map();
  const rgba = (css) => known.get(css) ?? known.set(css, read(css)).get(css);
  const read = (css) => {
    canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = css; canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data].map((v) => v / 255);
  };
  const over = (top, under) => top.slice(0, 3).map((v, i) => v * top[3] + under[i] * (1 - top[3]));
  const behind = (node) => {
    const layers = [];
    for (let at = node; at; at = at.parentElement) layers.push(rgba(getComputedStyle(at).backgroundColor));
    return layers.reverse().reduce((under, layer) => over(layer, under), [1, 1, 1]);
  };
  const light = (rgb) => rgb.map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const faults = [];
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let text = walk.nextNode(); text; text = walk.nextNode()) {
    const node = text.parentElement;
    const seen = text.data.trim() && node.checkVisibility({opacityProperty: true});
    if (!seen || node.closest(".unseen, .skip, :disabled")) continue;
    const under = behind(node);
    const ink = over(rgba(getComputedStyle(node).color), under);
    const [a, b] = [light(ink), light(under)].sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05);
    const what = `${node.tagName}.${node.className}: ${text.data.trim()}`;
    if (ratio < 4.5) faults.push(`${ratio.toFixed(2)} ${what}`);
  }
  return faults;
}"""
"""Texts whose colour stands out too little from what is behind them: 4.5 to 1 is asked of small ones."""

UNNAMED = """() => {
  const name = (node) => node.getAttribute("aria-label") || node.textContent.trim() || node.title
    || [...(node.labels ?? [])].map((label) => label.textContent.trim()).join(" ");
  const controls = "button, a, input, select, textarea, [role=img], [role=progressbar]";
  const bad = [...document.querySelectorAll(controls)]
    .filter((node) => node.checkVisibility() && !name(node)).map((node) => node.outerHTML.slice(0, 90));
  const ids = [...document.querySelectorAll("[id]")].map((node) => node.id);
  return [...bad, ...ids.filter((id, at) => ids.indexOf(id) < at).map((id) => `id twice: ${id}`)];
}"""
"""Controls without a name for those who cannot see them, and ids that stand twice."""


class Visit:
    """A page, its address, and a record of everything it asked for and complained of."""

    def __init__(self, page, url):
        self.page, self.url = page, url
        self.asked, self.complaints, self.dialogs = [], [], []
        page.on("request", lambda request: self.asked.append(request.url))
        page.on("console", self._heard)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("dialog", lambda dialog: (self.dialogs.append(dialog.message), dialog.accept()))
        page.set_default_timeout(15_000)

    def _heard(self, message):
        if message.type in ("error", "warning"):
            self.complaints.append(f"{message.text} {message.location.get('url', '')}")

    def open(self, path, token="", wait="main h1"):
        """Open a page anew, as if by a link."""
        self.page.goto("about:blank")
        self.page.goto(f"{self.url}{path}" + (f"#token={token}" if token else ""))
        self.page.wait_for_selector(wait, state="attached")
        return self

    def text(self, selector="main"):
        return self.page.locator(selector).first.inner_text()

    def button(self, name, **more):
        return self.page.get_by_role("button", name=name, **more)

    def until(self, script, arg=None):
        """Wait until a script is true; asked again and again, since the pages' policy forbids eval."""
        self.eventually(lambda: self.page.evaluate(script, arg), f"{script} {arg or ''}")

    def eventually(self, told, what="what was waited for", seconds=15):
        """Wait until a function's answer is true."""
        end = time.monotonic() + seconds
        while not told():
            assert time.monotonic() < end, f"after {seconds} s not true yet: {what}"
            self.page.wait_for_timeout(40)

    def forgive(self, part):
        """Drop complaints that a test brings about, such as a refused request."""
        self.complaints = [told for told in self.complaints if part not in told]

    def check(self):
        """Hold that no request left the server's address, and that nothing was complained of."""
        origins = {
            f"{u.scheme}://{u.netloc}" for u in map(urlsplit, self.asked) if u.scheme not in ("blob", "about")
        }
        assert origins <= {self.url}
        assert self.complaints == []
        assert self.dialogs == []


class Windows:
    """Windows of one browser; those of a size share what the browser keeps of files, as a person's do."""

    def __init__(self, browser, url):
        self.browser, self.url, self.contexts = browser, url, {}

    @contextmanager
    def visiting(self, size=DESKTOP, **options):
        """Open a window with nothing in it; check the record at the end."""
        key = (size, *sorted(options.items()))
        if key not in self.contexts:
            told = {"viewport": dict(zip(("width", "height"), size, strict=True)), "has_touch": size[0] < 500}
            self.contexts[key] = self.browser.new_context(reduced_motion="reduce", **told, **options)
        visit = Visit(self.contexts[key].new_page(), self.url)
        try:
            yield visit
            visit.check()
        finally:
            self.contexts[key].set_offline(False)
            visit.page.close()
