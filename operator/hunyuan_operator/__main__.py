"""``python -m hunyuan_operator``: the image's entry point."""

import asyncio
import logging
import os
import sys

import click

from hunyuan_operator.settings import Settings

logger = logging.getLogger("hunyuan_operator")


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--port", default=8080, show_default=True, help="Port of /metrics and /readyz.")
@click.option("--liveness-port", default=8081, show_default=True, help="Port of /healthz.")
def main(port: int, liveness_port: int) -> None:
    """Run the operator until SIGTERM.

    Credentials come from the pod's service account, or from KUBECONFIG. The environment says the rest:
    HUNYUAN_RUNTIME_IMAGE, POD_NAMESPACE and POD_NAME are required; HUNYUAN_TRAIN_IMAGE, WATCH_NAMESPACES,
    WORKERS, LEASE_DURATION, LOG_LEVEL and LOG_FORMAT (text or json) are not.
    """
    try:
        settings = Settings.from_env(os.environ)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    from hunyuan_operator import app, logs  # noqa: PLC0415 - --help and a wrong setting must not wait for kopf

    logs.configure(settings.log_level, settings.log_format)
    try:
        asyncio.run(app.run(settings, port, liveness_port))
    except app.EXPECTED_ENDS as error:
        logger.error("the operator ends: %s", error)
        sys.exit(1)
    except Exception:
        logger.exception("the operator ends by a defect")
        sys.exit(1)


if __name__ == "__main__":
    main()
