"""Makes keys, certificates and a token for trials: what closes the doors between machines.

DIR then has an authority (ca.crt, ca.key), a certificate of it for all processes (tls.crt, tls.key) and a token. Processes
take it as --certificates=DIR --token_file=DIR/token, `tools/headrace run` and `replay` as --certificates DIR. Run again,
it keeps the authority, the key and the token and issues the certificate anew, for the names it had and those that are given
now; running processes take it over. To drop names, remove tls.crt first.

  tools/headrace certificates keys --name node1.example.org --name '*.cluster.example.org'

For trials: every process has the same key. Anything larger wants an authority of its own, such as cert-manager, which
writes the same three files. Keep ca.key where no process runs; to issue
anew it must be back in DIR for a moment.
"""

import argparse
import ipaddress
import re
import secrets
import socket
import subprocess
from pathlib import Path

from headrace_cli import errors
from headrace_cli.errors import CommandError, UsageError
from headrace_cli.run_directory import write_atomically

KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
LOCAL_NAMES = ("localhost", "127.0.0.1", "::1")
# Long, because whoever trusts it must be told when it changes, and certificates of it are renewed meanwhile.
AUTHORITY_DAYS = 3650


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("directory", type=Path, metavar="DIR", help="made if it is not there")
    parser.add_argument(
        "--name",
        action="append",
        default=[],
        metavar="NAME",
        dest="names",
        help="a name or address by which a process is reached, besides localhost and this machine's; may be repeated",
    )
    parser.add_argument("--days", type=int, default=365, metavar="N", help="how long the certificate is valid; default: 365")


def execute(arguments: argparse.Namespace) -> int:
    if not 1 <= arguments.days <= AUTHORITY_DAYS:
        raise UsageError(f"--days {arguments.days}: expected 1 to {AUTHORITY_DAYS}, for which the authority is valid")
    issued_before = (arguments.directory / "tls.crt").exists()
    try:
        names = [*LOCAL_NAMES, socket.gethostname(), *_names_of(arguments.directory / "tls.crt"), *arguments.names]
        names = list(dict.fromkeys(map(_shortest, names)))
        alternatives = ",".join(_alternative(name) for name in names)
        make(arguments.directory, alternatives, arguments.days)
    except OSError as error:
        raise UsageError(f"{arguments.directory} cannot be used: {error.strerror} ({error.filename})") from error
    issued = "issued anew, valid" if issued_before else "issued, valid"
    print(f"{arguments.directory.absolute()}: certificate {issued} for {arguments.days} days from now, for {', '.join(names)}")
    return errors.DONE


def make(directory: Path, alternatives: str, days: int) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    if any(directory.iterdir()) and not (directory / "ca.crt").exists() and directory.stat().st_mode & 0o077:
        raise UsageError(f"{directory} holds other files, which others may read: expected a directory of its own for keys")
    directory.chmod(0o700)
    authority, certificate = _Pair(directory, "ca"), _Pair(directory, "tls")
    if authority.key.exists() != authority.certificate.exists():
        there, missing = authority.certificate, authority.key
        if authority.key.exists():
            there, missing = missing, there
        raise UsageError(
            f"{there} is there without {missing.name}, and only both can issue certificates: expected {missing.name} beside "
            "it, where it is kept elsewhere; or another DIR, for an authority that every machine must be told of"
        )
    if not authority.key.exists():
        subject = ("-subj", "/CN=Headrace trial authority", "-addext", "keyUsage=critical,keyCertSign,cRLSign")
        files = ("-keyout", authority.key, "-out", authority.certificate)
        _openssl("req", "-x509", *KEY, *files, "-days", str(AUTHORITY_DAYS), *subject)
    elif not _is_readable("x509", authority.certificate) or not _is_readable("pkey", authority.key):
        raise UsageError(
            f"{authority.certificate} and {authority.key.name}: expected a certificate and its key in PEM, got something else: "
            "put back what they were; or remove both, and give the new authority to all machines"
        )
    elif not _belong_together(authority):
        raise UsageError(
            f"{authority.certificate} and {authority.key.name}: expected a certificate and its own key, got another one's: put "
            "back what they were; or remove both, and give the new authority to all machines"
        )
    elif _ends_within(authority.certificate, days):
        raise UsageError(
            f"{authority.certificate} ends in less than {days} days, and with it everything that it vouches for: expected "
            f"fewer --days; or remove it with {authority.key.name}, and give the new one to all machines"
        )
    for kind, path in (("pkey", certificate.key), ("x509", certificate.certificate)):
        if path.exists() and not _is_readable(kind, path):
            raise UsageError(
                f"{path}: expected PEM, of a key without a password: put back what it was; or remove it, and it is made anew, "
                "for the names that --name says"
            )
    token = directory / "token"
    if token.exists() and not _is_token(token):
        raise UsageError(
            f"{token}: expected a token of 16 or more visible ASCII characters a line: mend it; or remove it, and a new one is "
            "made, which all machines must be given"
        )
    if not token.exists():
        write_atomically(token, secrets.token_hex(32) + "\n")
        token.chmod(0o600)
    _issue(directory, authority, certificate, alternatives, days)


