#!/usr/bin/env bash
# Builds the observability servers that the end-to-end test runs, from the pinned Go modules beside
# this script, into a cache folder. Idempotent: a server is built once for each content of its
# module's folder; the second run pays nothing.
#
# usage: tests/stack/build.sh [DEST]
#   DEST   default ${XDG_CACHE_HOME:-$HOME/.cache}/streamhouse/stack
#
# Standard output: a line "name path" for each binary that is there. Everything else is said on
# standard error. DEST/bin/NAME always points to the binary that was built or found last.
# Exit code: 0 all there; 1 a build failed; 2 wrong usage; 3 some cannot be built on this machine
# (no Go, an old one, too little space, or no module proxy): callers say "skipped", never "passed".
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# Most useful first: whoever waits can begin with what is there.
servers=(prometheus otelcol alertmanager victoria-logs versitygw compose-go jaeger)
# What Go says when nobody answers it: not a fault of the module.
unreachable='dial tcp|no such host|i/o timeout|connection re(fused|set)|network is unreachable|proxyconnect|TLS handshake timeout|module lookup disabled'

if [ $# -gt 1 ]; then
  echo "usage: tests/stack/build.sh [DEST]" >&2
  exit 2
fi
dest=$(realpath -m "${1:-${XDG_CACHE_HOME:-$HOME/.cache}/streamhouse/stack}")

# What a server's folder builds: "binary=package…", the build tags, and the space in MB that a
# build with empty caches needs (modules, build cache, binary).
describe() {
  tags=
  case $1 in
  prometheus)
    tags=remove_all_sd space=3200
    packages=(
      prometheus=github.com/prometheus/prometheus/cmd/prometheus
      promtool=github.com/prometheus/prometheus/cmd/promtool
    )
    ;;
  otelcol) tags=grpcnotrace,remove_all_sd space=4200 packages=(otelcol=.) ;;
  alertmanager)
    space=1500
    packages=(
      alertmanager=github.com/prometheus/alertmanager/cmd/alertmanager
      amtool=github.com/prometheus/alertmanager/cmd/amtool
    )
    ;;
  victoria-logs)
    space=700
    packages=(victoria-logs=github.com/VictoriaMetrics/VictoriaLogs/app/victoria-logs)
    ;;
  versitygw) space=1500 packages=(versitygw=github.com/versity/versitygw/cmd/versitygw) ;;
  compose-go) space=400 packages=(compose-go=github.com/compose-spec/compose-go/v2/cmd) ;;
  jaeger) space=4200 packages=(jaeger=github.com/jaegertracing/jaeger/cmd/jaeger) ;;
  esac
}

# The name of what a module's content and this build's switches give.
key() { # server
  {
    (cd "$here/$1" && find . -maxdepth 1 -type f -print0 | sort -z | xargs -0 sha256sum)
    printf '%s\n' "$tags" "${packages[@]}"
  } | sha256sum | cut -c 1-12
}

skip() {
  echo "SKIPPED $server: $*" >&2
  skipped=1
}

# Whether this machine can build `server`; says what is missing.
can_build() {
  local need have folder
  if ! command -v go >/dev/null; then
    skip "go is missing: install Go ($(wanted) or later) to build it"
    return 1
  fi
  have=$(GOTOOLCHAIN=local go env GOVERSION)
  need=$(wanted)
  if [ "$(printf '%s\n' "$need" "${have#go}" | sort -V | head -n 1)" != "$need" ]; then
    skip "Go $need or later is needed, and this is ${have#go}"
    return 1
  fi
  for folder in "$dest" "$(go env GOCACHE)" "$(go env GOMODCACHE)"; do
    mkdir -p "$folder"
    have=$(df -Pm "$folder" | awk 'NR == 2 { print $4 }')
    if [ "$have" -lt "$space" ]; then
      skip "too little space: building it may take $space MB, and $folder has $have MB left"
      return 1
    fi
  done
}

wanted() { sed -n 's/^go //p' "$here/$server/go.mod"; }

build() { # folder to fill
  local pair
  rm -rf "$1"
  mkdir -p "$1"
  cd "$here/$server"
  for pair in "${packages[@]}"; do
    GOTOOLCHAIN=local GOWORK=off GOFLAGS=-buildvcs=false CGO_ENABLED=0 nice -n 19 \
      go build -trimpath -ldflags='-s -w' -tags "$tags" -o "$1/${pair%%=*}" "${pair#*=}" >&2 ||
      return 1
  done
}

mkdir -p "$dest/bin"
# One build at a time: a second caller waits and then finds everything there.
exec 9>"$dest/lock"
flock 9
said=$(mktemp)
trap 'rm -f "$said"' EXIT

failed=
skipped=
for server in "${servers[@]}"; do
  describe "$server"
  place=$dest/$server-$(key "$server")
  if [ ! -d "$place" ]; then
    can_build || continue
    echo "building $server into $place" >&2
    # Waits for tee: what was said is complete before it is read.
    if (build "$place.part") 2>&1 | tee "$said" >&2; then
      mv "$place.part" "$place"
      echo "built $server after $SECONDS s" >&2
    elif grep -qE "$unreachable" "$said"; then
      rm -rf "$place.part"
      skip "no module proxy answers, see above: let this machine reach one (go env GOPROXY)"
      continue
    else
      rm -rf "$place.part"
      echo "FAILED $server: see above" >&2
      failed=1
      continue
    fi
  fi
  touch "$place"
  for pair in "${packages[@]}"; do
    name=${pair%%=*}
    ln -sfn "../$(basename "$place")/$name" "$dest/bin/$name"
    echo "$name $place/$name"
  done
done
# What no checkout has asked for in two months is of no use any more.
find "$dest" -mindepth 1 -maxdepth 1 -type d -name '*-????????????' -mtime +60 -exec rm -rf {} +

[ -z "$failed" ] || exit 1
[ -z "$skipped" ] || exit 3
