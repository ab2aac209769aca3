package api

import (
	"context"
	"io"
	"net/http"
	"time"
)

// Rescue is what saves a swarm that has lost its managers: backups, and the look at what is left. It is always about
// the node that is asked.
type Rescue interface {
	// Backup takes the swarm's state on this manager, everything acknowledged before the call in it; with stale only what
	// this manager has, whoever leads. What it returns writes the file.
	Backup(ctx context.Context, stale bool) (io.WriterTo, error)
	// Restore makes this node, which must be in no swarm, the only manager of the backup's swarm, or changes nothing.
	Restore(ctx context.Context, file io.Reader, where RestoreRequest) (Restored, error)
	// Survey says what this manager knows of its swarm, and whom of the others it reaches.
	Survey(ctx context.Context) (Survey, error)
}

// Survey is the answer of GET /shoal/recovery, which is what there is to know before a swarm is recovered from this
// manager.
type Survey struct {
	ClusterID, NodeID string
	Leader            string // node ID; empty: nobody leads
	Managers          []SurveyManager
	LogIndex, LogTerm uint64 // where this manager's log ends
	Services, Running int    // services, and tasks that run, as this manager has them
}

// SurveyManager is one member of the Raft group.
type SurveyManager struct {
	ID, Hostname, Addr   string
	Voter, Self, Answers bool
}

// Quorum is how many voters are there, how many of them answer (this manager does), and how many must for a leader.
func (s Survey) Quorum() (voters, answer, needed int) {
	for _, m := range s.Managers {
		if m.Voter {
			voters++
			if m.Self || m.Answers {
				answer++
			}
		}
	}
	return voters, answer, voters/2 + 1
}

// RestoreRequest is where the restored manager is; an empty address is the one that it had, if this machine has that, or
// the machine's only one.
type RestoreRequest struct{ ListenAddr, AdvertiseAddr, DataPathAddr string }

// Restored is the answer of POST /shoal/restore.
type Restored struct {
	ClusterID, NodeID string
	Created           time.Time // of the backup
	Hostname          string    // of the machine that it was made on
	Advertise, Was    string    // host:port, now and when the backup was made
	Locked            bool      // the unlock key is needed before the swarm starts
	Lost              []string  // hostnames of the other managers that the swarm had, not known while it is locked
}

// MediaTypeBackup is the content type of a backup's file.
const MediaTypeBackup = "application/vnd.shoal.backup"

func (s *Server) rescueRoutes() []route {
	return []route{
		{method: http.MethodGet, pattern: "/shoal/backup", handler: s.backup},
		{method: http.MethodPost, pattern: "/shoal/restore", handler: s.restore},
		{method: http.MethodGet, pattern: "/shoal/recovery", handler: s.recovery},
	}
}

func (s *Server) backup(w http.ResponseWriter, r *http.Request) error {
	if s.cfg.Rescue == nil {
		return errNoPart("backups")
	}
	file, err := s.cfg.Rescue.Backup(r.Context(), boolParam(r, "stale"))
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", MediaTypeBackup)
	w.WriteHeader(http.StatusOK)
	if _, err := file.WriteTo(w); err != nil {
		s.log.Error("backup broken off", "error", err)
		panic(http.ErrAbortHandler) // the reader must not take what it has for the whole
	}
	return nil
}

func (s *Server) restore(w http.ResponseWriter, r *http.Request) error {
	if s.cfg.Rescue == nil {
		return errNoPart("backups")
	}
	q := r.URL.Query()
	done, err := s.cfg.Rescue.Restore(r.Context(), r.Body, RestoreRequest{
		ListenAddr: q.Get("listen-addr"), AdvertiseAddr: q.Get("advertise-addr"), DataPathAddr: q.Get("data-path-addr"),
	})
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, done)
}

func (s *Server) recovery(w http.ResponseWriter, r *http.Request) error {
	if s.cfg.Rescue == nil {
		return errNoPart("recovery")
	}
	survey, err := s.cfg.Rescue.Survey(r.Context())
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, survey)
}
