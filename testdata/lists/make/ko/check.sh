# ko reads images when it builds on them.
cd app
export KO_GO_PATH="$PWD/../go" GOFLAGS= GOPROXY=off KO_DEFAULTBASEIMAGE="$REGISTRY/ko-app:v1"
ko build --bare --push=false --oci-layout-path="$PWD/../$STATE" --sbom=none --platform=linux/amd64,linux/arm64 .
