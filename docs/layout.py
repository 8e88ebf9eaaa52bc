"""The hook of mkdocs.yml: gives the site the repository's layout, which keeps relative links valid in both."""

from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
FOLDERS = ("docs", "bench", "cells", "conf", "reports", "tasks")
KINDS = (".md", ".css", ".png", ".svg", ".csv", ".py", ".cpp", ".h", ".yaml", ".jinja", ".ipynb")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Replace the files of docs/ by all files of the repository that are pages, or that pages show or link to."""
    for file in list(files.src_uris.values()):
        if file.abs_src_path and Path(file.abs_src_path).is_relative_to(ROOT / "docs"):
            files.remove(file)
    paths = [*ROOT.glob("*.md"), *(ROOT / name for name in ("LICENSE", "CITATION.cff", "mkdocs.yml", "pyproject.toml"))]
    paths += [path for folder in FOLDERS for path in (ROOT / folder).rglob("*") if path.suffix in KINDS]
    for path in sorted(paths):
        name = path.relative_to(ROOT).as_posix()
        files.append(File(name, str(ROOT), config.site_dir, config.use_directory_urls))
    return files
