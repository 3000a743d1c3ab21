"""Reads a recipe from a TOML file, and writes one as such a file.

A file has the keys of `KEYS`: schemes by name (`scheme_table.py`), and rules of which the last one
that matches a layer decides. What is read is a `Recipe` like the named ones.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

from omnijet.quantization.recipe_files.scheme_table import (
    Key,
    near,
    one_of,
    read_scheme,
    scheme_table,
)
from omnijet.quantization.recipes import RECIPES, Form, Recipe, Rule, recipe_named
from omnijet.quantization.schemes import Scheme
from omnijet.runtime.bundle.ranges import Name
from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.files.toml_text import read_toml

FLOAT = "float"
"""Name of no scheme: layers of such a rule stay as they are."""
MOST = 256
"""Schemes and rules that a file may have: a model has a few hundred layers."""
SUFFIX = ".toml"
_TEXT = Name(200)
TEXT = Key(str(_TEXT), _TEXT.holds)
KEYS: Mapping[str, Key] = {
    "name": TEXT,
    "purpose": TEXT,
    "form": one_of(*get_args(Form)),
    "schemes": Key(f"1 to {MOST} tables", lambda v: isinstance(v, dict) and 0 < len(v) <= MOST),
    "rules": Key(f"a list of 1 to {MOST}", lambda v: isinstance(v, list) and 0 < len(v) <= MOST),
}
RULE: Mapping[str, Key] = {"graph": TEXT, "layers": TEXT, "scheme": TEXT}


def recipe_of(text: str) -> Recipe:
    """Returns a named recipe, or that of a file.

    Args:
        text: a name, or a path that has a folder, ends in `.toml` or is a file.

    Raises:
        OmnijetError: there is no such recipe, or the file is no recipe.
    """
    path = Path(text)
    is_path = path.suffix == SUFFIX or len(path.parts) > 1 or path.is_file()
    return read_recipe(path) if is_path and text not in RECIPES else recipe_named(text)


def read_recipe(path: Path) -> Recipe:
    """Reads a file.

    Raises:
        OmnijetError: it cannot be read or is no recipe; the error names all faults.
    """
    data = read_toml(path, "the recipe", "a recipe as TOML, as --print-recipe has it")
    faults: list[str] = []
    _check("", data, KEYS, ("rules",), faults)
    form: Form = data["form"] if data.get("form") in get_args(Form) else "standard"
    tables = data.get("schemes", {})
    schemes: dict[str, Scheme | None] = {FLOAT: None}
    if isinstance(tables, dict):
        if FLOAT in tables:
            faults.append(f"schemes.{FLOAT}: the name stands for layers that stay as they are")
        for name, table in list(tables.items())[:MOST]:
            schemes[name] = read_scheme(f"schemes.{name[:60]}", table, form, faults)
    lines = data["rules"] if isinstance(data.get("rules"), list) else []
    rules = _rules(lines[:MOST], schemes, faults)
    used = {str(one.get("scheme")) for one in lines if isinstance(one, dict)}
    faults += [f"schemes.{name[:60]}: no rule uses it" for name in schemes
               if name not in used and name != FLOAT]  # fmt: skip
    if not faults and not any(rule.scheme for rule in rules):
        faults.append("rules: none of them rounds anything")
    name = data.get("name", path.stem)
    recipe = Recipe(name, data.get("purpose", ""), tuple(rules), form) if not faults else None
    if recipe is not None:
        faults += _name_faults(recipe)
    if recipe is None or faults:
        count = "1 fault" if len(faults) == 1 else f"{len(faults)} faults"
        raise OmnijetError(
            f"the file is no recipe ({count})", where=path, got="\n            ".join(faults[:20]),
            fix="`omnijet quantize --recipe orin --print-recipe` prints a recipe as such a file",
        )  # fmt: skip
    return recipe


def _check(
    place: str, data: Mapping[str, Any], keys: Mapping[str, Key], needed: tuple[str, ...],
    faults: list[str],
) -> None:  # fmt: skip
    prefix = f"{place}." if place else ""
    for key, value in data.items():
        if key not in keys:
            faults.append(f"{place or 'the top'}: unknown key {key[:60]!r}{near(key, list(keys))}")
        elif fault := keys[key].fault(f"{prefix}{key}", value):
            faults.append(fault)
    faults += [f"{prefix}{key}: missing" for key in needed if key not in data]


def _rules(lines: list[Any], schemes: Mapping[str, Scheme | None], faults: list[str]) -> list[Rule]:
    rules = []
    for number, line in enumerate(lines, start=1):
        place = f"rule {number}"
        if not isinstance(line, dict):
            faults.append(f"{place}: expected a table, got {repr(line)[:60]}")
            continue
        before = len(faults)
        _check(place, line, RULE, tuple(RULE), faults)
        if len(faults) > before:
            continue
        named = line["scheme"]
        if named not in schemes:
            hint = near(named, list(schemes))
            faults.append(f"{place}.scheme: there is no scheme {named[:60]!r}{hint}")
            continue
        rules.append(Rule(line["graph"], line["layers"], schemes[named]))
    return rules


def _name_faults(recipe: Recipe) -> list[str]:
    """Returns a fault if a recipe bears the name of another one: a build may ask for it by name."""
    if fault := TEXT.fault("name", recipe.name):
        return [fault]
    known = RECIPES.get(recipe.name)
    if known is None or (known.rules, known.form) == (recipe.rules, recipe.form):
        return []
    return [f"name: {recipe.name} is a recipe of omnijet's with other rules: give another `name`"]


def to_toml(recipe: Recipe) -> str:
    """Returns a recipe as a file; `read_recipe` reads the same recipe from it."""
    names: dict[Scheme, str] = {}
    for rule in recipe.rules:
        if rule.scheme is not None and rule.scheme not in names:
            names[rule.scheme] = _name_of(rule.scheme, list(names.values()))
    lines = [f"name = {_value(recipe.name)}", f"purpose = {_value(recipe.purpose)}",
             f"form = {_value(recipe.form)}"]  # fmt: skip
    for scheme, name in names.items():
        lines += ["", f"[schemes.{name}]"]
        lines += [f"{key} = {_value(value)}" for key, value in scheme_table(scheme).items()]
    lines += [
        "",
        "# the last rule that matches a layer, and whose blocks divide its inputs, decides",
    ]
    for rule in recipe.rules:
        scheme_name = FLOAT if rule.scheme is None else names[rule.scheme]
        lines += ["[[rules]]", f"graph = {_value(rule.graph)}", f"layers = {_value(rule.layers)}",
                  f"scheme = {_value(scheme_name)}", ""]  # fmt: skip
    return "\n".join(lines)


def _name_of(scheme: Scheme, taken: list[str]) -> str:
    """Returns a name that says what is rounded, with a number if it is taken."""
    rounded = scheme.activations
    name = f"{scheme.weights.dtype}-weights" if rounded is None else f"{rounded.dtype}-products"
    if rounded is not None and rounded.migration is not None:
        name += "-smooth"
    numbered = [name, *(f"{name}-{number}" for number in range(2, MOST))]
    return next(one for one in numbered if one not in taken)


def _value(value: str | int | float | bool) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else repr(value)
