"""Where a model comes from: the part ``spec.model`` of the custom resources."""

from typing import Annotated, ClassVar, Self

from pydantic import ConfigDict, Field, model_validator
from pydantic.alias_generators import to_snake

from hunyuan_operator.api.architecture import Architecture
from hunyuan_operator.api.base import Model
from hunyuan_operator.api.validation import ImageReference, ObjectName, RelativePath, Rule, rules

Repository = Annotated[
    str,
    Field(
        max_length=200,
        json_schema_extra=rules(
            Rule(
                rule="self.matches('^[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9][A-Za-z0-9._-]*$')",
                message="must be a repository of the hub as owner/name",
            )
        ),
    ),
]

PinnedRevision = Annotated[
    str,
    Field(
        max_length=250,
        json_schema_extra=rules(
            Rule(
                rule="self.matches('^[A-Za-z0-9][A-Za-z0-9._/-]*$') && !self.contains('..')"
                " && !self.startsWith('refs/') && !(self in ['main', 'master', 'HEAD'])",
                message="must be a commit hash or a tag: branches move, and ranks could load different weights",
            )
        ),
    ),
]

_KEY = "self.matches('^[-._a-zA-Z0-9]+$')"

SecretKey = Annotated[
    str, Field(max_length=253, json_schema_extra=rules(Rule(rule=_KEY, message="must be a key of a Secret")))
]

ConfigMapKey = Annotated[
    str, Field(max_length=253, json_schema_extra=rules(Rule(rule=_KEY, message="must be a key of a ConfigMap")))
]

Endpoint = Annotated[
    str,
    Field(
        max_length=250,
        json_schema_extra=rules(
            Rule(
                rule="self.matches('^https?://[^/?#[:space:]]+(/[^?#[:space:]]*[^/?#[:space:]])?$')",
                message="must be an http or https address without a slash at its end, such as https://huggingface.co",
            )
        ),
    ),
]


class PvcSource(Model):
    """A folder in a PersistentVolumeClaim of the same namespace, mounted read-only."""

    claim_name: ObjectName = Field(min_length=1, description="Name of the PersistentVolumeClaim")
    path: RelativePath = Field(default="", description="Folder inside the volume; its root if empty")


class ImageSource(Model):
    """A checkpoint packed as an OCI image, mounted read-only as an image volume."""

    reference: ImageReference = Field(min_length=1, description="Image that holds the checkpoint")
    path: RelativePath = Field(default="", description="Folder inside the image; its root if empty")


class TokenSecret(Model):
    """A key of a Secret of the same namespace."""

    name: ObjectName = Field(min_length=1, description="Name of the Secret")
    key: SecretKey = Field(default="token", min_length=1, description="Key whose value is the token")


class ModelCache(Model):
    """A folder in a PersistentVolumeClaim of the same namespace that keeps what was fetched."""

    claim_name: ObjectName = Field(
        min_length=1, description="Name of the PersistentVolumeClaim; ReadWriteMany where a group has several nodes"
    )
    path: RelativePath = Field(default="", description="Folder inside the volume; its root if empty")


class HuggingFaceSource(Model):
    """A repository of a Hugging Face hub, fetched once into a volume. Of its files only data is fetched, never code."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            Rule(
                rule="!has(self.tokenSecret) || self.endpoint.startsWith('https://')",
                message="must be https where a token is sent",
                field=".endpoint",
            )
        )
    )

    repo: Repository = Field(min_length=1, description="Repository on the hub, such as tencent/Tencent-Hunyuan-Large")
    revision: PinnedRevision = Field(
        min_length=1, description="Commit hash or tag; a branch is refused, since it moves"
    )
    path: RelativePath = Field(default="", description="Folder inside the repository; its root if empty")
    token_secret: TokenSecret | None = Field(
        default=None, description="Access token, for private and gated repositories; mounted only where it is fetched"
    )
    cache: ModelCache = Field(description="Volume that keeps what was fetched")
    endpoint: Endpoint = Field(default="https://huggingface.co", description="Base address of the hub, or of a mirror")


class FineTuneSource(Model):
    """The result of a HunyuanFineTune of the same namespace."""

    name: ObjectName = Field(min_length=1, description="Name of the HunyuanFineTune")


_BASE_SOURCES = ("pvc", "image", "huggingFace")
_SOURCES = (*_BASE_SOURCES, "fineTune")


def _listed(sources: tuple[str, ...], conjunction: str) -> str:
    return f"{', '.join(sources[:-1])} {conjunction} {sources[-1]}"


def _one_of(sources: tuple[str, ...]) -> tuple[Rule, Rule]:
    """Exactly one of these fields is there."""
    return (
        Rule(
            rule=f"[{', '.join(f'has(self.{source})' for source in sources)}].filter(one, one).size() <= 1",
            message=f"{_listed(sources, 'and')} exclude each other: keep one of them",
        ),
        Rule(
            rule=" || ".join(f"has(self.{source})" for source in sources),
            message=f"has no source: set {_listed(sources, 'or')}",
            reason="FieldValueRequired",
        ),
    )


class BaseModelSource(Model):
    """Where the base model's checkpoint comes from: exactly one of pvc, image and huggingFace."""

    model_config = ConfigDict(json_schema_extra=rules(*_one_of(_BASE_SOURCES)))
    sources: ClassVar[tuple[str, ...]] = _BASE_SOURCES

    pvc: PvcSource | None = Field(default=None, description="A folder in a PersistentVolumeClaim, mounted read-only")
    image: ImageSource | None = Field(default=None, description="A checkpoint packed as an OCI image")
    hugging_face: HuggingFaceSource | None = Field(
        default=None, description="A repository of a Hugging Face hub, fetched once into a volume"
    )
    architecture: Architecture | None = Field(
        default=None,
        description="Shape of the model, for the plan of memory, where the checkpoint isn't of Hunyuan-Large's",
    )

    @model_validator(mode="after")
    def _exactly_one_source(self) -> Self:
        if sum(getattr(self, to_snake(source)) is not None for source in self.sources) != 1:
            raise ValueError(f"exactly one of {_listed(self.sources, 'and')} must be set")
        return self


class ModelSource(BaseModelSource):
    """Where the checkpoint comes from: exactly one of pvc, image, huggingFace and fineTune."""

    model_config = ConfigDict(json_schema_extra=rules(*_one_of(_SOURCES)))
    sources: ClassVar[tuple[str, ...]] = _SOURCES

    fine_tune: FineTuneSource | None = Field(
        default=None, description="The result of a HunyuanFineTune; groups are replaced whenever it completes anew"
    )
    served_name: str = Field(
        default="", max_length=253, description="Model name in the OpenAI API; the resource's own name if empty"
    )
