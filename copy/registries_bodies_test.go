package copy

// bodyHabits are documents whose body and declared type differ, or that are unusual.
var bodyHabits = []habit{}
