"""The Dockerfile as a user builds it: on a Debian 12 that has nothing yet, where its first stage installs and builds everything.

  bazel test //deploy/container:dockerfile_test --test_output=all

It takes ten minutes on two cores and a network, so that `tools/test` leaves it to continuous integration: container_test
builds the same image from what Bazel has built here.
"""

import os
import shutil
import subprocess
import unittest
from pathlib import Path

DOCKERFILE = Path("deploy/container/Dockerfile")
BASE = "localhost/headrace-bookworm"
IMAGE = "localhost/headrace-whole"
REVISION = "0123456789abcdef0123456789abcdef01234567"
LOCAL = ("/etc/pip.conf", "/usr/local/share/ca-certificates")  # the authorities are taken over by Debian's package
ROLES = ("actor", "learner", "replay")


def podman(*arguments: str, **options) -> subprocess.CompletedProcess:
    environment = {**os.environ, "PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin"}
    return subprocess.run(["podman", *arguments], env=environment, text=True, **options)


class DockerfileTest(unittest.TestCase):
    def test_from_a_bare_debian_to_an_image_of_all_roles(self) -> None:
        for program in ("podman", "mmdebstrap"):
            self.assertIsNotNone(shutil.which(program), f"{program} is needed: apt-get install {program}")
        os.environ["CONTAINERS_CONF"] = str(Path("deploy/container/containers.conf").absolute())
        self.addCleanup(podman, "rmi", "--force", "--ignore", IMAGE, BASE)
        with subprocess.Popen(["mmdebstrap", "--quiet", "--variant=minbase", "bookworm"], stdout=subprocess.PIPE) as bootstrap:
            podman("import", "-", BASE, stdin=bootstrap.stdout, check=True)
        self.assertEqual(bootstrap.returncode, 0)
        # Behind a mirror or a proxy pip needs what it is told here.
        local = [f"--volume={path}:{path}:ro" for path in LOCAL if Path(path).exists()]
        options = ["--layers=false", "--network=host", f"--build-arg=BASE={BASE}", f"--build-arg=REVISION={REVISION}", *local]
        sources = DOCKERFILE.resolve().parents[2]
        podman("build", *options, "--file", str(sources / DOCKERFILE), "--tag", IMAGE, str(sources), check=True)

        for role in ROLES:
            program = f"/opt/headrace/{role}/{role}"
            told = podman("run", "--rm", "--read-only", "--network=none", IMAGE, program, "--help", check=True, stdout=subprocess.PIPE)
            self.assertIn("--token_file", told.stdout)
        container = podman("create", IMAGE, check=True, stdout=subprocess.PIPE).stdout.strip()
        self.addCleanup(podman, "rm", container)
        archive = podman("cp", f"{container}:/opt/headrace/REVISION", "-", check=True, stdout=subprocess.PIPE).stdout
        self.assertIn(REVISION, archive)
        size = int(podman("image", "inspect", "--format", "{{.Size}}", IMAGE, check=True, stdout=subprocess.PIPE).stdout)
        print(f"the image has {size / 1e6:.0f} MB", flush=True)
        self.assertLess(size, 450e6)


if __name__ == "__main__":
    unittest.main()
