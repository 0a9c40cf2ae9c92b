"""All objects of one resource."""

from dataclasses import dataclass

from hunyuan_operator.build.metadata import Object


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """``shared`` are applied; ``workload``, pods or Jobs, are created and never changed.

    ``gangs`` are needed before the workload, and are of kinds that may be unknown to the API server.
    ``token`` names the Secret that they need with the token by which ranks know each other; empty if none.
    """

    shared: tuple[Object, ...] = ()
    workload: tuple[Object, ...] = ()
    gangs: tuple[Object, ...] = ()
    token: str = ""
