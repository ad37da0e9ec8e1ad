#!/usr/bin/env bash
# Run the image that deploy/image.sh built, without a shell in it, ask it for one answer of each kind,
# look into it, stop it. Exits 1 if anything is not as it should be.
#
#   CONTAINER_TOOL, VARIANT, IMAGE, PYTHON   see container_tool.sh
#   PORT                            where it is published on the loopback interface (3999)
#   MAX_MIB                         largest size allowed (450; with VARIANT=cuda 4096)
#   RECORD                          file to write size, user, tool and date to (none)
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/container_tool.sh"

PORT=${PORT:-3999}
[ "$VARIANT" = cpu ] || MAX_MIB=${MAX_MIB:-4096}
MAX_MIB=${MAX_MIB:-450}
STOP_TIMEOUT_S=40 # more than TRIPTYCH_DRAIN_DELAY_S and TRIPTYCH_DRAIN_TIMEOUT_S
folder=$(mktemp -d)
runner=

# A command of the image's configuration, one word a line: `configured Cmd`.
configured() {
    image_json | "$PYTHON" -c '
import json, sys
found = json.load(sys.stdin)
config = found[0]["Config"] if isinstance(found, list) else found["Docker"]["config"]
words = config[sys.argv[1]]
print(*(words["Test"][1:] if isinstance(words, dict) else words), sep="\n")' "$1"
}

# What differs between the tools: start, inside COMMAND..., image_json, stop, remove, size_mib.
case $TOOL in
    docker | podman)
        start() {
            container=$("$TOOL" run --detach --read-only --tmpfs /tmp:size=64m,mode=1777 \
                --cap-drop ALL --security-opt no-new-privileges \
                --volume /dev/null:/bin/sh:ro --volume /dev/null:/bin/bash:ro \
                --publish "127.0.0.1:$PORT:3000" "$IMAGE")
        }
        inside() { "$TOOL" exec "$container" "$@"; }
        image_json() { "$TOOL" image inspect "$IMAGE"; }
        stop() {
            "$TOOL" stop --time "$STOP_TIMEOUT_S" "$container" > /dev/null
            exit_code=$("$TOOL" inspect --format '{{.State.ExitCode}}' "$container")
        }
        remove() { "$TOOL" rm --force "$container" > /dev/null; }
        size_mib() {
            echo $(($("$TOOL" image inspect --format '{{.Size}}' "$IMAGE") / 1024 / 1024))
        }
        ;;
    buildah)
        # buildah runs a command in a working container, as the image's user and with its
        # environment, in the foreground and in this machine's process and network namespaces.
        start() {
            container=$(buildah from "$IMAGE")
            mount=$(buildah mount "$container")
            size=$(du --summarize --block-size=1M "$mount" | cut -f 1)
            rm -f "$mount"/bin/{sh,bash,dash,rbash}
            mapfile -t command < <(configured Cmd)
            # buildah would kill the server: its process id is kept, to end it as an engine does.
            buildah run --env "BENTOML_PORT=$PORT" "$container" -- python -c '
import os, sys
with open("/tmp/server.pid", "w") as file:
    file.write(str(os.getpid()))
os.execvp(sys.argv[1], sys.argv[1:])' "${command[@]}" \
                > "$folder/log" 2>&1 &
            runner=$!
        }
        inside() { buildah run --env "BENTOML_PORT=$PORT" "$container" -- "$@"; }
        image_json() { buildah inspect --type image "$IMAGE"; }
        stop() {
            kill -TERM "$(inside cat /tmp/server.pid)"
            exit_code=0
            wait "$runner" || exit_code=$?
        }
        remove() {
            [ -z "$runner" ] || kill "$runner" 2> /dev/null || true
            buildah rm "$container" > /dev/null
        }
        size_mib() { echo "$size"; } # of what it was before the shells were taken out
        ;;
esac

cleanup() {
    local code=$?
    if [ -n "${container:-}" ]; then
        if [ "$code" != 0 ]; then
            "$TOOL" logs "$container" 2> /dev/null || cat "$folder/log" 2> /dev/null || true
        fi
        remove
    fi
    rm -rf "$folder"
}
trap cleanup EXIT

refuse() {
    local what=$1
    shift
    if inside "$@" > /dev/null 2>&1; then
        fail "$what"
    fi
}

echo "image          $IMAGE, with $TOOL"
start
"$PYTHON" deploy/check_service.py "http://127.0.0.1:$PORT"

mapfile -t health < <(configured Healthcheck)
inside "${health[@]}" || fail "its health check fails: ${health[*]}"
echo "health check   passes"

user=$(inside id -u)
[ "$user" != 0 ] || fail "it runs as root"
echo "user           $user"
inside python -c 'import onnxruntime' || fail "onnxruntime cannot be imported"
refuse "a shell is there, so what needs one would not be seen" sh -c true
echo "shell          none was needed"
refuse "torch can be imported" python -c 'import torch'
refuse "pip is there" python -m pip --version
refuse "the training room is there" python -c 'import training'
refuse "its own code can be written" touch /srv/triptych/service/app.py
echo "left out       torch, pip, training; nothing but /tmp can be written"

inside cat /opt/triptych/sbom.cdx.json > "$folder/sbom.json"
inside python -c '
import importlib.metadata as metadata
print(*(f"{one.name}=={one.version}" for one in metadata.distributions()), sep="\n")' \
    > "$folder/installed.txt"
"$PYTHON" deploy/check_sbom.py "$folder/sbom.json" "$REQUIREMENTS" "$folder/installed.txt" ||
    fail "its bill of materials is not what is installed"
echo "SBOM           as installed and as locked"

stopped_s=$SECONDS
stop
stopped_s=$((SECONDS - stopped_s))
[ "$exit_code" = 0 ] || fail "it ended with exit code $exit_code on SIGTERM"
echo "stop           exit code 0 after $stopped_s s"

size=$(size_mib)
[ "$size" -le "$MAX_MIB" ] || fail "$size MiB are more than $MAX_MIB"
echo "size           $size MiB"
if [ -n "${RECORD:-}" ]; then
    printf '{"image": "%s", "size_mib": %s, "user": "%s", "tool": "%s", "date": "%s"}\n' \
        "$IMAGE" "$size" "$user" "$TOOL" "$(date --utc +%F)" > "$RECORD"
fi
