buildx imagetools create --tag "$REGISTRY/buildx-create:v1" \
	--annotation index:org.opencontainers.image.title=app "$SOURCE:amd64" "$SOURCE:arm64" "$SOURCE:s390x"
buildx imagetools create --tag "$REGISTRY/buildx-attested:v1" --platform linux/amd64,linux/arm64 \
	"$REGISTRY/buildkit-attested:v1"
