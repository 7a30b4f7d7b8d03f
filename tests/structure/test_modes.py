"""Files of ours get their mode from us, whatever the umask is: under `umask 000` nobody else may write them."""

from __future__ import annotations

import ast

from drivers.our_source import FILES, tree_of

LEFT_TO_THE_UMASK = {
    "orchestrator.demo_agent": 3,  # what an agent writes for its user
    "orchestrator.attempts.workspaces.changes": 1,  # in a temporary folder
    "orchestrator.attempts.workspaces.landing": 1,  # in a temporary folder
    "orchestrator.workers.workspaces.inner_repositories": 1,  # in a temporary folder
}
"""Module -> how many files it may make with whatever mode the umask leaves."""

DESCRIPTORS = ("fd", "descriptor", "file", "reading", "writing")
"""Names of what was opened before, with a mode."""


def leaves_mode_to_umask(call: ast.Call) -> bool:
    """Whether a call makes a file, or may, and gives it no mode."""
    words = {each.arg for each in call.keywords}
    first = call.args[0] if call.args else None
    match call.func:
        case ast.Name(id="open"):
            is_open = isinstance(first, ast.Call) or (isinstance(first, ast.Name) and first.id in DESCRIPTORS)
            return writes(call.args[1:]) and not is_open and "opener" not in words
        case ast.Attribute(value=ast.Name(id="os"), attr="open") if "O_CREAT" in ast.unparse(call.args[1]):
            match call.args[2:]:
                case [ast.Constant(value=int(mode))]:
                    return bool(mode & 0o022)
            return len(call.args) < 3
        case ast.Attribute(attr="open"):
            return writes(call.args)
        case ast.Attribute(attr="touch"):
            return not call.args
        case ast.Attribute(attr="write_text" | "write_bytes"):
            return True
        case ast.Attribute(value=ast.Name(id="shutil"), attr="copy" | "copy2" | "copyfile"):
            return True
    return False


def writes(arguments: list[ast.expr]) -> bool:
    match arguments:
        case [ast.Constant(value=str(mode)), *_]:
            return len(mode) <= 3 and bool(set(mode) & set("wax"))
    return False


def test_no_file_of_ours_is_left_to_the_umask() -> None:
    calls = {module: [node for node in ast.walk(tree_of(module)) if isinstance(node, ast.Call)] for module in FILES}
    found = {module: sum(map(leaves_mode_to_umask, each)) for module, each in calls.items()}
    assert {module: count for module, count in found.items() if count} == LEFT_TO_THE_UMASK


def test_the_check_sees_what_it_is_for() -> None:
    seen = ['open(path, "wb")', 'path.open("xb")', "path.touch()", "path.write_text(x)", "shutil.copyfile(a, b)"]
    seen += ["os.open(path, os.O_WRONLY | os.O_CREAT)", "os.open(path, os.O_CREAT, 0o666)"]
    left = ['open(path, "rb")', 'open(open_file(path, flags), "wb")', 'open(fd, "wb")', "path.touch(0o600)", "write_bytes(x)"]
    left += ["os.open(path, os.O_CREAT, 0o600)", 'open(path, "wb", opener=ours)', "shutil.rmtree(a)"]
    for source, is_seen in [*((each, True) for each in seen), *((each, False) for each in left)]:
        call = ast.parse(source, mode="eval").body
        assert isinstance(call, ast.Call)
        assert leaves_mode_to_umask(call) == is_seen, source
