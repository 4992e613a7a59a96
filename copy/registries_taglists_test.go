package copy

// tagListHabits are ways of listing tags.
var tagListHabits = []habit{}
