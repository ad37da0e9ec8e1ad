#!/usr/bin/env bash
# Make a base image where no registry is reached: Debian 12 with its Python, from the mirror that apt
# uses. Does nothing if it is there.
#
#   deploy/debian_base.sh NAME
#
#   CONTAINER_TOOL   see container_tool.sh
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/container_tool.sh"

DEBIAN=bookworm
name=${1:?usage: debian_base.sh NAME}

debian_mirror() {
    # shellcheck disable=SC2016  # apt's own placeholders
    apt-get indextargets --format '$(SITE) $(CODENAME) $(COMPONENT)' 'Created-By: Packages' |
        awk -v codename=$DEBIAN '$2 == codename && $3 == "main" { print $1; exit }'
}

if "$TOOL" inspect --type image "$name" > /dev/null 2>&1; then
    exit
fi
command -v debootstrap > /dev/null || fail "it needs debootstrap"
[ "$(id -u)" = 0 ] || fail "it needs root: debootstrap makes device nodes"
mirror=$(debian_mirror)
[ -n "$mirror" ] || fail "apt is set up with no mirror of Debian $DEBIAN"
echo "debian_base.sh: making $name"
folder=$(mktemp -d)
tree=$folder/debian
trap 'rm -rf "$folder"' EXIT
debootstrap --variant=minbase --include=ca-certificates,python3,python3-venv \
    $DEBIAN "$tree" "$mirror" > "$folder/log" 2>&1 ||
    fail "debootstrap failed: $(tail -n 5 "$folder/log")"
# Less what no server reads: documents, translations, package lists.
rm -rf "$tree"/var/cache/apt/* "$tree"/var/lib/apt/lists/* \
    "$tree"/var/log/* "$tree"/usr/share/{doc,info,locale,man}/*
if [ "$TOOL" = buildah ]; then
    container=$(buildah from scratch)
    buildah copy --quiet "$container" "$tree" / > /dev/null
    buildah config --cmd python3 "$container"
    buildah commit --quiet --rm "$container" "$name" > /dev/null
else
    tar -C "$tree" -c . | "$TOOL" import - "$name" > /dev/null
fi
