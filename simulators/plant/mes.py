"""The MES of a plant as a process: it retains on one MQTT topic what is to be made, as the scenario has it, also after the broker was away.

``python -m simulators.plant.mes --scenario F --broker HOST:PORT --clock FILE --ledger FILE``
"""

from __future__ import annotations

import argparse
import asyncio
import json
from pathlib import Path

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from simulators.command import address, ready, speed
from simulators.plant.stage import PlantStage, play
from simulators.plant.tracks import Plant


def messages(plant: Plant) -> list[tuple[int, str]]:
    """Give the messages in order: (t, JSON object of all members); what is empty is null."""
    told = {member.mes: plant.context(name) for name, member in plant.scenario.context.items() if member.mes is not None}
    instants = sorted({t for steps in told.values() for t in steps.times})
    return [(t, json.dumps({name: steps.at(t) or None for name, steps in told.items()})) for t in instants]


async def simulate(stage: PlantStage) -> None:
    """Publish each message at its time, until cancelled; the newest one again to a broker that is back."""
    topic = stage.plant.scenario.mes.topic if stage.plant.scenario.mes is not None else ""
    host, port = stage.options.broker
    newest: list[str] = []
    client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id="mes", protocol=mqtt.MQTTv5)
    client.reconnect_delay_set(1, 1)

    def connected(client: mqtt.Client, *_: object) -> None:
        for text in newest[-1:]:
            client.publish(topic, text, qos=1, retain=True)

    client.on_connect = connected
    client.connect_async(host, port, keepalive=10)
    client.loop_start()
    try:
        ready(f"mqtt://{host}:{port}/{topic}")
        for t, text in messages(stage.plant):
            if t:
                await stage.clock.sleep_until(t)
            newest.append(text)
            client.publish(topic, text, qos=1, retain=True)
            stage.ledger.write(t, "said", json.loads(text))
        await asyncio.Event().wait()
    finally:
        client.disconnect()
        client.loop_stop()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m simulators.plant.mes", description="The MES of a plant.")
    parser.add_argument("--scenario", type=Path, required=True, metavar="FILE")
    parser.add_argument("--broker", type=address, required=True, metavar="HOST:PORT")
    parser.add_argument("--speed", type=speed, default=1.0)
    parser.add_argument("--clock", type=Path, metavar="FILE")
    parser.add_argument("--ledger", type=Path, metavar="FILE")
    play(parser, simulate)
