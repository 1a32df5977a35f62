"""A connection to one replay shard: calls and streams of proto/replay.proto, and what is said when they fail."""

import queue
import re
from pathlib import Path
from typing import Any

import grpc

from headrace_cli import security
from headrace_cli.errors import CommandError, UsageError
from headrace_cli.replay_messages import SERVICE, answer_of

_OPTIONS = (
    # As large as the shard's own limit; the default of 4 MiB is less than an item may be.
    ("grpc.max_receive_message_length", 64 << 20),
    ("grpc.max_send_message_length", 64 << 20),
    # Shards are on this machine or in this cluster, whatever proxy the environment names.
    ("grpc.enable_http_proxy", 0),
    # Shards at one address share no connection, or a burst on one would delay the others.
    ("grpc.use_local_subchannel_pool", 1),
    # A shard that was restarted is found again soon.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 2000),
)
_CODES = {code.value[0]: code for code in grpc.StatusCode}


class ReplayError(CommandError):
    """What a shard refused, or why it could not be asked; the text names its address."""

    def __init__(self, code: grpc.StatusCode, text: str) -> None:
        super().__init__(text)
        self.code = code


class ReplayChannel:
    """Connects when it is first used, and again whenever it has to. Thread-safe."""

    def __init__(self, address: str, timeout_seconds: float, certificates: Path | str | None = None) -> None:
        """UsageError: the address is not HOST:PORT, or what should be in `certificates` is not there."""
        if not re.fullmatch(r"\S+:\d+", address):
            raise UsageError(f"expected the address of a replay shard as HOST:PORT, got {address!r}")
        self.address = address
        self.timeout_seconds = timeout_seconds
        self._certificates = None if certificates is None else Path(certificates)
        self._channel = security.connect(address, self._certificates, _OPTIONS)

    def close(self) -> None:
        self._channel.close()

    def call(self, method: str, request: Any) -> Any:
        """A method that takes one message and answers with one. ReplayError: it was refused, or there is no answer."""
        call = self._channel.unary_unary(_path(method), None, answer_of(method).FromString)
        try:
            return call(request.SerializeToString(), timeout=self.timeout_seconds)
        except grpc.RpcError as error:
            raise self.failure(method, error, self.timeout_seconds) from error

    def stream(self, method: str, timeout_seconds: float | None = None) -> "ReplayStream":
        """`timeout_seconds`: for the whole stream; not given: that of the channel."""
        call = self._channel.stream_stream(_path(method), None, answer_of(method).FromString)
        return ReplayStream(self, method, call, self.timeout_seconds if timeout_seconds is None else timeout_seconds)

    def failure(self, method: str, error: grpc.RpcError, timeout_seconds: float) -> ReplayError:
        """Why a call has ended, in words."""
        code, details = error.code(), error.details() or ""
        if code == grpc.StatusCode.UNAVAILABLE:
            reason = details.rpartition("last error: ")[2]
            return ReplayError(code, f"no replay shard answers at {self.address}: {reason}{self._hint(reason)}")
        if code == grpc.StatusCode.UNIMPLEMENTED:
            return ReplayError(code, f"what serves at {self.address} is no replay shard: it has no {method}")
        if code == grpc.StatusCode.DEADLINE_EXCEEDED:
            return ReplayError(code, f"no answer to {method} from {self.address} within {timeout_seconds:g} s")
        return self.refusal(method, code, details)

    def _hint(self, reason: str) -> str:
        """What may be wrong with who is asked, or with the certificates."""
        if "Connection refused" in reason:
            return ""  # nobody is there, with certificates or without
        if self._certificates is None:
            return " (one with certificates answers only where --certificates are given)"
        if "CERTIFICATE_VERIFY_FAILED" in reason:
            return f" (its certificate is not of the authority of {self._certificates / 'ca.crt'})"
        if re.search("handshake|closed|reset", reason, re.IGNORECASE):
            return f" (one without certificates answers only where none are given; or it does not accept {self._certificates / 'tls.crt'})"
        return ""

    def refusal(self, method: str, code: grpc.StatusCode | int, details: str) -> ReplayError:
        """What a shard has said; a number is a canonical code, as its answers have it."""
        known = _CODES.get(code, grpc.StatusCode.UNKNOWN) if isinstance(code, int) else code
        return ReplayError(known, f"the replay shard at {self.address} refuses {method}: {known.name}: {details}")


def _path(method: str) -> str:
    return f"/{SERVICE}/{method}"


class ReplayStream:
    """A stream in both directions, as a context manager.

    Leaving it ends the stream at once: what is waited for must have been received.
    """

    def __init__(
        self, channel: ReplayChannel, method: str, call: grpc.StreamStreamMultiCallable, timeout_seconds: float
    ) -> None:
        self._channel = channel
        self._method = method
        self._timeout_seconds = timeout_seconds
        self._requests: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._call = call(iter(self._requests.get, None), timeout=timeout_seconds)

    def __enter__(self) -> "ReplayStream":
        return self

    def __exit__(self, *_: object) -> None:
        self._requests.put(None)
        self._call.cancel()

    def send(self, request: Any) -> None:
        self.send_bytes(request.SerializeToString())

    def send_bytes(self, request: bytes) -> None:
        self._requests.put(request)

    def receive(self) -> Any:
        """The next answer. ReplayError: the shard has ended the stream, and why; or there is no answer in time."""
        try:
            return next(self._call)
        except StopIteration:
            text = f"the replay shard at {self._channel.address} has ended {self._method}"
            raise ReplayError(grpc.StatusCode.ABORTED, text) from None
        except grpc.RpcError as error:
            raise self._channel.failure(self._method, error, self._timeout_seconds) from error
