ggcr apko "$REGISTRY/ggcr-apko:v1"
ggcr imgpkg "$REGISTRY/ggcr-imgpkg:v1"
