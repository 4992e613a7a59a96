image twins "$SOURCE:list" "$REGISTRY/image-twins:v1"
