"""Renders the template of a stranger: in a sandbox, with an end, and within bounds of memory.

Jinja's sandbox keeps a template from Python's insides, and bounds neither time nor memory. Here
each turn of a loop, call, filter, test and operator spends fuel, by what goes through it: see
`fuel.py`. It works in any thread, and needs no other process.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jinja2
from jinja2 import nodes
from jinja2.runtime import Context, LoopContext
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace
from jinja2.visitor import NodeTransformer

from omnijet.runtime.prompt.fuel import (
    OPERATION,
    TooMuch,
    fuelled,
    spend,
    spend_on,
    spend_on_named,
    spend_on_operator,
    weight,
)

MOST_SOURCE = 1 << 18  # characters of a template; published ones have 2 to 20 thousand
MOST_TEXT = 1 << 20  # characters of a prompt, and four times what the conversation has
FUEL = 20_000_000  # a second or two, and at most 100 MB
NODE = 10  # units of a part of a template
WEIGHED, TURN = " weighed", " turn"  # filters with names that no template can write
WITHOUT = ("batch", "pprint", "slice", "striptags", "urlize", "wordwrap", "xmlattr")
"""Filters that no template of a chat needs, and whose work is hard to foresee."""
OWN_NAMES = ("_loop_vars", "_block_vars", "caller")  # arguments that Jinja adds

_TEXT_METHODS = """
    capitalize casefold center count endswith find format format_map index isalnum isalpha isascii
    isdecimal isdigit isidentifier islower isnumeric isprintable isspace istitle isupper join ljust
    lower lstrip partition removeprefix removesuffix replace rfind rindex rjust rpartition rsplit
    rstrip split splitlines startswith strip swapcase title upper zfill
"""
METHODS: tuple[tuple[type, frozenset[str]], ...] = (
    (str, frozenset(_TEXT_METHODS.split())),
    (dict, frozenset({"copy", "get", "items", "keys", "values"})),
    (list, frozenset({"copy", "count", "index"})),
    (tuple, frozenset({"count", "index"})),
    (object, frozenset()),
)
"""The methods of Python's own types that a template may call."""


class Template:
    """A chat template, compiled.

    Raises:
        jinja2.TemplateError: it is faulty.
        TooMuch: it is too large.
    """

    def __init__(
        self,
        source: str,
        filters: Mapping[str, Callable[..., Any]],
        functions: Mapping[str, Callable[..., Any]],
    ) -> None:
        if len(source) > MOST_SOURCE:
            raise TooMuch(f"it has {len(source):,} characters, more than {MOST_SOURCE:,}")
        environment = _Environment(filters, functions)
        parsed = environment.parse(source)
        self._cost = _cost(parsed)
        _Meter().visit(parsed)
        self._template = jinja2.Template.from_code(
            environment, environment.compile(parsed), environment.make_globals(None)
        )

    def render(self, given: int, **variables: Any) -> str:
        """Returns the text.

        Args:
            given: the characters of the variables.

        Raises:
            TooMuch: it takes too long, or makes too much.
            Exception: whatever the template does wrong.
        """
        pieces, most = [], MOST_TEXT + 4 * given
        with fuelled(FUEL + 32 * given):
            spend(self._cost)
            context = self._template.new_context(variables)
            for piece in self._template.root_render_func(context):
                pieces.append(piece)
                most -= len(piece)
                if most < 0:
                    raise TooMuch("it makes more text than a conversation has")
        return "".join(pieces)


class _Namespace(Namespace):
    """A namespace that is never written with all that it holds."""

    def __repr__(self) -> str:
        return "<Namespace>"


class _Environment(ImmutableSandboxedEnvironment):
    """The environment of `apply_chat_template` of transformers, where all work spends fuel."""

    intercepted_binops = frozenset({"+", "-", "*", "/", "//", "%", "**"})

    def __init__(
        self,
        filters: Mapping[str, Callable[..., Any]],
        functions: Mapping[str, Callable[..., Any]],
    ) -> None:
        # the optimizer would compute at once, while it compiles
        super().__init__(
            trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"],
            optimized=False,
        )  # fmt: skip
        plain = ImmutableSandboxedEnvironment()
        plain.filters.update(filters)
        for name in WITHOUT:
            del plain.filters[name]
        self.filters = {name: _filter(plain, name) for name in plain.filters}
        self.tests = {name: _test(plain, name) for name in plain.tests}
        self.filters |= {WEIGHED: _weighed, TURN: _turn}
        del self.globals["lipsum"]
        self.globals.update(functions, namespace=_Namespace)

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        spend_on_operator(operator, left, right)
        return super().call_binop(context, operator, left, right)

    def call(__self, __context: Context, __obj: Any, *args: Any, **kwargs: Any) -> Any:
        args = tuple(map(_listed, args))
        given = [*args, *(kwargs[name] for name in kwargs if name not in OWN_NAMES)]
        method = getattr(__obj, "__wrapped__", __obj)  # the sandbox wraps str.format
        owner = getattr(method, "__self__", None)
        if isinstance(method, (types.BuiltinFunctionType, types.MethodType)):
            _check_method(owner, method.__name__)
        if isinstance(owner, str):
            spend_on_named(method.__name__, owner, given)
        else:
            spend(OPERATION)
            spend_on(owner, *given)
        result = super().call(__context, __obj, *args, **kwargs)
        spend(weight(result))
        return result


