"""Certificates for the OpenSearch node that we run: one authority of our own, and what it signs.

Belongs here: making and checking the authority, the node's certificate and the administrator's client certificate; also
certificates of other servers that stand beside the node.
Does not: deciding where OpenSearch looks for them (`opensearch.py`), or trusting a remote service (`core/settings.py`).

Keys are written with the mode they keep (0600), never opened wider first. `trustme` does not fit: its authorities are valid
until the year 3000, and each of its certificates is for servers and clients alike.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from platform_assets.core.files import write_private, write_text

ORGANISATION = "Assay"
NODE_DN = f"CN=assay-node,O={ORGANISATION}"
ADMIN_DN = f"CN=assay-security-admin,O={ORGANISATION}"
_LIFETIME = dt.timedelta(days=3 * 365)
_RENEW_BEFORE = dt.timedelta(days=30)


@dataclass(frozen=True)
class Certificates:
    """Where the PEM files lie: `ca` may be read by everyone, each `*_key` only by its owner."""

    folder: Path

    @property
    def ca(self) -> Path:
        """The authority's certificate, which clients trust."""
        return self.folder / "ca.pem"

    @property
    def node(self) -> Path:
        """The node's certificate, for HTTPS and transport."""
        return self.folder / "node.pem"

    @property
    def node_key(self) -> Path:
        """The node's private key (PKCS#8)."""
        return self.folder / "node.key"

    @property
    def admin(self) -> Path:
        """The certificate that may change the security configuration."""
        return self.folder / "security-admin.pem"

    @property
    def admin_key(self) -> Path:
        """The private key of `admin`."""
        return self.folder / "security-admin.key"

    def server(self, name: str) -> tuple[Path, Path]:
        """Certificate and private key of another server."""
        return self.folder / f"{name}.pem", self.folder / f"{name}.key"

    def fresh(self, now: dt.datetime | None = None, servers: Sequence[str] = ()) -> bool:
        """Whether all files are there and belong together, all are valid now and none ends within 30 days."""
        now = now or dt.datetime.now(dt.UTC)
        pairs = ((self.node, self.node_key), (self.admin, self.admin_key), *map(self.server, servers))
        try:
            ca = x509.load_pem_x509_certificate(self.ca.read_bytes())
            signed = [(x509.load_pem_x509_certificate(cert.read_bytes()), _public(key)) for cert, key in pairs]
            for certificate, public in [*signed, (ca, ca.public_key())]:
                certificate.verify_directly_issued_by(ca)
                if certificate.public_key() != public:
                    return False
                if not certificate.not_valid_before_utc <= now < certificate.not_valid_after_utc - _RENEW_BEFORE:
                    return False
        except (FileNotFoundError, ValueError, TypeError, InvalidSignature):
            return False
        return True


def ensure_certificates(
    folder: Path, *, node_names: Sequence[str] = (), servers: Mapping[str, Sequence[str]] | None = None
) -> Certificates:
    """Make authority, node and administrator certificates in `folder` unless fresh ones are there.

    The node answers to `localhost` and to `node_names`; `servers` get certificates of their own, by name, which answer to
    `localhost` and to the names given.

    The authority's own key is never stored: a renewal makes a new authority, so a stolen home cannot sign anything.
    """
    certificates = Certificates(folder)
    if certificates.fresh(servers=tuple(servers or ())):
        return certificates
    folder.mkdir(parents=True, exist_ok=True)
    ca_key = ec.generate_private_key(ec.SECP256R1())
    ca_name = _name("assay-local-ca")
    ca = (
        _builder(ca_name, ca_name, ca_key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(ca_key.public_key()), critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    both = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    wanted = [
        ("assay-node", both, _alternatives(node_names), certificates.node, certificates.node_key),
        ("assay-security-admin", both[1:], [], certificates.admin, certificates.admin_key),
        *(
            (f"assay-{name}", both[:1], _alternatives(names), *certificates.server(name))
            for name, names in (servers or {}).items()
        ),
    ]
    for name, usages, names, cert_path, key_path in wanted:
        key = ec.generate_private_key(ec.SECP256R1())
        builder = (
            _builder(_name(name), ca_name, key.public_key())
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(signs_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False)
        )
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        pem = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        write_private(key_path, pem)
        write_text(cert_path, builder.sign(ca_key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode())
    write_text(certificates.ca, ca.public_bytes(serialization.Encoding.PEM).decode())
    return certificates


def _public(key: Path) -> object:
    return serialization.load_pem_private_key(key.read_bytes(), password=None).public_key()


def _alternatives(names: Sequence[str]) -> list[x509.GeneralName]:
    loopback = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    return [*loopback, *(x509.DNSName(name) for name in names)]


def _name(common_name: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, ORGANISATION),
            x509.NameAttribute(NameOID.COMMON_NAME, common_name),
        ]
    )


def _builder(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
    now = dt.datetime.now(dt.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        # A clock that was set back a little must not make a new certificate "not yet valid".
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + _LIFETIME)
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )
