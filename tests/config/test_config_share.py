"""Tags of one form share what is the same in all of them."""

from __future__ import annotations

from edge_agent.config.load import load

_DEVICE = """\
version: 1
device: d
driver: {driver}
tags:
  a: {{{first}}}
  b: {{{second}}}
  c: {{{third}}}
"""


def test_tags_with_the_same_keys_share_the_set_of_their_names(tmp_path):
    """Thousands of tags that are written with the same keys hold one set of these keys; each still tells which were written."""
    (tmp_path / "agent.yaml").write_text(
        "version: 1\nagent: a\nsite: [a, b]\nmqtt: {broker: 'mqtt://h:1', allow_insecure: true}\nbuffer: {path: b}\n"
    )
    (tmp_path / "devices").mkdir()
    own = "modbus\nhost: h"
    rows = [f"register: holding, address: {place}" for place in range(3)]
    text = _DEVICE.format(driver=own, first=rows[0], second=rows[1], third=rows[2] + ", uom: KGM")
    (tmp_path / "devices" / "d.yaml").write_text(text)
    tags = load(tmp_path).devices[0].tags
    assert tags["a"].model_fields_set is tags["b"].model_fields_set
    assert tags["b"].model_fields_set == tags["c"].model_fields_set - {"uom"}
    assert "uom" in tags["c"].model_fields_set
    assert "scale" in tags["a"].model_copy(update={"scale": 2.0}).model_fields_set
    assert "scale" not in tags["b"].model_fields_set
