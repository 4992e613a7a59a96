package schedule

import (
	"testing"
	"time"
)

func FuzzCron(f *testing.F) {
	for _, seed := range []string{"*/5 * * * *", "0 3 1-7 * MON", "CRON_TZ=Europe/Berlin @weekly", "0 0 29 2 *", "1-59/7 22-2 */3 nov-feb 7"} {
		f.Add(seed, int64(1_774_699_200))
	}
	f.Fuzz(func(t *testing.T, expression string, unix int64) {
		s, err := Cron(expression)
		if err != nil {
			return
		}
		last := time.Unix(unix%4_000_000_000, 0)
		if next := s.Next("a", last); !next.IsZero() && !next.After(last) {
			t.Errorf("%q is due at %s after %s", expression, next, last)
		}
	})
}
