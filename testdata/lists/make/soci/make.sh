soci convert "$SOURCE:list" "$REGISTRY/soci-converted:v1"
soci convert "$REGISTRY/buildkit-attested:v1" "$REGISTRY/soci-attested:v1"
