"""All scripts that the page begins with are told to the browser, and no other."""

from __future__ import annotations

from serving.playground.assets import STATIC, PackedAssets
from serving.playground.modules import imports, needed

FILES = {
    "js/main.js": b"""/** import "./comment.js" stands in a line that begins otherwise. */
import { a } from "./a.js";
import "../vendor/effect.js";
import {
  one,
  two,
} from './parts/two.js';
const later = () => import("./later.js");
const text = 'export from "./none.js"';
""",
    "js/a.js": b'export { b } from "./parts/b.js";\nimport { main } from "./main.js";',
    "js/parts/b.js": b'export const b = 1;\nconst x = "from ./none.js";\n',
    "js/parts/two.js": b'import * as all from "../a.js";\nexport * from "./b.js";',
    "vendor/effect.js": b"",
    "js/later.js": b"",
    "js/unused.js": b"",
}


def test_what_is_imported_is_followed_and_what_is_imported_later_is_not() -> None:
    assert needed(FILES, "js/main.js") == [
        "js/main.js",
        "js/a.js",
        "vendor/effect.js",
        "js/parts/two.js",
        "js/parts/b.js",
    ]


def test_script_that_is_not_there_is_passed_over() -> None:
    assert needed({"js/main.js": b'import "./gone.js";'}, "js/main.js") == ["js/main.js"]


def test_every_script_of_the_page_imports_what_is_there() -> None:
    scripts = {path.relative_to(STATIC).as_posix(): path.read_bytes() for path in STATIC.rglob("*.js")}
    assert scripts
    missing = {
        name: other for name, text in scripts.items() for other in imports(name, text) if other not in scripts
    }
    assert missing == {}


def test_the_page_begins_with_scripts_that_are_there_each_once() -> None:
    packed = PackedAssets(STATIC)
    page = packed.page().content.decode()
    links = [line for line in page.splitlines() if 'rel="modulepreload"' in line]
    assert len(links) == len(set(links)) > 10
    assert any("/vendor/preact.js" in link for link in links)
    assert "{{" not in page
