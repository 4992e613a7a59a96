package copy

// absenceHabits are answers about what is absent.
var absenceHabits = []habit{}
