"""Certificates for 127.0.0.1: of a private authority, of one that nobody knows, and one that has expired."""

import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

DAY = timedelta(days=1)
HOST = "127.0.0.1"


@dataclass(frozen=True)
class Authority:
    """A certificate authority, whose certificate is in `file`."""

    name: x509.Name
    key: EllipticCurvePrivateKey
    file: Path

    def server(self, *, host: str = HOST, valid_until: datetime | None = None) -> ssl.SSLContext:
        """The server's end, with a certificate for the host; good for a day unless it has expired."""
        key = generate_private_key(SECP256R1())
        until = valid_until or datetime.now(UTC) + DAY
        names = x509.SubjectAlternativeName([x509.IPAddress(ip_address(host))])
        unsigned = _unsigned(_name("server"), key, self.name, until).add_extension(names, critical=False)
        pem = self.file.with_name("server.pem")
        pem.write_bytes(_private(key) + unsigned.sign(self.key, SHA256()).public_bytes(Encoding.PEM))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pem)
        return context


def new_authority(folder: Path, name: str) -> Authority:
    """Make an authority and its file."""
    key, subject = generate_private_key(SECP256R1()), _name(name)
    unsigned = _unsigned(subject, key, subject, datetime.now(UTC) + DAY)
    signed = unsigned.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    file = folder / f"{name}.pem"
    file.write_bytes(signed.sign(key, SHA256()).public_bytes(Encoding.PEM))
    return Authority(subject, key, file)


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])


def _private(key: EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _unsigned(
    subject: x509.Name, key: EllipticCurvePrivateKey, issuer: x509.Name, until: datetime
) -> x509.CertificateBuilder:
    builder = x509.CertificateBuilder(subject_name=subject, issuer_name=issuer, public_key=key.public_key())
    return builder.serial_number(x509.random_serial_number()).not_valid_before(until - 2 * DAY).not_valid_after(until)
