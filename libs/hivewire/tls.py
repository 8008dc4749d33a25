"""TLS: whom a program trusts, what it shows of itself, and what is wrong where that fails."""

import ssl
from dataclasses import dataclass
from pathlib import Path

from hivewire.errors import BadUsage

# OpenSSL's numbers of what can be wrong with a certificate.
EXPIRED, NOT_YET_VALID = 10, 9
WRONG_NAME = frozenset({62, 64})
UNTRUSTED = frozenset({18, 19, 20, 21})
CUT_OFF = (ssl.SSLEOFError, ssl.SSLZeroReturnError, ssl.SSLSyscallError)
"""A server that ended, or a line that broke, in the middle of a handshake: nothing is wrong with TLS."""


@dataclass(frozen=True, slots=True)
class Tls:
    """The files of one side of a connection, all PEM.

    Without `ca` the system's CAs are trusted. `cert` and `key` are what a client shows where the server asks for it; the
    key may also stand in the certificate's file.
    """

    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None

    @classmethod
    def of(cls, ca: str | Path | None, cert: str | Path | None, key: str | Path | None) -> "Tls":
        """By paths, of which None or nothing is not named."""
        return cls(*(Path(file).expanduser() if file else None for file in (ca, cert, key)))

    @property
    def is_wanted(self) -> bool:
        """Whether any of it is named: then nothing may go over the line unencrypted."""
        return any((self.ca, self.cert, self.key))

    def check(self) -> None:
        """Look at what a client was given, before anything is tried with it.

        Raises:
            BadUsage: a file is missing or cannot be used.
        """
        if self.is_wanted:
            self.client_context()

    def client_context(self) -> ssl.SSLContext:
        """A client's context. The files are read again each time, so renewed ones hold from the next connection on.

        Raises:
            BadUsage: a file is missing or cannot be used.
        """
        try:
            context = ssl.create_default_context(cafile=self.ca)
        except (OSError, ValueError) as error:
            raise BadUsage(f"cannot use {self.ca} as the CA to trust: {_reason(error)}") from error
        self._show(context)
        return context

    def server_context(self) -> ssl.SSLContext:
        """A server's context.

        Raises:
            BadUsage: a file is missing or cannot be used.
        """
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self._show(context)
        return context

    def _show(self, context: ssl.SSLContext) -> None:
        if self.cert is None:
            if self.key is not None:
                raise BadUsage(f"the key {self.key} needs its certificate: name that too")
            return
        try:
            # An encrypted key would else be asked for on the terminal.
            context.load_cert_chain(self.cert, self.key, password="")
        except (OSError, ValueError) as error:
            files = f"{self.cert} with {self.key}" if self.key else f"{self.cert}, with the key in the same file"
            raise BadUsage(f"cannot use the certificate {files}: {_reason(error)}") from error


def trouble(error: BaseException | None, *, ca: str, cert: str = "") -> str | None:
    """What went wrong with TLS, and what to do; None where something else did.

    Args:
        error: what was raised; TLS may be among its causes.
        ca: the setting that names a CA to trust.
        cert: the settings that name a client's certificate and key, where there are such.
    """
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        if isinstance(error, ssl.SSLCertVerificationError):
            return _unverified(error, ca)
        if isinstance(error, ssl.SSLError):
            return None if isinstance(error, CUT_OFF) else _broken(error, cert)
        error = error.__cause__ or error.__context__
    return None


def _unverified(error: ssl.SSLCertVerificationError, ca: str) -> str:
    says = error.verify_message
    if error.verify_code == EXPIRED:
        return "its certificate has expired: renew it there, or set this machine's clock"
    if error.verify_code == NOT_YET_VALID:
        return "its certificate is not valid yet: set the clocks of both machines"
    if error.verify_code in WRONG_NAME:
        name = says.rpartition(" for ")[2].strip(".")
        return f"its certificate is not for {name}: call it by a name that is in the certificate"
    if error.verify_code in UNTRUSTED:
        return f"its certificate is of no CA that is trusted here ({says}): name its CA with {ca}"
    return f"its certificate cannot be verified: {says}"


def _broken(error: ssl.SSLError, cert: str) -> str:
    reason = error.reason or ""
    if "ALERT" in reason and cert:
        said = reason.rpartition("ALERT_")[2].replace("_", " ").lower()
        return f"it does not take the client's certificate ({said}): name one that it trusts with {cert}"
    if reason in {"WRONG_VERSION_NUMBER", "UNKNOWN_PROTOCOL", "HTTP_REQUEST", "RECORD_LAYER_FAILURE"}:
        return "it does not speak TLS there: use another port, or go without TLS"
    return f"TLS failed: {_reason(error)}"


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        return (error.reason or "is it PEM, whole and not encrypted?").replace("_", " ")
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
