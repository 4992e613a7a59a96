package slowlink

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// roleVariable is set for the programs that tests start at the ends of a link.
const roleVariable = "SLOWLINK_ROLE"

func TestMain(m *testing.M) {
	role, address, _ := strings.Cut(os.Getenv(roleVariable), "=")
	switch role {
	case "server":
		exit(serve(address, sendContent))
	case "prober":
		exit(serve(address, answerProbe))
	case "client":
		exit(call(address))
	}
	if asked, ok := strings.CutPrefix(role, "probe-"); ok {
		p, err := probe(asked[0], address)
		if err == nil {
			err = json.NewEncoder(os.Stdout).Encode(p)
		}
		exit(err)
	}
	os.Exit(m.Run())
}

func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// size is how much the server sends.
const size = 256 << 10

// content is what it sends.
func content() []byte {
	b := make([]byte, size)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(b)
	return b
}

// serve prints where it listens, answers one connection, and ends with its standard input.
func serve(address string, answer func(net.Conn) error) error {
	l, err := net.Listen("tcp4", address+":0")
	if err != nil {
		return err
	}
	fmt.Println(l.Addr())
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	c, err := l.Accept()
	if err != nil {
		return err
	}
	return answer(c)
}

func sendContent(c net.Conn) error {
	if _, err := c.Write(content()); err != nil {
		return err
	}
	return c.Close()
}

// call prints what it finds.
func call(address string) error {
	begun := time.Now()
	c, err := net.Dial("tcp4", address)
	if err != nil {
		return err
	}
	connected := time.Since(begun)
	got, err := io.ReadAll(c)
	if err != nil {
		return err
	}
	interfaces, err := net.Interfaces()
	if err != nil {
		return err
	}
	f := finding{Connected: connected, Read: time.Since(begun) - connected, Sum: sha256.Sum256(got)}
	for _, i := range interfaces {
		f.Interfaces = append(f.Interfaces, i.Name)
	}
	return json.NewEncoder(os.Stdout).Encode(f)
}

type finding struct {
	Connected, Read time.Duration
	Sum             [sha256.Size]byte
	Interfaces      []string
}

// linked makes a link, or skips the test where that needs more than there is.
func linked(t *testing.T, c Config) *Link {
	l, err := New(c)
	if err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() { assert.NoError(t, l.Close()) })
	return l
}

// program is this test as another one.
func program(t *testing.T, role, address string) *exec.Cmd {
	c := exec.CommandContext(t.Context(), os.Args[0])
	c.Env = append(os.Environ(), roleVariable+"="+role+"="+address)
	c.Stderr = os.Stderr
	return c
}

// said lets a program at one end of l serve one at the other, and returns what that prints.
func said(t *testing.T, l *Link, server, client string) []byte {
	serving := program(t, server, l.There.Address)
	stdin, err := serving.StdinPipe()
	require.NoError(t, err)
	stdout, err := serving.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, l.There.Start(serving))
	defer func() {
		require.NoError(t, stdin.Close())
		_ = serving.Wait()
	}()
	address, err := bufio.NewReader(stdout).ReadString('\n')
	require.NoError(t, err)

	calling := program(t, client, strings.TrimSpace(address))
	var out bytes.Buffer
	calling.Stdout = &out
	require.NoError(t, l.Here.Start(calling))
	require.NoError(t, calling.Wait())
	return out.Bytes()
}

// TestLink lets a program at one end of a link read from one at the other.
func TestLink(t *testing.T) {
	c := Config{Delay: 10 * time.Millisecond, Rate: 1 << 20, Loss: 0.01}
	l := linked(t, c)
	var f finding
	require.NoError(t, json.Unmarshal(said(t, l, "server", "client"), &f))
	assert.GreaterOrEqual(t, f.Connected, 2*c.Delay)
	assert.GreaterOrEqual(t, f.Read, time.Duration(size)*time.Second/time.Duration(c.Rate))
	assert.Equal(t, sha256.Sum256(content()), f.Sum)
	assert.ElementsMatch(t, []string{"lo", deviceName}, f.Interfaces, "there is no way out")
}

// TestThisProcessStaysOut looks for the device where the tests run.
func TestThisProcessStaysOut(t *testing.T) {
	l := linked(t, Config{Rate: 1 << 20})
	_, err := net.InterfaceByName(deviceName)
	require.Error(t, err)
	require.Error(t, l.Here.Start(exec.Command("/nonexistent")))
}
