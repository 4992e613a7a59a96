package copy

// authorizationHabits are habits of token services and logins.
var authorizationHabits = []habit{}
