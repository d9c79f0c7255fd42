"""A hook of MkDocs: what the pages have for readers of the repository becomes what readers of the site need.

Links to files outside of docs/ lead to pages with their text. A link that has the name of a page as its text gets the
title of that page.
"""

import re
from pathlib import Path, PurePosixPath
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
LINK = re.compile(r"\]\((\.\./[^)\s#]+)((?:#[^)\s]*)?)\)")
NAMED = re.compile(r"\[[\w./]+\.md\]\(([\w./]+\.md)")
LANGUAGES = {".py": "python", ".yaml": "yaml", ".sh": "bash", ".json": "json", ".toml": "toml"}


def on_files(files: Files, config: Any) -> Files:
    """Add a page for each file and folder outside of docs/ that a page links to."""
    open_targets = {
        target
        for file in files.documentation_pages()
        if file.src_uri.endswith(".md")
        for link, _ in LINK.findall(Path(file.abs_src_path or "").read_text(encoding="utf-8"))
        if (target := _outside(link, file.src_uri))
    }
    done: set[Path] = set()
    while open_targets - done:
        target = min(open_targets - done)
        done.add(target)
        if target.is_dir():
            open_targets |= set(_list_folder(target))
        files.append(File.generated(config, _page(target), content=_text(target)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Change the links of a page."""
    if page.file.generated_by:
        return markdown

    def replace(match: re.Match[str]) -> str:
        target = _outside(match[1], page.file.src_uri)
        return f"]({_relative(_page(target), page.file.src_uri)})" if target else match[0]

    folder = (DOCS / page.file.src_uri).parent
    titled = NAMED.sub(lambda match: f"[{_title(folder / match[1])}]({match[1]}", markdown)
    return LINK.sub(replace, titled)


def _title(file: Path) -> str:
    """The title of a page, which is its first line."""
    return file.read_text(encoding="utf-8").partition("\n")[0].removeprefix("# ")


def _outside(link: str, page: str) -> Path | None:
    """The file or folder that a link leads to, if it is outside of docs/."""
    target = (DOCS / page).parent.joinpath(link).resolve()
    if target.is_relative_to(DOCS) or not target.is_relative_to(ROOT) or not target.exists():
        return None
    return target


def _page(target: Path) -> str:
    return f"source/{target.relative_to(ROOT).as_posix()}.md"


def _relative(target: str, page: str) -> str:
    return "../" * (len(PurePosixPath(page).parts) - 1) + target


def _list_folder(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_file() and path.name != "__init__.py")


def _text(target: Path) -> str:
    """The page of a file or of a folder. It is not part of the site's search."""
    name = target.relative_to(ROOT).as_posix()
    head = f"---\nsearch: {{exclude: true}}\nhide: [navigation]\n---\n\n# {name}\n\n"
    if target.is_dir():
        links = [f"- [{path.name}]({target.name}/{path.name}.md)" for path in _list_folder(target)]
        return head + "\n".join(links) + "\n"
    language = LANGUAGES.get(target.suffix, "text")
    return head + f"~~~~~~ {language}\n{target.read_text(encoding='utf-8')}\n~~~~~~\n"
