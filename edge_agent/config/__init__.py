"""Floor 2: YAML files become one validated `AgentConfig`, or a list of problems a line engineer can act on."""
