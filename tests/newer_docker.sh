#!/usr/bin/env bash
# newer_docker.sh DEST [SUITE]: unpack the Docker engine of a newer Debian into DEST, for
# the tests of CDI; nothing is installed. It runs beside the runc, iptables and tini of
# this system. Then: PATH=DEST/usr/sbin:DEST/usr/bin:$PATH pytest -m docker
set -euo pipefail
dest=$(mkdir -p "$1" && cd "$1" && pwd)
suite=${2:-trixie}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work"/{lists/partial,cache/archives/partial,debs}
# The mirror that this machine uses anyway.
mirror=$(apt-cache policy | awk '$3 ~ /^[a-z]+\/main$/ {print $2; exit}')
echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror $suite main" \
  >"$work/sources.list"
apart=(-o "Dir::Etc::sourcelist=$work/sources.list" -o Dir::Etc::sourceparts=/dev/null
  -o "Dir::State::lists=$work/lists" -o "Dir::Cache=$work/cache"
  -o "Dir::State::status=/dev/null" -o APT::Sandbox::User=root)
apt-get "${apart[@]}" -qq update
(cd "$work/debs" && apt-get "${apart[@]}" -qq download docker.io docker-cli containerd)
for package in "$work"/debs/*.deb; do dpkg-deb -x "$package" "$dest"; done
ln -sfn "$(command -v runc)" "$dest/usr/sbin/runc"
ln -sfn "$(command -v tini-static || command -v tini)" "$dest/usr/bin/docker-init"
"$dest/usr/sbin/dockerd" --version
