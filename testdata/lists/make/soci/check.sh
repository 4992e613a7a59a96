soci check "$REGISTRY/soci-converted:v1"
