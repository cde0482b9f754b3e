#!/usr/bin/env python3
"""Builds the site: `docs/build.py OUT`, or `make site`.

mdBook reads a copy of docs/ in which what lives elsewhere is filled in: the README's tables, the
graph as the code draws it (by Graphviz), SECURITY.md, CONTRIBUTING.md and CHANGELOG.md. Links to
files that are no page of the site lead to the repository.
"""

import os
import pathlib
import re
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
REPOSITORY = "https://github.com/dataplane-rs/dataplane/blob/main/"
# Pages that are made of a file of the repository's root.
FROM_ROOT = {"CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md", "SECURITY.md": "security.md"}
LINK = re.compile(r"(\]\()([^)\s]+)(\))")


def section(name):
    """What stands between `<!-- name ... -->` and `<!-- /name -->` in the README."""
    readme = (ROOT / "README.md").read_text()
    found = re.search(rf"<!-- {name}\b[^>]*-->\n(.*?)<!-- /{name} -->", readme, re.DOTALL)
    if not found:
        sys.exit(f"{sys.argv[0]}: README.md has no section {name}")
    return found.group(1).strip()


def page(source, text, pages):
    """`text` of the file `source` as a page: links that lead somewhere, fences without markers."""

    def link(match):
        target, _, anchor = match.group(2).partition("#")
        if not target or "://" in target or target.startswith("mailto:"):
            return match.group(0)
        path = os.path.relpath((source.parent / target).resolve(), ROOT)
        anchor = "#" + anchor if anchor else ""
        name = FROM_ROOT.get(path, path.removeprefix("docs/"))
        if name in pages:
            return match.group(1) + name + anchor + match.group(3)
        if not (ROOT / path).exists():
            sys.exit(f"{source}: the link to {target} leads nowhere")
        return match.group(1) + REPOSITORY + path + anchor + match.group(3)

    lines, language = [], None
    for line in text.splitlines():
        if line.startswith("```"):
            if language is None:
                # The marker behind the language is for docs/test.py and rustdoc.
                language = re.match(r"```(\w*)", line).group(1)
                line = "```" + language
            else:
                language = None
        elif language is None:
            line = LINK.sub(link, line)
        elif language == "rust" and (line == "#" or line.startswith("# ")):
            continue  # rustdoc hides these
        lines.append(line)
    return "\n".join(lines) + "\n"


def main():
    if len(sys.argv) != 2:
        sys.exit(f"usage: {sys.argv[0]} OUT")
    out = pathlib.Path(sys.argv[1]).resolve()
    for tool, how in (("mdbook", "cargo install mdbook"), ("dot", "Debian package graphviz")):
        if not shutil.which(tool):
            sys.exit(f"{sys.argv[0]}: {tool} is missing ({how})")
    book = out.parent / "site-book"
    shutil.rmtree(book, ignore_errors=True)
    (book / "src").mkdir(parents=True)

    summary = (ROOT / "docs/SUMMARY.md").read_text()
    pages = {name: ROOT / "docs" / name for name in re.findall(r"\((\S+\.md)\)", summary)}
    for source, name in FROM_ROOT.items():
        if name in pages:
            pages[name] = ROOT / source
    for name, source in list(pages.items()):
        if source.name == "SECURITY.md" and not source.exists():
            del pages[name]
            summary = re.sub(rf"^- .*\({name}\)\n", "", summary, flags=re.MULTILINE)
    (book / "src/SUMMARY.md").write_text(summary)

    for name, source in pages.items():
        text = page(source, source.read_text(), pages)
        for marker in ("nodes", "race", "vpp"):
            filled = page(ROOT / "README.md", section(marker), pages)
            text = text.replace(f"<!-- {marker} -->\n", filled)
        for example in re.findall(r"<!-- example (\w+) -->", text):
            code = (ROOT / f"examples/{example}.rs").read_text()
            text = text.replace(f"<!-- example {example} -->", f"```rust\n{code}```")
        (book / "src" / name).write_text(text)

    for picture in (ROOT / "docs").glob("*.svg"):
        shutil.copy(picture, book / "src")
    graph = subprocess.run(
        ["cargo", "run", "--quiet", "--locked", "-p", "dataplane-examples", "--example", "draw", "--", "--graphviz"],
        cwd=ROOT, check=True, capture_output=True, text=True).stdout
    # http-static is no node: it is polled by tcp4-input.
    graph = graph.replace("rankdir=LR;", """rankdir=TB; ranksep=0.5; nodesep=0.4; node [shape=box]; bgcolor="transparent";
  node [fontname="DejaVu Sans,Verdana,sans-serif" fontsize=13 style="rounded,filled" fillcolor="#e8effd" color="#1d4ed8" height=0.42];
  edge [fontname="DejaVu Sans,Verdana,sans-serif" fontsize=10 fontcolor="#52606d" color="#7b8794" arrowsize=0.7];
  "http-static (hyper)" [fillcolor="#ffffff" color="#7b8794"];
  "tcp4-input" -> "http-static (hyper)" [dir=both style=dashed label="byte streams"];""")
    subprocess.run(["dot", "-Tsvg", "-o", book / "src/graph.svg"], input=graph, text=True, check=True)
    for name in ("book.toml", "site.css"):
        shutil.copy(ROOT / "docs" / name, book)
    subprocess.run(["mdbook", "build", "--dest-dir", out, book],
                   check=True, env={**os.environ, "MDBOOK_LOG": "warn", "RUST_LOG": "warn"})
    print(f"{out}/index.html")


main()
