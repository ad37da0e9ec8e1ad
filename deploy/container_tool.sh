# shellcheck shell=bash
# Sourced by image.sh and check_image.sh: sets TOOL, PYTHON, IMAGE and REQUIREMENTS.
#
#   CONTAINER_TOOL   docker, podman or buildah   (the first that answers)
#   VARIANT          cpu, or cuda: with onnxruntime's CUDA build   (cpu)
#   IMAGE            name of the image           (triptych:<version of pyproject.toml>, or -cuda)

PYTHON=${PYTHON:-python3}
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit

fail() {
    echo "${0##*/}: $*" >&2
    exit 1
}

answers() {
    command -v "$1" > /dev/null && "$1" info > /dev/null 2>&1
}

TOOL=${CONTAINER_TOOL:-}
if [ -z "$TOOL" ]; then
    for candidate in docker podman buildah; do
        if answers "$candidate"; then
            TOOL=$candidate
            break
        fi
    done
    [ -n "$TOOL" ] || fail "none of docker, podman and buildah answers; install or start one"
fi
case $TOOL in
    docker | podman) ;;
    # chroot needs no OCI runtime beside it.
    buildah) export BUILDAH_ISOLATION=${BUILDAH_ISOLATION:-chroot} ;;
    *) fail "CONTAINER_TOOL=$TOOL is not docker, podman or buildah" ;;
esac
answers "$TOOL" || fail "$TOOL does not answer; see '$TOOL info'"

VERSION=$(sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml | head -n 1)
# shellcheck disable=SC2034  # REQUIREMENTS is read by those that source this
case ${VARIANT:=cpu} in
    cpu) REQUIREMENTS=deploy/requirements.txt IMAGE=${IMAGE:-triptych:$VERSION} ;;
    cuda) REQUIREMENTS=deploy/requirements-cuda.txt IMAGE=${IMAGE:-triptych:$VERSION-cuda} ;;
    *) fail "VARIANT=$VARIANT is not cpu or cuda" ;;
esac
