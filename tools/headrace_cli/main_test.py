"""The README names every command, and every option that the commands take."""

import argparse
import re
import unittest
from pathlib import Path

from headrace_cli.main import parser

README = Path("README.md")
# Said once for all commands.
COMMON = {"--help", "--no-build"}


class ReadmeTest(unittest.TestCase):
    def test_the_table_of_commands_has_every_option(self) -> None:
        rows = re.findall(r"^\| `tools/headrace (\w+)(.*?)(?<!\\)\|", README.read_text(encoding="utf-8"), re.MULTILINE)
        (commands,) = (one for one in parser()._actions if isinstance(one, argparse._SubParsersAction))
        table = {name: set(re.findall(r"--[a-z-]+", usage)) for name, usage in rows if name in commands.choices}
        expected = {
            name: {option for action in command._actions for option in action.option_strings if option[1] == "-"}
            for name, command in commands.choices.items()
        }
        self.assertEqual(table, {name: options - COMMON for name, options in expected.items()})


if __name__ == "__main__":
    unittest.main()
