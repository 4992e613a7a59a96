soci-layout check "$REGISTRY/soci-converted:v1"
soci-layout check "$REGISTRY/soci-attested:v1"
