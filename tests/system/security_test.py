"""A run whose processes ask each other for certificate and token, and what becomes of those who have none."""

import unittest
from pathlib import Path

from run import TINY, Run, SystemTest, headrace


class SecurityTest(SystemTest):
    def certificates(self, name: str) -> Path:
        directory = self.root / name
        code, output = headrace("certificates", str(directory))
        self.assertEqual(code, 0, output)
        return directory

    def test_a_run_learns_behind_closed_doors(self) -> None:
        own, foreign = self.certificates("own"), self.certificates("foreign")
        run = Run(self, *TINY, "evaluation.processes=1", "evaluation.episodes=1", "stop.env_steps=1000000")
        run.start("--certificates", str(own))
        run.wait_for_env_steps(500)
        shard = run.processes()["replay-0"]["addresses"]["grpc"]
        for arguments, expected in [(("--certificates", str(own)), 0), ((), 1), (("--certificates", str(foreign)), 1)]:
            code, output = headrace("replay", shard, *arguments)
            self.assertEqual(code, expected, output)
        run.wait_for_metric("replay-0", "headrace_grpc_refusals_total", 1)
        # A token may be replaced while processes run.
        (own / "token").write_text((foreign / "token").read_text(encoding="ascii"), encoding="ascii")
        now = run.metric("learner", "headrace_learner_run_env_steps") or 0
        run.wait_for_env_steps(now + 500)
        for process in run.processes().values():
            self.assertEqual(process["attempts"], 1)

    def test_certificates_that_are_missing_are_named_before_anything_starts(self) -> None:
        run = Run(self, *TINY)
        code, output = run.to_end("--certificates", str(self.root))
        self.assertEqual(code, 2)
        self.assert_mentions(output, "ca.crt, tls.crt, tls.key, token missing", "headrace certificates")
        self.assertEqual(run.processes(), {})


if __name__ == "__main__":
    unittest.main()
