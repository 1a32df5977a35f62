"""Reads Prometheus metrics of the processes of a run: https://prometheus.io/docs/instrumenting/exposition_formats."""

import http.client
import math
import re
import urllib.request
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

Labels = Mapping[str, str]

_SAMPLE = re.compile(r"([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})?\s+(\S+)(?:\s+-?\d+)?\s*")
_LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\]|\\.)*)"')
# Past any proxy that the environment names: the processes are on this machine or in this cluster.
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))
_ESCAPES = {r"\\": "\\", r"\"": '"', r"\n": "\n"}


@dataclass(frozen=True)
class Sample:
    """One line of an answer. A histogram h is the samples h_bucket, h_sum and h_count."""

    name: str
    labels: Labels
    value: float


@dataclass
class Scrape:
    """The samples of one process at one time."""

    samples: dict[str, list[Sample]] = field(default_factory=dict)

    def values(self, name: str) -> list[float]:
        """Of every label set, without NaN."""
        return [sample.value for sample in self.samples.get(name, []) if not math.isnan(sample.value)]

    def total(self, name: str, labels: Labels = {}) -> float | None:
        """The sum over all label sets with these labels; None if there is no such sample."""
        values = [
            sample.value
            for sample in self.samples.get(name, [])
            if labels.items() <= sample.labels.items() and not math.isnan(sample.value)
        ]
        return sum(values) if values else None


def parse(text: str) -> Scrape:
    """The samples of a text answer; lines that are none are skipped."""
    scrape = Scrape()
    for line in text.splitlines():
        match = None if line.startswith("#") else _SAMPLE.fullmatch(line)
        if match is None:
            continue
        try:
            value = float(match[3])
        except ValueError:
            continue
        labels = {name: _unescape(value) for name, value in _LABEL.findall(match[2] or "")}
        scrape.samples.setdefault(match[1], []).append(Sample(match[1], labels, value))
    return scrape


def fetch(address: str, timeout: float = 1.0) -> Scrape | None:
    """Asks one process; None if it does not answer in time."""
    try:
        with _DIRECT.open(f"http://{address}/metrics", timeout=timeout) as answer:
            return parse(answer.read().decode("utf-8", errors="replace"))
    except (OSError, ValueError, http.client.HTTPException):
        return None


def fetch_all(addresses: Mapping[str, str], timeout: float = 1.0) -> dict[str, Scrape | None]:
    """Asks all processes at once; addresses and answers by name."""
    if not addresses:
        return {}
    with ThreadPoolExecutor(max_workers=min(len(addresses), 16)) as pool:
        answers: Iterable[Scrape | None] = pool.map(lambda address: fetch(address, timeout), addresses.values())
        return dict(zip(addresses, answers, strict=True))


def _unescape(text: str) -> str:
    return re.sub(r"\\[\\\"n]", lambda match: _ESCAPES[match[0]], text)
