"""The JSON schema of studies, for editors: of those that search architectures, and of those that start from a model."""

from pydantic import TypeAdapter

from l2m_design.search.adoption.settings import START, AdoptionSettings
from l2m_design.search.settings import StudySettings
from l2m_design.search.space.schema import DRAFT
from l2m_design.settings import Json


def schema() -> Json:
    """Return the schema of a study's file. A file with the key `start` is of the second kind."""
    parts, shared = TypeAdapter.json_schemas(
        [
            ("new", "validation", TypeAdapter(StudySettings)),
            (START, "validation", TypeAdapter(AdoptionSettings)),
        ]
    )
    return {"$schema": DRAFT, "title": "a study of l2m-design"} | shared | {
        "if": {"required": [START]},
        "then": parts[START, "validation"],
        "else": parts["new", "validation"],
    }  # fmt: skip
