"""A template of a stranger ends soon and stays small, and whatever it does is told."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest

from omnijet.runtime.child.search_path import HOME
from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.prompt import template as template_module
from omnijet.runtime.prompt.chat import DEFAULT_CHAT_TEMPLATE, _compile, render_chat
from omnijet.runtime.prompt.messages import Message, parse_messages

CONVERSATION = [{"role": "user", "content": "a\nb"}, {"role": "assistant", "content": "yes"}]
TWICE = "{% for i in range(99999) %}{% for j in range(99999) %}"
END = "{% endfor %}{% endfor %}"
DOUBLED = (
    "{% set ns = namespace(s=S, t=S) %}{% for i in range(60) %}DO{% endfor %}{{ ns.s == ns.t }}"
)


def doubled(start: str, *steps: str) -> str:
    done = "".join(f"{{% set {step} %}}" for step in steps)
    return DOUBLED.replace("S", start).replace("DO", done)


ENDLESS = [
    TWICE + END,
    "{% for i in range(99999) %}{% for j in range(99999) if false %}" + END,
    TWICE + "{{ j }}" + END,
    TWICE + "word " * 20 + END,
    TWICE + "{% if i %}{% if j %}{% set x = i %}{% endif %}{% endif %}" + END,
    TWICE + "{% set x = messages|selectattr('role', 'equalto', 'user')|list %}" + END,
    "{% macro m(n) %}{% if n %}{{ m(n - 1) }}{{ m(n - 1) }}{% endif %}{% endmacro %}{{ m(99) }}",
    "{{ [-10**9]|map(' turn')|list }}" + TWICE + END,
    "{{ (range(99999)|list)|select('in', range(99999)|list)|list }}",
    "{% set l = range(99999)|list %}{% for i in range(99999) %}{{ -1 in l }}{% endfor %}",
    "{% set s = 'a' * 10**6 %}{% for i in range(99999) %}{{ s[::-1]|length }}{% endfor %}",
    "{% set s = 'a' * 10**6 %}{% for i in range(99999) %}{{ s == s ~ '' }}{% endfor %}",
]
LARGE = [
    "{{ 'a' * 10**10 }}",
    "{{ ['a'] * 10**9 }}",
    "{{ 10 ** (10**9) }}",
    "{{ 'a'|center(10**9) }}",
    "{{ 'a'.center(10**9) }}",
    "{{ 'a'.ljust(10**9) }}",
    "{{ '1'.zfill(10**9) }}",
    "{{ messages[0].content|indent(10**9) }}",
    "{{ messages[0].content|indent('x' * 10**7) }}",
    "{{ '%1000000000d' % 1 }}",
    "{{ '%*d' % (10**9, 1) }}",
    "{{ '%1000000000d'|format(1) }}",
    "{{ '{:1000000000}'.format(1) }}",
    "{{ '{:{w}}'.format(1, w='1000000000') }}",
    "{{ ('{0}' * 10**5).format('a' * 10**5) }}",
    "{{ range(99999)|map('string')|join('x' * 10**5) }}",
    "{{ ('x' * 10**5).join(range(99999)|map('string')) }}",
    "{{ ([range(1000)|list] * 1000)|sum(start=[])|length }}",
    "{{ messages|tojson(indent=10**9) }}",
    "{{ messages|tojson(indent='x' * 10**6) }}",
    "{{ messages|tojson(separators=('x' * 10**7, ':')) }}",
    "{{ 5|round(-10**9) }}",
    doubled("'a'", "ns.s = ns.s ~ ns.s"),
    doubled("'a'", "ns.s = ns.s + ns.s"),
    doubled("'a'", "ns.s = ns.s|replace('a', 'aaaa')"),
    doubled("'a'", "ns.s = ns.s.replace('a', 'aaaa')"),
    doubled("[1]", "ns.s = [ns.s, ns.s]", "ns.t = [ns.t, ns.t]"),
    doubled("(1,)", "ns.s = (ns.s, ns.s)", "ns.t = (ns.t, ns.t)"),
    doubled("{}", "ns.s = {'a': ns.s, 'b': ns.s}", "ns.t = dict(a=ns.t, b=ns.t)"),
    "{% macro m() %}{{ m(varargs, varargs) }}{% endmacro %}{{ m(1) }}",
    "{{ 'word ' * 10**5 }}" * 100,
    "x" * (template_module.MOST_SOURCE + 1),
]
WRONG = {
    "{{ 1 // 0 }}": "ZeroDivisionError",
    "{{ 'a' + 1 }}": "TypeError",
    "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}": "RecursionError",
    "{{ " + "(" * 9999 + "1" + ")" * 9999 + " }}": "RecursionError",
    "{% block b %}{{ self.b() }}{% endblock %}": "RecursionError",
    "{{ nobody.knows.it }}": "UndefinedError",
    "{{ raise_exception('a' * 9999 ~ '\x1b[2J') }}": "TemplateError",
    "{{ (1).to_bytes(10**10, 'big') }}": "it calls to_bytes of int",
    "{{ 'a'.encode() }}": "it calls encode of str",
    "{{ dict.fromkeys(range(99999)) }}": "it calls fromkeys of type",
    "{{ 'a'|pprint }}": "No filter named",
    "{{ lipsum(n=10**9) }}": "UndefinedError",
    "{% include 'x' %}": "it asks for another file",
    "{% import 'x' as x %}": "it asks for another file",
    "{% extends 'x' %}": "it asks for another file",
}


def conversation() -> tuple[Message, ...] | list[Message]:
    return parse_messages(CONVERSATION)


def refusal(template: str) -> str:
    with pytest.raises(OmnijetError, match="cannot be rendered") as caught:
        render_chat(conversation(), template)
    assert "chat_template.jinja" in str(caught.value.where) and caught.value.fix
    return str(caught.value.got)


@pytest.mark.parametrize("template", [*ENDLESS, *LARGE])
def test_a_template_without_an_end_is_ended(template: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(template_module, "FUEL", template_module.FUEL // 10)  # for a quick test
    assert refusal(template).startswith("it ")


@pytest.mark.parametrize("template", WRONG)
def test_whatever_a_template_does_wrong_is_told(template: str) -> None:
    got = refusal(template)
    assert WRONG[template] in got and len(got) < 200 and "\x1b" not in got


def test_memory_has_a_bound() -> None:
    """More than 200 MB would be a `MemoryError`, or a process that is killed."""
    worst = [
        "{% set s = '\u4e00' * 1300000 %}{{ s|list|length }}",
        "{% set n = namespace(l=[]) %}{% for i in range(99) %}"
        "{% set n.l = n.l + ['\u4e00' * 200000 ~ i] %}{% endfor %}",
        "{% set n = namespace(p=none) %}" + TWICE + "{% set n.p = namespace(p=n.p) %}" + END,
        "{{ 'word ' * 10**6 }}" * 20,
    ]
    code = (
        "import resource, sys\n"
        f"from {__name__.rpartition('.')[0]}.test_template import refusal\n"
        "size = int(open('/proc/self/statm').read().split()[0]) * resource.getpagesize()\n"
        "resource.setrlimit(resource.RLIMIT_AS, (size + 200_000_000,) * 2)\n"
        f"for template in {worst!r}:\n    print(refusal(template))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=HOME, capture_output=True, text=True, check=True
    )
    said = done.stdout.splitlines()
    assert len(said) == len(worst) and all(line.startswith("it ") for line in said), said


def test_each_thread_spends_its_own() -> None:
    most = template_module.FUEL // 100 // 150  # turns of a loop, so that two threads' are too many
    template = f"{{% for i in range(100) %}}{{% for j in range({most}) %}}{END}done"
    with ThreadPoolExecutor(8) as pool:
        render = partial(render_chat, conversation())
        assert set(pool.map(render, [template] * 16)) == {"done"}


def test_a_long_conversation_is_no_endless_template() -> None:
    turns = [{"role": "user", "content": [{"type": "text", "text": "hi"}] * 3}] * 5000
    text = render_chat(parse_messages(turns), DEFAULT_CHAT_TEMPLATE)
    assert text.count("hihihi") == 5000


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("{{ '%02d|%s' % (7, 'x') }}", "07|x"),
        ("{{ '{:>4}|{}'.format('a', 'b') }}", "   a|b"),
        ("{{ messages|map(attribute='role')|join(', ') }}", "user, assistant"),
        ("{{ messages[::-1]|map(attribute='role')|list }}", "['assistant', 'user']"),
        ("{{ (messages|first).content.split('\\n')|length }}", "2"),
        ("{{ {'b': 1, 'a': [2]}|tojson(indent=2) }}", '{\n  "b": 1,\n  "a": [\n    2\n  ]\n}'),
        ("{{ messages|selectattr('role', 'in', ['user'])|list|length }}", "1"),
        ("{% filter upper %}a{{ 'b' }}{% endfilter %}", "AB"),
        ("{% set x %}a{{ 1 }}{% endset %}{{ x ~ loop is defined }}", "a1False"),
        ("{% call(x) m(2) %}<{{ x }}>{% endcall %}", "<2>"),
        ("{% for x in [1, [2, [3]]] recursive %}{{ loop(x) if x is iterable else x }}{% endfor %}",
         "123"),
        ("{% for k, v in {'a': 1}.items() %}{{ k }}{{ v }}{{ loop.cycle('o', 'e') }}{% endfor %}",
         "a1o"),
        ("{{ 7 % 2 == 1 and 2 ** 10 > 1000 and 3 * 'a' == 'aaa' and 'a' * 2 < 'b' }}", "True"),
        ("{{ 'x' if messages[0]['content'] is string and nothing is not defined }}", "x"),
        ("{{ cycler('a', 'b').next() }}{{ joiner()() }}{{ range(3)|sum }}", "a3"),
    ],
)  # fmt: skip
def test_what_templates_do(template: str, text: str) -> None:
    macro = "{% macro m(n) %}{{ caller(n) }}{% endmacro %}"
    assert render_chat(conversation(), macro + template) == text


def test_a_template_is_compiled_once() -> None:
    render_chat(conversation(), DEFAULT_CHAT_TEMPLATE)
    before = _compile.cache_info().misses
    render_chat(conversation(), DEFAULT_CHAT_TEMPLATE)
    assert _compile.cache_info().misses == before
