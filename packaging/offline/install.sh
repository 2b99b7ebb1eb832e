#!/bin/sh
# Installs edge-agent on a machine without a network. Run as root in the unpacked folder:
#   ./install.sh            into /opt/edge-agent-VERSION, and /opt/edge-agent leads there
#   ./install.sh --back     /opt/edge-agent leads to the version before again
# It starts nothing that does not run, and restarts an agent that runs when the new version accepts its configuration.
set -eu
cd "$(dirname "$0")"
PYTHON=${PYTHON:-python3}
VERSION=$(cat VERSION)
HOME_=/opt/edge-agent
CONFIG=/etc/edge-agent

fail() { echo "install.sh: $*" >&2; exit 1; }
[ "$(id -u)" = 0 ] || fail "run it as root"
if [ -e "$HOME_" ] && [ ! -L "$HOME_" ]; then
    fail "$HOME_ was installed in another way (a package?); remove that first, configuration and buffer stay"
fi

restart() {
    [ -d /run/systemd/system ] || return 0
    systemctl daemon-reload
    systemctl is-active --quiet edge-agent.service || return 0
    EDGE_AGENT_BUFFER=/var/lib/edge-agent/buffer "$HOME_/bin/edge-agent" check -c "$CONFIG" ||
        fail "the version before goes on running; mend the configuration, then: systemctl restart edge-agent"
    systemctl restart edge-agent.service
}

if [ "${1:-}" = --back ]; then
    [ -L "$HOME_-before" ] || fail "there is no version before"
    before=$(readlink "$HOME_-before") now=$(readlink "$HOME_")
    ln -sfn "$before" "$HOME_"
    ln -sfn "$now" "$HOME_-before"
    echo "$HOME_ leads to $before"
    restart
    exit 0
fi

sha256sum --check --quiet SHA256SUMS || fail "the archive is damaged; copy it again"
"$PYTHON" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || fail "needs Python 3.11, 3.12 or 3.13: PYTHON=/usr/bin/python3.11 ./install.sh"
PLACE=$HOME_-$VERSION
rm -rf "$PLACE.new"
"$PYTHON" -m venv --without-pip "$PLACE.new"
pip=$(echo wheels/pip-*.whl)
"$PLACE.new/bin/python" "$pip/pip" install --quiet --no-index --find-links wheels --require-hashes -r requirements.lock --disable-pip-version-check --no-warn-script-location
# scripts name the folder they were made in
for script in "$PLACE.new"/bin/*; do
    [ -L "$script" ] || sed -i "1s|$PLACE.new|$PLACE|" "$script"
done
rm -rf "$PLACE"
mv "$PLACE.new" "$PLACE"
getent group edge-agent >/dev/null || groupadd --system edge-agent
getent passwd edge-agent >/dev/null || useradd --system --gid edge-agent --home-dir /var/lib/edge-agent --no-create-home --shell /usr/sbin/nologin edge-agent
[ -e /var/lib/edge-agent ] || install -d -o edge-agent -g edge-agent -m 0700 /var/lib/edge-agent
install -d -o root -g edge-agent -m 0750 "$CONFIG"
[ -e "$CONFIG/edge-agent.nft" ] || install -m 0644 systemd/edge-agent.nft "$CONFIG/"
install -d /etc/systemd/system
install -m 0644 systemd/edge-agent.service systemd/edge-agent-consumer.service /etc/systemd/system/
if [ -L "$HOME_" ] && [ "$(readlink "$HOME_")" != "$PLACE" ]; then
    ln -sfn "$(readlink "$HOME_")" "$HOME_-before"
fi
ln -sfn "$PLACE" "$HOME_"
ln -sfn "$HOME_/bin/edge-agent" /usr/local/bin/edge-agent
echo "edge-agent $VERSION is in $HOME_"
restart
[ -e "$CONFIG/agent.yaml" ] || echo "nothing runs before there is a configuration: edge-agent init, edge-agent check --connect, then systemctl enable --now edge-agent"
