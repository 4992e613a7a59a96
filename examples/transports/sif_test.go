package transports

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/sylabs/sif/v2/pkg/sif"
	"go.podman.io/image/v5/docker/archive"
	imagesif "go.podman.io/image/v5/sif"

	"github.com/sparsecopy/sparsecopy/copy"
	"github.com/sparsecopy/sparsecopy/internal/imagetest"
)

// sifFile is an image file whose root file system is whatever the programs that read it say.
// script, if it is not empty, is run by the image.
func sifFile(script string) kind {
	return func(t *testing.T, dir string) place {
		root, err := sif.NewDescriptorInput(sif.DataPartition, bytes.NewReader([]byte("no file system")),
			sif.OptPartitionMetadata(sif.FsSquash, sif.PartPrimSys, "amd64"))
		require.NoError(t, err)
		inputs := []sif.DescriptorInput{root}
		if script != "" {
			definition, err := sif.NewDescriptorInput(sif.DataDeffile, bytes.NewReader([]byte(script)))
			require.NoError(t, err)
			inputs = append(inputs, definition)
		}
		file, err := sif.CreateContainerAtPath(filepath.Join(dir, "image.sif"), sif.OptCreateWithDescriptors(inputs...),
			sif.OptCreateWithID("7ebd6bd2-5ea2-4a3f-9b53-a9b1a76f5f0e"), sif.OptCreateWithTime(time.Unix(1_000_000_000, 0)))
		require.NoError(t, err)
		require.NoError(t, file.UnloadContainer())
		return parsed(imagesif.Transport, "DIR/image.sif")(t, dir)
	}
}

// TestFromSIF reads images as containers/image does, with programs that are not part of it. Here
// they are stand-ins: what unsquashfs would unpack is one file, and tar makes an archive that is
// the same each time.
func TestFromSIF(t *testing.T) {
	shell, err := exec.LookPath("sh")
	if err != nil {
		t.Skip("no shell")
	}
	bin := t.TempDir()
	content := filepath.Join(bin, "content.tar")
	require.NoError(t, os.WriteFile(content, uncompressed(t, "etc/os-release"), 0o600))
	for program, does := range map[string]string{
		"fakeroot":   `shift; exec "$@"`,
		"unsquashfs": "mkdir -p $2",
		"tar":        `while [ "$1" != -cpf ]; do shift; done; cat ` + content + ` >$2`,
	} {
		require.NoError(t, os.WriteFile(filepath.Join(bin, program), []byte("#!"+shell+"\n"+does+"\n"), 0o700))
	}
	t.Setenv("PATH", bin+string(os.PathListSeparator)+os.Getenv("PATH"))
	noImage := func(t *testing.T, dir string) place {
		require.NoError(t, os.WriteFile(filepath.Join(dir, "image.sif"), []byte("no image"), 0o600))
		return parsed(imagesif.Transport, "DIR/image.sif")(t, dir)
	}
	for to, dst := range map[string]kind{
		"layout": emptyLayout, "directory": emptyDirectory, "archive": parsed(archive.Transport, "DIR/b.tar:app:v1"),
	} {
		for name, b := range map[string]both{
			"an image":               {src: sifFile("")},
			"all of it":              {src: sifFile(""), options: all},
			"an image with a script": {src: sifFile("%runscript\necho hello\n")},
			"no image":               {src: noImage, want: "loading SIF file"},
		} {
			t.Run(to+"/"+name, func(t *testing.T) {
				b.dst = dst
				b.run(t)
			})
		}
	}
}

// TestSIFWithoutPrograms fails like upstream where the programs are absent, and where they are
// there but the file system is none.
func TestSIFWithoutPrograms(t *testing.T) {
	both{src: sifFile(""), dst: emptyLayout, want: "converting image"}.run(t)
	t.Setenv("PATH", t.TempDir())
	both{src: sifFile(""), dst: emptyLayout, want: "converting image"}.run(t)
}

// TestToSIF is refused: such images are only read.
func TestToSIF(t *testing.T) {
	for _, o := range []copy.Options{{}, all} {
		both{
			src: layoutOf(fixtures["OCI"], imagetest.Top), dst: parsed(imagesif.Transport, "DIR/image.sif"), options: o,
			want: `"sif:" locations can only be read from, not written to`,
		}.run(t)
	}
}
