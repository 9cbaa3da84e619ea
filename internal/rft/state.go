package rft

import "slices"

// JobState is the state of a job, with the spelling of the wire contract.
type JobState string

const (
	StatePending    JobState = "JOB_STATE_PENDING"
	StateCreating   JobState = "JOB_STATE_CREATING"
	StateValidating JobState = "JOB_STATE_VALIDATING"
	StateRunning    JobState = "JOB_STATE_RUNNING"
	StateWriting    JobState = "JOB_STATE_WRITING_RESULTS"
	StateRequeueing JobState = "JOB_STATE_RE_QUEUEING"
	StateCancelling JobState = "JOB_STATE_CANCELLING"
	StateCompleted  JobState = "JOB_STATE_COMPLETED"
	StateFailed     JobState = "JOB_STATE_FAILED"
	StateCancelled  JobState = "JOB_STATE_CANCELLED"
	StateExpired    JobState = "JOB_STATE_EXPIRED"
	StateDeleted    JobState = "JOB_STATE_DELETED"
)

// transitions is the one table of job states. A state that is missing as a key
// is terminal but for DELETED.
//
//	PENDING -> CREATING -> VALIDATING -> RUNNING -> WRITING_RESULTS -> COMPLETED
//	any running state -> RE_QUEUEING (its runner died) -> CREATING
//	any live state -> CANCELLING -> CANCELLED, or FAILED, or EXPIRED
//	FAILED or CANCELLED -> RE_QUEUEING, when somebody resumes it
var transitions = map[JobState][]JobState{
	StatePending:    {StateCreating, StateCancelling, StateCancelled, StateFailed, StateExpired},
	StateCreating:   {StateValidating, StateRunning, StateRequeueing, StateCancelling, StateCancelled, StateFailed},
	StateValidating: {StateRunning, StateRequeueing, StateCancelling, StateCancelled, StateFailed},
	StateRunning:    {StateWriting, StateRequeueing, StateCancelling, StateCancelled, StateFailed},
	StateWriting:    {StateCompleted, StateRequeueing, StateCancelling, StateCancelled, StateFailed},
	StateRequeueing: {StateCreating, StateCancelling, StateCancelled, StateFailed, StateExpired},
	StateCancelling: {StateCancelled, StateFailed},
	StateCompleted:  {StateDeleted},
	StateFailed:     {StateRequeueing, StateDeleted},
	StateCancelled:  {StateRequeueing, StateDeleted},
	StateExpired:    {StateDeleted},
}

// CanBecome reports whether a job may go from s to next.
func (s JobState) CanBecome(next JobState) bool { return slices.Contains(transitions[s], next) }

// Resumable reports whether a job that ended in s can be taken up again.
func (s JobState) Resumable() bool { return s == StateFailed || s == StateCancelled }

// Terminal reports whether a job in s will not run any more, unless it is resumed.
func (s JobState) Terminal() bool {
	switch s {
	case StateCompleted, StateFailed, StateCancelled, StateExpired, StateDeleted:
		return true
	}
	return false
}

// Queued reports whether a job in s waits for a runner.
func (s JobState) Queued() bool { return s == StatePending || s == StateRequeueing }

// States lists every state, in the order of a job's life.
func States() []JobState {
	return []JobState{StatePending, StateCreating, StateValidating, StateRunning, StateWriting, StateRequeueing,
		StateCancelling, StateCompleted, StateFailed, StateCancelled, StateExpired, StateDeleted}
}
