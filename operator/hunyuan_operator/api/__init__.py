"""The custom resources as pydantic models; the CRDs in ``crds/`` are generated from them. Pure: no I/O, no clock."""