def _check_method(owner: Any, name: str) -> None:
    kind, names = next(row for row in METHODS if isinstance(owner, row[0]))
    is_ours = kind is object and not isinstance(owner, (type, int, float, bytes, range))
    if name not in names and not is_ours:
        raise jinja2.TemplateError(f"it calls {name} of {type(owner).__name__}")


def _filter(plain: jinja2.Environment, name: str) -> Callable[..., Any]:
    # a filter that asks for the context is not computed while the template is compiled
    @jinja2.pass_context
    def call(context: Context, value: Any, *args: Any, **kwargs: Any) -> Any:
        value = _listed(value)
        spend_on_named(name, value, [*args, *kwargs.values()])
        result = plain.call_filter(name, value, args, kwargs, context=context)
        spend(weight(result))
        return result

    return call


def _test(plain: jinja2.Environment, name: str) -> Callable[..., Any]:
    @jinja2.pass_context
    def call(context: Context, value: Any, *args: Any, **kwargs: Any) -> Any:
        spend_on_named(name, value, [*args, *kwargs.values()])
        return plain.call_test(name, value, args, kwargs, context=context)

    return call


def _listed(value: Any) -> Any:
    """Returns what an iterator gives, as a list: nobody can weigh an iterator."""
    return list(value) if isinstance(value, Iterator) and type(value) not in _KNOWN else value


_KNOWN = {LoopContext}


@jinja2.pass_context
def _weighed(context: Context, value: Any) -> Any:
    spend(weight(value))
    return value


@jinja2.pass_context
def _turn(context: Context, units: int) -> None:
    spend(max(units, 0))  # a template can name it after all, in `map(...)`


class _Meter(NodeTransformer):
    """Adds what spends fuel to a template: where a body begins, and where values go through."""

    def _body(self, node: Any) -> Any:
        units = nodes.Const(_cost(node))
        self.generic_visit(node)
        node.body.insert(0, nodes.ExprStmt(_filtered(units, TURN), lineno=node.lineno))
        return node

    visit_Macro = visit_CallBlock = visit_Block = _body

    def visit_For(self, node: nodes.For) -> Any:
        self._body(node)
        node.iter = _filtered(node.iter)
        return node

    def visit_Output(self, node: nodes.Output) -> Any:
        self.generic_visit(node)
        node.nodes = [one if isinstance(one, _COUNTED) else _filtered(one) for one in node.nodes]
        return node

    def visit_Concat(self, node: nodes.Concat) -> Any:
        self.generic_visit(node)
        node.nodes = [_filtered(one) for one in node.nodes]
        return node

    def visit_Compare(self, node: nodes.Compare) -> Any:
        self.generic_visit(node)
        if all(one.op in ("eq", "ne") and isinstance(one.expr, nodes.Const) for one in node.ops):
            return node  # that looks at no more than the constant has
        node.expr = _filtered(node.expr)
        for operand in node.ops:
            operand.expr = _filtered(operand.expr)
        return node

    def _made(self, node: Any) -> Any:
        self.generic_visit(node)
        return node if getattr(node, "ctx", "load") == "store" else _filtered(node)

    visit_List = visit_Tuple = visit_Dict = _made

    def visit_Getitem(self, node: nodes.Getitem) -> Any:
        self.generic_visit(node)
        return _filtered(node) if isinstance(node.arg, nodes.Slice) else node

    def _refused(self, node: Any) -> Any:
        raise jinja2.TemplateSyntaxError("it asks for another file", node.lineno)

    visit_Include = visit_Import = visit_FromImport = visit_Extends = _refused


_COUNTED = (nodes.TemplateData, nodes.Call, nodes.Filter, nodes.Concat, nodes.BinExpr)
"""What has spent what it gives."""


def _filtered(node: Any, name: str = WEIGHED) -> Any:
    if name == WEIGHED and isinstance(node, (nodes.Const, nodes.Call, nodes.Filter)):
        return node
    return nodes.Filter(node, name, [], [], None, None, lineno=node.lineno)


def _cost(node: nodes.Node) -> int:
    """Returns the units of all that a part of a template has in it, done once."""
    texts = sum(len(one.data) for one in node.find_all(nodes.TemplateData))
    consts = sum(_length(one.value) for one in node.find_all(nodes.Const))
    return texts + consts + NODE * sum(1 for _ in node.find_all(nodes.Node))


def _length(value: object) -> int:
    return len(value) if isinstance(value, str) else 0
