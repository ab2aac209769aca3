package raftstore

import (
	"slices"
	"strings"
	"time"
)

// minVoters is how many voters the clean-up always leaves: with fewer, the next loss of one would stop the swarm, and the
// dead one may yet come back.
const minVoters = 3

// Dead names the voter that has been silent longest, and for that long at least, if those that are left keep their quorum
// without it and are three or more; empty: nobody is to be taken out now. It names one at a time: what follows is judged
// by the group without it. Servers are as the leader sees them.
func Dead(servers []Server, silence time.Duration, now time.Time) string {
	voters := 0
	for _, s := range servers {
		if s.Voter {
			voters++
		}
	}
	if voters <= minVoters {
		return ""
	}
	silent := slices.DeleteFunc(slices.Clone(servers), func(s Server) bool {
		return !s.Voter || s.Leader || s.Reachable || now.Sub(s.LastContact) < silence
	})
	if len(silent) == 0 {
		return ""
	}
	dead := slices.MinFunc(silent, func(a, b Server) int {
		if c := a.LastContact.Compare(b.LastContact); c != 0 {
			return c
		}
		return strings.Compare(a.ID, b.ID)
	})
	if Quorum(servers, dead.ID) != nil {
		return ""
	}
	return dead.ID
}
