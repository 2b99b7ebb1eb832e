"""Recipes, set points, speeds, tools and what people enter."""

from __future__ import annotations

from golden_story import BAD, Story, trace

TOTAL = {"counters": {"total": {"tag": "plc1.count", "role": "total", "wraps": "packml", "max_rate": "3/s"}}}
RECIPE = {"recipe": {"tag": "plc1.recipe", "by": "plc1.user"}}
RECIPE_TAGS = {"recipe": "string", "user": "string", "count": "int32"}


@trace(unit={**TOTAL, **RECIPE}, plc1=RECIPE_TAGS)
def recipe_changed(story: Story) -> None:
    """Old and new recipe and who chose it; the counts behind it are stamped with the new one."""
    story.at(0, recipe="PILS-05", user="", count=0)
    story.at(3, count=4)
    story.at(6, recipe="PILS-033", user="anna", count=6)
    story.at(9, count=9)
    story.at(12, recipe="", user="")
    story.at(15, count=10)
    story.wait(17)


@trace(unit={**TOTAL, **RECIPE}, plc1=RECIPE_TAGS)
def recipe_changed_unseen(story: Story) -> None:
    """A recipe that changed in a loss, and one in the agent's absence: with the interval in which it can have been."""
    story.at(0, recipe="PILS-05", user="anna", count=0)
    story.cut(4)
    story.at(9, recipe="RADLER", count=6)
    story.join(12)
    story.gone(16)
    story.at(20, recipe="PILS-05", user="ben", count=12)
    story.back(25)
    story.wait(28)


@trace(
    unit={
        "setpoints": {"temp": {"tag": "plc1.temp", "deadband": 0.5, "uom": "CEL"}, "mode": {"tag": "plc1.prog", "by": "plc1.user"}}
    },
    plc1={"temp": "float32", "prog": "int16", "user": "string"},
)
def setpoint_changed(story: Story) -> None:
    """A slow drift is told once it has left the dead band; a bad sample says nothing; a number without a dead band at once."""
    story.at(0, temp=180.0, prog=3, user="anna")
    story.each(2, 10, 2, lambda k: {"temp": 180.2 + 0.2 * k})
    story.at(12, temp=BAD)
    story.at(14, temp=181.0)
    story.at(16, prog=4, user="ben")
    story.cut(18)
    story.at(20, temp=175.0)
    story.join(25)
    story.wait(27)


@trace(
    unit={"speed": {"actual": "plc1.act", "setpoint": "plc1.set", "design": 200, "uom": "/min", "deadband": 5}},
    plc1={"act": "float32", "set": "float32"},
)
def speed_changed(story: Story) -> None:
    """It trembles inside the dead band, is set lower, stops, and runs again after a loss."""
    story.at(0, act=180.0, set=180.0)
    story.each(1, 4, 1, lambda k: {"act": 180.0 + (k % 3) * 2})
    story.at(6, set=120.0)
    story.each(7, 9, 1, lambda k: {"act": 160.0 - 20 * k})
    story.at(11, act=2.0)
    story.at(12, act=0.0)
    story.cut(14)
    story.at(16, act=119.0)
    story.join(20)
    story.wait(22)


TOOL = {
    "tools": {
        "die": {"tool": "plc1.tool", "life": "plc1.life", "limit": 1000},
        "oil": {"life": "plc1.oil", "limit": "plc1.oilmax", "uom": "HUR"},
    }
}
TOOL_TAGS = {"tool": "string", "life": "uint32", "oil": "float32", "oilmax": "float32"}


@trace(unit=TOOL, plc1=TOOL_TAGS)
def tool_changed_and_limit(story: Story) -> None:
    """A limit is told once; the next tool arms it again; an oil whose limit is lowered below its life has reached it."""
    story.at(0, tool="D-17", life=990, oil=100.0, oilmax=500.0)
    story.at(3, life=1000)
    story.at(6, life=1004)
    story.at(9, tool="D-18", life=0)
    story.at(12, life=1000)
    story.at(15, oilmax=90.0)
    story.at(16, oil=101.0)
    story.wait(18)


@trace(unit=TOOL, plc1=TOOL_TAGS)
def tool_changed_unseen(story: Story) -> None:
    """A tool that was changed in a loss, a limit that was reached while the agent was away."""
    story.at(0, tool="D-17", life=900, oil=100.0, oilmax=500.0)
    story.cut(4)
    story.at(8, tool="D-18", life=3)
    story.join(12)
    story.gone(16)
    story.at(20, life=1001, oil=501.0)
    story.back(24)
    story.wait(26)


@trace(
    unit={"inputs": {"badge": {"tag": "plc1.badge"}, "why": {"tag": "plc1.why", "kind": "reason", "user": "plc1.user"}}},
    plc1={"badge": "string", "why": "int16", "user": "string"},
)
def operator_input(story: Story) -> None:
    """A badge, a reason with its user, the same again after a pause at empty; and one that stands over a loss and a restart."""
    story.at(0, badge="", why=0, user="")
    story.at(2, badge="B-0815")
    story.at(4, badge="")
    story.at(6, why=12, user="anna")
    story.at(8, why=0)
    story.at(10, why=12, user="ben")
    story.cut(12)
    story.at(13, badge="B-4711")
    story.join(16)
    story.kill(20, 24)
    story.at(26, badge="", why=0)
    story.wait(28)
