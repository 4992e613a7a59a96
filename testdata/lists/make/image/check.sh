for architecture in amd64 arm64; do
	image pull $architecture "$REGISTRY/image-twins:v1" "$STATE-$architecture"
done
