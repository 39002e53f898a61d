"""How much there is in a line, a call and a signature: python -m tests.density"""

import ast
import io
import statistics
import tokenize
from collections import Counter
from collections.abc import Iterator, Mapping, Set
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
FOLDERS = ("protos", "servers", "fusion_gateway", "training", "tests")
MAX_TOKENS = 37
"""Maximum number of tokens of a line: names, literals, operators and brackets."""
MAX_POSITIONAL = 6
"""Maximum number of positional arguments of a call."""
MAX_PARAMETERS = 6
"""Maximum number of parameters of a function, `self` and `cls` aside. Commands of the command line may have more."""

LAYOUT = {"ENCODING", "COMMENT", "NL", "NEWLINE", "INDENT", "DEDENT", "ENDMARKER"}
Comprehension = ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp
Function = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda


class Finding(NamedTuple):
    """A place in a source that breaks a rule; `size` is what the rule counts there."""

    rule: str
    size: int
    line: int


def tokens_per_line(source: str) -> Counter[int]:
    """Tokens that start on each line of code, by line number.

    An f-string is one token, as in Python 3.11; later versions of tokenize take it apart.
    """
    lines = Counter[int]()
    f_strings = 0
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        kind = tokenize.tok_name[token.type]
        f_strings -= kind == "FSTRING_END"
        if kind not in LAYOUT and not f_strings:
            lines[token.start[0]] += kind != "FSTRING_END"
        f_strings += kind == "FSTRING_START"
    return lines


def dense_lines(tokens: Counter[int]) -> Iterator[Finding]:
    yield from (Finding("tokens", number, line) for line, number in tokens.items() if number > MAX_TOKENS)


def dense_nodes(tree: ast.AST, commands: Set[str] = frozenset()) -> Iterator[Finding]:
    """Calls, comprehensions and signatures that break a rule; `commands` may have any number of parameters."""
    for node in ast.walk(tree):
        if isinstance(node, Comprehension):
            depth = comprehension_depth(node)
            if depth > 1:
                yield Finding("comprehensions", depth, node.lineno)
        elif isinstance(node, ast.Call) and len(node.args) > MAX_POSITIONAL:
            yield Finding("positional arguments", len(node.args), node.lineno)
        elif isinstance(node, Function) and getattr(node, "name", "") not in commands:
            parameters = number_of_parameters(node)
            if parameters > MAX_PARAMETERS and not is_command(node):
                yield Finding("parameters", parameters, node.lineno)


def comprehension_depth(node: ast.AST) -> int:
    """How many comprehensions stand inside each other, this one included."""
    deepest = max(map(comprehension_depth, ast.iter_child_nodes(node)), default=0)
    return deepest + isinstance(node, Comprehension)


def number_of_parameters(function: Function) -> int:
    arguments = function.args
    named = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    starred = [argument for argument in (arguments.vararg, arguments.kwarg) if argument]
    return len([argument for argument in named if argument.arg not in ("self", "cls")]) + len(starred)


def is_command(function: Function) -> bool:
    """Whether typer turns its parameters into options: @app.command(), @app.callback()."""
    decorators = map(ast.unparse, getattr(function, "decorator_list", []))
    return any(".command(" in decorator or ".callback(" in decorator for decorator in decorators)


def registered_commands(tree: ast.AST) -> set[str]:
    """Names of functions given to typer elsewhere than where they are defined: app.command("name")(function)."""
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Call)]
    registrations = [call for call in calls if ".command(" in ast.unparse(call.func)]
    return {ast.unparse(argument) for call in registrations for argument in call.args}


class Density(NamedTuple):
    """What was measured in a folder."""

    tokens: list[int]
    """Of each line of code."""
    findings: list[tuple[str, Finding]]
    """Paths and findings that break a rule, the worst of each rule first."""


def measure(root: Path, folder: str) -> Density:
    """Measures a folder, without what protoc generates."""
    files = [file for file in sorted((root / folder).rglob("*.py")) if "_pb2" not in file.name]
    sources = {str(file.relative_to(root)): file.read_text() for file in files}
    trees = {path: ast.parse(source) for path, source in sources.items()}
    commands = set[str]().union(*map(registered_commands, trees.values()))
    lines: list[int] = []
    findings = []
    for path, source in sources.items():
        tokens = tokens_per_line(source)
        lines += tokens.values()
        found = [*dense_lines(tokens), *dense_nodes(trees[path], commands)]
        findings += [(path, finding) for finding in found]
    return Density(lines, sorted(findings, key=lambda each: (each[1].rule, -each[1].size)))


def report(measured: Mapping[str, Density], worst: int = 10) -> str:
    """Tokens a line of each folder, and the worst findings of each rule."""
    table = [f"{'tokens a line':16}{'lines':>8}{'mean':>8}{'median':>8}{'p90':>6}{'max':>6}"]
    for folder, (tokens, _) in measured.items():
        if len(tokens) > 1:
            deciles = statistics.quantiles(tokens, n=10)
            mean = statistics.fmean(tokens)
            table += [f"{folder:16}{len(tokens):8}{mean:8.1f}{deciles[4]:8.0f}{deciles[8]:6.0f}{max(tokens):6}"]
    for folder, (_, findings) in measured.items():
        for rule, number in Counter(finding.rule for _, finding in findings).items():
            of_rule = [f"{finding.size:5}  {path}:{finding.line}" for path, finding in findings if finding.rule == rule]
            table += [f"\n{folder}: {number} findings with too many {rule}", *of_rule[:worst]]
    return "\n".join(table)


if __name__ == "__main__":
    print(report({folder: measure(ROOT, folder) for folder in FOLDERS}))
