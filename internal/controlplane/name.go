package controlplane

import "math/rand/v2"

// Words for the names of services that were given none: what a shoal looks like, and what it is made of.
var (
	adjectives = [...]string{
		"agile", "amber", "bold", "brave", "bright", "calm", "clear", "clever", "coral", "curious", "deep", "eager",
		"easy", "fair", "fleet", "gentle", "glad", "gleaming", "golden", "graceful", "happy", "hardy", "humble", "idle",
		"jolly", "keen", "kind", "lively", "loyal", "lucid", "merry", "mighty", "misty", "neat", "nimble", "noble",
		"pearly", "placid", "playful", "polite", "proud", "quick", "quiet", "rapid", "ready", "sandy", "serene",
		"shiny", "silent", "silver", "sleek", "smart", "snug", "spry", "steady", "still", "sunny", "swift", "tidal",
		"tidy", "tranquil", "vivid", "warm", "wise", "witty", "zesty",
	}
	nouns = [...]string{
		"anchovy", "angelfish", "barbel", "bass", "bleak", "bream", "burbot", "capelin", "carp", "char", "chub", "cod",
		"dab", "dace", "damsel", "darter", "dory", "flounder", "garfish", "goby", "grayling", "grouper", "gudgeon",
		"guppy", "gurnard", "haddock", "hake", "halibut", "herring", "ide", "lamprey", "ling", "loach", "mackerel",
		"minnow", "mullet", "perch", "pike", "pilchard", "plaice", "pollock", "ray", "roach", "rudd", "salmon",
		"sardine", "shad", "smelt", "snapper", "sole", "sprat", "sturgeon", "tarpon", "tench", "tetra", "trout",
		"tuna", "turbot", "wahoo", "weever", "whiting", "wrasse", "zander",
	}
)

// randomName returns a name of the form adjective_noun, with a number after it from the second try on.
func randomName(try int) string {
	name := adjectives[rand.IntN(len(adjectives))] + "_" + nouns[rand.IntN(len(nouns))]
	if try > 0 {
		name += string(rune('0' + rand.IntN(10)))
	}
	return name
}
