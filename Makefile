# Every target also works without make: python3 dev.py TARGET
PYTHON ?= python3
ARGS ?=

.PHONY: help demo test check setup lock
help:    ## this list
	@sed -n 's/^\([a-z-]*\): *## /\1\t/p' Makefile | expand -t 12
demo:    ## the demo line, live; ARGS="--once --speed 30 --faults"
	@$(PYTHON) dev.py demo $(ARGS)
test:    ## the whole test suite
	@$(PYTHON) dev.py test $(ARGS)
.PHONY: scenarios
scenarios: ## every hostile scenario and plant, with its faults and without, a quarter of an hour of it; ARGS="-k offexec"
	@$(PYTHON) dev.py test tests/e2e -m scenarios $(ARGS)
.PHONY: events
events:  ## what proves the catalogue: one line per event type, edge case and mistake, with tests and verdict
	@$(PYTHON) dev.py events
.PHONY: golden
golden:  ## the golden traces anew from their stories, with a diff to review; ARGS="--check"
	@$(PYTHON) dev.py golden $(ARGS)
.PHONY: docs
docs:    ## the handbook: pages with a search, for reading without a network; edge-agent docs --open shows it
	@$(PYTHON) dev.py docs $(ARGS)
.PHONY: audit
audit:   ## known vulnerabilities of the dependencies, and the bill of materials (build/edge-agent.cdx.json)
	@$(PYTHON) dev.py audit
check:   ## format, lint, types, import floors
	@$(PYTHON) dev.py check
setup:   ## .venv with everything for development
	@$(PYTHON) dev.py setup
lock:    ## resolve the lock files anew
	@$(PYTHON) dev.py lock
.PHONY: ux
ux:      ## what needs tools of the system: status page in a browser, promtool, units, packages in a clean root; ARGS="--screenshots", ARGS="-k systemd"
	@$(PYTHON) dev.py ux $(ARGS)
.PHONY: faults faults-long
faults:  ## the fault bench, six minutes of it; ARGS="-k f34", ARGS="--only chaos --seed 7"
	@$(PYTHON) dev.py faults $(ARGS)
faults-long: ## an hour of it, and RELIABILITY.md; ARGS="--only chaos --minutes 3"
	@$(PYTHON) dev.py faults --long $(ARGS)
.PHONY: opcua-faults modbus-faults interop
opcua-faults: ## OPC UA servers that misbehave, four minutes of it; ARGS="-k f64"
	@$(PYTHON) dev.py opcua-faults $(ARGS)
modbus-faults: ## Modbus devices that misbehave, four minutes of it; ARGS="-k late"
	@$(PYTHON) dev.py modbus-faults $(ARGS)
interop: ## against other makes: node-opcua and Eclipse Tahu, which npm installs, libmodbus, pysparkplug
	@$(PYTHON) dev.py interop $(ARGS)
.PHONY: packages
packages: ## .deb and offline archives for amd64 and arm64, into dist/; ARGS="--arch arm64"
	@$(PYTHON) dev.py packages $(ARGS)
.PHONY: bench bench-peers
bench:   ## what a sample costs, an hour of it; ARGS=--quick: less than a minute; ARGS="--only a2 --profile"
	@$(PYTHON) dev.py bench $(ARGS)
bench-peers: ## the same through Telegraf, Node-RED and the ThingsBoard gateway, half an hour of it; ARGS=--quick, ARGS="--only telegraf"
	@$(PYTHON) dev.py bench-peers $(ARGS)
