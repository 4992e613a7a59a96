. "$RECIPE/daemon.sh"
mkdir -p app
cat >app/Dockerfile <<'END'
FROM scratch
ARG TARGETARCH
COPY app-$TARGETARCH /app
END
for arch in amd64 arm64 s390x; do echo "program of $arch" >app/app-$arch; done
export platforms=linux/amd64,linux/arm64,linux/s390x

build() {
	buildctl build --frontend dockerfile.v0 --local context=app --local dockerfile=app --opt platform=$platforms "$@"
}
image=type=image,push=true,registry.insecure=true
build --opt attest:provenance=mode=min --output "$image,oci-artifact=false,name=$REGISTRY/buildkit-attested:v1"
build --opt attest:provenance=mode=min --output "$image,oci-artifact=true,name=$REGISTRY/buildkit-subject:v1"
build --output "$image,oci-mediatypes=false,name=$REGISTRY/buildkit-docker:v1"
cache=type=registry,mode=max,oci-mediatypes=true,registry.insecure=true
build --export-cache "$cache,image-manifest=false,ref=$REGISTRY/buildkit-cache-index:v1"
build --export-cache "$cache,image-manifest=true,ref=$REGISTRY/buildkit-cache-image:v1"
