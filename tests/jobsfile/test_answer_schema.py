"""What schemas of answers are refused before an agent is paid for an answer, and what no schema does to the supervisor."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from orchestrator.jobsfile.answer_schema import AnswerSchema, AnswerSchemaError, read_schema, schema_in


def schema_of(folder: Path, schema: object) -> AnswerSchema:
    path = folder / "schema.json"
    path.write_bytes(msgspec.json.encode(schema))
    return read_schema(str(path))


@pytest.mark.parametrize("reference", ["#/$defs/nope", "other.json", "http://127.0.0.1:9/schema.json"])
@pytest.mark.parametrize("is_nested", [False, True])
def test_a_reference_that_leads_nowhere_is_told_before_there_is_an_answer(
    tmp_path: Path, reference: str, *, is_nested: bool
) -> None:
    schema = {"properties": {"a": {"items": {"$ref": reference}}}} if is_nested else {"$ref": reference}
    with pytest.raises(AnswerSchemaError, match=r"schema\.json: refers to what is not in this file"):
        schema_of(tmp_path, schema)


def test_references_in_the_file_and_to_the_metaschema_are_followed(tmp_path: Path) -> None:
    schema = {
        "$id": "https://example.org/answer.json",
        "$defs": {"port": {"$id": "port.json", "type": "integer"}},
        "properties": {
            "port": {"$ref": "port.json"},
            "same": {"$ref": "#/$defs/port"},
            "schema": {"$ref": "https://json-schema.org/draft/2020-12/schema"},
            "$ref": {"type": "string"},
        },
    }
    found = schema_of(tmp_path, schema)
    assert found.mistakes_in({"port": 1, "same": 2, "schema": {"type": "object"}, "$ref": "nowhere"}) == []
    assert len(found.mistakes_in({"port": "1", "same": "2", "schema": {"type": 5}})) == 3


def test_a_schema_without_end_is_a_mistake_and_not_an_error_of_ours(tmp_path: Path) -> None:
    assert schema_of(tmp_path, {"$ref": "#"}).mistakes_in(1) == [
        "the schema refers to itself without end, or the answer is nested too deeply"
    ]
    hidden = schema_of(tmp_path, {"$ref": "#/x-parts/a", "x-parts": {"a": {"$ref": "#/nope"}}})
    assert hidden.mistakes_in(1) == ['the schema refers to what it does not have: "/nope"']


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ('{"items":' * 150 + "{}" + "}" * 150, "nested too deeply"),
        ("[" * 100_000, "nested deeper than"),
        ('{"minimum": ' + "9" * 400 + "}", "out of range"),
        ('{"$schema": "http://["}', "cannot be used as a JSON Schema: ValueError"),
        ('{"$schema": 3}', "cannot be used as a JSON Schema"),
        ('{"$ref": "#/allOf/x", "allOf": [{}]}', "cannot be used as a JSON Schema"),
        ('{"$schema": "http://json-schema.org/draft-03/schema#", "dependencies": {"a": "b"}, "extends": 1}', "JSON Schema"),
    ],
)
def test_whatever_a_schema_makes_the_library_raise_is_told_in_words(schema: str, words: str) -> None:
    with pytest.raises(AnswerSchemaError, match=f"s.json: .*{words}"):
        schema_in(schema, "s.json")


def test_what_the_library_raises_of_an_answer_is_what_is_wrong_with_it() -> None:
    named_by_its_title = schema_in('{"$ref": "#/title", "title": "x"}', "s.json")
    assert named_by_its_title.mistakes_in(1)[0].startswith("the schema cannot be applied: AttributeError ")


def test_of_a_million_mistakes_a_thousand_are_looked_at() -> None:
    class Wrong:
        absolute_path: tuple[str, ...] = ()
        json_path, message = "$", "wrong"

    class Endless:
        def iter_errors(self, _answer: Any) -> Any:
            while True:
                yield Wrong()

    *shown, more = AnswerSchema("", Endless()).mistakes_in([])
    assert (len(shown), more) == (5, "and 995 more")


@pytest.mark.parametrize(
    ("schema", "answer"),
    [
        ({"pattern": "^(a+)+$"}, "a" * 60 + "!"),
        ({"patternProperties": {"^(a|aa)+$": {"type": "integer"}}}, {"a" * 80 + "!": 1}),
        (
            {"anyOf": [{"properties": {"a": {"$ref": "#"}}, "required": ["b"]}] * 4},
            msgspec.json.decode('{"a":' * 40 + "{}" + "}" * 40),
        ),
    ],
)
def test_an_answer_for_which_a_schema_takes_for_ever_ends_nothing_but_its_attempt(
    monkeypatch: pytest.MonkeyPatch, schema: dict[str, Any], answer: object
) -> None:
    monkeypatch.setattr("orchestrator.jobsfile.answer_schema.JUDGE_CPU_SECONDS", 0.05)
    (told,) = schema_in(msgspec.json.encode(schema).decode(), "s.json").mistakes_in(answer)
    assert "with this answer it takes more than 0.05 s" in told
