// Package schedule says when a mirror looks at what, and what it does next. It is pure: no clock,
// no goroutine, no registry. Whoever uses it brings the time along, so that a year passes in a test
// within a moment.
//
// # Map
//
//	schedule.go   Schedule: when something is due again, by an interval or by a cron expression
//	crontab.go    cron expressions in time zones whose clocks are put forward and back
//	timetable.go  Timetable: what is due when
//	queue.go      Queue: what is to be done now; nothing waits twice, and nothing is done twice at a time
//	backoff.go    Backoff: when something that failed is tried again
//
// A server asks its Timetable what is due, puts that into its Queue, and when it is done, puts it
// into the Timetable again with the time that its Schedule says.
package schedule
