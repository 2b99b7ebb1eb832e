"""Publishing: records become CloudEvents on MQTT topics, and an acknowledgement with a success code finishes them."""
