"""What both custom resources are: metadata, and a way to read them."""

from collections.abc import Mapping
from typing import Any, Self

from pydantic import JsonValue, ValidationError

from hunyuan_operator.api import names
from hunyuan_operator.api.base import Model
from hunyuan_operator.errors import InvalidSpec


class Resource(Model):
    """``metadata`` is the API's own mapping."""

    metadata: dict[str, JsonValue]

    @classmethod
    def parse(cls, manifest: Mapping[str, Any]) -> Self:
        """Read the resource as the API gives it.

        The API server has checked what it stores, but by the rules of its day: an object can be older than a rule.

        Raises:
            InvalidSpec: names each field that can't be understood.

        """
        try:
            return cls.model_validate(manifest)
        except ValidationError as error:
            problems = (
                f"{'.'.join(map(str, one['loc']))}: {one['msg'].removeprefix('Value error, ')}"
                for one in error.errors()
            )
            raise InvalidSpec("; ".join(problems)) from None

    @property
    def name(self) -> str:
        return str(self.metadata["name"])

    @property
    def namespace(self) -> str:
        return str(self.metadata["namespace"])

    @property
    def uid(self) -> str:
        return str(self.metadata["uid"])

    @property
    def retry(self) -> str:
        """The annotation :data:`names.RETRY`."""
        annotations = self.metadata.get("annotations")
        return str(annotations.get(names.RETRY, "")) if isinstance(annotations, dict) else ""

    @property
    def generation(self) -> int:
        return int(str(self.metadata["generation"]))
