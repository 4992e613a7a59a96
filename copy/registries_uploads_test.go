package copy

// uploadHabits are habits that concern uploads and tags.
var uploadHabits = []habit{}
