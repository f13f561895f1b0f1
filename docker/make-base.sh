#!/usr/bin/env bash
# A base image with Python, made from Debian's packages: for machines that reach no image registry.
#
#   sudo docker/make-base.sh [NAME] [SUITE]     balancer-base:local, bookworm
#   docker build -f docker/Dockerfile --build-arg BASE=balancer-base:local --network host -t balancer .
#
# It takes under a minute, and needs root, debootstrap and a Docker engine.  The authorities that this
# machine trusts come along (a company's proxy, say), since pip must reach its index during the build.
set -euo pipefail

name=${1:-balancer-base:local}
suite=${2:-bookworm}
authorities=/etc/ssl/certs/ca-certificates.crt

for command in debootstrap docker; do
    if ! command -v "$command" >/dev/null; then
        echo "make-base.sh: $command isn't installed" >&2
        exit 2
    fi
done
if [ "$(id -u)" != 0 ]; then
    echo "make-base.sh: debootstrap needs root" >&2
    exit 2
fi

folder=$(mktemp -d)
trap 'rm -rf --one-file-system "$folder"' EXIT
debootstrap --variant=minbase --include=python3,python3-venv,ca-certificates "$suite" "$folder" >"$folder.log" 2>&1 || {
    tail -n 5 "$folder.log" >&2
    exit 1
}
rm -rf "$folder.log" "$folder"/var/cache/apt/archives/*.deb "$folder"/var/lib/apt/lists/*
if [ -r "$authorities" ]; then
    cp "$authorities" "$folder$authorities"
fi
tar -C "$folder" -c . | docker import \
    --change "ENV PIP_CERT=$authorities SSL_CERT_FILE=$authorities LANG=C.UTF-8" \
    - "$name" >/dev/null
echo "$name"
