"""docs/settings.md and the file that `tms-ca init` writes name every setting, with its default."""

import re
import tomllib
from pathlib import Path

import pytest
from marshmallow import fields

from tms_ca.settings import DEFAULT_TEXT, SettingsError, _SettingsSchema, load_settings

PAGE = Path(__file__).parents[2] / "docs" / "settings.md"


def keys_of_the_code():
    for section, nested in _SettingsSchema().fields.items():
        assert isinstance(nested, fields.Nested)
        for name, field in nested.schema.fields.items():
            yield f"{section}.{field.data_key or name}"


def defaults_of_the_page() -> dict[str, str]:
    """Return what stands after `Default:` under each heading."""
    return dict(re.findall(r"^### (\S+)\n\nDefault: (?:`(.*?)`|none)", PAGE.read_text(), flags=re.MULTILINE))


def defaults_of_the_file() -> dict[str, object]:
    uncommented = re.sub(r"^# (?=\w+ = )", "", DEFAULT_TEXT, flags=re.MULTILINE)
    return {
        f"{section}.{key}": value for section, keys in tomllib.loads(uncommented).items() for key, value in keys.items()
    }


def test_the_page_has_every_key_and_no_other():
    assert sorted(defaults_of_the_page()) == sorted(keys_of_the_code())


def test_the_file_has_every_key_and_no_other():
    assert sorted(defaults_of_the_file()) == sorted(keys_of_the_code())


@pytest.mark.parametrize("key", list(keys_of_the_code()))
def test_page_and_file_agree_on_the_default(key):
    said = defaults_of_the_page()[key]
    assert (tomllib.loads(f"value = {said}")["value"] if said else "") == defaults_of_the_file()[key]


def test_the_defaults_are_those_that_take_effect(tmp_path, monkeypatch):
    monkeypatch.delenv("TMS_CA_DATABASE_URL", raising=False)
    (tmp_path / "settings.toml").write_text("")
    unset = load_settings(tmp_path)
    # An empty file name is no file name; all other defaults, written out, change nothing.
    text = re.sub(r"^# (?=(?!tls_)\w+ = )", "", DEFAULT_TEXT, flags=re.MULTILINE)
    (tmp_path / "settings.toml").write_text(text)
    assert load_settings(tmp_path) == unset


def test_a_key_that_the_page_does_not_have_is_refused(tmp_path):
    (tmp_path / "settings.toml").write_text("[listen]\nhots = '127.0.0.1'\n")
    with pytest.raises(SettingsError, match=r"listen\.hots: no such setting"):
        load_settings(tmp_path)
