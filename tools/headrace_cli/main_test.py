"""What all commands have in common: the README names them and their options, and Ctrl-C may come at any time."""

import argparse
import re
import subprocess
import sys
import unittest
from pathlib import Path

from headrace_cli.main import parser

README = Path("README.md")
# Said once for all commands.
COMMON = {"--help", "--no-build"}

# Runs the program as tools/headrace does, and interrupts it when it comes to import a module.
INTERRUPTED = """
import os, runpy, signal, sys

module = sys.argv.pop(1)

class Interrupter:
    def find_spec(self, name, *_):
        if name == module:
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Interrupter())
runpy.run_path("tools/headrace_cli/__main__.py", run_name="__main__")
"""


class ReadmeTest(unittest.TestCase):
    def test_the_table_of_commands_has_every_option(self) -> None:
        rows = re.findall(r"^\| `tools/headrace (\w+)(.*?)(?<!\\)\|", README.read_text(encoding="utf-8"), re.MULTILINE)
        (commands,) = (one for one in parser()._actions if isinstance(one, argparse._SubParsersAction))
        table = {name: set(re.findall(r"--[a-z-]+", usage)) for name, usage in rows if name in commands.choices}
        expected = {
            name: {
                option
                for action in command._actions
                for option in action.option_strings
                if option[1] == "-" and action.help is not argparse.SUPPRESS
            }
            for name, command in commands.choices.items()
        }
        self.assertEqual(table, {name: options - COMMON for name, options in expected.items()})

    def test_how_a_field_is_unset_is_said_here_and_in_the_help_of_all_that_take_set(self) -> None:
        self.assertIn("--set stop.score=`", README.read_text(encoding="utf-8"))
        (commands,) = (one for one in parser()._actions if isinstance(one, argparse._SubParsersAction))
        options = {name: command._option_string_actions.get("--set") for name, command in commands.choices.items()}
        helps = {name: option.help or "" for name, option in options.items() if option}
        self.assertEqual({name for name, text in helps.items() if "stop.score=;" in text}, {"run", "check"})

    def test_what_a_field_of_several_values_takes_is_said_there_too(self) -> None:
        self.assertIn("--set sac.hidden=64,64", README.read_text(encoding="utf-8"))
        (commands,) = (one for one in parser()._actions if isinstance(one, argparse._SubParsersAction))
        self.assertIn("sac.hidden=64,64", commands.choices["run"]._option_string_actions["--set"].help or "")


class StartTest(unittest.TestCase):
    def test_an_interrupt_while_modules_are_imported_is_one_word(self) -> None:
        for module in ("headrace_cli.main", "headrace_cli.command_run", "rich"):
            with self.subTest(module):
                command = [sys.executable, "-c", INTERRUPTED, module, "run", "task.textproto"]
                result = subprocess.run(command, capture_output=True, text=True, check=False)
                self.assertEqual((result.returncode, result.stdout, result.stderr), (130, "", "interrupted\n"))

    def test_the_list_of_commands_imports_none_of_them(self) -> None:
        program = """
import sys
from headrace_cli.main import parser
print(parser(()).format_help())
print([name for name in sys.modules if "command_" in name])
"""
        result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
        self.assertIn("Draws learning curves as PNG", result.stdout)
        self.assertTrue(result.stdout.endswith("\n[]\n"), result.stdout)


if __name__ == "__main__":
    unittest.main()
