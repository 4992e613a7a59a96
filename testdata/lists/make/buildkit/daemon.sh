# Starts buildkitd, which has to be root to mount, and waits for it. Builds run nothing: runc is
# looked for, and never called.
mkdir -p bin
printf '#!/bin/sh\nexit 1\n' >bin/buildkit-runc
chmod +x bin/buildkit-runc
export BUILDKIT_HOST="unix://$PWD/buildkitd.sock"
PATH="$PWD/bin:$PATH" buildkitd --root "$PWD/root" --addr "$BUILDKIT_HOST" --otel-socket-path "$PWD/otel.sock" \
	--oci-worker-snapshotter native --oci-worker-net host >>buildkitd.log 2>&1 &
daemon=$!
trap 'kill $daemon && wait $daemon || true' EXIT
tries=0
until buildctl debug workers >/dev/null 2>&1; do
	tries=$((tries + 1))
	kill -0 $daemon && test $tries -lt 100 || { cat buildkitd.log; exit 1; }
	sleep 0.2
done
