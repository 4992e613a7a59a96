package copy

// timeHabits are ways of taking time.
var timeHabits = []habit{}
