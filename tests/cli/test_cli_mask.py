"""Secrets do not leave the gateway: by key, by form and by value."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, SecretStr

from edge_agent.cli.mask import MASK, Masker, secrets_of

CANARY = "s3cr3t-Canary"


@pytest.mark.parametrize(
    "text",
    [
        f"password: {CANARY}",
        f"  password : '{CANARY}'   # {CANARY}",
        f'mqtt: {{username: gw, password: "{CANARY}", window: 20}}',
        f"mqtt: {{username: gw, password: {CANARY}, window: 20}}",
        f"# password: {CANARY}",
        f"proxy_password: {CANARY}",
        f"password: |\n  {CANARY}\n  {CANARY}2",
        f"password: >-\n\n  {CANARY}",
        f"password: ${{MQTT_PASSWORD:-{CANARY}}}",
        f'{{"api_key": "{CANARY}", "token": "{CANARY}"}}',
        f"API-TOKEN={CANARY}",
        f"passphrase: {CANARY} with more words {CANARY}",
        f"broker: mqtts://gw:{CANARY}@broker:8883",
        f"Authorization: Bearer {CANARY}aaaaaaaa",
        f"-----BEGIN PRIVATE KEY-----\n{CANARY}\n-----END PRIVATE KEY-----",
        f"-----BEGIN EC PRIVATE KEY-----\n{CANARY}",
    ],
)
def test_what_looks_like_a_secret_is_masked(text):
    """However it is written, its value is gone, and that there was one is seen."""
    masked = Masker().text(text)
    assert CANARY not in masked
    assert MASK in masked


@pytest.mark.parametrize(
    "text",
    [
        "password_file: /run/credentials/edge-agent.service/mqtt_password",
        "password: ${file:/run/credentials/edge-agent.service/plc}",
        "password: ${PLC_PASSWORD}",
        "broker: mqtts://broker:8883",
        "tags:\n  passed: {register: holding, address: 3}",
        "compass: 3",
        "spinning: 3",
        "username: gw",
    ],
)
def test_what_helps_to_help_stays(text):
    """References and paths are no secrets: they are where a mistake is."""
    assert Masker().text(text) == text


def test_what_stands_beside_a_secret_stays():
    """Only the value goes, in a line of braces too."""
    text = "mqtt: {username: gw, password: abcd, window: 20}\nnext: 1"
    assert Masker().text(text) == "mqtt: {username: gw, password: ***, window: 20}\nnext: 1"


@given(
    st.text(st.characters(codec="ascii", exclude_categories=["Cc"]), min_size=4).filter(lambda value: value.strip("* ") == value),
    st.text(),
    st.text(),
)
def test_a_known_value_is_nowhere(value, before, after):
    """A value that is known is masked wherever it stands."""
    assert value not in Masker([value]).text(before + value + after)


class _Inner(BaseModel):
    password: SecretStr


class _Outer(BaseModel):
    devices: tuple[_Inner, ...]
    named: dict[str, _Inner]


def test_every_secret_of_a_configuration_is_known():
    """Wherever it stands in the model, and in the environment."""
    model = _Outer(devices=(_Inner(password="one1"),), named={"a": _Inner(password="two2")})
    found = secrets_of(model, {"MQTT_PASSWORD": "three3", "HOME": "/root", "MQTT_PASSWORD_FILE": "/run/x"})
    assert found == {"one1", "two2", "three3"}
