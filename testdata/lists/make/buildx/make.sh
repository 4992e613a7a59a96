buildx imagetools create --tag "$REGISTRY/buildx-create:v1" \
	--annotation index:org.opencontainers.image.title=app "$SOURCE:amd64" "$SOURCE:arm64" "$SOURCE:s390x"
