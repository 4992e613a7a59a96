package copy

// programHabits are answers that programs look for in errors.
var programHabits = []habit{}
