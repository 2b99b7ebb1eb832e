"""OPC UA: subscriptions with acknowledgement after acceptance, resolved by namespace URI on every connect."""
