"""``edge-agent buffer status|resend|dead-letters``: ask, and print the answer."""

from __future__ import annotations

from pathlib import Path

from edge_agent.cli.reach import Reached, ask
from edge_agent.cli.words import buffer_lines, json_text, many, plain, table
from edge_agent.model.errors import EdgeAgentError
from edge_agent.status.report import BufferReport, Desk, LetterReport, ResendWish, Resent, Retried, RetryWish

_PAGE = 500
_AT_ONCE = 50
"""Letters in one request: each request is a transaction or a few, and the agent's own appends come in between."""


def status(directory: Path | None, store: Path | None, *, as_json: bool) -> None:
    """Print the figures of the buffer."""

    async def question(reached: Reached) -> tuple[BufferReport, bool]:
        return await reached.desk.buffer(), reached.own is None

    report, running = ask(directory, store, question)
    if as_json:
        print(json_text(report))
        return
    print("\n".join(buffer_lines(report)))
    if not running:
        print("no agent is running: the figures come from the store itself")


def resend(directory: Path | None, store: Path | None, wish: ResendWish) -> None:
    """Have records sent again, and say which."""

    async def question(reached: Reached) -> tuple[Resent, bool]:
        return await reached.desk.resend(wish), reached.own is None

    answer, running = ask(directory, store, question, change=True)
    when = "" if running else " when the agent runs again"
    print(f"{answer.stream} {answer.from_seq} to {answer.to_seq}: {many(answer.resent, 'record')} will be sent again{when}")
    if answer.waiting:
        print(f"  waiting for the first delivery anyway: {many(answer.waiting, 'number')}")
    if answer.not_kept:
        print(f"  no longer kept (buffer.resend_window, or a quarter of buffer.max_bytes): {many(answer.not_kept, 'number')}")


def dead_letters(directory: Path | None, store: Path | None, *, as_json: bool) -> None:
    """List the dead letters."""
    letters = ask(directory, store, lambda reached: _letters(reached.desk))
    if as_json:
        print(json_text(letters))
        return
    if not letters:
        print("no dead letters")
        return
    rows = [(str(each.number), each.id, each.type, each.time, each.reason, plain(each.detail)) for each in letters]
    print("\n".join(table(("number", "id", "type", "time", "reason", "said"), rows)))
    print("after mending the cause: edge-agent buffer dead-letters --retry NUMBER|all")


def retry(directory: Path | None, store: Path | None, number: int | None) -> None:
    """Send one dead letter again, or all (None), and say what became of them. Raises EdgeAgentError when none could be."""

    async def question(reached: Reached) -> tuple[list[Retried], list[LetterReport]]:
        letters = await _letters(reached.desk)
        wanted = letters if number is None else [each for each in letters if each.number == number]
        if number is not None and not wanted:
            raise EdgeAgentError(f"there is no dead letter {number}; edge-agent buffer dead-letters lists them")
        numbers = [each.number for each in wanted if each.reason != "corruption"]
        done: list[Retried] = []
        for start in range(0, len(numbers), _AT_ONCE):
            done += await reached.desk.retry(RetryWish(numbers[start : start + _AT_ONCE]))
        return done, [each for each in wanted if each.reason == "corruption"]

    done, damaged = ask(directory, store, question, change=True)
    for each in done:
        print(f"{each.number}: goes out as {each.id}")
    if damaged:
        raise EdgeAgentError(
            f"{many(len(damaged), 'letter')} cannot be sent again ({', '.join(str(each.number) for each in damaged)}): "
            "their checksum is wrong, so nobody knows what they said"
        )
    if not done:
        print("no dead letters")


async def _letters(desk: Desk) -> list[LetterReport]:
    found: list[LetterReport] = []
    while page := await desk.dead_letters(found[-1].number if found else 0, _PAGE):
        found += page
    return found
