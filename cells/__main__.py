"""`python -m cells compile`: build the kernels of this package's cells now, rather than at their first use.

`python -m cells compile CELL [option=value …]`: build one, and show its equations as traced, what it keeps for
backward, its C++ and its Triton. CELL is a class of this package (`lstm`, `AblatedLSTM`), a layer of torchrecurrent
(`MGU`), or any other class by its module (`my_cells.LeakyRNN`)."""

import argparse
import ast
import sys
from importlib import import_module
from typing import Any, NoReturn

import cells
from cells import compiler, native


def main(arguments: list[str] | None = None) -> int:
    """Do what the command line says.

    Returns:
        The exit code: 2 for arguments that make no cell, 1 if a cell has no kernel.
    """
    parser = _Parser(prog="python -m cells", description="Compile cells to kernels for the CPU.")
    compile_ = parser.add_subparsers(required=True).add_parser("compile", help="one cell, or all of this package")
    compile_.add_argument("cell", nargs="?", help="a class of this package, a layer of torchrecurrent, module.Class")
    compile_.add_argument("options", nargs="*", metavar="option=value", help="of the cell; sizes are 4 and 8")
    asked = parser.parse_args(arguments)
    if asked.cell is None:
        return _compile_all()
    try:
        cell = _made(asked.cell, dict(map(_option, asked.options)))
    except (ValueError, TypeError, ImportError, AttributeError) as error:
        print(f"error: {str(error).splitlines()[0]}", file=sys.stderr)
        return 2
    try:
        step = compiler.equations(cell)
        program = step.program()
        print(f"{step.parts.text()}\n\nkept for backward: {program.described()}\n\n{step.source()}")
        print(step.triton_source())
    except compiler.Untraceable as error:
        print(f"no GPU kernel: {error}")  # `reason` says whether there is none for CPUs either
    if (reason := compiler.reason(cell)) is not None:
        print(reason, file=sys.stderr)
        return 1
    print(f"{step.folder}: compiled, and equal to the equations")
    return 0


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        print(f"error: {message}; `{self.prog} --help` shows what is possible", file=sys.stderr)
        raise SystemExit(2)


def _compile_all() -> int:
    public = [getattr(cells, name) for name in cells.__all__]
    kinds = [
        kind for kind in public if isinstance(kind, type) and issubclass(kind, cells.Cell) and kind is not cells.Cell
    ]
    made = [kind(4, 8) for kind in kinds]
    compiler.prepare(made)
    reasons = dict.fromkeys(reason for reason in map(compiler.reason, made) if reason is not None)
    if native.library().loaded:
        print("\n".join([*reasons, f"native kernels: ready ({native.instructions()})"]))
    return 0


def _option(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals:
        raise ValueError(f"{text}: an option is written name=value")
    try:
        return name, ast.literal_eval({"true": "True", "false": "False", "null": "None"}.get(value, value))
    except (ValueError, SyntaxError):
        return name, value


def _made(name: str, options: dict[str, Any]) -> compiler.Compilable:
    sizes = {"input_size": 4, "hidden_size": 8}
    own = {kind.lower(): kind for kind in cells.__all__ if kind != "Cell"}
    module, _, kind = name.rpartition(".")
    if module:
        sys.path.insert(0, "")
        made = getattr(import_module(module), kind)(**{**sizes, **options})
    elif name.lower().replace("_", "") in own:
        made = getattr(cells, own[name.lower().replace("_", "")])(**{**sizes, **options})
    else:
        made = cells.TorchRecurrent(**{**sizes, "layer": name, **options})
    if not isinstance(made, compiler.Compilable):
        raise ValueError(f"{name}: no class with a step that can be compiled (cells.Cell)")
    return made


if __name__ == "__main__":
    sys.exit(main())
