"""The line that is shown beside a mistake: what stands behind a secret's key is not for the output of a service."""

from __future__ import annotations

import pytest

from edge_agent.config.load import InvalidConfigError, load

AGENT = 'version: 1\nagent: gw1\nsite: [acme]\nmqtt: {broker: "mqtt://b", allow_insecure: true}\nbuffer: {path: ./b}\n'


@pytest.mark.parametrize("key", ["token", "api_key", "secret", "password", "kennwort", "web_token", "client-secret"])
def test_a_secret_under_a_wrong_key_is_not_shown(tmp_path, key) -> None:
    """Somebody writes the secret itself where a file's name belongs: the message must not carry it on."""
    (tmp_path / "agent.yaml").write_text(AGENT + f'web: {{listen: "127.0.0.1:8088", {key}: canary-Q3}}\n')
    with pytest.raises(InvalidConfigError) as caught:
        load(tmp_path)
    told = str(caught.value)
    assert f"unknown key '{key}'" in told
    assert f"{key}: ***" in told
    assert "canary-Q3" not in told
