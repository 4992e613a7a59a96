#!/usr/bin/env bash
# What:     cron expressions where the clocks are put forward at midnight, or by half an hour.
# Packages: github.com/robfig/cron/v3 v3.0.1 (which regsync uses);
#           github.com/netresearch/go-cron v0.9.1; github.com/adhocore/gronx v1.20.4
# Expected: 06:00 is there on each day of these zones, so what is due then on a Friday, on a 24th or
#           each day is due on these days, and no other. robfig/cron's documentation says that what
#           is within the hour that is left out is not run; go-cron's, that a job of such a midnight
#           runs at the first time after it, and one of an hour that comes twice only in the first.
# Seen:     In Cairo and Beirut, robfig/cron and go-cron leave out the whole day, if they look for
#           the day by its number or its name: there are two weeks between two runs of a weekly job,
#           and two months between those of a monthly one. If the day before is looked for, it is
#           found twice: what is due on the 24th is due on the 25th, too. On Lord Howe Island, whose
#           clocks are changed by half an hour, both leave out 06:00 of a daily job in spring and in
#           autumn. gronx has all that right. In Havana and Santiago, though, it has no next time of
#           a weekly or monthly job, but the error "tried so hard", if such a midnight is ahead.
#           go-cron leaves out a daily job of that midnight, and has 02:30 twice in Berlin's autumn,
#           as robfig/cron does; gronx takes the second of the two.
# Run:      2026-11-30

source "$(dirname "$0")/lib.sh"
program next github.com/robfig/cron/v3@v3.0.1 github.com/netresearch/go-cron@v0.9.1 \
	github.com/adhocore/gronx@v1.20.4 <<-'GO'
	package main

	import (
		"fmt"
		"log"
		"os"
		"strings"
		"time"
		_ "time/tzdata"

		"github.com/adhocore/gronx"
		netresearch "github.com/netresearch/go-cron"
		robfig "github.com/robfig/cron/v3"
	)

	// next LIBRARY ZONE EXPRESSION TIME prints the next two times after one, or what is wrong.
	func main() {
		zone, err := time.LoadLocation(os.Args[2])
		if err != nil {
			log.Fatal(err)
		}
		t, err := time.ParseInLocation("2006-01-02 15:04", os.Args[4], zone)
		if err != nil {
			log.Fatal(err)
		}
		for range 2 {
			if t, err = after(os.Args[1], os.Args[3], t); err != nil {
				fmt.Print(err, " ")
				break
			}
			fmt.Print(strings.TrimSuffix(t.Format("01-02 15:04-0700"), "00"), " ")
		}
	}

	func after(library, expression string, t time.Time) (time.Time, error) {
		switch library {
		case "robfig":
			s, err := robfig.ParseStandard(expression)
			if err != nil {
				return t, err
			}
			return s.Next(t), nil
		case "netresearch":
			s, err := netresearch.ParseStandard(expression)
			if err != nil {
				return t, err
			}
			return s.Next(t), nil
		default:
			return gronx.NextTickAfter(expression, t, false)
		}
	}
GO

# times ZONE EXPRESSION TIME ROBFIG NETRESEARCH GRONX looks at what the three have next.
times() {
	same "robfig/cron, $1, $2" "$(next robfig "${@:1:3}")" "$4 "
	same "go-cron, $1, $2" "$(next netresearch "${@:1:3}")" "$5 "
	same "gronx, $1, $2" "$(next gronx "${@:1:3}")" "$6 "
}

# In 2026, the clocks go from 00:00 to 01:00 on Friday, 24 April (Cairo), and on Sundays: 29 March
# (Beirut), 8 March (Havana), 6 September (Santiago).
late="05-01 06:00+03 05-08 06:00+03"
times Africa/Cairo "0 6 * * 5" "2026-04-22 12:00" "$late" "$late" "04-24 06:00+03 05-01 06:00+03"
late="05-24 06:00+03 06-24 06:00+03"
times Africa/Cairo "0 6 24 * *" "2026-04-22 12:00" "$late" "$late" "04-24 06:00+03 05-24 06:00+03"
late="04-05 06:00+03 04-12 06:00+03"
times Asia/Beirut "0 6 * * 0" "2026-03-27 12:00" "$late" "$late" "03-29 06:00+03 04-05 06:00+03"
# The same in 2025, on Friday, 25 April.
again="04-25 06:00+03 05-24 06:00+03"
times Africa/Cairo "0 6 24 * *" "2025-04-24 06:00" "$again" "$again" "05-24 06:00+03 06-24 06:00+03"
right="04-24 06:00+03 04-25 06:00+03"
times Africa/Cairo "0 6 * * *" "2026-04-23 12:00" "$right" "$right" "$right"
right="03-08 06:00-04 03-15 06:00-04"
times America/Havana "0 6 * * 0" "2026-03-06 12:00" "$right" "$right" "tried so hard"
right="10-01 06:00-03 11-01 06:00-03"
times America/Santiago "0 6 1 * *" "2026-09-04 12:00" "$right" "$right" "tried so hard"
late="04-25 00:00+03 04-26 00:00+03"
times Africa/Cairo "0 0 * * *" "2026-04-23 12:00" "$late" "$late" "$late"
late="03-09 00:00-04 03-10 00:00-04"
times America/Havana "0 0 * * *" "2026-03-07 12:00" "$late" "$late" "$late"
# On Lord Howe Island, 5 April has half an hour more, and 4 October half an hour less.
late="04-06 06:00+1030 04-07 06:00+1030"
times Australia/Lord_Howe "0 6 * * *" "2026-04-04 12:00" "$late" "$late" "04-05 06:00+1030 04-06 06:00+1030"
late="10-05 06:00+11 10-06 06:00+11"
times Australia/Lord_Howe "0 6 * * *" "2026-10-03 12:00" "$late" "$late" "10-04 06:00+11 10-05 06:00+11"
# In Berlin, 02:30 of 25 October 2026 comes twice.
twice="10-25 02:30+02 10-25 02:30+01"
times Europe/Berlin "30 2 * * *" "2026-10-24 12:00" "$twice" "$twice" "10-25 02:30+01 10-26 02:30+01"
seen "robfig/cron and go-cron leave out a Friday's 06:00 in Cairo, and gronx has no next Sunday in Havana"
