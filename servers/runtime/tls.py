"""TLS and mutual TLS, with certificates that are read again when their files change."""

import ssl
from pathlib import Path
from typing import Any

import grpc
import structlog

from servers.runtime.errors import ConfigurationError
from servers.runtime.files import Stamp, read_regular, stamp_of
from servers.runtime.settings import ServingSettings

MAX_FILE_BYTES = 16 << 20
"""Maximum size of a file of certificates or keys."""
log = structlog.get_logger()


def server_credentials(settings: ServingSettings) -> grpc.ServerCredentials | None:
    """None where TLS is off. Raises ConfigurationError for files that cannot be read."""
    if not (settings.tls_certificate and settings.tls_key):
        return None
    files = _Files(settings.tls_certificate, settings.tls_key, settings.tls_client_ca)
    _check(files.ca, files.certificate, files.key)
    # gRPC calls `changed` at each handshake, so that a renewed certificate needs no restart.
    return grpc.dynamic_ssl_server_credentials(
        files.read(), files.changed, require_client_authentication=files.ca is not None
    )


def client_credentials(
    ca: Path | None, certificate: Path | None = None, key: Path | None = None
) -> grpc.ChannelCredentials | None:
    """None where no authority is given: TLS is off. Raises ConfigurationError for files that cannot be used."""
    if bool(certificate) != bool(key):
        raise ConfigurationError("a certificate and its key go together; give both")
    if not ca:
        return None
    _check(ca, certificate, key)
    return grpc.ssl_channel_credentials(*(_read(path) if path else None for path in (ca, key, certificate)))


def _check(ca: Path | None, certificate: Path | None, key: Path | None) -> None:
    """gRPC says of wrong files only that it cannot listen or connect. Raises ConfigurationError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    for path in filter(None, (ca, certificate, key)):
        try:
            _read(path)
        except OSError as error:
            raise ConfigurationError(f"cannot read {path}: {error.strerror}") from None
    try:
        if certificate:
            context.load_cert_chain(certificate, key, password="")  # else OpenSSL would prompt for one on the terminal
    except ssl.SSLError as error:
        raise ConfigurationError(f"{certificate} and {key} are no PEM certificate and its key: {_why(error)}") from None
    try:
        if ca:
            context.load_verify_locations(ca)
    except ssl.SSLError as error:
        raise ConfigurationError(f"{ca} holds no PEM certificates: {_why(error)}") from None


def _read(path: Path) -> bytes:
    return read_regular(path, MAX_FILE_BYTES)


def _why(error: ssl.SSLError) -> str:
    return (error.reason or "not in PEM form").lower().replace("_", " ")


class _Files:
    def __init__(self, certificate: Path, key: Path, ca: Path | None) -> None:
        self.certificate, self.key, self.ca = certificate, key, ca
        self._seen: list[Stamp] = []

    def _stamps(self) -> list[Stamp]:
        return [stamp_of(path) for path in (self.certificate, self.key, self.ca) if path]

    def read(self) -> grpc.ServerCertificateConfiguration:
        self._seen = self._stamps()
        pairs = [(_read(self.key), _read(self.certificate))]
        return grpc.ssl_server_certificate_configuration(pairs, _read(self.ca) if self.ca else None)

    def changed(self) -> Any:
        """Called by gRPC at each handshake; None keeps the certificates in use."""
        try:
            return self.read() if self._stamps() != self._seen else None
        except OSError as error:  # in the middle of a renewal
            log.warning("certificates cannot be read; the old ones stay", error=error.strerror)
            return None
