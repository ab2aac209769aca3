// Package simulate is the word `shoal simulate`: flags, the figures for people and for programs, and the roles that the
// simulation's child processes play. What is simulated and measured is package load's to say.
package simulate
