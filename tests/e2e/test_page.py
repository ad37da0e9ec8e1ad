"""The page at `/`, used in a real Chromium on a running service."""

from __future__ import annotations

import base64
import json
import re
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import psutil
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, ConsoleMessage, Page, Request, Response, expect

from service.keys import new
from service.store import Store
from service.store.publisher import Publisher
from service.store.trial import Mode, read_trial
from tests.browser import CHROMIUM, chromium
from tests.e2e.server import Server, serving
from tests.pictures import picture
from tests.service.variants import (
    copy_store,
    make_variant,
    move_weights,
    publish_variant,
    read_manifest,
)
from training.publish import publish, seal

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium is installed")

ENDLESS = 10_000_000
OTHER = "another"
WAIT_MS = 10_000
expect.set_options(timeout=WAIT_MS)


@pytest.fixture(scope="module")
def store(tiny_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Store:
    """The tiny models, and a second classifier."""
    scratch = tmp_path_factory.mktemp("page")
    found = copy_store(tiny_store, scratch / "store")
    candidate = make_variant(found, "cifar10", "v1", scratch / OTHER, change=move_weights)
    seal(candidate, msgspec.structs.replace(read_manifest(candidate), name=OTHER))
    publish(candidate, found.home.location, OTHER)
    return found


@pytest.fixture(scope="module")
def server(store: Store, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    home = tmp_path_factory.mktemp("home")
    with serving(
        Path(store.home.location), home, workers=1, max_images=24, max_tokens=ENDLESS
    ) as running:
        running.wait_for("/readyz", 200)
        yield running


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found


@dataclass
class Visit:
    """A page, and what it asked for."""

    page: Page
    url: str
    asked: list[Request] = field(default_factory=list)
    said: list[str] = field(default_factory=list)

    def answer_to(self, path: str, action: Callable[[], object]) -> Response:
        """The answer to the request that `action` makes."""
        with self.page.expect_response(lambda it: f"/{path}" in it.url) as got:
            action()
        return got.value

    def line(self, panel: str) -> str:
        """The curl line that a panel shows."""
        return self.page.locator(f"#{panel}-curl code").inner_text()

    def ready(self) -> Page:
        """The page, when the models are known."""
        expect(self.page.locator("#service-state")).to_contain_text("models served")
        return self.page


Open = Callable[..., Visit]


@pytest.fixture
def visit(browser: Browser, server: Server) -> Iterator[Open]:
    """Open the page; afterwards, nothing was wrong in it, and nothing came from elsewhere."""
    visits: list[Visit] = []

    def open_(path: str = "/", url: str = server.url, **options: Any) -> Visit:
        context = browser.new_context(base_url=url, **options)
        page = context.new_page()
        one = Visit(page, url)
        visits.append(one)
        page.on("request", lambda it: one.asked.append(it))  # noqa: PLW0108  # no built-ins
        page.on("console", lambda it: one.said.extend(told(it)))
        page.on("pageerror", lambda it: one.said.append(str(it)))
        page.goto(path)
        return one

    yield open_
    for one in visits:
        one.page.context.close()
        assert one.said == []
        assert one.asked
        for request in one.asked:
            assert request.url.startswith((one.url, "data:", "blob:")), request.url


def told(message: ConsoleMessage) -> list[str]:
    """Errors and warnings; browsers word a refused or broken request so by themselves."""
    if message.type not in ("error", "warning") or "Failed to load resource" in message.text:
        return []
    return [message.text]


def shell(line: str, folder: Path) -> bytes:
    """What a line prints, run as it stands."""
    command = ["sh", "-c", line]
    return subprocess.run(command, cwd=folder, capture_output=True, timeout=60, check=True).stdout


def choose(one: Visit, *files: tuple[str, bytes]) -> Response:
    payloads = [{"name": name, "mimeType": "image/png", "buffer": raw} for name, raw in files]
    field_ = one.page.locator("#file")
    return one.answer_to("v1/classify", lambda: field_.set_input_files(payloads))  # type: ignore[arg-type]


def bars(page: Page) -> list[tuple[str, str]]:
    return [
        (item.locator(".label").inner_text(), item.locator(".value").inner_text())
        for item in page.locator("#bars li:not([aria-hidden])").all()
    ]


def percent(score: float) -> str:
    return f"{100 * score:.{0 if score > 0.9995 or score < 0.0005 else 1}f} %"


def fill(page: Page, **values: object) -> None:
    for name, value in values.items():
        page.locator(f"#{name.replace('_', '-')}").fill(str(value))


def test_a_chosen_picture_is_classified(visit: Open, tmp_path: Path) -> None:
    one = visit()
    page = one.ready()
    raw = picture(1, size=(60, 40))
    (tmp_path / "it's a picture.png").write_bytes(raw)
    found = choose(one, ("it's a picture.png", raw)).json()
    (prediction,) = found["predictions"]
    expect(page.locator("#classify-status")).to_contain_text(prediction["label"])
    assert bars(page) == [(top["label"], percent(top["score"])) for top in prediction["top"]]
    assert found["version"] in page.locator("#classify-status").inner_text()
    assert json.loads(shell(one.line("classify"), tmp_path)) == found
    caption = page.locator("#caption")
    expect(caption).to_contain_text("60 \N{MULTIPLICATION SIGN} 40. The model sees what is in the")


def test_the_frame_is_what_the_model_sees(visit: Open) -> None:
    one = visit()
    page = one.ready()
    for size in ((64, 32), (32, 64), (32, 32)):
        choose(one, ("a.png", picture(size=size)))
        expect(page.locator("#caption")).to_contain_text(
            f"{size[0]} \N{MULTIPLICATION SIGN} {size[1]}"
        )
        stage, frame = page.locator("#figure").bounding_box(), page.locator("#crop").bounding_box()
        assert stage is not None
        assert frame is not None
        assert frame["width"] == pytest.approx(frame["height"], abs=1)
        share = min(size) / max(size)
        assert frame["width"] == pytest.approx(stage["width"] * share, abs=1)
        for start, length in (("x", "width"), ("y", "height")):
            middle = stage[start] + stage[length] / 2  # type: ignore[literal-required]
            assert frame[start] + frame[length] / 2 == pytest.approx(middle, abs=1)  # type: ignore[literal-required]


def test_the_heatmap_lies_over_the_picture_as_strongly_as_wanted(visit: Open) -> None:
    one = visit()
    page = one.ready()
    heatmap = choose(one, ("a.png", picture(2))).json()["predictions"][0]["heatmap"]
    expect(page.locator("#heat")).to_be_visible()
    painted = page.locator("#heat").evaluate(
        "it => [it.height, it.width, ...it.getContext('2d')"
        ".getImageData(0, 0, it.width, it.height).data.filter((_, i) => i % 4 === 3)]"
    )
    assert painted[:2] == [len(heatmap), len(heatmap[0])]
    for alpha, value in zip(painted[2:], [value for row in heatmap for value in row], strict=True):
        assert alpha == pytest.approx(255 * value, abs=0.51)
    page.get_by_label("Heatmap's opacity").fill("20")
    expect(page.locator("#heat")).to_have_css("opacity", "0.2")
    page.get_by_label("Heatmap", exact=True).uncheck()
    expect(page.locator("#heat")).to_have_css("opacity", "0")


def test_several_pictures_at_once(visit: Open, tmp_path: Path) -> None:
    one = visit()
    page = one.ready()
    files = [("a.png", picture(1)), ("b, c;d.png", picture(2)), ("e.png", picture(3))]
    for name, raw in files:
        (tmp_path / name).write_bytes(raw)
    found = choose(one, *files).json()
    assert len(found["predictions"]) == 3
    for index, prediction in enumerate(found["predictions"]):
        page.locator("#thumbs button").nth(index).click()
        expect(page.locator("#caption")).to_contain_text(files[index][0])
        assert bars(page)[0] == (prediction["label"], percent(prediction["score"]))
    assert json.loads(shell(one.line("classify"), tmp_path)) == found


def test_pictures_are_dropped_and_pasted(visit: Open) -> None:
    one = visit(permissions=["clipboard-read", "clipboard-write"])
    page = one.ready()
    coded = base64.b64encode(picture(5)).decode()
    page.evaluate(
        """coded => {
          const bytes = Uint8Array.from(atob(coded), (char) => char.charCodeAt(0));
          window.file = new File([bytes], "dropped.png", { type: "image/png" });
        }""",
        coded,
    )
    dropped = one.answer_to(
        "v1/classify",
        lambda: page.locator("#stage").evaluate(
            """stage => {
              const dataTransfer = new DataTransfer();
              dataTransfer.items.add(window.file);
              stage.dispatchEvent(new DragEvent("drop", { dataTransfer, bubbles: true }));
            }"""
        ),
    )
    assert dropped.status == 200
    expect(page.locator("#caption")).to_contain_text("dropped.png")
    page.evaluate(
        "() => navigator.clipboard.write([new ClipboardItem({ 'image/png': window.file })])"
    )
    pasted = one.answer_to("v1/classify", lambda: page.keyboard.press("Control+V"))
    # A clipboard holds pixels: they come encoded anew, and are the same.
    assert pasted.json()["predictions"] == dropped.json()["predictions"]


def draw(one: Visit) -> Response:
    button = one.page.get_by_role("button", name="Draw", exact=True)
    return one.answer_to("v1/sample", button.click)


def test_a_gallery_is_drawn_and_a_picture_of_it_classified(visit: Open, tmp_path: Path) -> None:
    one = visit()
    page = one.ready()
    chips = page.locator("#chips button")
    names = [chips.nth(1).inner_text(), chips.nth(0).inner_text()]
    chips.nth(0).click()
    chips.nth(1).click()
    fill(page, draw_n=5, draw_seed=11)
    gallery = draw(one).json()
    assert {image["label"] for image in gallery["images"]} == set(names)
    assert gallery["seed"] == 11
    shown = [
        image.get_attribute("src") or "" for image in page.locator("#gallery button img").all()
    ]
    assert [src.partition(",")[2] for src in shown] == [it["b64_json"] for it in gallery["images"]]
    assert json.loads(shell(one.line("draw"), tmp_path)) == gallery
    click = page.locator("#gallery button").nth(3).click
    found = one.answer_to("v1/classify", click).json()
    expect(page.locator("#classify-status")).to_contain_text(found["version"])
    assert json.loads(shell(one.line("classify"), tmp_path)) == found


def test_a_walk_leads_from_one_seed_to_the_other(visit: Open, tmp_path: Path) -> None:
    one = visit()
    page = one.ready()
    page.get_by_label("From one seed to another").check()
    fill(page, draw_n=6, draw_seed=3, draw_to=4)
    walk = draw(one).json()
    assert json.loads(shell(one.line("draw"), tmp_path)) == walk
    pictures = [image["b64_json"] for image in walk["images"]]
    assert len(pictures) == page.locator("#gallery img").count() == 6
    page.get_by_label("A gallery").check()
    page.locator("#chips button").first.click()
    for seed, end in ((3, pictures[0]), (4, pictures[-1])):
        fill(page, draw_n=1, draw_seed=seed)
        assert draw(one).json()["images"][0]["b64_json"] == end


def test_a_picture_is_drawn_for_the_classifier(visit: Open, tmp_path: Path) -> None:
    one = visit()
    page = one.ready()
    click = page.get_by_role("button", name="Draw one").click
    found = one.answer_to("v1/classify", click).json()
    expect(page.locator("#classify-status")).to_contain_text(found["version"])
    assert json.loads(shell(one.line("classify"), tmp_path)) == found
    saved = page.get_by_role("link", name="Save")
    assert re.fullmatch(r".+-\d+\.png", saved.get_attribute("download") or "")


def write(page: Page) -> str:
    page.get_by_role("button", name="Write", exact=True).click()
    expect(page.locator("#write-status")).to_contain_text("Finished")
    return page.locator("#written").evaluate("it => it.textContent")


def streamed(raw: bytes) -> str:
    events = re.findall(r"data: (\{.*\})\n", raw.decode())
    return "".join(json.loads(event)["choices"][0]["text"] for event in events)


def test_text_is_written_and_written_again(visit: Open, tmp_path: Path) -> None:
    one = visit()
    page = one.ready()
    fill(page, prompt="a\nit", max_tokens=300, temperature=1.2, top_p=0.9, write_seed=8)
    first = write(page)
    assert len(first) == 300
    told_ = page.locator("#write-status").inner_text()
    assert re.search(r"as long as asked for: 300 characters, [\d,]+ a second", told_)
    assert streamed(shell(one.line("write"), tmp_path)) == first
    assert write(page) == first
    page.get_by_role("button", name="Another seed to write with").click()
    assert write(page) != first
    fill(page, temperature=0, write_seed=8)
    assert write(page) != first


def begin_endless(page: Page) -> None:
    fill(page, max_tokens=ENDLESS)
    page.get_by_role("button", name="Write", exact=True).click()
    expect(page.locator("#written")).to_contain_text(re.compile(r"[\s\S]{200}"))


def test_a_text_is_stopped(visit: Open, server: Server) -> None:
    def cancelled() -> float:
        line = re.search(
            r'triptych_requests_total\{.*"cancelled".*"completions".*\} (\S+)',
            server.get("/metrics").text,
        )
        return float(line[1]) if line else 0.0

    one = visit()
    page = one.ready()
    before = cancelled()
    stop = page.get_by_role("button", name="Stop")
    for count, halt in enumerate((stop.click, lambda: page.keyboard.press("Escape")), start=1):
        begin_endless(page)
        halt()
        expect(page.locator("#write-status")).to_contain_text("Stopped:")
        expect(stop).to_be_disabled()
        expect(page.locator("#write-error")).to_be_empty()
        for _ in range(20):  # the service heard of it
            if cancelled() == before + count:
                break
        assert cancelled() == before + count


def test_errors_are_told_where_they_arose(visit: Open) -> None:
    one = visit()
    page = one.ready()
    fill(page, draw_n=1000)
    told_ = draw(one).json()["error"]["message"]
    expect(page.locator("#draw-error")).to_contain_text(told_[1:])
    fill(page, draw_n=2)
    draw(one)
    expect(page.locator("#draw-error")).to_be_empty()
    refused = choose(one, ("none.png", b"no picture"))
    assert refused.status == 422
    expect(page.locator("#classify-error")).to_contain_text("is not an image in one of")
    fill(page, prompt="\N{SNOWMAN}")
    page.get_by_role("button", name="Write", exact=True).click()
    expect(page.locator("#write-error")).to_contain_text("\N{SNOWMAN}")
    expect(page.locator("#write-error")).to_have_attribute("role", "alert")


def test_models_of_a_kind_are_chosen_among(visit: Open, tmp_path: Path) -> None:
    one = visit()
    page = one.ready()
    (tmp_path / "a.png").write_bytes(picture(4))
    choose(one, ("a.png", picture(4)))
    other = one.answer_to(
        "v1/classify", lambda: page.locator("#classify-model").select_option(OTHER)
    ).json()
    assert other["model"] == OTHER
    expect(page.locator("#classify-version")).to_contain_text("version v1")
    assert json.loads(shell(one.line("classify"), tmp_path)) == other


def test_a_swap_is_seen(visit: Open, store: Store, tmp_path: Path) -> None:
    one = visit()
    page = one.ready()
    version = page.locator("#draw-version")
    expect(version).to_contain_text(store.current("cifar10-gan"))
    publish_variant(store, "cifar10-gan", "v2", tmp_path, change=move_weights)
    expect(version).to_contain_text("version v2")


def test_live_figures_follow_what_is_asked(visit: Open, tmp_path: Path) -> None:
    one = visit()
    page = one.ready()
    gauge = page.locator("#gauges article", has_text="cifar10-gan")
    expect(gauge).to_be_visible()
    fill(page, draw_n=16)
    for _ in range(3):
        draw(one)
    expect(gauge).to_contain_text(re.compile(r"Requests a second\s*0?\.?[1-9]"))
    expect(gauge).to_contain_text(re.compile(r"Rows a batch, mean\s*16"))
    expect(gauge).to_contain_text(re.compile(r"p50\s*[\d.]+ ms"))
    expect(gauge.locator("svg").last).to_have_attribute(
        "aria-label", "Batches of the last minute by rows: 3 of up to 16"
    )
    assert b"triptych_requests_total" in shell(one.line("live"), tmp_path)


def test_a_hidden_page_asks_for_nothing(visit: Open) -> None:
    one = visit()
    page = one.ready()
    expect(page.locator("#gauges article").first).to_be_visible()

    def hide(hidden: bool) -> None:
        page.evaluate(
            """hidden => {
              Object.defineProperty(document, "hidden", { configurable: true, get: () => hidden });
              document.dispatchEvent(new Event("visibilitychange"));
            }""",
            hidden,
        )

    hide(True)
    page.wait_for_timeout(600)  # what was under way ends
    before = len(one.asked)
    page.wait_for_timeout(1500)
    assert len(one.asked) == before
    one.answer_to("metrics", lambda: hide(False))


def test_a_key_is_asked_for_and_sent(
    visit: Open, store: Store, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    (user, digest), (operator, admin_digest) = new("user"), new("operator")
    keys = tmp_path / "keys.toml"
    keys.write_text(
        f'[[keys]]\nid = "user"\nsha256 = "{digest}"\n'
        f'[[keys]]\nid = "operator"\nsha256 = "{admin_digest}"\nadmin = true\n'
    )
    home = tmp_path_factory.mktemp("home")
    with serving(Path(store.home.location), home, workers=1, keys_file=keys) as guarded:
        guarded.wait_for("/readyz", 200)
        one = visit(url=guarded.url)
        page = one.page
        expect(page.locator("#models-error")).to_contain_text("Send a key")
        expect(page.locator("#live-state")).to_contain_text("Send a key")
        expect(page.locator("#key")).to_be_focused()  # in the dialog, which is open
        page.keyboard.press("Escape")
        page.locator("#models-error").get_by_role("button", name="Enter the API key").click()
        page.keyboard.type(user)
        page.keyboard.press("Enter")
        one.ready()
        expect(page.locator("#models-error")).to_be_empty()
        expect(page.locator("#live-state")).to_contain_text("admin keys")
        assert '-H "Authorization: Bearer $API_KEY"' in one.line("write")
        page.locator("#live-state").get_by_role("button", name="Enter the API key").click()
        page.locator("#key").fill(operator)
        page.keyboard.press("Enter")
        expect(page.locator("#gauges article").first).to_be_visible()
        text = page.locator("body").inner_text()
        assert user not in text
        assert operator not in text
        page.reload()
        one.ready()  # kept for the tab


def test_everything_is_done_by_keyboard(visit: Open) -> None:
    one = visit()
    page = one.ready()

    def go_to(selector: str) -> None:
        for _ in range(80):
            page.keyboard.press("Tab")
            if page.locator(selector).evaluate("it => it === document.activeElement"):
                outline = page.locator(selector).evaluate("it => getComputedStyle(it).outlineWidth")
                assert outline == "3px", f"the focus on {selector} is not seen"
                return
        raise AssertionError(f"{selector} cannot be reached")

    # Choosers are caught from now on: Playwright does not wait until that is so.
    page.on("filechooser", lambda _: None)
    go_to(".skip")
    page.keyboard.press("Enter")
    go_to("#chips button:nth-child(2)")
    page.keyboard.press("Space")
    expect(page.locator("#chips button").nth(1)).to_have_attribute("aria-pressed", "true")
    go_to("#draw-n")
    page.keyboard.type("3")  # the field is selected: it is replaced
    drawn = one.answer_to("v1/sample", lambda: page.keyboard.press("Enter"))
    assert drawn.json()["images"][0]["label"] == page.locator("#chips button").nth(1).inner_text()
    go_to("#gallery button:first-child")
    found = one.answer_to("v1/classify", lambda: page.keyboard.press("Enter"))
    assert found.status == 200
    go_to("#choose")
    with page.expect_file_chooser():
        page.keyboard.press("Enter")
    go_to("#heat-opacity")
    page.keyboard.press("Home")
    expect(page.locator("#heat")).to_have_css("opacity", "0")
    go_to("#prompt")
    page.keyboard.press("Control+Enter")
    expect(page.locator("#write-status")).to_contain_text("Finished")
    go_to("#text")
    go_to("#write-curl button")
    go_to("#live-curl button")


def use(one: Visit) -> Page:
    """Every panel, so that all of the page is there."""
    page = one.ready()
    fill(page, draw_n=4)
    draw(one)
    choose(one, ("a.png", picture(1, size=(50, 30))), ("b.png", picture(2)))
    write(page)
    expect(page.locator("#gauges article").first).to_be_visible()
    return page


NARROW = {"width": 320, "height": 640}
WIDE = {"width": 1440, "height": 900}


@pytest.mark.parametrize("viewport", [NARROW, WIDE], ids=["narrow", "wide"])
def test_nothing_is_wider_than_the_screen(visit: Open, viewport: Any) -> None:
    page = use(visit(viewport=viewport))
    wide = page.evaluate("document.documentElement.scrollWidth")
    assert wide == viewport["width"]
    lefts = {
        page.locator(f".{panel}").evaluate("it => it.getBoundingClientRect().left")
        for panel in ("draw", "classify", "write")
    }
    assert len(lefts) == (3 if viewport == WIDE else 1)


@pytest.mark.parametrize(
    ("viewport", "scheme"), [(WIDE, "light"), (NARROW, "dark")], ids=["wide", "narrow"]
)
def test_axe_finds_nothing(visit: Open, viewport: Any, scheme: Any) -> None:
    one = visit(viewport=viewport, color_scheme=scheme)
    page = use(one)
    fill(page, draw_n=1000)
    draw(one)
    expect(page.locator("#draw-error")).not_to_be_empty()
    page.wait_for_timeout(300)  # the bars have grown
    assert found_by_axe(page) == []
    page.get_by_role("button", name="API key").click()
    assert found_by_axe(page) == []


def found_by_axe(page: Page) -> list[str]:
    found = Axe().run(page).response
    assert len(found["passes"]) > 20
    return [
        f"{one['id']}: {node['html'][:200]} {node['failureSummary']}"
        for one in found["violations"]
        for node in one["nodes"]
    ]


def brightness(page: Page) -> float:
    colour = page.locator("body").evaluate("it => getComputedStyle(it).backgroundColor")
    return sum(map(int, re.findall(r"\d+", colour)[:3])) / 765


def test_light_and_dark(visit: Open) -> None:
    page = visit(color_scheme="dark").page
    assert brightness(page) < 0.2
    for wanted in ("light", "dark"):
        page.get_by_role("button", name="Theme").click()
        assert (brightness(page) > 0.8) == (wanted == "light")
        page.reload()  # it is remembered
        assert (brightness(page) > 0.8) == (wanted == "light")
    page.get_by_role("button", name="Theme: dark").click()
    page.emulate_media(color_scheme="light")
    assert brightness(page) > 0.8  # auto again


def test_reduced_motion_is_respected(visit: Open) -> None:
    one = visit(reduced_motion="reduce")
    page = one.ready()
    choose(one, ("a.png", picture()))
    expect(page.locator(".track span").first).to_have_css("transition-duration", "0s")


def test_copy_puts_the_line_on_the_clipboard(visit: Open) -> None:
    one = visit(permissions=["clipboard-read", "clipboard-write"])
    page = one.ready()
    page.locator("#write-curl").get_by_role("button").click()
    expect(page.locator("#write-curl").get_by_role("button")).to_have_text("Copied")
    assert page.evaluate("navigator.clipboard.readText()") == one.line("write")


def test_the_api_is_shown(visit: Open) -> None:
    one = visit()
    one.ready().get_by_role("link", name="API", exact=True).click()
    expect(one.page.get_by_text("/v1/completions", exact=True).first).to_be_visible()


def test_a_service_that_goes_away_in_the_middle_of_a_text(
    visit: Open, tiny_store: Path, tmp_path: Path
) -> None:
    with serving(tiny_store, tmp_path, workers=1, max_tokens=ENDLESS) as running:
        running.wait_for("/readyz", 200)
        page = visit(url=running.url).ready()
        begin_endless(page)
        main = psutil.Process(running.process.pid)
        for process in (main, *main.children(recursive=True)):
            process.kill()
        running.process.wait()
        expect(page.locator("#write-error")).to_contain_text("connection broke")
        expect(page.locator("#write-status")).to_contain_text("Broken off:")
        assert len(page.locator("#written").inner_text()) >= 200
        expect(page.locator("#live-state")).to_contain_text("The service did not answer")
        page.get_by_role("button", name="Write", exact=True).click()
        expect(page.locator("#write-error")).to_contain_text("Look whether the service still runs")


def stop_trial(store: Store, name: str = OTHER) -> None:
    trial, blob = read_trial(store.home, name)
    assert trial is not None
    assert blob is not None
    assert Publisher(store).end_trial(name, trial, blob, "trial stopped", "seen enough")


def promote_trial(store: Store) -> None:
    Publisher(store).promote(OTHER, "v2")


@pytest.mark.parametrize(
    ("mode", "end", "word"),
    [
        ("shadow", stop_trial, "v2 is no longer to be had"),
        ("canary", promote_trial, "v2 is the one served now"),
    ],
)
def test_a_version_on_trial_is_chosen_until_the_trial_ends(
    visit: Open,
    server: Server,
    store: Store,
    tmp_path: Path,
    mode: Mode,
    end: Callable[[Store], None],
    word: str,
) -> None:
    one = visit(viewport=NARROW)
    page = one.ready()
    model, version = page.get_by_label("Model").nth(1), page.locator("#classify-named")
    model.select_option(OTHER)
    expect(page.locator("#classify-version")).to_contain_text("version v1")
    expect(version).to_be_hidden()
    (tmp_path / "a.png").write_bytes(picture(4))
    choose(one, ("a.png", picture(4)))
    try:
        if not store.folder(OTHER, "v2").exists():
            publish_variant(store, OTHER, "v2", tmp_path, change=move_weights)
            Publisher(store).promote(OTHER, "v1")
        Publisher(store).start_trial(
            OTHER, "v2", mode, share=1e-9, window_s=3600, least_requests=10**6
        )
        expect(page.locator("#classify-version")).to_contain_text(f"on trial: v2 ({mode})")
        expect(version.locator("option")).to_have_text(
            ["the service chooses", "v1 (served)", f"v2 ({mode})"]
        )
        found = {}
        for wanted in ("v2", "v1"):
            pick = version.select_option
            answer = one.answer_to("v1/classify", lambda: pick(f"{OTHER}@{wanted}"))  # noqa: B023
            found[wanted] = answer.json()
            assert found[wanted]["version"] == wanted
            expect(page.locator("#classify-status")).to_contain_text(f"{OTHER} {wanted}")
            assert f"model={OTHER}@{wanted}&" in one.line("classify")
            assert json.loads(shell(one.line("classify"), tmp_path)) == found[wanted]
        assert found["v1"]["predictions"] != found["v2"]["predictions"]
        one.answer_to("v1/classify", lambda: version.select_option(f"{OTHER}@v2"))
        expect(page.locator("#classify-version")).to_contain_text(
            re.compile(rf"version v2, \w+; on trial \({mode}\)$")
        )
        assert page.evaluate("document.documentElement.scrollWidth") == NARROW["width"]
        assert found_by_axe(page) == []
        end(store)
        expect(page.locator("#classify-version")).to_contain_text(word)
        expect(version).to_be_hidden()
        assert f"model={OTHER}&" in one.line("classify")
        fallen = json.loads(shell(one.line("classify"), tmp_path))
        assert fallen["version"] == store.current(OTHER)
        assert fallen == found[store.current(OTHER)]
        model.select_option("cifar10")
        expect(page.locator("#classify-version")).not_to_contain_text(word)
    finally:
        if store.current(OTHER) != "v1":
            Publisher(store).promote(OTHER, "v1")


def test_texts_and_pictures_of_a_version_on_trial(
    visit: Open, store: Store, tmp_path: Path
) -> None:
    one = visit()
    page = one.ready()
    publisher = Publisher(store)
    names = {"draw": "cifar10-gan", "write": "shakespeare"}
    try:
        for panel, name in names.items():
            before = store.current(name)
            publish_variant(store, name, "tried", tmp_path, change=move_weights)
            publisher.promote(name, before)
            publisher.start_trial(
                name, "tried", "shadow", share=1e-9, window_s=3600, least_requests=10**6
            )
            page.locator(f"#{panel}-named").select_option(f"{name}@tried")
        gallery = draw(one).json()
        assert gallery["version"] == "tried"
        assert json.loads(shell(one.line("draw"), tmp_path)) == gallery
        fill(page, prompt="it", max_tokens=50)
        text = write(page)
        expect(page.locator("#write-status")).to_contain_text("by shakespeare tried, seed")
        assert streamed(shell(one.line("write"), tmp_path)) == text
        assert '"model":"shakespeare@tried"' in one.line("write")
    finally:
        for name in names.values():
            stop_trial(store, name)
