export COSIGN_PASSWORD=
test -e cosign.key || cosign generate-key-pair
echo '{"builder": "none"}' >predicate.json
# Without a transparency log: nothing leaves the machine.
tags='--key cosign.key --tlog-upload=false --use-signing-config=false --new-bundle-format=false --yes'
cosign sign --recursive $tags "$REGISTRY/cosign-tags:list"
cosign attest --predicate predicate.json --type custom $tags "$REGISTRY/cosign-tags:amd64"

cosign signing-config create --out signing-config.json
bundles='--key cosign.key --signing-config signing-config.json --yes'
cosign sign --recursive $bundles "$REGISTRY/cosign-bundles:list"
cosign attest --predicate predicate.json --type custom $bundles "$REGISTRY/cosign-bundles:amd64"

cosign copy "$REGISTRY/cosign-bundles:list" "$REGISTRY/cosign-copied:list"
