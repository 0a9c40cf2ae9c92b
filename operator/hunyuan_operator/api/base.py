"""The base of all API types."""

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel


class Model(BaseModel):
    """Base of all API types: camelCase, frozen. The API server prunes unknown fields, so they are ignored here."""

    model_config = ConfigDict(frozen=True, alias_generator=to_camel, populate_by_name=True)
