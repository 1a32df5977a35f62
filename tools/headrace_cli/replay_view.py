"""What is shown of a replay shard: of each of its tables a panel on a terminal, a line elsewhere."""

from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.panel import Panel
from rich.text import Text

from headrace_cli.live_view import Figure, counted, duration, figures_grid, number, size
from headrace_cli.replay_messages import NO_INSERT_LIMIT


@dataclass(frozen=True)
class Answer:
    """What a shard has said of itself."""

    address: str
    seconds: float  # of a monotonic clock
    info: Any  # an InfoResponse


def panels(before: Answer, now: Answer, console: Console) -> list[Panel]:
    """One for each table; one for a shard without. Rates are of the time between the two answers."""
    return [
        Panel(figures_grid(figures, console)[0], title=Text(_title(now)), title_align="left", expand=False)
        for figures in _figures_of_tables(before, now)
    ]


def plain_lines(before: Answer, now: Answer) -> list[str]:
    """The same as lines."""
    return [
        " | ".join([_title(now), *(f"{label} {value}" for label, value in figures)])
        for figures in _figures_of_tables(before, now)
    ]


def _title(answer: Answer) -> str:
    return f"shard {answer.info.shard} at {answer.address}"


def _figures_of_tables(before: Answer, now: Answer) -> list[list[Figure]]:
    info = now.info
    shard = [("incarnation", str(info.incarnation)), ("budget", size(info.budget_bytes))]
    if info.run_id:
        shard.append(("run", info.run_id))
    if info.restored_from:
        shard.append(("restored from", info.restored_from))
    earlier = {table.spec.name: table.state for table in before.info.tables}
    seconds = now.seconds - before.seconds
    tables = [_figures(table.spec, earlier.get(table.spec.name), table.state, seconds) for table in info.tables]
    return [shard + figures for figures in tables or [[("tables", "none yet")]]]


def _figures(spec: Any, before: Any, state: Any, seconds: float) -> list[Figure]:
    """before: the table's state so many seconds ago, None if there was no such table."""

    def total(counter: str) -> str:
        # In another life a shard may count from an older checkpoint on.
        same_life = before is not None and before.incarnation == state.incarnation and seconds > 0
        value = getattr(state, counter)
        return counted(value, (value - getattr(before, counter)) / seconds if same_life else None)

    of_most = f" of {number(spec.max_items)}" if spec.max_items else ""
    samples_per_insert = state.sampled_steps / state.inserted_steps if state.inserted_steps else None
    return [
        ("table", f"{spec.name} over {spec.over}" if spec.over else spec.name),
        ("sampler", _selector(spec, "sampler")),
        ("remover", _selector(spec, "remover")),
        ("items", number(state.items) + of_most),
        ("oldest item", _oldest(state)),
        ("in memory", f"{size(state.stored_bytes)} of {size(spec.max_bytes)}"),
        ("inserted steps", total("inserted_steps")),
        ("inserted items", total("inserted_items")),
        ("sampled items", total("sampled_items")),
        ("removed items", total("removed_items")),
        ("samples per insert", number(samples_per_insert)),
        ("writers", f"{number(state.writers)}, {number(state.blocked_writers)} blocked"),
        ("insert limit", _insert_limit(state)),
        ("highest priority", number(state.max_priority)),
        ("priority updates", total("priority_updates")),
        ("unknown priority keys", total("unknown_priority_keys")),
        ("lost", f"{number(state.lost_chunks)} chunks, {number(state.lost_items)} items"),
    ]


def _oldest(state: Any) -> str:
    if state.items == 0:
        return "none"
    return f"{duration(state.oldest_seconds)} and {number(state.oldest_rows)} rows ago"


def _selector(spec: Any, field: str) -> str:
    value = spec.DESCRIPTOR.fields_by_name[field].enum_type.values_by_number.get(getattr(spec, field))
    name = value.name.lower().replace("_", " ") if value else f"unknown ({getattr(spec, field)})"
    exponent = spec.priority_exponent if spec.HasField("priority_exponent") else 1
    return f"{name}, exponent {number(exponent)}" if name == "proportional" else name


def _insert_limit(state: Any) -> str:
    if state.insert_limit == NO_INSERT_LIMIT:
        return "none"
    return f"{number(state.insert_limit)} steps, {number(max(state.insert_limit - state.inserted_steps, 0))} left"
