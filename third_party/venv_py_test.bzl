"""Tests written in Python."""

def venv_py_test(name, src, data = [], args = [], env = {}, **kwargs):
    """A test that is a Python program, run by the Python of the virtual environment that tools/setup makes.

    It runs in the root of its runfiles, which is also on Python's path: programs and files in `data` are found by their
    paths from the workspace's root, and modules by names such as tools.plot. Exit status 0 is success.

    Args:
      name: of the test.
      src: the program.
      data: modules, programs and files that it needs.
      args: its command line; $(rootpath LABEL) is the path of a target in `data`. Without one unittest is told to say
        what becomes of each test, as tools/test_summary.py wants it.
      env: variables for it.
      **kwargs: passed to sh_test.
    """
    native.sh_test(
        name = name,
        srcs = ["@wheels//:python"],
        args = ["$(rootpath %s)" % src] + (args or ["-v"]),
        data = [src] + data,
        env = dict({"PYTHONPATH": ".", "PYTHONDONTWRITEBYTECODE": "1"}, **env),
        **kwargs
    )
