"""Index settings as pip has them."""

import os
import subprocess
import sys

import pytest

from tasks.releases.settings import pip_settings, settings_from

DEFAULT = "https://index.test/simple"


def test_without_settings_the_default_index_is_asked() -> None:
    assert settings_from("", default_index=DEFAULT).index_urls == (DEFAULT,)


def test_the_environment_goes_before_a_file() -> None:
    listed = "global.index-url='https://a.test/simple'\n:env:.index-url='https://b.test/simple'\n"
    assert settings_from(listed, default_index=DEFAULT).index_urls == ("https://b.test/simple",)


def test_settings_of_other_commands_do_not_count() -> None:
    assert settings_from("install.index-url='https://a.test'\n", default_index=DEFAULT).index_urls == (DEFAULT,)


def test_extra_indexes_links_and_hosts_may_be_several() -> None:
    listed = (
        "global.extra-index-url='https://a.test https://b.test'\nglobal.find-links='/wheels'\n"
        "global.trusted-host='a.test b.test'\nglobal.cert='/ca.pem'\n"
    )
    found = settings_from(listed, default_index=DEFAULT)
    assert found.index_urls == (DEFAULT, "https://a.test", "https://b.test")
    assert (found.find_links, found.trusted_hosts) == (("/wheels",), ("a.test", "b.test"))
    assert found.certificates == "/ca.pem"


def test_no_index_leaves_the_links_alone() -> None:
    listed = ":env:.no-index='1'\nglobal.find-links='/wheels'\n"
    found = settings_from(listed, default_index=DEFAULT)
    assert (found.index_urls, found.find_links) == ((), ("/wheels",))


def test_a_password_in_an_address_is_not_shown() -> None:
    found = settings_from("global.index-url='https://user:secret@a.test/simple'\n", default_index=DEFAULT)
    assert "secret" not in repr(found)


def test_what_pip_is_told_in_the_environment_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", "https://extra.test/simple")
    assert pip_settings().index_urls[1:] == ("https://extra.test/simple",)


def test_the_default_is_the_one_that_pips_own_help_names(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    command = [sys.executable, "-m", "pip", "download", "--help"]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert pip_settings().index_urls[0].rstrip("/") in "".join(told.split())
