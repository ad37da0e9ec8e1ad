#!/usr/bin/env bash
# Build the serving image from deploy/Containerfile; its bill of materials also goes to dist/.
#
#   CONTAINER_TOOL, VARIANT, IMAGE   see container_tool.sh
#   BASE     base image (the Containerfile's), or `debootstrap`: Debian 12 made here from the mirror
#            that apt uses, where no image registry is reached
#   WHEELS   1: download wheels into deploy/wheels first, where the build reaches no package index
#            (1 for BASE=debootstrap, else 0)
#   PYTHON   the Python whose pip downloads the wheels (python3)
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/container_tool.sh"

PYTHON_VERSION=3.11

# Every manylinux tag that Debian 12's glibc, 2.36, can run.
platforms() {
    local machine minor
    machine=$(uname -m)
    for minor in $(seq 17 36); do
        echo "--platform=manylinux_2_${minor}_${machine}"
    done
    echo "--platform=manylinux2014_${machine}"
}

fetch_wheels() {
    rm -f deploy/wheels/*.whl
    # shellcheck disable=SC2046  # one word per option is meant
    "$PYTHON" -m pip download --quiet --disable-pip-version-check --dest deploy/wheels \
        --only-binary=:all: --implementation=cp --python-version=$PYTHON_VERSION \
        $(platforms) --requirement $REQUIREMENTS --requirement deploy/requirements-sbom.txt
    echo "image.sh: $(find deploy/wheels -name '*.whl' | wc -l) wheels in deploy/wheels"
}

# Copy a file out of the image.
take_out() {
    local path=$1 target=$2 container
    if [ "$TOOL" = buildah ]; then
        container=$(buildah from "$IMAGE")
        cp "$(buildah mount "$container")$path" "$target"
        buildah rm "$container" > /dev/null
    else
        container=$("$TOOL" create "$IMAGE")
        "$TOOL" cp "$container:$path" "$target" > /dev/null
        "$TOOL" rm "$container" > /dev/null
    fi
}

arguments=(--file deploy/Containerfile --tag "$IMAGE" --build-arg "VERSION=$VERSION"
    --build-arg "VARIANT=$VARIANT"
    --build-arg "REVISION=$(git rev-parse HEAD 2> /dev/null || echo unknown)")

if [ "${BASE:-}" = debootstrap ]; then
    WHEELS=${WHEELS:-1}
    BASE=localhost/triptych-base:bookworm
    CONTAINER_TOOL=$TOOL deploy/debian_base.sh "$BASE"
fi
[ "${WHEELS:-0}" = 0 ] || fetch_wheels
[ -z "${BASE:-}" ] || arguments+=(--build-arg "BASE=$BASE")

case $TOOL in
    docker) docker build "${arguments[@]}" . ;;
    # HEALTHCHECK is no part of the OCI format; the docker format keeps it.
    podman) podman build --format docker --ignorefile deploy/Containerfile.dockerignore \
        "${arguments[@]}" . ;;
    buildah) buildah build --format docker --ignorefile deploy/Containerfile.dockerignore \
        "${arguments[@]}" . ;;
esac
echo "image.sh: built $IMAGE with $TOOL"
mkdir -p dist
sbom=dist/$(echo "$IMAGE" | tr ':/' '--').cdx.json
take_out /opt/triptych/sbom.cdx.json "$sbom"
echo "image.sh: $sbom"
