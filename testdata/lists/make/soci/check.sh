soci check "$REGISTRY/soci-converted:v1"
soci check "$REGISTRY/soci-attested:v1"
