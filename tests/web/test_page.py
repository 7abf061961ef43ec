"""The page in Chromium: what is asked for is shown, and can be narrowed, turned, voted on and looked at closely."""

from __future__ import annotations

import base64
import io
import re

import pytest
from PIL import Image

import mmsearch as mm

from .web_help import ask, axe_source, names, settle, until

pytestmark = pytest.mark.browser


def test_words_find_pictures_and_stand_in_the_address(visit):
    page = visit()
    assert page.locator("h1").inner_text() == "A look around"
    ask(page, "red")
    assert all(name.startswith("red thing") for name in names(page))
    assert page.locator("h1").inner_text() == "“red”"
    assert page.url.endswith("#q=red")
    ask(page, "blue")
    page.go_back()
    until(page, "document.querySelector('h1').textContent === '“red”'")
    settle(page)
    assert names(page, 1)[0].startswith("red")
    assert page.locator("#words").input_value() == "red"


def test_what_a_minus_stands_before_is_left_out(visit):
    page = visit()
    ask(page, "red blue -red")
    assert page.locator(".chip.not").inner_text().strip() == "not red"
    assert page.locator("#words").input_value() == "red blue"
    assert all(name.startswith("blue") for name in names(page))
    with page.expect_response(lambda response: response.url.endswith("/v1/search")):
        page.get_by_label("Remove not red").click()
    settle(page)
    assert page.locator(".chip").count() == 0


def test_filters_narrow_and_their_counts_follow(visit):
    page = visit()
    box = page.locator("[data-key='colour/\"green\"']")
    count = page.locator(".facet", has=box).locator("label", has=box).locator(".count")
    assert count.inner_text() == "20"
    with page.expect_response(lambda response: response.url.endswith("/v1/search")):
        page.locator("[data-key='brand/\"B\"']").check()
    settle(page)
    assert count.inner_text() == "10"
    with page.expect_response(lambda response: response.url.endswith("/v1/search")):
        box.check()
    settle(page)
    assert page.locator(".card").count() == 10
    assert {name.split()[0] for name in names(page, 99)} == {"green"}
    assert page.locator("[data-key='colour/\"red\"']").is_visible(), "a field's own choice does not hide its other values"
    page.reload()
    settle(page)
    assert page.locator(".card").count() == 10, "the address keeps the filters"
    page.get_by_text("Clear all").click()
    until(page, "document.querySelectorAll('.card:not(.ghost)').length > 10")


def test_a_range_of_prices(visit):
    page = visit()
    first = page.locator(".facet", has_text="price").locator("input").first
    low, high = map(float, re.findall(r"[\d.]+", first.get_attribute("data-key").split("/")[1]))
    with page.expect_response(lambda response: response.url.endswith("/v1/search")):
        first.check()
    settle(page)
    prices = [int(name.split()[-1]) for name in names(page, 99)]
    assert sorted(prices) == [n for n in range(80) if low <= n < high]


def halves() -> bytes:
    """Left red, right blue."""
    picture = Image.new("RGB", (300, 200), (220, 20, 20))
    picture.paste((20, 40, 220), (150, 0, 300, 200))
    out = io.BytesIO()
    picture.save(out, "PNG")
    return out.getvalue()


def test_a_picture_and_the_part_of_it_that_is_meant(visit):
    page = visit()
    page.set_input_files("#file", {"name": "halves.png", "mimeType": "image/png", "buffer": halves()})
    place = page.locator("#crop-canvas").bounding_box()
    page.mouse.move(place["x"] + 0.6 * place["width"], place["y"] + 10)
    page.mouse.down()
    page.mouse.move(place["x"] + 0.98 * place["width"], place["y"] + place["height"] - 8, steps=4)
    page.mouse.up()
    page.locator("#crop-done").click()
    page.wait_for_selector(".chip img")
    until(page, "document.querySelector('h1').textContent === 'your picture'")
    settle(page)
    assert all(name.startswith("blue") for name in names(page))
    ask(page, "green")
    assert {name.split()[0] for name in names(page, 20)} <= {"green", "blue"}, "words and picture are mixed"


