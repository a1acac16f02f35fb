"""The pages in a real browser, before the real application: what a person does, and what must not happen."""

import json
import re
from dataclasses import dataclass
from importlib.resources import files

import httpx
import pytest
from playwright.sync_api import sync_playwright
from serve_browser import CHROMIUM, CONTRAST, FLAGS, PHONE, SMALL, UNNAMED, Windows
from serve_live import serving

from palate.feedback.world import World
from palate.serve.http.routes.pages import CSP, MISSING, PAGES

FOLDER = files("palate.serve") / "pages"
STATIC = sorted(file.name for file in (FOLDER / "static").iterdir())
EVIL = "<img src=x onerror=alert(1)>"
PLACES = [("/", 0), ("/choose", 0), ("/me", 0), ("/people", 1), ("/operator", 1), ("/docs", 1)]

needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here: apt-get install chromium")


def pairs(population, row):
    """A row's conversation and responses, as the API takes them."""
    feedback = population.row(row)
    return {
        "conversation": [{"role": m.role, "content": m.content} for m in feedback.conversation],
        "responses": list(feedback.responses),
    }


def letters(text):
    """A text's letters: pages leave out the marks of lists and headings."""
    return re.sub(r"[\W\d_]+", "", text)


@pytest.fixture(scope="module")
def people():
    return World(users=14, pairs=26, targets=2, strength=2.5, seed=8, differ=("length",)).sample().population


@pytest.fixture(scope="module")
def served(model, people, tmp_path_factory):
    """A server with people who chose, a pool of pairs, and a report."""
    folder = tmp_path_factory.mktemp("pages")
    report = json.loads((files("palate").joinpath("../../tests/evaluate/report_sample.json")).read_text())
    (folder / "report.json").write_text(json.dumps(report))
    with serving(f"sqlite:///{folder}/palate.db", model, report=str(folder / "report.json")) as live:
        with live.client() as api:
            for user in range(1, 10):
                rows = range(people.offsets[user], people.offsets[user + 1])
                told = [
                    {
                        **pairs(people, r),
                        "user": f"person {user}",
                        "chosen": int(people.chosen[r]),
                        "key": str(r),
                    }
                    for r in rows
                ]
                assert api.post("/v1/feedback", json={"choices": told}).status_code == 200
            rows = range(people.offsets[10], people.offsets[14])
            offers = [{**pairs(people, r), "id": f"offer-{r}"} for r in rows]
            assert api.post("/v1/pool", json={"offers": offers}).status_code == 201
        yield live


@dataclass
class Person:
    """Somebody with a link, and what is kept of them."""

    name: str
    token: str
    api: httpx.Client

    @property
    def path(self):
        return f"/v1/users/{self.name}"

    def persona(self):
        return self.api.get(self.path + "/persona").json()

    def statement(self, about="length"):
        return next((s for s in self.persona()["statements"] if s["about"] == about), None)

    def choices(self):
        return self.api.get(self.path + "/choices").json()["choices"]


@pytest.fixture
def ann(served, people, request):
    """A person of the test's own, who chose the shorter answer 14 times; their name, token and client."""
    name = f"ann of {request.node.name}"
    with served.client(served.key(user=name)) as api:
        told = []
        for row in range(14):
            given = pairs(people, row)
            shorter = min((0, 1), key=lambda at: len(given["responses"][at]))
            told.append({**given, "user": name, "chosen": shorter, "key": f"seed-{row}"})
        assert api.post("/v1/feedback", json={"choices": told}).status_code == 200
        secret = api.headers["Authorization"].removeprefix("Bearer ")
        yield Person(name, secret, api)


@pytest.fixture(scope="module")
def plain(served):
    """A client without a key."""
    with served.client("") as client:
        yield client


@pytest.fixture(scope="module")
def operator(served):
    return served.key()


@pytest.fixture(scope="module")
def windows(served):
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield Windows(browser, served.url)
        browser.close()


@pytest.fixture
def visit(windows):
    with windows.visiting() as made:
        yield made


# what is sent, without a browser


