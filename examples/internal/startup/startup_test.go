package startup

import (
	"os"
	"os/exec"
	"runtime"
	"runtime/metrics"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// percentage is what the collector goes by.
func percentage() uint64 {
	sample := []metrics.Sample{{Name: "/gc/gogc:percent"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}

// TestPercentage runs itself where nobody has decided, and where somebody has.
func TestPercentage(t *testing.T) {
	const child = "STARTUP_TEST_CHILD"
	switch os.Getenv(child) {
	case "nobody":
		assert.EqualValues(t, first, percentage())
	case "somebody":
		assert.EqualValues(t, 150, percentage())
		restored := postpone(1000)
		assert.EqualValues(t, 1000, percentage())
		runtime.GC()
		<-restored
		assert.EqualValues(t, 150, percentage())
	default:
		for who, decision := range map[string]string{"nobody": "", "somebody": "150"} {
			cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$")
			cmd.Env = append(os.Environ(), child+"="+who, "GOGC="+decision)
			output, err := cmd.CombinedOutput()
			require.NoError(t, err, "%s: %s", who, output)
		}
	}
}
