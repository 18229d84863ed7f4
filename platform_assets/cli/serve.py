"""`assay serve`: the HTTP API and the page for operators."""

from __future__ import annotations

from contextlib import suppress
from ipaddress import ip_address
from pathlib import Path

import click

from platform_assets.cli.session import Command, Session, pass_session
from platform_assets.core.errors import AssayError


@click.command(
    cls=Command,
    examples=(
        "assay serve",
        "assay serve --port 8443 --host 0.0.0.0 --certificate cert.pem --private-key key.pem",
    ),
)
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8080, show_default=True, help="The port; 0 picks a free one."
)
@click.option("--certificate", type=click.Path(exists=True, dir_okay=False), help="TLS: the certificate chain, PEM.")
@click.option("--private-key", type=click.Path(exists=True, dir_okay=False), help="TLS: its key, PEM.")
@click.option("--behind-proxy", is_flag=True, help="A proxy terminates TLS in front of this address: allow plain HTTP.")
@pass_session
def serve(
    session: Session, host: str, port: int, certificate: str | None, private_key: str | None, behind_proxy: bool
) -> None:
    """Serve the HTTP API and the web page until Ctrl-C.

    The web page is at / and the API's documentation at /docs. `assay keys add` creates keys; changes of keys take
    effect at once. Changes of contracts, rules, reports and marts take effect within seconds, without dropping a
    request; a system whose contract is invalid is disabled until it is corrected.

    Without TLS it listens on the loopback address only, because keys must not cross a network unencrypted.
    """
    from platform_assets.serve.reload import Reloading
    from platform_assets.serve.server import listening, make_server

    if bool(certificate) != bool(private_key):
        raise AssayError("TLS needs both --certificate and --private-key", "give both or none")
    if not (certificate or behind_proxy or _loopback(host)):
        raise AssayError(
            f"{host} is reached from other machines, and keys must not travel in clear",
            "give --certificate and --private-key, or --behind-proxy when something before it speaks TLS",
        )
    settings = session.settings
    _ = settings.opensearch_url, settings.opensearch_jwt_key  # told now, not to the first caller
    session.warn()
    app = Reloading(settings)
    server = make_server(
        app,
        host,
        port,
        certificate=Path(certificate) if certificate else None,
        private_key=Path(private_key) if private_key else None,
        log_config=_LOGGING,
    )
    with listening(host, port) as socket, suppress(KeyboardInterrupt):  # Ctrl-C is how it ends
        shown = f"[{host}]" if ":" in host else host
        scheme = "https" if certificate else "http"
        click.echo(f"Listening on {scheme}://{shown}:{socket.getsockname()[1]} until Ctrl-C", err=True)
        server.run([socket])


def _loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


_LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "%(asctime)s %(levelname)s %(message)s"}},
    "handlers": {"err": {"class": "logging.StreamHandler", "formatter": "line", "stream": "ext://sys.stderr"}},
    "loggers": {
        "uvicorn": {"handlers": ["err"], "level": "INFO", "propagate": False},
        "assay.api": {"handlers": ["err"], "level": "INFO", "propagate": False},
    },
}
