"""One table of settings: flags before environment, before file, before defaults."""

from __future__ import annotations

import argparse
from dataclasses import fields
from pathlib import Path

import pytest

from omnijet.runtime.assistant.limits import Limits
from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.serve.command import add_arguments, settings_of
from omnijet.runtime.serve.config import ServeConfig
from omnijet.runtime.serve.settings import SETTINGS, configured
from omnijet.runtime.serve.toml import read_toml, to_toml


def parsed(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(allow_abbrev=False)
    add_arguments(parser)
    return parser.parse_args(words)


def test_defaults_are_those_of_the_parts() -> None:
    config = configured({}, {})
    assert config == ServeConfig() and config.limits() == Limits()
    assert config.host == "127.0.0.1" and config.is_loopback


def test_flags_go_before_environment_before_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "serve.toml"
    file.write_text('port = 1\nturns = 1\nwaiting = 1\ncors = ["http://a.example"]\nbundle = "b"')
    monkeypatch.setenv("OMNIJET_PORT", "2")
    monkeypatch.setenv("OMNIJET_TURNS", "2")
    monkeypatch.setenv("OMNIJET_CORS", "http://b.example, https://c.example:8443")
    config = settings_of(parsed("--config", str(file), "--port", "3", "--log-content"))
    assert (config.port, config.turns, config.waiting, config.sessions) == (3, 2, 1, 64)
    assert config.cors == ("http://b.example", "https://c.example:8443")
    assert config.bundle == "b" and config.log_content
    assert settings_of(parsed("--config", str(file), "other")).bundle == "other"


def test_every_setting_but_the_key_is_a_flag_and_a_variable() -> None:
    values = {"int": "7", "float": "7.5", "bool": "true", "tuple[str, ...]": "http://x.example",
              "str": "x", "str | None": "x"}  # fmt: skip
    special = {"provider": "cpu", "preset": "fast", "hosts": "x.example",
               "body_bytes": "2048", "bodies_bytes": str(1 << 29)}  # fmt: skip
    for name, setting in SETTINGS.items():
        text = special.get(name, values[setting.kind])
        if name == "api_key_file":
            continue
        by_variable = configured({}, {setting.variable: text})
        assert getattr(by_variable, name) != setting.default, name
        if setting.is_secret:
            with pytest.raises(SystemExit):
                parsed(setting.flag, text)
            continue
        if name == "bundle":
            continue
        words = [setting.flag] if setting.kind == "bool" else [setting.flag, text]
        by_flag = settings_of(parsed(*words))
        assert getattr(by_flag, name) == getattr(by_variable, name), name


def test_every_fault_is_told_at_once(tmp_path: Path) -> None:
    file = tmp_path / "serve.toml"
    file.write_text('prot = 1\nturns = "many"\nport = true\napi_key = "secret"\n[a]\nb = 1')
    with pytest.raises(OmnijetError) as found:
        configured(
            {"threads": "-1", "provider": "cpuu", "cors": ["example.com"]},
            {"OMNIJET_PORTS": "1", "OMNIJET_WAIT_S": "soon", "OMNIJET_QUICK": "1", "PATH": "/bin"},
            read_toml(file),
            "serve.toml",
        )
    told = str(found.value)
    for part in (
        "unknown key 'prot'; did you mean 'port'?",
        "serve.toml: turns: expected a whole number",
        "serve.toml: port: expected a whole number",
        "api_key has no place in a file",
        "unknown key 'a'",
        "OMNIJET_PORTS: there is no such setting; did you mean OMNIJET_PORT?",
        "OMNIJET_WAIT_S: expected a number",
        "--threads: expected a whole number from 0",
        "did you mean 'cpu'?",
        "cors: expected SCHEME://HOST[:PORT]",
    ):
        assert part in told, (part, told)
    assert "OMNIJET_QUICK" not in told and "secret" not in told


def test_what_is_printed_is_read_again(tmp_path: Path) -> None:
    odd = ServeConfig(
        bundle='b "quoted" \\ ü', port=0, provider="cpu", cors=("*", "http://a.example"),
        wait_s=1e300, log_content=True, api_key="sesame-street",
    )  # fmt: skip
    text = to_toml(odd)
    assert "sesame" not in text and "sesame" not in repr(odd)
    file = tmp_path / "serve.toml"
    file.write_text(text)
    again = configured({}, {}, read_toml(file), "serve.toml")
    for row in fields(ServeConfig):
        if row.name != "api_key":
            assert getattr(again, row.name) == getattr(odd, row.name), row.name
    assert again.api_key is None


def test_the_key_comes_from_a_file_or_a_variable(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text("from-the-file\n")
    by_file = {"api_key_file": str(file)}
    assert configured(by_file, {}).api_key == "from-the-file"
    assert configured({}, {"OMNIJET_API_KEY": "abc"}).api_key == "abc"
    assert configured(by_file, {"OMNIJET_API_KEY": "abc"}).api_key == "from-the-file"
    assert configured({}, {"OMNIJET_API_KEY": "abc"}, by_file).api_key == "abc"
    both = {"OMNIJET_API_KEY": "abc", "OMNIJET_API_KEY_FILE": str(file)}
    with pytest.raises(OmnijetError, match="two keys"):
        configured({}, both)
    for bad in ("", "with blank", "ümlaut"):
        with pytest.raises(OmnijetError, match="visible ASCII"):
            configured({}, {"OMNIJET_API_KEY": bad})
    with pytest.raises(OmnijetError, match="cannot be read"):
        configured({"api_key_file": str(tmp_path / "none")}, {})
    for slip in ("OMNIJET_KEY", "OMNIJET_APIKEY", "OMNIJET_API_TOKEN"):
        with pytest.raises(OmnijetError, match=r"did you mean OMNIJET_API_KEY"):
            configured({}, {slip: "abc"})


def test_a_file_that_is_no_toml_is_told(tmp_path: Path) -> None:
    file = tmp_path / "serve.toml"
    file.write_text("port = ")
    with pytest.raises(OmnijetError, match="file of settings"):
        read_toml(file)
    with pytest.raises(OmnijetError, match="No such file"):
        read_toml(tmp_path / "none")


def test_addresses() -> None:
    assert ServeConfig(host="::1", port=5).url() == "http://[::1]:5"
    assert ServeConfig(host="0.0.0.0").url(9) == "http://127.0.0.1:9"
    assert not ServeConfig(host="0.0.0.0").is_loopback
    assert ServeConfig(host="127.3.2.1").is_loopback and ServeConfig(host="::1").is_loopback