@pytest.mark.parametrize("path", PAGES)
def test_a_page_lets_nothing_foreign_in_and_is_not_sent_twice(plain, path):
    answer = plain.get(path)
    assert answer.status_code == 200
    assert answer.headers["content-security-policy"] == CSP
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"
    again = plain.get(path, headers={"If-None-Match": answer.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["content-security-policy"] == CSP
    head = plain.head(path)
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == str(len(answer.content))


def test_the_policy_allows_nothing_inline_and_no_other_place():
    told = dict(part.strip().split(" ", 1) for part in CSP.split(";"))
    assert told["default-src"] == "'none'"
    assert {told[f"{kind}-src"] for kind in ("script", "style", "img", "connect")} == {"'self'"}
    assert "unsafe" not in CSP
    assert told["frame-ancestors"] == "'none'"


@pytest.mark.parametrize("path", [*PAGES, "/static/0/none.js"])
def test_html_holds_no_script_style_or_handler(plain, path):
    text = plain.get(path).text
    assert re.findall(r"<script(?![^>]* src=\"/static/\w{12}/[\w.]+\")", text) == []
    assert re.findall(r"<style|\sstyle=|\son\w+=|javascript:", text) == []
    assert re.findall(r"(?:src|href)=\"(?!/|#)", text) == []
    assert "<html lang=" in text


@pytest.mark.parametrize("name", STATIC)
def test_scripts_write_no_markup_and_call_nobody(name):
    text = (FOLDER / "static" / name).read_text()
    assert (
        re.findall(
            r"innerHTML|outerHTML|insertAdjacent|document\.write|\beval\b|new Function|@import|\burl\(", text
        )
        == []
    )
    assert set(re.findall(r"https?://[^\s\"'`]*", text)) <= {
        "http://www.w3.org/2000/svg",
        "https://…#token=pu_…",
    }
    for used in re.findall(r"from \"\./([\w.]+)\"", text):
        assert used in STATIC


@pytest.mark.parametrize(
    "name", ["nothing.js", "page.html", "..%2f..%2fsettings.py", "%2e%2e/%2e%2e/settings.py", "a/b.js"]
)
def test_no_path_reaches_another_file(plain, name):
    for below in ("static", "static/0"):
        answer = plain.get(f"/{below}/{name}")
        assert answer.status_code == 404
        assert "Settings" not in answer.text


def test_files_are_kept_for_good_until_one_changes(plain):
    page = plain.get("/me").text
    paths = re.findall(r"(?:src|href)=\"(/static/[^\"]+)\"", page)
    assert len({path.split("/")[2] for path in paths}) == 1
    for path in paths:
        answer = plain.get(path)
        assert (answer.status_code, answer.headers["content-security-policy"]) == (200, CSP)
        assert "immutable" in answer.headers["cache-control"]
    old = plain.get("/static/0123456789ab/dom.js")
    assert (old.status_code, old.headers["cache-control"]) == (200, "no-cache")


def test_an_unknown_page_is_told_kindly(plain):
    answer = plain.get("/mee", headers={"Accept": "text/html"})
    assert answer.status_code == 404
    assert "Nothing here" in answer.text
    assert plain.get("/mee").json()["error"]["code"]


# choosing


@needs_browser
def test_choosing_by_keyboard_alone(visit, ann):
    page = visit.open("/choose", ann.token, ".answer").page
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    before = len(ann.choices())
    wanted = []
    for keys in (["1"], ["2"], ["0"], ["ArrowRight", "ArrowRight", "Enter"]):
        asked, shown = (
            visit.text("#question"),
            [card.inner_text() for card in page.locator(".answer .prose").all()],
        )
        for key in keys:
            page.keyboard.press(key)
        wanted.append((asked, None if keys == ["0"] else shown[1 if len(keys) > 1 or keys == ["2"] else 0]))
        visit.until(
            "n => document.querySelector('.meter p').textContent.startsWith(n)", f"{before + len(wanted)} "
        )
        visit.until("!document.querySelector('.answer.chosen, .answer.lost')")
    stored = ann.choices()[:4][::-1]
    for choice, (asked, text) in zip(stored, wanted, strict=True):
        assert letters(choice["conversation"][-1]["content"]) == letters(asked)
        found = None if choice["chosen"] is None else choice["responses"][choice["chosen"]]
        assert (found and letters(found)) == (text and letters(text))
    assert page.evaluate("document.activeElement.id") == "question"
    page.keyboard.press("u")
    visit.until("n => document.querySelector('.meter p').textContent.startsWith(n)", f"{before + 3} ")
    assert visit.text("#question") == wanted[-1][0]
    assert len(ann.choices()) == before + 3


@needs_browser
@pytest.mark.parametrize("draw", [0, 1])
def test_the_order_of_answers_is_drawn_and_the_choice_is_of_the_text(windows, served, ann, draw):
    with windows.visiting(PHONE) as visit:
        visit.page.add_init_script(
            "const real = crypto.getRandomValues.bind(crypto);"
            f"crypto.getRandomValues = (a) => (a instanceof Uint32Array ? a.fill({draw}) : real(a));"
        )
        page = visit.open("/choose", ann.token, ".answer").page
        shown = page.locator(".answer").nth(0).locator(".prose").inner_text()
        page.get_by_label("Why?").fill("Quick to read.")
        page.locator(".answer").nth(0).get_by_role("button").tap()
        visit.until("document.querySelector('.meter p').textContent.startsWith('15 ')")
        choice = ann.choices()[0]
        assert choice["chosen"] == (1 if draw == 0 else 0)
        assert letters(choice["responses"][choice["chosen"]]) == letters(shown)
        assert choice["reason"] == "Quick to read."


@needs_browser
def test_a_choice_whose_answer_was_lost_is_sent_again_and_counts_once(visit, ann):
    page = visit.open("/choose", ann.token, ".answer").page
    tries = []

    def lose(route):
        tries.append(route.request.post_data_json)
        if len(tries) == 1:
            route.fetch()  # the server has it; the page never hears
            return route.abort()
        return route.continue_()

    page.route("**/v1/feedback", lose)
    page.keyboard.press("1")
    page.wait_for_selector(".unsent button")
    assert "1 choice not sent yet" in visit.text(".unsent")
    visit.until("document.querySelector('.unsent').textContent === ''")
    visit.until("document.querySelector('.meter p').textContent.startsWith('15 ')")
    assert len(tries) == 2
    assert tries[0] == tries[1]
    assert len(ann.choices()) == 15
    visit.forgive("ERR_FAILED")


@needs_browser
def test_without_a_network_choices_wait_and_an_undone_one_is_gone(visit, ann):
    page = visit.open("/choose", ann.token, ".answer").page
    page.context.set_offline(True)
    next_or_none = (
        "n => !document.querySelector('.answers .chosen') && (document.querySelector('.state')"
        " || document.querySelector('.unsent').textContent.startsWith(n))"
    )
    for number in range(5):  # more than were prepared
        page.keyboard.press("12"[number % 2])
        visit.until(next_or_none, str(number + 1))
    page.wait_for_selector(".state")
    assert "Waiting for the server" in visit.text(".state")
    page.context.set_offline(False)
    page.wait_for_selector(".answer")
    visit.until("document.querySelector('.unsent').textContent === ''")
    sent = 18
    visit.eventually(lambda: len(ann.choices()) == sent)
    page.context.set_offline(True)
    asked = visit.text("#question")
    page.keyboard.press("1")
    visit.until("asked => document.querySelector('.unsent').textContent.startsWith('1 ')", asked)
    visit.until("!document.querySelector('.answers .chosen')")
    page.keyboard.press("u")
    visit.until("asked => document.querySelector('#question').innerText === asked", asked)
    page.context.set_offline(False)
    visit.eventually(lambda: len(ann.choices()) == sent)
    visit.forgive("ERR_INTERNET_DISCONNECTED")


@needs_browser
def test_what_was_learned_is_told(visit, ann):
    page = visit.open("/choose", ann.token, ".belief").page
    assert "You prefer shorter answers" in visit.text(".beliefs")
    longer = max((0, 1), key=lambda at: len(page.locator(".answer .prose").nth(at).inner_text()))
    page.keyboard.press("12"[longer])
    visit.until("document.querySelector('.meter p').textContent.startsWith('15 ')")
    visit.until("document.querySelector('.learned header p').textContent !== ''")
    assert "shorter answers" in visit.text(".learned header p")
    visit.until("document.querySelector('#live').textContent.startsWith('Kept.')")
    settled = int(page.get_by_role("progressbar").get_attribute("aria-valuenow"))
    assert settled == round(100 * ann.persona()["settled"])


@needs_browser
def test_an_empty_pool_and_a_new_person(windows, served):
    with windows.visiting() as visit:
        visit.open("/choose", served.key(user="first", tenant="bare"), ".state")
        assert "nothing to choose from yet" in visit.text(".state")
        visit.open("/me", wait=".state, .part")
        assert "first choice" in visit.text().lower() or "Nothing is believed yet" in visit.text()
        visit.forgive("404")


# my persona


def card(page, about="length"):
    return page.locator(f".statement[data-about={about}]")


@needs_browser
def test_statements_tell_their_strength_and_the_choices_behind_them(visit, ann):
    page = visit.open("/me", ann.token, ".statement").page
    shown = ann.statement()
    assert card(page).locator("h3").inner_text() == "You prefer shorter answers"
    assert "Strength:" in card(page).locator(".bar").get_attribute("aria-label")
    card(page).locator("summary").first.click()
    assert card(page).locator(".quotes > li.agrees").count() == len(shown["supports"]) > 0
    assert "log-odds" not in card(page).locator("> p").inner_text()
    assert f"{shown['strength']:.2f} log-odds" in card(page).locator(".figures").inner_text()


@needs_browser
def test_a_change_tells_its_effect_before_it_is_saved(visit, ann):
    page = visit.open("/me", ann.token, ".statement").page
    card(page).get_by_role("button", name="Change").press("Enter")
    slider = page.get_by_role("slider")
    assert page.evaluate("document.activeElement.type") == "range"
    slider.press("Home")
    page.wait_for_timeout(400)
    told = "document.querySelector('.editor [role=status]').textContent"
    visit.until(f"/never saw: (none|\\d+) would|no held-back/.test({told})")
    assert "less than most people" in slider.get_attribute("aria-valuetext")
    assert ann.statement()["state"] == "found"
    visit.button("Save the change").click()
    page.wait_for_selector(".toast")
    after = ann.statement()
    now = after["shift"] if after["headline"] == "Prefers shorter answers" else -after["shift"]
    assert now == pytest.approx(-4, abs=0.01)
    assert card(page).locator(".tag").inner_text() == "Set by you"


@needs_browser
def test_lock_forget_restore_say_and_switch_off(visit, ann):
    page = visit.open("/me", ann.token, ".statement").page

    def do(name, save, where=None):
        (where or card(page)).get_by_role("button", name=name).first.click()
        page.wait_for_selector(".editor")
        visit.button(save, exact=True).click()
        page.wait_for_selector(".editor", state="detached")

    do("Lock", "Lock it")
    assert ann.statement()["state"] == "locked"
    do("Unlock", "Unlock it")
    assert ann.statement()["state"] == "found"
    do("Forget", "Forget it")
    assert ann.statement()["state"] == "forgotten"
    page.get_by_text("Forgotten (1)").click()
    do("Restore", "Restore it")
    assert ann.statement()["state"] == "found"
    page.get_by_label("Something it should know").fill(EVIL)
    visit.button("See its effect").click()
    visit.button("Add it").click()
    page.wait_for_selector(".statement .tag:text('You said so')")
    assert EVIL in visit.text()
    page.get_by_label("Never", exact=False).check()
    page.wait_for_selector(".editor")
    visit.button("Save", exact=True).click()
    visit.until("document.querySelector('#holds').textContent.includes('not used, as you said')")
    assert ann.persona()["apply"] == "never"
    assert page.locator("main img").count() == 0


def line_of(persona):
    """What the page says of whether a persona is used: no more than its figures bear out."""
    weight, verdict = persona["weight"], persona["verdict"]
    if weight < 0.05:
        return "it predicts you no better than the average"
    if weight <= 0.75:
        return "the evidence is not clear yet"
    better = verdict["accuracy"] > verdict["control_accuracy"]
    return (
        "so far it predicts you better than the average does" if better else "nothing speaks clearly against"
    )


@needs_browser
def test_the_test_is_told_as_far_as_it_goes(visit, ann):
    page = visit.open("/me", ann.token, ".verdict").page
    assert line_of(ann.persona()) in page.locator("#holds").inner_text()
    own = dict(ann.persona())
    for weight, accuracy in ((0.0, 0.4), (0.5, 0.6), (1.0, 0.7), (1.0, 0.5)):
        own["weight"] = weight
        own["verdict"] = {**own["verdict"], "choices": 10, "accuracy": accuracy, "control_accuracy": 0.5}
        page.route(re.compile(r"/persona$"), lambda route, *, told=dict(own): route.fulfill(json=told))
        page.reload()
        page.wait_for_selector(".verdict")
        assert line_of(own) in page.locator("#holds").inner_text()
        page.unroute(re.compile(r"/persona$"))


@needs_browser
def test_an_edit_that_somebody_overtook_is_not_made(visit, ann):
    page = visit.open("/me", ann.token, ".statement").page
    card(page).get_by_role("button", name="Forget").click()
    page.wait_for_selector(".editor")
    version = ann.persona()["version"]
    told = ann.api.patch(
        ann.path + "/persona", json={"version": version, "edits": [{"do": "lock", "about": "length"}]}
    )
    assert told.status_code == 200
    visit.button("Forget it").click()
    page.wait_for_selector(".toast")
    assert "Somebody edited" in visit.text(".toast")
    assert card(page).locator(".tag").inner_text() == "Locked by you"
    visit.forgive("409")


@needs_browser
def test_history_tells_what_changed_and_goes_back(visit, ann):
    version = ann.persona()["version"]
    for edit in ({"do": "lock", "about": "length"}, {"do": "forget", "about": "length"}):
        version = ann.api.patch(ann.path + "/persona", json={"version": version, "edits": [edit]}).json()[
            "persona"
        ]["version"]
    page = visit.open("/me", ann.token, ".versions li").page
    page.wait_for_selector(".versions summary")
    page.locator(".versions summary").first.click()
    assert (
        "No longer believes: you prefer shorter answers" in page.locator(".versions .diff").first.inner_text()
    )
    visit.button(f"Go back to version {version - 1}").click()
    page.wait_for_selector(".toast")
    assert [s["state"] for s in ann.persona()["statements"]] == ["locked"]


@needs_browser
def test_choices_are_paged_and_one_is_deleted(visit, ann):
    page = visit.open("/me", ann.token, ".kept details").page
    assert page.locator(".kept > li").count() == 10
    visit.button("Earlier choices").click()
    visit.until("document.querySelectorAll('.kept > li').length === 14")
    visit.button(re.compile("^Delete the choice")).first.click()
    assert len(ann.choices()) == 14
    visit.button("Delete", exact=True).click()
    page.wait_for_selector(".toast")
    visit.until("document.querySelector('#choices').parentElement.textContent.includes('13 choices')")
    assert "seed-13" not in {choice["key"] for choice in ann.choices()}


@needs_browser
def test_everything_is_taken_along_and_then_deleted(visit, ann):
    page = visit.open("/me", ann.token, ".statement").page
    with page.expect_download() as saved:
        visit.button("Download everything").click()
    given = json.loads(saved.value.path().read_text(encoding="utf-8"))
    assert (given["user"], len(given["choices"])) == (ann.name, 14)
    page.get_by_text("Delete everything", exact=True).first.click()
    sure = page.locator("button.danger", has_text="Delete everything")
    page.get_by_label("To go on, type").fill(ann.name[:-1])
    assert sure.is_disabled()
    page.get_by_label("To go on, type").fill(ann.name)
    sure.click()
    page.wait_for_selector(".receipt")
    assert "Everything is deleted" in visit.text("h1")
    with page.expect_download() as saved:
        visit.button("Download the receipt").click()
    receipt = json.loads(saved.value.path().read_text(encoding="utf-8"))
    assert receipt["erased"]["choices"] == 14
    assert ann.name not in json.dumps(receipt)
    visit.open("/me", ann.token, ".state")
    assert "no longer works" in visit.text()
    visit.forgive("401")


# everyone, and the server


@needs_browser
def test_people_are_grouped_and_methods_compared(visit, operator, served):
    page = visit.open("/people", operator, ".groups button").page
    with served.client(operator) as api:
        people = api.get("/v1/people").json()
    assert page.locator(".groups button").count() == len(people["groups"])
    drawn = "document.querySelector('canvas').getContext('2d').getImageData(0, 0, 600, 400).data"
    assert page.evaluate(f"new Set({drawn}).size") > 5
    picture = page.evaluate("document.querySelector('canvas').toDataURL()")
    visit.button("Helped and harmed").click()
    assert page.evaluate("document.querySelector('canvas').toDataURL()") != picture
    page.locator(".groups button").first.press("Enter")
    assert page.locator(".groups button").first.get_attribute("aria-pressed") == "true"
    rows = page.locator("tbody tr", has_text="[")
    assert "mixed" in rows.first.inner_text()
    assert "80.1 %" in rows.first.inner_text()
    page.get_by_label("Part of a name").fill("person 3")
    page.get_by_role("link", name="person 3").click()
    page.wait_for_selector(".verdict")
    assert "person 3" in visit.text("h1")
    assert "#" not in page.url


@needs_browser
def test_the_operator_sees_traffic_and_makes_a_link_that_works(windows, served, operator):
    with windows.visiting() as visit:
        page = visit.open("/operator", operator, ".kept li").page
        assert "Ready" in visit.text(".tiles")
        page.wait_for_selector("code:has-text('/v1/whoami')")
        page.get_by_label("Their name").fill("new friend")
        visit.button("Make the link").click()
        link = page.locator(".secret").inner_text()
        page.get_by_label("What it is for").fill("an app")
        visit.button("Make the key").click()
        page.wait_for_selector("text=A new key")
        page.get_by_role("button", name="Revoke an app").click()
        visit.button("Revoke it").click()
        page.wait_for_selector("td:text('an app')", state="detached")
        page.get_by_text("Add a pair").click()
        for label, text in (
            ("Question", "Is this new?"),
            ("One answer", "Yes."),
            ("Another answer", "No, " * 9),
        ):
            page.get_by_label(label, exact=True).fill(text)
        visit.button("Add it").click()
        page.wait_for_selector(".toast")
        page.get_by_label("Serve another model").fill("nowhere")
        visit.button("Swap").click()
        visit.until(
            "[...document.querySelectorAll('.worse')].some((told) => told.textContent.includes('model'))"
        )
        visit.complaints = [told for told in visit.complaints if "/v1/model" not in told]
    with windows.visiting() as visit:
        visit.page.goto(link)
        visit.page.wait_for_selector(".answer")
        assert "new friend" in visit.text(".foot")
        assert "token" not in visit.page.url
        visit.forgive("404")


@needs_browser
def test_the_reference_holds_every_request(visit, plain):
    api = plain.get("/openapi.json").json()
    verbs = [
        (path, verb)
        for path, item in api["paths"].items()
        for verb in item
        if verb in ("get", "post", "put", "patch", "delete")
    ]
    page = visit.open("/docs", wait=".op").page
    assert page.locator(".op").count() == len(verbs) > 25
    assert f"{visit.url}/v1/rank" in visit.text("#post-v1-rank .curl")
    page.get_by_label("Find a request").fill("rank")
    assert page.locator("#post-v1-rank").is_visible()
    assert not page.locator("#get-v1-state").is_visible()


# for everybody


@needs_browser
def test_what_users_wrote_is_text_everywhere(windows, served, operator):
    with served.client() as api:
        for number in range(9):
            short, long = (
                f"{EVIL} {number}",
                f"<script>alert(2)</script> **{EVIL}** `{EVIL}` " + "and so on " * 30,
            )
            body = {
                "user": EVIL,
                "conversation": f"<b>{number}</b>?",
                "responses": [short, long],
                "chosen": 0,
                "key": f"evil-{number}",
                "reason": EVIL,
            }
            assert api.post("/v1/feedback", json=body).status_code == 200
        offer = {
            "conversation": f"{EVIL} asked",
            "responses": [EVIL, f"- {EVIL}\n# <svg onload=alert(3)>\n" + "long " * 50],
            "id": "evil",
        }
        api.post("/v1/pool", json={"offers": [offer]})
        token = served.key(user=EVIL)
    with windows.visiting() as visit:
        for path, secret, wait in (
            ("/me", token, ".kept li"),
            ("/choose", token, ".answer"),
            ("/people", operator, ".groups, .state"),
            ("/operator", operator, "tbody td"),
        ):
            page = visit.open(path, secret, wait).page
            page.wait_for_timeout(150)
            page.evaluate("document.querySelectorAll('details').forEach((d) => (d.open = true))")
            assert page.locator("main img, main script, main svg[onload]").count() == 0
            if path in ("/me", "/operator"):
                assert EVIL in visit.text()
        api = served.client()
        api.delete("/v1/pool/evil")
        api.close()


@needs_browser
@pytest.mark.parametrize("path", ["/choose", "/operator"])
def test_without_a_token_or_with_a_wrong_one_a_page_is_kind(visit, path):
    visit.open(path, wait=".state form")
    assert "personal" in visit.text()
    visit.open(path, "pu_" + "x" * 43, ".state[role=alert]")
    assert "no longer works" in visit.text()
    visit.page.reload()
    visit.page.wait_for_selector(".state[role=alert]")
    visit.forgive("401")


@needs_browser
def test_a_pasted_link_a_reload_and_an_unreachable_server(visit, ann):
    page = visit.open("/me", wait=".state form").page
    page.get_by_label("Have a link").fill(f"{visit.url}/choose#token={ann.token}")
    visit.button("Continue").click()
    page.wait_for_selector(".statement")
    page.reload()
    page.wait_for_selector(".statement")
    page.route("**/v1/**", lambda route: route.abort())
    page.reload()
    page.wait_for_selector(".state[role=alert]")
    assert "can't be reached" in visit.text()
    page.unroute("**/v1/**")
    visit.button("Try again").click()
    page.wait_for_selector(".statement")
    visit.open("/operator", wait=".state")
    assert "doesn't reach this" in visit.text()
    visit.forgive("ERR_FAILED")


@needs_browser
def test_pages_fit_a_small_phone_and_can_be_read(windows, ann, operator):
    with windows.visiting(SMALL) as visit:
        faults = []
        for path, who in PLACES:
            page = visit.open(path, [ann.token, operator][who]).page
            page.wait_for_selector("main .card, main .op", state="attached")
            page.wait_for_timeout(200)
            page.evaluate("document.querySelectorAll('details').forEach((d) => (d.open = true))")
            width = page.evaluate("document.documentElement.scrollWidth")
            faults += [f"{path}: {width} px wide"] * (width > SMALL[0])
            faults += [f"{path}: no name: {told}" for told in page.evaluate(UNNAMED)]
            faults += [f"{path}: moves"] * (page.evaluate("document.getAnimations().length") > 0)
            faults += [f"{path}: {n} headings of level 1" for n in [page.locator("h1").count()] if n != 1]
            for colours in ("light", "dark"):
                page.emulate_media(color_scheme=colours)
                faults += [f"{path}, {colours}: {told}" for told in page.evaluate(CONTRAST)]
        assert "\n".join(faults) == ""


@needs_browser
def test_the_colours_are_switched_and_kept(windows, served):
    with windows.visiting(color_scheme="light") as visit:
        page = visit.open("/").page
        ground = "getComputedStyle(document.body).backgroundColor"
        light = page.evaluate(ground)
        visit.button("Use dark colours").click()
        dark = page.evaluate(ground)
        assert dark != light
        visit.open("/docs", wait=".op")
        assert page.evaluate(ground) == dark
        visit.button("Use light colours").click()
        assert page.evaluate(ground) == light


def test_every_page_is_tested_and_names_the_scripts_it_loads(plain):
    assert {path for path, _ in PLACES} == set(PAGES)
    for path, page in {**PAGES, "/static/0/none.js": MISSING}.items():
        text = plain.get(path).text
        assert f"<title>{page.title}</title>" in text
        scripts = re.findall(r"(?:src|href)=\"/static/\w+/([\w.]+\.js)\"", text)
        need = [f"{page.name}.js"]
        for script in need:
            text = (FOLDER / "static" / script).read_text()
            need += [used for used in re.findall(r"from \"\./([\w.]+)\"", text) if used not in need]
        assert sorted(scripts) == sorted([*need, "theme.js"])
