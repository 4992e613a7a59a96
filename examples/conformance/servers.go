package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/crypto/bcrypt"

	"github.com/sparsecopy/sparsecopy/internal/clock"
)

// A candidate is a server that the suite is run against.
type candidate struct {
	name        string
	args        []string // of the program, with ADDRESS and WORK for where it is to listen, and a directory of its own
	files       map[string]string
	environment []string // of the suite, beside what all candidates have
}

const password = "conformance"

var plainDistribution = candidate{
	name: "plain distribution 3.1.2",
	args: []string{"registry", "serve", "WORK/config.yml"},
	files: map[string]string{"config.yml": `
version: 0.1
log: {level: error}
storage:
  filesystem: {rootdirectory: WORK/storage}
  delete: {enabled: true}
http: {addr: ADDRESS}
`},
}

// withSparse adds a list to the suite's data that lacks a child, and an image that lacks a layer.
const withSparse = "OCI_DATA_SPARSE=true"

// policyOff is a sparse-registry with some flags.
func policyOff(name string, flags ...string) candidate {
	args := []string{"sparse-registry", "--address", "ADDRESS", "--storage", "WORK/storage"}
	return candidate{name: "sparse-registry, " + name, args: append(args, flags...)}
}

// sparse is a sparse-registry with its policy on and some more flags.
func sparse(name string, flags ...string) candidate {
	c := policyOff(name, append([]string{"--feature-sparse-index"}, flags...)...)
	c.environment = []string{withSparse}
	return c
}

var candidates = []candidate{
	policyOff("policy off"),
	sparse("policy on"),
	sparse("policy on, amd64 required", "--sparse-index-required-archs", "amd64"),
	sparse("policy on, layers elsewhere", "--allow-layer-urls", "^https://store\\.example\\.com/"),
	withPassword(sparse("policy on, htpasswd", "--htpasswd", "WORK/htpasswd")),
}

// withPassword lets in nobody but the suite.
func withPassword(c candidate) candidate {
	hash, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
	if err != nil {
		panic(err) // of a cost or a password that no bcrypt knows
	}
	c.files = map[string]string{"htpasswd": "suite:" + string(hash) + "\n"}
	c.environment = append(c.environment, "OCI_USERNAME=suite", "OCI_PASSWORD="+password)
	return c
}

// judge runs the suite against a candidate.
func judge(ctx context.Context, programs, work string, c candidate) (verdict, error) {
	results := filepath.Join(programs, "results", strings.NewReplacer(", ", "-", " ", "-").Replace(c.name))
	if err := errors.Join(os.RemoveAll(results), os.MkdirAll(results, 0o755)); err != nil {
		return verdict{}, err
	}
	log, err := os.Create(filepath.Join(results, "server.log"))
	if err != nil {
		return verdict{}, err
	}
	defer log.Close() // it is for people; nothing depends on it
	ctx, stop := context.WithCancel(ctx)
	server, address, err := c.start(ctx, programs, work, log)
	if err == nil {
		defer func() { _ = server.Wait() }() // says that it was killed
		err = errors.Join(awaitAnswer(ctx, address), runSuite(ctx, programs, results, address, c.environment))
	}
	stop()
	if err != nil {
		return verdict{}, fmt.Errorf("%s, whose log is %s: %w", c.name, log.Name(), err)
	}
	return readVerdict(c.name, filepath.Join(results, "junit.xml"))
}

// runSuite runs the suite against a server. That tests fail is no error: it is in the results.
func runSuite(ctx context.Context, programs, results, address string, environment []string) error {
	suite := exec.CommandContext(ctx, filepath.Join(programs, "conformance"))
	suite.Env = append(os.Environ(), "OCI_REGISTRY="+address, "OCI_TLS=disabled", "OCI_VERSION=1.1", "OCI_RESULTS_DIR="+results)
	suite.Env = append(suite.Env, environment...)
	suite.Dir = programs // which has no file with settings
	output, err := suite.CombinedOutput()
	if failed := new(exec.ExitError); errors.As(err, &failed) && failed.ExitCode() == 1 {
		return nil
	} else if err != nil {
		return fmt.Errorf("the suite: %w\n%s", err, output)
	}
	return nil
}

// start starts a candidate with an empty storage. It is killed when ctx ends.
func (c candidate) start(ctx context.Context, programs, work string, log io.Writer) (_ *exec.Cmd, address string, err error) {
	dir, err := os.MkdirTemp(work, "")
	if err != nil {
		return nil, "", err
	}
	if address, err = freeAddress(); err != nil {
		return nil, "", err
	}
	fill := strings.NewReplacer("ADDRESS", address, "WORK", dir)
	for name, content := range c.files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(fill.Replace(content)), 0o600); err != nil {
			return nil, "", err
		}
	}
	var args []string
	for _, arg := range c.args {
		args = append(args, fill.Replace(arg))
	}
	server := exec.CommandContext(ctx, filepath.Join(programs, args[0]), args[1:]...)
	server.Env = append(os.Environ(), "OTEL_TRACES_EXPORTER=none")
	server.Stdout, server.Stderr = log, log
	return server, address, server.Start()
}

// freeAddress is where nobody listens.
func freeAddress() (string, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return listener.Addr().String(), listener.Close()
}

// awaitAnswer waits until a registry answers, whatever it says.
func awaitAnswer(ctx context.Context, address string) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/v2/", nil)
		if err != nil {
			return err
		}
		response, err := http.DefaultClient.Do(request)
		if err == nil {
			return response.Body.Close()
		}
		if clock.Sleep(ctx, clock.System, 50*time.Millisecond) != nil {
			return fmt.Errorf("it does not answer: %w", err)
		}
	}
}
