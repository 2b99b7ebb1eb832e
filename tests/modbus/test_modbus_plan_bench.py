"""The planner beside the public strategies, as the benchmark reproduces them."""

import runpy
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "modbus_plan.py"


def test_no_reproduced_strategy_needs_fewer_requests(capsys) -> None:
    """On none of the maps of 1,000 tags has any public strategy fewer requests than the planner under the same permission."""
    bench = runpy.run_path(str(SCRIPT))
    assert bench["main"]() == 0
    assert "Telegraf max_insert" in capsys.readouterr().out


def test_the_strategies_read_every_value() -> None:
    """Each reproduced strategy, too, reads all values, and none above the limit: otherwise it would be no comparison."""
    bench = runpy.run_path(str(SCRIPT))
    for values in bench["MAPS"].values():
        for gap, strategies in bench["STRATEGIES"].items():
            for name, strategy in {**strategies, "edge-agent": bench["ours"]}.items():
                read = {address for start, end in strategy(values, gap) for address in range(start, end)}
                assert all(address in read for start, end in values for address in range(start, end)), name
                assert all(end - start <= 125 for start, end in strategy(values, gap)), name