class _Pair:
    """A key and its certificate."""

    def __init__(self, directory: Path, name: str) -> None:
        self.key = directory / f"{name}.key"
        self.certificate = directory / f"{name}.crt"


def _issue(directory: Path, authority: _Pair, issued: _Pair, alternatives: str, days: int) -> None:
    request, extensions, fresh = (directory / f".{name}" for name in ("request", "extensions", "fresh"))
    try:
        key = ("-key", issued.key) if issued.key.exists() else (*KEY, "-keyout", issued.key)
        _openssl("req", "-new", *key, "-subj", "/CN=headrace", "-out", request)
        extensions.write_text(
            f"subjectAltName={alternatives}\nbasicConstraints=critical,CA:FALSE\n"
            "keyUsage=critical,digitalSignature\nextendedKeyUsage=serverAuth,clientAuth\n"
            # Every authority has the same name: while one takes over from another, only the key tells them apart.
            "authorityKeyIdentifier=keyid\n",
            encoding="utf-8",
        )
        signer = ("-CA", authority.certificate, "-CAkey", authority.key, "-set_serial", f"0x{secrets.token_hex(16)}")
        _openssl("x509", "-req", "-in", request, *signer, "-days", str(days), "-extfile", extensions, "-out", fresh)
        fresh.replace(issued.certificate)
    finally:
        for path in (request, extensions, fresh):
            path.unlink(missing_ok=True)


def _is_token(path: Path) -> bool:
    """Whether a process takes what is in it (common/security.cc)."""
    words = path.read_text(encoding="utf-8", errors="replace").split("\n")
    tokens = [word.strip() for word in words if word.strip()]
    return bool(tokens) and all(re.fullmatch(r"[!-~]{16,}", token) for token in tokens)


def _is_readable(kind: str, path: Path) -> bool:
    """Whether openssl finds an "x509" certificate or a private key, "pkey", in it."""
    return _run(["openssl", kind, "-in", str(path), "-noout", *(["-passin", "pass:"] if kind == "pkey" else [])]).returncode == 0


def _belong_together(pair: _Pair) -> bool:
    of_certificate = _run(["openssl", "x509", "-in", str(pair.certificate), "-noout", "-pubkey"])
    of_key = _run(["openssl", "pkey", "-in", str(pair.key), "-passin", "pass:", "-pubout"])
    return of_certificate.stdout == of_key.stdout


def _ends_within(certificate: Path, days: int) -> bool:
    # A certificate that is made together with its authority ends with it, give or take a moment.
    seconds = days * 86_400 - 60
    return _run(["openssl", "x509", "-in", str(certificate), "-noout", "-checkend", str(seconds)]).returncode != 0


def _names_of(certificate: Path) -> list[str]:
    """None of one that is not there, or cannot be read."""
    if not certificate.exists():
        return []
    command = ["openssl", "x509", "-in", str(certificate), "-noout", "-ext", "subjectAltName"]
    return re.findall(r"(?:DNS|IP Address):([^,\s]+)", _run(command).stdout)


def _shortest(name: str) -> str:
    """An address as people write it, where openssl says 0:0:0:0:0:0:0:1, and flags with a port [::1]."""
    try:
        return str(ipaddress.ip_address(name.removeprefix("[").removesuffix("]")))
    except ValueError:
        return name


def _alternative(name: str) -> str:
    """As openssl wants a name in a certificate."""
    if not name or any(character in ", \t\n=[]" for character in name):
        raise UsageError(f"--name {name!r}: expected the name or address of a machine, or *.NAME")
    try:
        return f"IP:{ipaddress.ip_address(name)}"
    except ValueError:
        return f"DNS:{name}"


def _openssl(*arguments: str | Path) -> None:
    command = ["openssl", *map(str, arguments)]
    result = _run(command)
    if result.returncode != 0:
        raise CommandError(f"{' '.join(command)} failed:\n{result.stderr.strip()}")


def _run(command: list[str]) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise CommandError("openssl is not installed: run tools/setup") from error
