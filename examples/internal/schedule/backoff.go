package schedule

import "time"

// How long something that failed waits.
const (
	firstWait = time.Minute
	longest   = 6 * time.Hour
)

// Backoff returns how long something waits that failed so many times in a row, from 1: a minute,
// and then twice as long each time, up to six hours.
func Backoff(failures int) time.Duration {
	wait := firstWait
	for range failures - 1 {
		if wait *= 2; wait >= longest {
			return longest
		}
	}
	return wait
}
