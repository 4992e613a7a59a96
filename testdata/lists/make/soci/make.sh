soci convert "$SOURCE:list" "$REGISTRY/soci-converted:v1"
