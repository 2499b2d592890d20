"""Settings as people read of them: the README's table, `.env.example`, and wherever else a variable is named."""

import re
from pathlib import Path

import pytest
from pydantic.fields import FieldInfo

from eurosky_pipeline.orchestration.switches import check_names
from eurosky_pipeline.settings import Settings, load_settings
from eurosky_pipeline_tests.documents import PACKAGE, PAGES, REPOSITORY, TESTS, page

FIELDS = {str(field.validation_alias): field for field in Settings.model_fields.values()}
OF_TESTS = {
    "EUROSKY_CHROMIUM": "integration/browser.py",
    "EUROSKY_FIXTURES": "interop/conftest.py",
    "EUROSKY_SCREENSHOTS": "integration/test_browser.py",
}
OF_OTHERS = {
    *("AWS_ACCESS_KEY_ID", "AWS_ENDPOINT_URL", "AWS_PROFILE", "AWS_REGION", "AWS_SECRET_ACCESS_KEY"),
    *("ALL_PROXY", "HTTPS_PROXY", "NO_PROXY", "PDS_RATE_LIMIT_BYPASS_KEY"),
    *("DESTINATION_PASSWORD", "NEW_PASSWORD", "SEED_PASSWORD"),  # the reader's own
}
EXAMPLE = re.findall(r"^#?([A-Z][A-Z_]+)=(.*)$", (REPOSITORY / ".env.example").read_text("utf-8"), re.M)
OURS = re.compile(r"\bEUROSKY_[A-Z_]*[A-Z]\b")
PYTHON = re.compile(r"^```python\n.*?^```$", re.M | re.S)


def _told_defaults() -> dict[str, str]:
    """What the README says of each variable's default; where a row has several, each one's part."""
    told = {}
    for variables, default, _ in page("README.md").table("variable").rows:
        names = re.findall("`([A-Z_]+)`", variables)
        parts = re.split("; " if ";" in default else ", ", default) if len(names) > 1 else [default]
        told |= dict(zip(names, parts if len(parts) == len(names) else [default] * len(names), strict=True))
    return told


def _in_words(field: FieldInfo) -> str:
    """A default as it is set; where nothing is, what its description says behind `unset`."""
    default = field.default
    if default in (None, ()):
        unset = re.search(r"\(unset: (.+?)(?:, or .+)?\)$", field.description or "")
        return unset[1] if unset else "none"
    if isinstance(default, bool):
        return str(default).lower()
    if isinstance(default, tuple):
        return ", ".join(default)
    is_in_gib = isinstance(default, int) and default % 1024**3 == 0
    return f"{default // 1024**3} GiB" if is_in_gib else str(default)


@pytest.mark.parametrize("variable", sorted(FIELDS.keys() - {"EUROSKY_HOME"}))
def test_the_readme_tells_of_each_setting_and_its_default(variable: str) -> None:
    told, field = _told_defaults()[variable], FIELDS[variable]
    is_unset = field.default in (None, ())
    assert told == _in_words(field) or (is_unset and re.fullmatch("none(: .+)?", told))


def test_the_readme_and_the_example_list_every_setting_and_none_that_is_not_read() -> None:
    assert _told_defaults().keys() == {name for name, _ in EXAMPLE} == FIELDS.keys()
    assert len(EXAMPLE) == len(FIELDS)


def test_the_example_has_values_that_are_taken_and_each_default_that_is_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, value in EXAMPLE:
        monkeypatch.setenv(name, value)
    settings = load_settings()
    check_names(settings)
    names = [
        name for name, field in Settings.model_fields.items() if field.default not in (None, ()) and name != "home"
    ]
    assert {name: getattr(settings, name) for name in names} == {
        name: Settings.model_fields[name].default for name in names
    }


@pytest.mark.parametrize("name", PAGES)
def test_each_variable_in_a_document_is_read_by_somebody(name: str) -> None:
    assert set(OURS.findall(PYTHON.sub("", page(name).text))) <= FIELDS.keys() | OF_TESTS.keys()
    if name != "docs/plugins.md":  # it shows the constants of its examples
        named = set(re.findall(r"\b[A-Z]+(?:_[A-Z]+)+\b", page(name).code))
        assert named <= FIELDS.keys() | OF_TESTS | OF_OTHERS


def test_no_variable_of_others_is_allowed_that_no_document_names() -> None:
    told = " ".join(page(name).text for name in PAGES) + (REPOSITORY / ".env.example").read_text("utf-8")
    assert [name for name in sorted(OF_OTHERS | OF_TESTS.keys()) if name not in told] == []
    assert [name for name, path in OF_TESTS.items() if f'"{name}"' not in (TESTS / path).read_text("utf-8")] == []


def test_each_variable_in_a_message_or_a_docstring_is_a_setting() -> None:
    named = {name for path in PACKAGE.rglob("*.py") for name in OURS.findall(path.read_text("utf-8"))}
    assert named == {name for name in FIELDS if name.startswith("EUROSKY_")}
