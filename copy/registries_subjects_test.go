package copy

// subjectHabits are habits that concern the order of writing, subjects and referrers.
var subjectHabits = []habit{}
