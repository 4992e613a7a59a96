key='--key cosign.pub --insecure-ignore-tlog'
case $STATE in
signed-*) # by sparsecopy, with the same key
	for image in :list @$AMD64 @$ARM64; do
		cosign verify $key --new-bundle-format=false "$REGISTRY/${SOURCE#*/}$image"
	done
	exit
	;;
esac
for digest in $AMD64 $ARM64; do
	cosign verify $key --new-bundle-format=false "$REGISTRY/cosign-tags@$digest"
	cosign verify $key "$REGISTRY/cosign-bundles@$digest"
done
cosign verify-attestation $key --type custom --new-bundle-format=false "$REGISTRY/cosign-tags@$AMD64"
cosign verify-attestation $key --type custom "$REGISTRY/cosign-bundles@$AMD64"
if test "$STATE" != strip; then # a stripped list is another list, which nobody signed
	cosign verify $key --new-bundle-format=false "$REGISTRY/cosign-tags:list"
	cosign verify $key "$REGISTRY/cosign-bundles:list"
fi
if test "$STATE" != keep; then # which reads all entries
	cosign save --dir "copied-$STATE" "$REGISTRY/cosign-copied:list"
fi
