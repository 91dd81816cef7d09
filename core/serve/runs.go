package serve

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"

	"github.com/recinterpreter/recinterpreter/core/service"
)

// runs are the services by name.
type runs struct {
	opts  service.Options
	names []string   // in the order in which they were given
	one   sync.Mutex // held while runs are reloaded

	mu   sync.RWMutex
	held map[string]*held
}

// held is a service in use.
type held struct {
	*service.Service
	dir   string
	users sync.WaitGroup
}

// openRuns opens the service of each run.
func openRuns(named []Run, opts service.Options) (*runs, error) {
	all := &runs{opts: opts, held: map[string]*held{}}
	for _, r := range named {
		if all.held[r.Name] != nil || r.Name == "" {
			return nil, errors.Join(fmt.Errorf("serve: the name %q of %s is empty or taken; give it another one", r.Name, r.Dir), all.close())
		}
		s, err := service.Open(r.Dir, opts)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("serve: run %s: %w", r.Name, err), all.close())
		}
		all.names, all.held[r.Name] = append(all.names, r.Name), &held{Service: s, dir: r.Dir}
	}
	if len(all.names) == 0 {
		return nil, errors.New("serve: there is no run to serve; give at least one")
	}
	return all, nil
}

// use returns the service with the name, "" for the first one. The caller calls release when done
// with it.
func (r *runs) use(name string) (used string, s *held, err error) {
	if name == "" {
		name = r.names[0]
	}
	r.mu.RLock()
	defer r.mu.RUnlock()
	s = r.held[name]
	if s == nil {
		return "", nil, refuse(http.StatusNotFound, "there is no run %q here; there are %s", name, strings.Join(r.names, ", "))
	}
	s.users.Add(1)
	return name, s, nil
}

func (h *held) release() { h.users.Done() }

// reload opens each run's folder again and replaces the old service, which is closed when its last
// user is done. If a run cannot be opened, its old service continues.
func (r *runs) reload() (failed error) {
	r.one.Lock()
	defer r.one.Unlock()
	for _, name := range r.names {
		old := r.held[name] // only this function changes it
		s, err := service.Open(old.dir, r.opts)
		if err != nil {
			failed = errors.Join(failed, fmt.Errorf("serve: run %s is not reloaded and continues as before: %w", name, err))
			continue
		}
		r.mu.Lock()
		r.held[name] = &held{Service: s, dir: old.dir}
		r.mu.Unlock()
		old.users.Wait()
		failed = errors.Join(failed, old.Close())
	}
	return failed
}

// broken returns the name and the error of the first run whose LLM has failed; nil: there is none.
func (r *runs) broken() (name string, err error) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	for _, name := range r.names {
		if err := r.held[name].Err(); err != nil {
			return name, err
		}
	}
	return "", nil
}

// close closes all services.
func (r *runs) close() (err error) {
	r.one.Lock()
	defer r.one.Unlock()
	for _, h := range r.held {
		err = errors.Join(err, h.Close())
	}
	return err
}
