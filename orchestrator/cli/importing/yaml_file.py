"""Reads a YAML file as plain data that knows its lines.

Promise: a tag never makes an object, and a file makes a bounded amount of data, however its aliases and merges multiply each
other. PyYAML is an optional part of the installation; a user who does not have it is told how to get it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from orchestrator.errors import JobsFileError, UserError
from orchestrator.system.named_files import open_named

if TYPE_CHECKING:
    import yaml

_LARGEST_FILE_BYTES = 1 << 20
_MOST_VALUES = 50_000
_DEEPEST = 100
_MERGE = "tag:yaml.org,2002:merge"


class Table(dict[str, Any]):
    """A mapping of a YAML file. `line`: where it begins; `lines`: key -> its line (from 1)."""

    def __init__(self, line: int) -> None:
        super().__init__()
        self.line = line
        self.lines: dict[str, int] = {}

    def line_of(self, key: str) -> int:
        """The line of a key; of the table if it has no such key."""
        return self.lines.get(key, self.line)


def read_yaml(path: str) -> Any:
    """The one document of the file: tables, lists, scalars. Raises UserError; JobsFileError for a file that is no YAML."""
    try:
        import yaml
    except ImportError:
        raise UserError(
            "import needs PyYAML, which is not installed", "pip install 'orchestrate-runs[import]' brings it"
        ) from None
    # The nodes only: what they become is made, and counted, here.
    text = _read(path)
    loader = yaml.SafeLoader(text)
    try:
        node = loader.get_single_node()
        return None if node is None else _Reader(loader, path).value(node, 0)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise _refused(path, mark.line + 1 if mark else 1, f"invalid YAML: {error.problem or error.context}") from None
    except yaml.YAMLError as error:
        raise _refused(path, 1, f"invalid YAML: {error}") from None
    except RecursionError:
        raise _refused(path, 1, "nested too deeply") from None
    finally:
        loader.dispose()


def _read(path: str) -> str:
    try:
        with open_named(path) as file:
            content = file.read(_LARGEST_FILE_BYTES + 1)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or error}") from None
    except ValueError:
        raise UserError("a path with a NUL byte names no file") from None
    if len(content) > _LARGEST_FILE_BYTES:
        raise UserError(f"{path}: larger than 1 MiB: hardly a workflow")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _refused(path, content.count(b"\n", 0, error.start) + 1, "not UTF-8") from None


def _refused(path: str, line: int, words: str) -> JobsFileError:
    return JobsFileError(path, [f"{path}:{line}: {' '.join(words.split())}"])


class _Reader:
    """Makes values of nodes, and counts each value, an alias's each time."""

    def __init__(self, loader: yaml.SafeLoader, path: str) -> None:
        self._loader = loader
        self._path = path
        self._count = 0

    def value(self, node: Any, depth: int) -> Any:
        self._count += 1
        if self._count > _MOST_VALUES:
            raise self._wrong(node, f"more than {_MOST_VALUES} values, aliases counted each time")
        if depth > _DEEPEST:
            raise self._wrong(node, f"nested more than {_DEEPEST} deep")
        match node.id:
            case "mapping":
                return self._table(node, depth)
            case "sequence":
                return [self.value(each, depth + 1) for each in node.value]
            case _:
                return self._scalar(node)

    def _scalar(self, node: Any) -> Any:
        try:
            return self._loader.construct_object(node)
        except ValueError:  # 2026-13-45, and numbers of five thousand digits
            raise self._wrong(node, "not a value of its kind; quote it") from None

    def _table(self, node: Any, depth: int) -> Table:
        # A key of the mapping itself goes before one that is merged in, wherever the merge stands.
        table = Table(node.start_mark.line + 1)
        merged: list[Table] = []
        for key_node, value_node in node.value:
            if key_node.tag == _MERGE:
                merged += self._merged(value_node, depth + 1)
                continue
            if key_node.id != "scalar":
                raise self._wrong(key_node, "a key is a single word")
            key = str(self.value(key_node, depth + 1))
            if key in table:
                raise self._wrong(key_node, f"the key {key!r} stands twice")
            table[key] = self.value(value_node, depth + 1)
            table.lines[key] = key_node.start_mark.line + 1
        for source in merged:
            for key, value in source.items():
                if key not in table:
                    table[key] = value
                    table.lines[key] = source.lines[key]
        return table

    def _merged(self, node: Any, depth: int) -> list[Table]:
        value = self.value(node, depth)
        tables = value if isinstance(value, list) else [value]
        if not all(isinstance(each, Table) for each in tables):
            raise self._wrong(node, "<< takes mappings")
        return tables

    def _wrong(self, node: Any, words: str) -> JobsFileError:
        return _refused(self._path, node.start_mark.line + 1, words)
