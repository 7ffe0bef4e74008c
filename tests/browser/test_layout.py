"""The layout of the status page, drawn without a stack."""

import pytest
from django.template.loader import render_to_string
from playwright.sync_api import Page

from tests.browser.conftest import DESKTOP, PHONE
from tests.tree import ROOT

REASON = "Unavailable: the search server refuses the key of this project"


@pytest.mark.parametrize(("width", "height"), [DESKTOP, PHONE])
def test_long_reason_of_a_component_leaves_its_box_readable(
    page: Page, width: int, height: int
) -> None:
    part = {"name": "search", "state": "down", "word": "Down", "detail": REASON}
    boxes = [{"key": "other", "title": "Search", "parts": [part]}]
    styles = (ROOT / "ops/static/ops/status.css").read_text()
    page.set_viewport_size({"width": width, "height": height})
    page.set_content(
        f"<style>{styles}</style>"
        f"{render_to_string('ops/parts/diagram.html', {'diagram': {'boxes': boxes}})}"
    )

    title = page.locator(".behind h3").bounding_box()
    assert title is not None
    assert title["width"] > title["height"], title
    assert page.evaluate("document.documentElement.scrollWidth") <= width
