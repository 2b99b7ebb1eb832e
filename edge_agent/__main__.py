"""``python -m edge_agent`` is the same as ``edge-agent``."""

import sys

try:
    from edge_agent.cli import main
except KeyboardInterrupt:  # Ctrl-C while the imports run: nothing has begun, and their stack tells nobody anything
    sys.stdout.write("stopped\n")
    sys.exit(130)

if __name__ == "__main__":
    main()
