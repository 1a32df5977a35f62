"""tools/headrace certificates: what it makes is valid, and made again it keeps what processes rely on."""

import contextlib
import io
import stat
import subprocess
import tempfile
import unittest
from pathlib import Path
from unittest import mock

from headrace_cli.main import main
from headrace_cli.security import FILES


def certificates(*arguments: str) -> tuple[int, str, str]:
    """The command's exit code, output and errors."""
    with contextlib.redirect_stdout(io.StringIO()) as output, contextlib.redirect_stderr(io.StringIO()) as errors:
        code = main(["certificates", *arguments])
    return code, output.getvalue(), errors.getvalue()


class CertificatesTest(unittest.TestCase):
    def setUp(self) -> None:
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.directory = Path(temporary.name) / "certificates"

    def openssl(self, *arguments: str) -> str:
        command = ["openssl", *arguments]
        return subprocess.run(command, cwd=self.directory, capture_output=True, text=True, check=True).stdout

    def contents(self) -> dict[str, str]:
        return {path.name: path.read_text(encoding="ascii") for path in self.directory.iterdir()}

    def test_the_set_is_valid_for_servers_and_clients_of_these_names(self) -> None:
        code, output, _ = certificates(str(self.directory), "--name", "*.example.org", "--name", "10.1.2.3")
        self.assertEqual(code, 0)
        self.assertIn(str(self.directory), output)
        self.assertEqual(sorted(self.contents()), sorted([*FILES, "ca.key"]))
        for purpose in ("sslserver", "sslclient"):
            self.openssl("verify", "-CAfile", "ca.crt", "-purpose", purpose, "tls.crt")
        text = self.openssl("x509", "-in", "tls.crt", "-noout", "-ext", "subjectAltName")
        for name in ("DNS:localhost", "IP Address:127.0.0.1", "DNS:*.example.org", "IP Address:10.1.2.3"):
            self.assertIn(name, text)

    def test_what_no_process_would_take_is_named_and_made_anew_once_it_is_removed(self) -> None:
        certificates(str(self.directory), "--name", "node1.example.org")
        before = self.contents()
        for name, broken in (("token", ""), ("token", "short\n"), ("tls.key", "no key"), ("tls.crt", "no certificate")):
            (self.directory / name).write_text(broken, encoding="ascii")
            code, _, error = certificates(str(self.directory))
            self.assertEqual(code, 2, (name, broken))
            self.assertIn(f"{name}: expected ", error)
            self.assertEqual(self.contents()[name], broken)
            (self.directory / name).unlink()
            self.assertEqual(certificates(str(self.directory))[0], 0, (name, broken))
            self.assertGreater(len(self.contents()[name]), 60, name)
            self.openssl("verify", "-CAfile", "ca.crt", "tls.crt")
        self.assertEqual(self.contents()["ca.crt"], before["ca.crt"])

    def test_an_authority_that_is_broken_is_left_alone(self) -> None:
        for name in ("ca.crt", "ca.key"):
            certificates(str(self.directory))
            whole = self.contents()[name]
            (self.directory / name).write_text("broken", encoding="ascii")
            code, _, error = certificates(str(self.directory))
            self.assertEqual(code, 2)
            self.assertIn("expected a certificate and its key in PEM, got something else", error)
            self.assertEqual(self.contents()[name], "broken")
            (self.directory / name).write_text(whole, encoding="ascii")
        self.openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", "ca.key")
        code, _, error = certificates(str(self.directory))
        self.assertEqual(code, 2)
        self.assertIn("expected a certificate and its own key, got another one's", error)

    def test_nobody_else_can_read_it(self) -> None:
        certificates(str(self.directory))
        self.assertEqual(stat.S_IMODE(self.directory.stat().st_mode), 0o700)
        for name in ("tls.key", "ca.key", "token"):
            self.assertEqual(stat.S_IMODE((self.directory / name).stat().st_mode), 0o600, name)

    def test_a_directory_of_other_things_stays_as_open_as_it_is(self) -> None:
        self.directory.mkdir(exist_ok=True)
        self.directory.chmod(0o755)
        (self.directory / "notes").touch()
        code, _, error = certificates(str(self.directory))
        self.assertEqual(code, 2)
        self.assertIn("holds other files", error)
        self.assertEqual(stat.S_IMODE(self.directory.stat().st_mode), 0o755)
        self.assertEqual([path.name for path in self.directory.iterdir()], ["notes"])

    def test_made_again_it_renews_the_certificate_alone(self) -> None:
        certificates(str(self.directory))
        before = self.contents()
        self.assertEqual(certificates(str(self.directory), "--days", "3")[0], 0)
        after = self.contents()
        self.assertEqual({name for name in after if after[name] != before[name]}, {"tls.crt"})
        self.openssl("verify", "-CAfile", "ca.crt", "tls.crt")

    def test_made_again_it_keeps_the_names_it_had_and_adds_to_them(self) -> None:
        certificates(str(self.directory), "--name", "*.example.org", "--name", "10.1.2.3")
        code, output, _ = certificates(str(self.directory), "--name", "fd00::7")
        self.assertEqual(code, 0)
        self.assertEqual(output.count("localhost"), 1)
        self.assertEqual(output.count("::1"), 1)
        text = self.openssl("x509", "-in", "tls.crt", "-noout", "-ext", "subjectAltName")
        for name in ("DNS:*.example.org", "IP Address:10.1.2.3", "IP Address:FD00:0:0:0:0:0:0:7"):
            self.assertIn(name, text)

    def test_an_authority_of_which_a_half_is_kept_elsewhere_is_not_replaced(self) -> None:
        certificates(str(self.directory))
        for name in ("ca.key", "ca.crt"):
            kept = (self.directory / name).read_bytes()
            (self.directory / name).unlink()
            before = self.contents()
            code, _, error = certificates(str(self.directory))
            self.assertEqual(code, 2)
            self.assertIn(f"expected {name} beside it, where it is kept elsewhere", " ".join(error.split()))
            self.assertEqual(self.contents(), before)
            (self.directory / name).write_bytes(kept)
        self.assertEqual(certificates(str(self.directory))[0], 0)

    def test_an_address_may_stand_in_brackets(self) -> None:
        certificates(str(self.directory), "--name", "[fd00::1]")
        text = self.openssl("x509", "-in", "tls.crt", "-noout", "-ext", "subjectAltName")
        self.assertIn("IP Address:FD00:0:0:0:0:0:0:1", text)
        self.assertNotIn("[", text)

    def test_a_certificate_does_not_outlive_its_authority(self) -> None:
        certificates(str(self.directory), "--days", "3")
        self.openssl("x509", "-in", "ca.crt", "-noout", "-checkend", str(3000 * 86_400))
        self.assertEqual(certificates(str(self.directory), "--days", "3650")[0], 0)
        # One that is about to end.
        self.openssl("x509", "-in", "ca.crt", "-signkey", "ca.key", "-days", "10", "-out", "ca.crt")
        before = self.contents()
        code, _, errors = certificates(str(self.directory), "--days", "11")
        self.assertEqual(code, 2)
        self.assertIn("ca.crt ends in less than 11 days", errors)
        self.assertEqual(self.contents(), before)
        self.assertEqual(certificates(str(self.directory), "--days", "9")[0], 0)

    def test_beside_another_authority_of_the_same_name_it_is_known_by_its_key(self) -> None:
        certificates(str(self.directory))
        other = self.directory.parent / "other"
        certificates(str(other))
        both = [(directory / "ca.crt").read_text(encoding="ascii") for directory in (other, self.directory)]
        (self.directory / "both.crt").write_text("".join(both), encoding="ascii")
        self.openssl("verify", "-CAfile", "both.crt", "tls.crt")
        self.openssl("verify", "-CAfile", "both.crt", str(other / "tls.crt"))

    def test_mistakes_are_named(self) -> None:
        occupied = self.directory.parent / "file"
        occupied.write_text("", encoding="ascii")
        for arguments, message in [
            ((str(self.directory), "--days", "0"), "--days 0: expected 1 to 3650"),
            ((str(self.directory), "--days", "4000"), "--days 4000: expected 1 to 3650"),
            ((str(self.directory), "--name", "a,b"), "--name 'a,b'"),
            ((str(occupied),), str(occupied)),
        ]:
            with self.subTest(arguments):
                code, _, errors = certificates(*arguments)
                self.assertEqual(code, 2)
                self.assertIn(message, errors)

    def test_without_openssl_it_says_what_to_do(self) -> None:
        with mock.patch.dict("os.environ", {"PATH": "/nowhere"}):
            code, _, errors = certificates(str(self.directory))
        self.assertEqual(code, 1)
        self.assertIn("run tools/setup", errors)


if __name__ == "__main__":
    unittest.main()
