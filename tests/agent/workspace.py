"""The work folder: copies of standard-library modules, shown to the model under one fixed root.

The model sees `/project/...` wherever the folder really lies, so that two runs of a session send the same bytes.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

ROOT = PurePosixPath("/project")

MODULES = (
    "argparse", "configparser", "csv", "difflib", "fnmatch", "glob", "json", "json.decoder", "json.encoder",
    "json.scanner", "json.tool", "pprint", "shlex", "shutil", "string", "tempfile", "textwrap",
)  # fmt: skip


class Outside(ValueError):
    """A path that leaves the work folder."""


class Workspace:
    """The files of one session, below `folder`. Raises OSError as the file system does."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()
        self.original: dict[str, str] = {}
        for module in MODULES:
            spec = importlib.util.find_spec(module)
            if spec is None or spec.origin is None:
                raise LookupError(f"the standard library has no source for {module}")
            source = Path(spec.origin)
            name = "json/" + source.name if module.startswith("json") else source.name
            target = self.folder / "lib" / name
            target.parent.mkdir(parents=True, exist_ok=True)
            text = source.read_text("utf-8")
            target.write_text(text, "utf-8")
            self.original[f"lib/{name}"] = text

    def real(self, path: str) -> Path:
        """Where `path`, as the model wrote it (absolute below ROOT, or relative to it), really lies."""
        shown = ROOT / path
        if ".." in shown.parts or not shown.is_relative_to(ROOT):
            raise Outside(f"{path} is outside {ROOT}")
        return self.folder / shown.relative_to(ROOT)

    def shown(self, name: str) -> str:
        """The absolute path the model sees for a file named relative to the root."""
        return str(ROOT / name)

    def names(self, pattern: str = "**/*") -> Iterator[str]:
        """Relative names of the files that match a glob pattern, sorted."""
        for path in sorted(self.folder.glob(pattern)):
            if path.is_file():
                yield path.relative_to(self.folder).as_posix()

    def text(self, path: str) -> str:
        return self.real(path).read_text("utf-8")