@pytest.mark.parametrize("way", ["drop", "paste"])
def test_a_picture_can_be_dropped_and_pasted(visit, way):
    page = visit()
    page.evaluate(
        """([data, way]) => {
          const bytes = Uint8Array.from(atob(data), (char) => char.charCodeAt(0));
          const brought = new DataTransfer();
          brought.items.add(new File([bytes], "a.png", { type: "image/png" }));
          document.body.dispatchEvent(way === "drop"
            ? new DragEvent("drop", { dataTransfer: brought, bubbles: true, cancelable: true })
            : new ClipboardEvent("paste", { clipboardData: brought, bubbles: true, cancelable: true }));
        }""",
        [base64.b64encode(halves()).decode(), way],
    )
    page.locator("#crop-canvas").focus()
    for _ in range(13):  # by keys: half as wide, which leaves the red side
        page.keyboard.press("Shift+ArrowLeft")
    page.locator("#crop-done").click()
    until(page, "document.querySelector('h1').textContent === 'your picture'")
    settle(page)
    assert all(name.startswith("red") for name in names(page))


def test_a_hit_is_looked_at_closely_with_keys_alone(visit):
    page = visit()
    ask(page, "red blue -blue")
    page.keyboard.press("Tab")
    page.locator(".card .open").first.focus()
    page.keyboard.press("ArrowRight")
    second = page.locator(".card").nth(1).get_attribute("data-id")
    assert page.evaluate("document.activeElement.closest('.card').dataset.id") == second
    page.keyboard.press("Enter")
    page.wait_for_selector("#detail[open] .strip img")
    assert page.locator("#detail h2").inner_text() == names(page, 2)[1]
    terms = page.locator(".why .term").all_inner_texts()
    assert terms == ["red blue", "not blue"]
    shares = [float(figure.replace("−", "-")) for figure in page.locator(".why .figure").all_inner_texts()]
    cosine = float(re.search(r"cosine (\d\.\d+)", page.locator("#detail").inner_text())[1])
    assert sum(shares) == pytest.approx(cosine, abs=2e-3), "the shares of the terms make the score"
    with page.expect_response(re.compile("/v1/heatmap/")) as heat:
        page.get_by_role("button", name="Where?").click()
    assert heat.value.headers["content-type"] == "image/png"
    page.keyboard.press("ArrowRight")
    assert page.locator("#detail h2").inner_text() == names(page, 3)[2]
    page.keyboard.press("Escape")
    assert page.locator("#detail[open]").count() == 0


def test_a_products_other_photos_and_its_text_are_shown_with_it(visit, shop):
    with mm.Collection.open(shop) as collection:
        items = []
        for n in (1, 2, 3):
            path = shop.parent / f"pot-{n}.png"
            Image.new("RGB", (60, 60 + n), (130, 20, 150)).save(path)
            items.append(mm.Item(f"pot#photo-{n}", image=path, group="pot", meta={"title": "purple pot"}))
        collection.add([*items, mm.Item("pot#description", text="a pot for purple plants", group="pot")])
    page = visit()
    try:
        ask(page, "purple")
        page.locator(".card .open").first.click()
        product = page.locator(".side section").first
        product.locator("p").wait_for()
        assert product.locator("p").inner_text() == "a pot for purple plants"
        assert product.locator(".strip button").count() == 2
        page.goto("about:blank")  # nothing is asked for any more
    finally:
        with mm.Collection.open(shop) as collection:
            collection.delete(["pot#photo-1", "pot#photo-2", "pot#photo-3", "pot#description"])


