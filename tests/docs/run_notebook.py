"""`python -m tests.docs.run_notebook FILE OLD NEW OLD NEW …`: run the cells of a notebook, with some texts replaced."""

import ast
import json
import sys
from pathlib import Path


def run_cell(source: str, names: dict[str, object]) -> None:
    """Run one cell as Jupyter does: a value in the last line is shown, and `%%writefile` writes a file."""
    if source.startswith("%%writefile "):
        head, _, text = source.partition("\n")
        Path(head.split()[1]).write_text(text)
        return
    *first, last = ast.parse(source).body
    if not isinstance(last, ast.Expr):
        exec(compile(source, "cell", "exec"), names)
        return
    exec(compile(ast.Module(first, []), "cell", "exec"), names)
    value = eval(compile(ast.Expression(last.value), "cell", "eval"), names)
    # What Jupyter shows is made, too: a fault in it would be seen by readers only.
    to_html = getattr(value, "_repr_html_", None)
    sys.stdout.write(f"{to_html() if to_html else repr(value)}\n")


def main(path: str, *changes: str) -> None:
    sys.path.insert(0, "")  # As in Jupyter, a file in the current folder can be imported.
    names: dict[str, object] = {"__name__": "__main__"}
    pairs = list(zip(changes[::2], changes[1::2], strict=True))
    sources = ["".join(cell["source"]) for cell in read_cells(Path(path), "code")]
    for old, _ in pairs:
        assert any(old in source for source in sources), f"{path}: has no {old!r}"
    for source in sources:
        for old, new in pairs:
            source = source.replace(old, new)
        run_cell(source, names)


def read_cells(path: Path, kind: str) -> list[dict[str, list[str]]]:
    """The cells of one kind: `code` or `markdown`."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return [cell for cell in cells if cell["cell_type"] == kind]


if __name__ == "__main__":
    main(*sys.argv[1:])
