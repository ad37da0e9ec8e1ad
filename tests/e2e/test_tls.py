"""TLS by option: a certificate of our own making, and clients that trust nothing else."""

from __future__ import annotations

import datetime
import ipaddress
import ssl
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
import tritonclient.grpc as over_grpc
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from httpx_ws import connect_ws

from tests.conftest import ROOT
from tests.e2e.server import Server, failed_start, serving
from tests.ports import free_port


@dataclass(frozen=True)
class Certificate:
    """PEM files of a certificate for 127.0.0.1 and of its key."""

    chain: Path
    key: Path


def certificate(folder: Path) -> Certificate:
    secret = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "triptych-test")])
    now = datetime.datetime.now(datetime.UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(name).issuer_name(name).public_key(secret.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName(
            [x509.IPAddress(ipaddress.ip_address("127.0.0.1")), x509.DNSName("localhost")]
        ), critical=False)
        .sign(secret, hashes.SHA256())
    )  # fmt: skip
    folder.mkdir(exist_ok=True)
    made = Certificate(folder / "chain.pem", folder / "key.pem")
    made.chain.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    made.key.write_bytes(
        secret.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return made


@dataclass(frozen=True)
class Encrypted:
    """A server that speaks TLS on all its ports."""

    server: Server
    certificate: Certificate
    grpc_port: int
    admin_port: int

    @property
    def trust(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self.certificate.chain))


@pytest.fixture(scope="module")
def encrypted(tiny_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Encrypted]:
    folder = tmp_path_factory.mktemp("tls")
    made = certificate(folder / "etc")
    grpc_port, admin_port = free_port(), free_port()
    settings = {
        "tls_cert": made.chain, "tls_key": made.key, "grpc_port": grpc_port,
        "admin_port": admin_port,
    }  # fmt: skip
    options = ("--ssl-certfile", str(made.chain), "--ssl-keyfile", str(made.key))
    trust = ssl.create_default_context(cafile=str(made.chain))
    with serving(tiny_store, folder / "home", options=options, trust=trust, **settings) as server:
        server.wait_for("/readyz", 200)
        yield Encrypted(server, made, grpc_port, admin_port)


def test_https_with_the_certificate_and_not_without(encrypted: Encrypted) -> None:
    url = encrypted.server.url
    assert url.startswith("https://")
    body = {"prompt": "a", "max_tokens": 3}
    answer = httpx.post(f"{url}/v1/completions", json=body, verify=encrypted.trust, timeout=30)
    assert answer.status_code == 200
    with pytest.raises(httpx.ConnectError, match="certificate"):
        httpx.get(f"{url}/livez", timeout=30)
    with pytest.raises(httpx.RemoteProtocolError):
        httpx.get(f"{url}/livez".replace("https", "http"), timeout=30)


def test_a_websocket_over_tls(encrypted: Encrypted) -> None:
    with (
        httpx.Client(verify=encrypted.trust) as client,
        connect_ws(f"{encrypted.server.url}/v1/completions/stream", client) as socket,
    ):
        socket.send_json({"prompt": "a", "max_tokens": 1})
        assert "choices" in socket.receive_json()


def test_grpc_over_tls(encrypted: Encrypted) -> None:
    address, chain = f"127.0.0.1:{encrypted.grpc_port}", str(encrypted.certificate.chain)
    with over_grpc.InferenceServerClient(address, ssl=True, root_certificates=chain) as client:
        assert client.is_server_ready()


def test_the_admin_port_over_tls(encrypted: Encrypted) -> None:
    url = f"https://127.0.0.1:{encrypted.admin_port}"
    answer = httpx.get(f"{url}/metrics", verify=encrypted.trust, timeout=30)
    assert "triptych_requests" in answer.text


def test_old_protocols_are_refused(encrypted: Encrypted) -> None:
    context = encrypted.trust
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    assert httpx.get(f"{encrypted.server.url}/livez", verify=context).status_code == 200
    done = subprocess.run(
        ["openssl", "s_client", "-tls1_1", "-connect",
         encrypted.server.url.removeprefix("https://")],
        input="", capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    assert done.returncode != 0


def test_a_key_that_is_not_the_certificates_stops_the_start(tmp_path: Path) -> None:
    one, other = certificate(tmp_path / "one"), certificate(tmp_path / "other")
    for chain, key in ((one.chain, other.key), (one.chain, tmp_path / "none.pem")):
        status, log = failed_start(tmp_path / "home", tls_cert=chain, tls_key=key)
        assert status != 0
        assert "TRIPTYCH_TLS_CERT" in log
        assert "Traceback" not in log


def test_make_serve_passes_the_certificate_on() -> None:
    shown = subprocess.run(
        ["make", "-n", "serve", "TLS_CERT=c.pem", "TLS_KEY=k.pem"],
        cwd=ROOT, capture_output=True, text=True, check=True, timeout=60,
    ).stdout  # fmt: skip
    assert "--ssl-certfile c.pem --ssl-keyfile k.pem" in shown
    assert "TRIPTYCH_TLS_CERT=c.pem TRIPTYCH_TLS_KEY=k.pem" in shown
    plain = subprocess.run(
        ["make", "-n", "serve"], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    ).stdout
    assert "ssl" not in plain
