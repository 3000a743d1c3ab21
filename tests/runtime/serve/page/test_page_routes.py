"""The page's files: their types, what a browser may do with them, and that they are all there."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from omnijet.runtime.serve.page_routes import POLICY, TYPES, page_routes

FOLDER = Path(__file__).parents[4] / "runtime" / "serve" / "page"
FILES = sorted(FOLDER.iterdir())


@pytest.fixture
def client() -> TestClient:
    return TestClient(Starlette(routes=page_routes()))


def address(path: Path) -> str:
    return "/" if path.name == "index.html" else f"/page/{path.name}"


def test_every_file_is_served_with_its_type(client: TestClient) -> None:
    for path in FILES:
        answer = client.get(address(path))
        assert answer.status_code == 200 and answer.content == path.read_bytes(), path.name
        assert answer.headers["content-type"] == TYPES[path.suffix]
        assert answer.headers["content-security-policy"] == POLICY
        assert answer.headers["x-content-type-options"] == "nosniff"


def test_what_a_browser_has_already_is_not_sent_again(client: TestClient) -> None:
    first = client.get("/page/app.js")
    assert first.headers["cache-control"] == "no-cache"  # so that it asks
    for tag in (
        first.headers["etag"],
        f"W/{first.headers['etag']}",
        f'"x", {first.headers["etag"]}',
    ):
        again = client.get("/page/app.js", headers={"If-None-Match": tag})
        assert again.status_code == 304 and not again.content, tag
    changed = client.get("/page/app.js", headers={"If-None-Match": '"another"'})
    assert changed.status_code == 200 and changed.content == first.content


def test_nothing_else_is_served(client: TestClient) -> None:
    assert client.head("/").status_code == 200
    assert client.post("/").status_code == 405
    for path in ("/page/", "/page/none.js", "/page/../config.py", "/page/%2e%2e/config.py", "/x"):
        assert client.get(path).status_code == 404, path


def test_the_policy_allows_no_foreign_host_and_nothing_inline() -> None:
    rules = dict(rule.split(" ", 1) for rule in POLICY.split("; "))
    assert rules["default-src"] == "'none'"
    assert rules["script-src"] == rules["style-src"] == rules["connect-src"] == "'self'"
    assert not re.search(r"unsafe|\*|http", POLICY)


def test_no_file_names_another_host() -> None:
    for path in FILES:
        found = set(re.findall(r"\b(?:https?|wss?)://[\w.-]+", path.read_text(encoding="utf-8")))
        # a namespace, and what the user is told to open
        assert found <= {"http://www.w3.org", "http://localhost"}, path.name


class _References(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.paths: set[str] = set()
        self.inline: list[str] = []
        self._in_script = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self._in_script = tag == "script"
        if tag in ("script", "link"):
            self.paths.add(values.get("src") or values.get("href") or "")
        self.inline += [f"{tag} {name}" for name in values if name == "style" or name[:2] == "on"]
        if tag == "style":
            self.inline.append(tag)

    def handle_data(self, data: str) -> None:
        if self._in_script and data.strip():
            self.inline.append(data)


def test_the_document_refers_to_what_is_there_and_has_no_script_or_style_in_it() -> None:
    document = _References()
    document.feed((FOLDER / "index.html").read_text(encoding="utf-8"))
    assert not document.inline
    assert {f"page/{name}" for name in ("main.js", "style.css", "icon.svg")} == document.paths


def test_every_module_is_reached_and_every_import_leads_somewhere() -> None:
    reached, waiting = set(), ["main.js"]
    while waiting:
        name = waiting.pop()
        if name in reached:
            continue
        reached.add(name)
        text = (FOLDER / name).read_text(encoding="utf-8")
        waiting += re.findall(r'from "\./([\w-]+\.js)"', text)
        waiting += re.findall(r'"([\w-]+-worklet\.js)"', text)
    assert reached == {path.name for path in FILES if path.suffix == ".js"}
