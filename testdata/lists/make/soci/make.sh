convert() {
	soci-layout pull "$1" from
	soci convert --standalone --all-platforms --min-layer-size 0 --format oci-dir from to
	soci-layout push to "$2"
	rm -r from to
}
convert "$SOURCE:list" "$REGISTRY/soci-converted:v1"
convert "$REGISTRY/buildkit-attested:v1" "$REGISTRY/soci-attested:v1"
