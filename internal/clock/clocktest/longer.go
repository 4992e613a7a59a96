package clocktest

import "time"

// Longer calls f with longer and longer limits, of the machine's time, for what a machine does in a
// moment, until there is no error, and returns the last one. A machine that has much else to do, or
// stands still, takes seconds for that; what takes longer than any limit does so on all machines.
func Longer(f func(limit time.Duration) error) (err error) {
	for _, limit := range []time.Duration{250 * time.Millisecond, time.Second, 5 * time.Second, 25 * time.Second} {
		if err = f(limit); err == nil {
			return nil
		}
	}
	return err
}
