buildx imagetools inspect "$REGISTRY/buildx-create:v1"
for digest in $AMD64 $ARM64; do
	buildx imagetools inspect --format '{{json .Image}}' "$REGISTRY/buildx-create@$digest"
done
if test "$STATE" != keep; then # which reads the configs of all entries
	buildx imagetools inspect --format '{{json .Image}}' "$REGISTRY/buildx-create:v1"
	buildx imagetools inspect --format '{{json .Provenance}}' "$REGISTRY/buildx-attested:v1" | grep SLSA
fi
