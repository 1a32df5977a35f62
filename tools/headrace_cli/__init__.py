"""The command line of Headrace: the launcher of local runs, evaluation, plots, the live view and benchmarks."""