def test_liked_and_disliked_turn_the_answer(visit):
    page = visit()
    ask(page, "red")
    page.locator(".card .open").first.focus()
    page.keyboard.press("s")
    page.wait_for_selector(".chip")
    settle(page)
    assert names(page, 1)[0].startswith("red")
    assert "“red”" not in page.locator("h1").inner_text()
    ask(page, "green")
    page.locator(".card .open").first.focus()
    with page.expect_response(lambda response: response.url.endswith("/v1/search")):
        page.keyboard.press("u")
    settle(page)
    assert page.locator(".chip.not").count() == 1


def test_scrolling_shows_all_of_them_once_and_nothing_jumps(visit):
    page = visit(viewport={"width": 1000, "height": 700})
    ask(page, "red blue green yellow")
    for _ in range(30):
        page.mouse.wheel(0, 1500)
        page.wait_for_timeout(60)
        if page.locator(".card:not(.ghost)").count() == 80:
            break
    until(page, "document.querySelectorAll('.card:not(.ghost)').length === 80")
    ids = page.locator(".card").evaluate_all("(all) => all.map((one) => one.dataset.id)")
    assert len(set(ids)) == 80
    assert page.locator("#more").is_hidden()
    assert page.evaluate("window.shift") < 0.02, page.evaluate("window.shifted")


def test_texts_are_found_too(visit):
    page = visit()
    ask(page, "blue")
    with page.expect_response(lambda response: response.url.endswith("/v1/search")):
        page.get_by_text("Texts", exact=True).click()
    settle(page)
    assert names(page, 1) == ["blue words"]


def test_nothing_found_and_an_unreadable_picture_are_told(visit):
    page = visit(hash='#q=red&f=[["brand",[{"value":"nobody","low":null,"high":null}]]]')
    assert "Nothing found" in page.locator("#grid").inner_text()
    page.set_input_files("#file", {"name": "a.png", "mimeType": "image/png", "buffer": b"no picture"})
    page.wait_for_selector("#problem:not([hidden])")
    assert "cannot be read" in page.locator("#problem").inner_text()


def test_what_is_indexed_meanwhile_is_seen_at_once(visit, shop, tmp_path):
    page = visit()
    before = page.locator("#progress").inner_text()
    with mm.Collection.open(shop) as collection:
        collection.add([mm.Item("late", text="late words")])
        try:
            until(page, f"document.querySelector('#progress').textContent !== '{before}'")
            assert "85 items" in page.locator("#progress").inner_text()
        finally:
            collection.delete(["late"])


def test_a_phone_has_no_sideways_scroll_and_a_sheet_of_filters(visit):
    page = visit(viewport={"width": 360, "height": 740}, has_touch=True, is_mobile=True)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    sheet = page.locator("#filters")
    assert not sheet.is_visible()
    page.get_by_role("button", name="Filters").click()
    page.locator("[data-key='colour/\"red\"']").check()
    page.get_by_label("Close the filters").click()
    settle(page)
    assert {name.split()[0] for name in names(page)} == {"red"}
    page.locator(".card .open").first.click()
    page.wait_for_selector("#detail[open] .stage img")
    assert page.evaluate("document.querySelector('#detail').scrollWidth") <= 360


@pytest.mark.parametrize(
    ("scheme", "size"), [("light", (1280, 800)), ("dark", (1280, 800)), ("light", (390, 844)), ("dark", (390, 844))]
)
def test_screen_readers_and_contrast(visit, scheme, size):
    source = axe_source()
    page = visit(viewport={"width": size[0], "height": size[1]}, color_scheme=scheme)
    ask(page, "red -blue")

    def check(where):
        page.evaluate(source)
        page.wait_for_timeout(400)  # fading pictures are not judged half-way
        found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
        first = [(one["id"], one["nodes"][0]) for one in found["violations"]]
        assert [f"{id}: {node['html'][:160]} {node.get('failureSummary')}" for id, node in first] == [], where

    check("the answer")
    page.locator(".card .open").first.click()
    page.wait_for_selector(".strip img")
    check("a hit looked at closely")
    page.keyboard.press("Escape")
    if size[0] < 900:
        page.get_by_role("button", name="Filters").click()
        page.wait_for_timeout(300)
        check("the sheet of filters")
