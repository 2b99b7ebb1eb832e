"""Ask for known vulnerabilities of what is installed, and write the bill of materials: ``python3 dev.py audit``.

The bill (CycloneDX 1.6, JSON: build/edge-agent.cdx.json) is made of an environment that holds what the run lock says, so that it has each
package's version, licence and dependencies. Exit code 0: none known, 1: some are, 77: the advisories could not be reached.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BILL = ROOT / "build" / "edge-agent.cdx.json"
NOT_RUN = 77


def main(tools: Path, product: Path) -> int:
    """Audit and write, with the environment of the tools and the one of the product."""
    bill(tools, product)
    return verdict(advisories(tools))


def bill(tools: Path, product: Path) -> None:
    """Write the bill of materials of ``product``; raises CalledProcessError when that fails."""
    BILL.parent.mkdir(exist_ok=True)
    command = [
        tools / "bin" / "cyclonedx-py",
        "environment",
        "--pyproject",
        ROOT / "pyproject.toml",
        "--mc-type",
        "application",
        "--output-reproducible",
    ]
    command += ["--sv", "1.6", "--of", "JSON", "-o", BILL, product / "bin" / "python"]
    subprocess.run([str(word) for word in command], check=True, cwd=ROOT)
    components = json.loads(BILL.read_text(encoding="utf-8"))["components"]
    nameless = sorted(each["name"] for each in components if not each.get("licenses"))
    print(
        f"bill of materials: {len(components)} components, {len(nameless)} without a stated licence {nameless or ''}: {BILL.relative_to(ROOT)}"
    )


def advisories(tools: Path) -> list[dict[str, object]]:
    """Return what pip-audit says of each dependency of the run lock."""
    command = [
        tools / "bin" / "pip-audit",
        "--disable-pip",
        "--require-hashes",
        "-r",
        ROOT / "requirements.lock",
        "-f",
        "json",
        "--progress-spinner",
        "off",
    ]
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False)
    if not done.stdout.startswith("{"):
        print(f"pip-audit: {done.stderr.strip()}", file=sys.stderr)
        return []
    return list(json.loads(done.stdout)["dependencies"])


def verdict(dependencies: list[dict[str, object]]) -> int:
    """Print what is known and return the exit code."""
    asked = [each for each in dependencies if "vulns" in each]
    known = [(each, one) for each in asked for one in each["vulns"]]  # type: ignore[attr-defined]
    for each, one in known:
        print(
            f"{each['name']} {each['version']}: {one['id']} {', '.join(one['aliases'])}; fixed in {', '.join(one['fix_versions']) or 'no version yet'}"
        )
    if known:
        return 1
    if len(asked) < len(dependencies) or not dependencies:
        print(
            f"audit: NOT RUN for {len(dependencies) - len(asked)} of {len(dependencies)} packages: the advisories of the package index could not be read here",
            file=sys.stderr,
        )
        return NOT_RUN
    print(f"audit: {len(asked)} packages, no known vulnerability")
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))
