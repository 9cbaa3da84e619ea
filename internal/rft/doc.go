// Package rft holds the nouns of reinforcement fine-tuning as Firekeep speaks
// them: typed ids, resource names, job states with their one transition table,
// and the error vocabulary. It is pure: no I/O, no clock, no imports of ours.
package rft
