mkdir -p app
cat >app/go.mod <<'END'
module example.com/app

go 1.26
END
cat >app/main.go <<'END'
package main

func main() { println("hello") }
END

# Programs in Go are too large for a fixture. This go builds as ever, and puts a line of text where
# the program was; what it is asked about the program it answers with the real one.
real=$(command -v go)
cat >go <<END
#!/bin/sh
case "\$1" in
build)
	"$real" "\$@" || exit
	while test \$# -gt 1 -a "\$1" != -o; do shift; done
	mv "\$2" "\$2.real" && echo "program of \$GOARCH" >"\$2" ;;
version)
	test -e "\$3.real" && shift 2 && exec "$real" version -m "\$1.real"
	exec "$real" "\$@" ;;
*) exec "$real" "\$@" ;;
esac
END
chmod +x go

export KO_GO_PATH="$PWD/go" GOFLAGS= GOPROXY=off KO_DEFAULTBASEIMAGE="$SOURCE:list"
export KO_DOCKER_REPO="$REGISTRY/ko-app" SOURCE_DATE_EPOCH=0
cd app
ko build --bare --tags v1 --platform=linux/amd64,linux/arm64,linux/s390x .
