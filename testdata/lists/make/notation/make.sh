for tag in list amd64; do
	notation sign "$REGISTRY/notation-api:$tag"
	notation sign-tag "$REGISTRY/notation-tag:$tag"
done
