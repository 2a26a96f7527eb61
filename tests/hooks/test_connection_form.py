"""The form of Airflow 2.11, 3.0 and 3.1, which ask the hook for widgets, is that of the metadata.

The check of the provider on every version of Airflow loads it with the real WTForms; here Airflow's own stand-ins for
WTForms take their place, by which 3.1 and later make forms without that package.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import pytest
from airflow.providers_manager import (
    ConnectionFormWidgetInfo,
    _create_customized_form_field_behaviours_schema_validator,
)

from airflow_provider_achieveit.hooks.achieveit import AchieveItHook
from airflow_provider_achieveit.hooks.connection_form import EXTRA_FIELDS, STANDARD_FIELDS
from tests.airflow_versions import needs_connection_forms_without_wtforms


@pytest.fixture
def stand_ins(monkeypatch: pytest.MonkeyPatch) -> None:
    from airflow.api_fastapi.core_api.services.ui.connections import HookMetaService

    service = HookMetaService
    modules: dict[str, dict[str, Any]] = {
        "wtforms": {
            "StringField": service.MockStringField,
            "IntegerField": service.MockIntegerField,
            "BooleanField": service.MockBooleanField,
        },
        "wtforms.validators": {"Optional": service.MockOptional, "any_of": service.MockEnum},
        "flask_babel": {"lazy_gettext": str},
        "flask_appbuilder": {},
        "flask_appbuilder.fieldwidgets": {"BS3TextFieldWidget": service.MockAnyWidget},
    }
    for name, content in modules.items():
        module = ModuleType(name)
        vars(module).update(content)
        monkeypatch.setitem(sys.modules, name, module)


@needs_connection_forms_without_wtforms
def test_the_widgets_are_made_of_the_same_fields(stand_ins: None) -> None:
    from airflow.api_fastapi.core_api.services.ui.connections import HookMetaService

    widgets = {
        f"extra__achieveit__{name}": ConnectionFormWidgetInfo("AchieveItHook", "achieveit", widget, name, False)
        for name, widget in AchieveItHook.get_connection_form_widgets().items()
    }
    shown = HookMetaService._convert_extra_fields(widgets)["achieveit"]
    assert list(shown) == list(EXTRA_FIELDS)
    for name, field in EXTRA_FIELDS.items():
        param, schema = shown[name], field["schema"]
        assert (param["schema"]["title"], param["description"]) == (field["label"], field["description"])
        assert param["schema"].get("enum") == schema.get("enum")
        # A number that need not be whole is a text there.
        expected, is_number = schema.get("default"), schema["type"][0] == "number"
        assert param["schema"]["type"][0] == ("string" if is_number else schema["type"][0])
        assert param["value"] == (str(expected) if is_number else expected), name


@needs_connection_forms_without_wtforms
def test_the_standard_fields_are_the_same() -> None:
    from airflow.api_fastapi.core_api.services.ui.connections import HookMetaService

    behaviour = AchieveItHook.get_ui_field_behaviour()
    _create_customized_form_field_behaviours_schema_validator().validate(behaviour)
    standard = HookMetaService._make_standard_fields(behaviour)
    assert standard is not None
    hidden = [name for name, field in standard if field and field.hidden]
    assert hidden == ["url_schema", "login"]
    for name in ("host", "password"):
        field = getattr(standard, name)
        assert field.title == STANDARD_FIELDS["relabeling"][name]
        assert field.placeholder == STANDARD_FIELDS["placeholders"][name]


def test_without_wtforms_airflow_is_told_by_an_import_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which Airflow expects, and goes on without widgets: on a worker of 3.0 and 3.1, say."""
    for name in ("flask_appbuilder", "flask_appbuilder.fieldwidgets"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError):
        AchieveItHook.get_connection_form_widgets()
