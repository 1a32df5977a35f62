"""Every configuration that comes with the project is one that a run would start with."""

import unittest
from pathlib import Path

from run import SystemTest, headrace


class ConfigurationsTest(SystemTest):
    def test_all_are_valid(self) -> None:
        configurations = sorted(Path("deploy/run").glob("*.textproto"))
        self.assertGreater(len(configurations), 10)
        for configuration in configurations:
            with self.subTest(configuration.name):
                code, output = headrace("check", str(configuration))
                self.assertEqual(code, 0, output)


if __name__ == "__main__":
    unittest.main()
