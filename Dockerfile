# The operator: Python and a few pure packages, neither torch nor ray. docs/images.md says how to build it.
ARG BASE_IMAGE=debian:bookworm-slim

FROM ${BASE_IMAGE} AS system
# A base that holds the packages already needs no mirror of Debian's.
RUN dpkg --status python3 python3-venv >/dev/null 2>&1 || { apt-get update -q \
    && apt-get install -y -q --no-install-recommends python3 python3-venv && rm -rf /var/lib/apt/lists/*; }

FROM system AS tools
COPY requirements/build.txt /opt/
# The optional secret "build-env" is a shell fragment (UV_DEFAULT_INDEX, SSL_CERT_FILE, proxies); no layer keeps it.
RUN --mount=type=secret,id=build-env set -a; [ ! -f /run/secrets/build-env ] || . /run/secrets/build-env; \
    python3 -m venv /opt/tools \
    && /opt/tools/bin/pip install --quiet --no-cache-dir --require-hashes --requirement /opt/build.txt

FROM tools AS code
COPY . /src
ENV UV_NO_CACHE=1 PYC_INVALIDATION_MODE=UNCHECKED_HASH
RUN /opt/tools/bin/uv build --wheel --no-build-isolation --python /opt/tools/bin/python --out-dir /dist /src \
    && /opt/tools/bin/uv venv --python /usr/bin/python3 /opt/venv \
    && /opt/tools/bin/uv pip install --python /opt/venv --offline --no-deps --compile-bytecode /dist/*.whl

FROM system AS dependencies
COPY requirements/build.txt requirements/operator.txt /opt/
RUN --mount=type=secret,id=build-env set -e -a; [ ! -f /run/secrets/build-env ] || . /run/secrets/build-env; \
    UV_NO_CACHE=1 PYC_INVALIDATION_MODE=UNCHECKED_HASH; \
    python3 -m venv /tmp/tools; \
    /tmp/tools/bin/pip install --quiet --no-cache-dir --require-hashes --requirement /opt/build.txt; \
    /tmp/tools/bin/uv venv --quiet --python /usr/bin/python3 /opt/venv; \
    /tmp/tools/bin/uv pip sync --python /opt/venv --require-hashes --compile-bytecode /opt/operator.txt; \
    rm -r /tmp/tools

FROM dependencies
COPY --from=code /opt/venv /opt/venv
ENV PATH=/opt/venv/bin:/usr/local/bin:/usr/bin:/bin \
    HOME=/tmp PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER 10001:10001
CMD ["python", "-m", "hunyuan_operator"]
