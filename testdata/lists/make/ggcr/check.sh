for arch in amd64 arm64; do
	crane pull --platform "linux/$arch" "$REGISTRY/ggcr-apko:v1" "apko-$arch.tar"
done
crane validate --remote "$REGISTRY/ggcr-imgpkg:v1"
if test "$STATE" != keep; then # which reads all entries
	crane validate --remote "$REGISTRY/ggcr-apko:v1"
fi
