package copy

// sparseHabits are answers to sparse lists.
var sparseHabits = []habit{}
