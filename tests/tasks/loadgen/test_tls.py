"""https: stamped in user space, verified against the system's certificates, and said so in the records."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from experiments.schema.load import ClosedLoop, StopRule
from tests.reference_server import log_by_body, reference_server
from tests.tasks.loadgen.trials import Trial, constant, outcomes

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the certificate")


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Key and self-signed certificate of localhost, in one file."""
    folder = tmp_path_factory.mktemp("tls")
    key, certificate, both = folder / "key.pem", folder / "cert.pem", folder / "both.pem"
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    request = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *names]
    subprocess.run([*request, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    both.write_bytes(key.read_bytes() + certificate.read_bytes())
    return both


@pytest.fixture(scope="module")
def urls(certificate: Path) -> Iterator[tuple[str, str]]:
    """The reference server, and the same behind TLS."""
    with (
        reference_server("--ttft-ms", "3", "--itl-ms", "2") as plain,
        reference_server("--tls-before", plain, "--certificate", str(certificate)) as secure,
    ):
        yield plain, secure


@pytest.fixture
def _trusted(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))


@pytest.mark.usefixtures("_trusted")
def test_tls_is_stamped_in_user_space_and_says_so(urls: tuple[str, str], tmp_path: Path) -> None:
    plain, secure = urls
    records, found = Trial(secure, output_tokens=6).run(tmp_path)
    assert outcomes(found) == ["completed"] * 6
    assert records.client.stamp == "user"
    assert {row["stamp"] for row in found} == {"user"}
    assert [row["connection_reused"] for row in found] == [False] * 2 + [True] * 4
    sent = sorted(at for entry in log_by_body(plain).values() for at in entry["sent_ns"])
    came = sorted(at for row in found for at in row["chunk_at_ns"])
    assert all(before <= after for before, after in zip(sent, came, strict=True))


@pytest.mark.usefixtures("_trusted")
@pytest.mark.parametrize("fault", ["close", "reset", "silent"])
def test_tls_connections_that_break_end_as_plain_ones_do(urls: tuple[str, str], tmp_path: Path, fault: str) -> None:
    trial = Trial(urls[1], script={"fault": fault, "fault_at": 2}, timeout_s=0.4)
    _, found = trial.run(tmp_path)
    assert outcomes(found) == ["timed_out" if fault == "silent" else "failed"] * 6


@pytest.mark.usefixtures("_trusted")
def test_tls_goes_on_fresh_and_idle_closed_connections(urls: tuple[str, str], tmp_path: Path) -> None:
    _, fresh = Trial(urls[1], fresh_connections=True).run(tmp_path / "fresh")
    load = ClosedLoop(concurrency=2, think_time_s=0.1)
    _, replaced = Trial(urls[1], load=load, script={"close_idle_ms": 5}).run(tmp_path / "replaced")
    for found in (fresh, replaced):
        assert outcomes(found) == ["completed"] * 6
        assert not any(row["connection_reused"] for row in found)


def test_a_certificate_that_nobody_vouches_for_is_refused(urls: tuple[str, str], tmp_path: Path) -> None:
    _, found = Trial(urls[1], load=constant(100), stop=StopRule(requests=4)).run(tmp_path)
    assert outcomes(found) == ["failed"] * 4
    assert all("certificate verify failed" in row["error"].lower() for row in found)
    assert all(row["sent_at_ns"] is None for row in found)
