"""The README names every command, and every option that the commands take; what --set does is said in both places."""

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

    def test_how_a_field_is_unset_is_said_here_and_in_the_help_of_all_that_take_set(self) -> None:
        self.assertIn("--set stop.score=`", README.read_text(encoding="utf-8"))
        (commands,) = (one for one in parser()._actions if isinstance(one, argparse._SubParsersAction))
        options = {name: command._option_string_actions.get("--set") for name, command in commands.choices.items()}
        helps = {name: option.help or "" for name, option in options.items() if option}
        self.assertEqual({name for name, text in helps.items() if "stop.score=;" in text}, {"run", "check"})


if __name__ == "__main__":
    unittest.main()
