"""The step server (step_server.cc) as an object, for tests that compare with other implementations."""

import subprocess

import numpy as np


class Environment:
    """One of our environments, in a process of its own."""

    def __init__(self, step_server: str, name: str, seed: int, observation_size: int):
        self._observation_size = observation_size
        self._process = subprocess.Popen(
            [step_server, name, str(seed)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._process.stdin.close()
        self._process.stdout.close()
        if self._process.wait() != 0:
            raise RuntimeError("the step server failed")

    def reset(self):
        self._send(b"R")
        state = self._receive(int(self._receive(1)[0]))
        return state, self._receive(self._observation_size)

    def step(self, action):
        self._send(b"A" + np.asarray(action, np.float64).tobytes())
        answer = self._receive(self._observation_size + 2)
        return answer[:-2], answer[-2], bool(answer[-1])

    def _send(self, command):
        self._process.stdin.write(command)
        self._process.stdin.flush()

    def _receive(self, count):
        data = self._process.stdout.read(8 * count)
        if len(data) != 8 * count:
            raise RuntimeError("the step server ended early")
        return np.frombuffer(data, np.float64)
