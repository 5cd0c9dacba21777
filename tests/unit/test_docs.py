"""The README and docs/ are kept in step with the code; the documentation builds without a warning."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from markdown.extensions.toc import slugify

from tsumugi.config.experiment import Compute, Config
from tsumugi.schema.yaml_file import YamlFile, read_yaml

ROOT = Path(__file__).parents[2]
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "profiles/cluster/README.md")),
    *sorted((ROOT / "docs").glob("*.md")),
]
TEXTS = {str(page.relative_to(ROOT)): page.read_text(encoding="utf-8") for page in PAGES}
OUTSIDE_THE_SITE = [name for name in TEXTS if not name.startswith("docs/")]
BLOCK = re.compile(r"^```(?P<language>\w*)\n(?P<text>.*?)^```$", re.M | re.S)
FETCHED = re.compile(r'<(?:script|img|iframe)[^>]*src="https?://[^"]*"|<link[^>]*href="https?://[^"]*"')
FOLDERS = "scripts|rules|experiments|profiles|envs|tests|src|docs|bench"


def blocks(*languages):
    """Page and text of each code block in one of these languages."""
    found = [
        (page, block["text"])
        for page, text in TEXTS.items()
        for block in BLOCK.finditer(text)
        if block["language"] in languages
    ]
    assert len(found) >= 5, "the tests below would pass empty"
    return found


def commands(text):
    """All code blocks of a page but its diffs, which add files."""
    return "".join(block["text"] for block in BLOCK.finditer(text) if block["language"] != "diff")


def anchors(text):
    """Of all headings of a page."""
    return {slugify(heading.replace("`", ""), "-") for heading in re.findall(r"^#+ (.*)$", text, re.M)}


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The documentation as HTML."""
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", folder],
        cwd=ROOT,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return folder


def test_docs_build_strictly_and_fetch_nothing_from_the_network(site):
    pages = sorted(site.glob("*.html"))
    assert len(pages) > 10
    for page in pages:
        text = page.read_text(encoding="utf-8")
        assert FETCHED.findall(text) == []
        assert 'class="mermaid"' not in text, f"{page.name}: the theme would load Mermaid from the network"


def test_docs_name_every_key_of_the_configuration(site):
    text = (site / "configuration.html").read_text(encoding="utf-8")
    sections = re.findall(r'<h2 id="([^"]*)"', text)
    assert sections == list(Config.model_fields)
    for key in Compute.model_fields:
        assert f"<code>{key}</code>" in text


def test_docs_list_every_rule(site):
    rules = re.findall(r"^rule (\w+):", "".join(path.read_text() for path in (ROOT / "rules").glob("*.smk")), re.M)
    text = (site / "architecture.html").read_text(encoding="utf-8")
    assert len(rules) > 20
    assert [rule for rule in rules if f"<td><code>{rule}</code></td>" not in text] == []


def test_readme_is_short():
    assert len(TEXTS["README.md"].splitlines()) <= 150


@pytest.mark.parametrize("page", OUTSIDE_THE_SITE)
def test_links_outside_the_site_lead_somewhere(page):
    """Those inside docs/ are checked when it is built."""
    for link in re.findall(r"\]\((?!https?:)([^)]*)\)", TEXTS[page]):
        path, _, anchor = link.partition("#")
        target = (ROOT / page).parent / path if path else ROOT / page
        assert target.exists(), f"{page}: {link}"
        assert not anchor or anchor in anchors(target.read_text(encoding="utf-8")), f"{page}: {link}"


def test_paths_in_the_docs_exist():
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    known = {*tracked, *(str(parent) for path in tracked for parent in Path(path).parents)}
    named = {
        (page, path)
        for page, text in TEXTS.items()
        for path in [
            *re.findall(rf"`((?:{FOLDERS})/[\w./-]*)`", text),
            *re.findall(rf"(?<![\w/.-])((?:{FOLDERS})/[\w/-]+\.\w+)", commands(text)),
        ]
    }
    assert len(named) >= 50
    assert [(page, path) for page, path in sorted(named) if path.rstrip("/") not in known] == []


def test_tree_of_the_repository_is_the_one_that_is_there():
    (tree,) = (text for page, text in blocks("") if page == "docs/architecture.md")
    folders, named = [], set()
    for line in tree.splitlines():
        name = line.split()[0]
        depth = (len(line) - len(line.lstrip())) // 2
        folders[depth:] = [name]
        path = "".join(folders)
        assert (ROOT / path).exists(), f"docs/architecture.md: {path}"
        named.add(path)
    packages = {f"{path.parent.relative_to(ROOT)}/" for path in ROOT.glob("src/tsumugi/*/__init__.py")}
    assert packages - named == set(), "docs/architecture.md: the tree lacks these"


def test_messages_in_troubleshooting_are_those_of_the_code():
    files = [ROOT / "Makefile", ROOT / "Snakefile", *ROOT.glob("rules/*.smk"), *ROOT.rglob("src/**/*.py")]
    code = "".join(path.read_text(encoding="utf-8") for path in files)
    code = re.sub(r'"\s*\n\s*f?"', "", code)  # texts that go on in the next line
    table = re.findall(r"^\| (`.*?`)[^|]* \|", TEXTS["docs/troubleshooting.md"], re.M)
    fragments = [part.strip() for cell in table for part in re.split(r"`|…|; |: |\d|python3|configuration", cell)]
    fragments = [fragment for fragment in fragments if len(fragment) > 8]
    assert len(fragments) >= 8
    assert [fragment for fragment in fragments if fragment not in code] == []


def test_make_targets_in_the_docs_exist():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M))
    named = set(re.findall(r"(?:^ *|`)make ([a-z-]+)", "".join(TEXTS.values()), re.M))
    assert len(named) >= 8 and named <= targets


def test_commands_in_the_docs_are_shell_and_their_flags_exist():
    for page, text in blocks("sh"):
        done = subprocess.run(["bash", "-n", "-c", text], capture_output=True, text=True)
        assert done.returncode == 0, f"{page}: {done.stderr}"
        for line in text.replace("\\\n", " ").splitlines():
            script = re.search(r"scripts/\w+\.py", line)
            flags = re.findall(r"(?<!\S)(--[a-z-]+)", line[script.end() :].split("#")[0]) if script else []
            code = (ROOT / script[0]).read_text(encoding="utf-8") if script else ""
            missing = [flag for flag in flags if f'"{flag}"' not in code and flag not in ("--help", "--cores")]
            assert missing == [], f"{page}: {line}"


def test_yaml_in_the_docs_is_a_configuration():
    """A block that holds sections of one is checked by the models that check the user's.

    Those of docs/extending.md use what its diffs add; the test that applies these checks them.
    """
    whole = YamlFile(ROOT / "config.yaml").content
    checked = 0
    for page, text in blocks("yaml"):
        if page == "docs/extending.md":
            continue
        content = read_yaml(text, page)
        if content.keys() <= Config.model_fields.keys():
            Config.model_validate(whole | content)
            checked += 1
        else:
            assert list(content) == ["kinds"], f"{page}: neither a configuration nor an inventory"
    assert checked >= 4
