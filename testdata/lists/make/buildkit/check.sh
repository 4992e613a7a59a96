# What is left in the daemon must not help.
rm -rf root
. "$RECIPE/daemon.sh"
if test "$STATE" != keep; then # which reads all entries
	for name in attested subject; do
		buildx imagetools inspect --format '{{json .Provenance}}' "$REGISTRY/buildkit-$name:v1" | grep -q linux/arm64
	done
	buildx imagetools inspect --format '{{json .Image}}' "$REGISTRY/buildkit-docker:v1" | grep -q linux/arm64
fi
for name in index image; do
	buildctl prune --all >/dev/null
	buildctl build --frontend dockerfile.v0 --local context=app --local dockerfile=app \
		--opt platform=linux/amd64,linux/arm64 --progress=plain \
		--import-cache "type=registry,registry.insecure=true,ref=$REGISTRY/buildkit-cache-$name:v1" >$name.log 2>&1
	cat $name.log
	test "$(grep -c 'CACHED' $name.log)" -eq 2
done
