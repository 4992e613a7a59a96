package mirrorcmd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/sparsecopy/sparsecopy/examples/internal/mirrorserver"
	"github.com/sparsecopy/sparsecopy/examples/internal/notify"
	"github.com/sparsecopy/sparsecopy/examples/internal/schedule"
	"github.com/sparsecopy/sparsecopy/examples/internal/syncfile"
)

// A serving is mirror serve while it runs.
type serving struct {
	command  *serveCommand
	fileName string
	usual    schedule.Schedule // of images that have none
	log      *slog.Logger
	memory   *memory
	locks    *serveLocks

	first      *runner // its copier and passwords are those of all that follow
	engine     *mirrorserver.Engine
	metrics    *mirrorserver.Metrics
	server     *mirrorserver.Server
	supervisor mirrorserver.Supervisor
	watch      *mirrorserver.Watch

	mu     sync.Mutex
	plan   *servePlan // in force
	broken string     // why what was read last is not in force, "" if it is
}

// How often files are looked at, and how long answers over HTTP may take to end.
const (
	lookEvery   = 5 * time.Second
	lastAnswers = time.Second
)

// open reads the file and starts to listen. Nothing is copied yet.
func (s *serving) open(ctx context.Context) error {
	c := s.command
	s.watch = mirrorserver.NewWatch(s.named(nil)...)
	file, err := s.readFile()
	if err != nil {
		return err
	}
	s.watch.Set(s.named(file)...)
	if s.first, err = openRunner(c.env, &c.access, c.runner, s.fileName, file); err != nil {
		return err
	}
	s.metrics = mirrorserver.NewMetrics(mirrorserver.MetricsOptions{
		Clock: c.env.time(), PerImage: c.perImage, Images: s.images, Load: func() mirrorserver.Load { return s.engine.Load() }, Limits: s.limits,
	})
	s.engine = mirrorserver.NewEngine(mirrorserver.EngineOptions{
		Clock: c.env.time(), Log: s.log, Jobs: int(c.jobs), StopTimeout: c.stopTimeout,
		Observe: func(c mirrorserver.Copy, o mirrorserver.Outcome) {
			s.metrics.Observe(o)
			logOutcome(s.log, c, o)
		},
	})
	plan, pushes, err := s.read(ctx, s.first)
	if err != nil {
		s.first.release()
		return &misuse{err}
	}
	s.server, err = mirrorserver.Start(mirrorserver.ServerOptions{
		Address: c.listen, Insecure: c.insecure, Certificate: c.certificate, Key: c.key, TokenFile: c.tokenFile,
		Page: s.page(), Metrics: s.metrics.Handler(), Notify: pushes, Alive: s.engine.Alive, Log: s.log,
	})
	switch {
	case errors.Is(err, mirrorserver.ErrReachable):
		return misusef("--listen %w: give it --tls-cert and --tls-key, or say --insecure-listen", err)
	case isOpError(err):
		return fmt.Errorf("--listen %s: %w", c.listen, err)
	case err != nil:
		return &misuse{err}
	}
	s.use(plan)
	return nil
}

// readFile reads the file, for which it does not wait: that of a server is no pipe.
func (s *serving) readFile() (*syncfile.File, error) {
	if info, err := os.Stat(s.fileName); err == nil && !info.Mode().IsRegular() {
		return nil, misusef("a server reads its file again when that changes, and %s is no regular file", s.fileName)
	}
	return s.command.env.readSyncFile(s.fileName, &s.command.from)
}

// isOpError reports whether nothing can listen.
func isOpError(err error) bool {
	_, ok := errors.AsType[*net.OpError](err)
	return ok
}

// named are the files that are read again when they change: those of the command line, and those
// that file names, which is nil as long as it was not read.
func (s *serving) named(file *syncfile.File) []string {
	paths := []string{s.fileName, s.command.certificate, s.command.key, s.command.tokenFile}
	if file != nil {
		for _, sender := range file.Notify {
			paths = append(paths, sender.SecretFile)
		}
		for _, image := range file.Images {
			paths = append(paths, image.Files...)
		}
	}
	return slices.DeleteFunc(paths, func(path string) bool { return path == "" })
}

// read makes a plan of a runner, and what answers those who notify.
func (s *serving) read(ctx context.Context, r *runner) (*servePlan, http.Handler, error) {
	r.memory = s.memory
	if err := s.openSigners(r); err != nil {
		return nil, nil, err
	}
	plan, err := newServePlan(ctx, r, s.locks, s.usual)
	if err != nil {
		return nil, nil, err
	}
	pushes, err := notify.New(r.file.Notify, notify.Options{Queue: s.engine, Log: s.log, Observe: s.metrics.Notified})
	return plan, pushes, err
}

// openSigners opens what signs the copies of a runner. A certificate that a person asks for is good
// for minutes, and a server runs for years.
func (s *serving) openSigners(r *runner) error {
	var one []syncfile.Copy
	for _, image := range r.file.Images {
		if image.Certified() {
			return fmt.Errorf("%s:%d: a server signs with keys: a certificate of Fulcio is good for minutes", s.fileName, image.Line)
		}
		one = append(one, syncfile.Copy{Image: image})
	}
	return r.openSigners(one)
}

// use puts a plan in force.
func (s *serving) use(plan *servePlan) {
	s.mu.Lock()
	before := s.plan
	s.plan, s.broken = plan, ""
	s.mu.Unlock()
	if before != nil {
		before.retire()
	}
	s.command.access.registries.use(plan.runner.file)
	plan.forgetOthers()
	s.engine.Use(plan)
	s.metrics.Reloaded(true)
}

// reload reads all files again, and puts them in force if none of them is broken.
func (s *serving) reload(ctx context.Context) {
	s.supervisor.Reloading()
	defer func() { s.supervisor.Ready(s.status()) }()
	plan, pushes, err := s.reread(ctx)
	if err == nil {
		err = s.server.Reload()
	}
	if err != nil {
		if plan != nil {
			_ = plan.Close()
		}
		why := oneLine(s.command.env.explain(err))
		s.metrics.Reloaded(false)
		s.mu.Lock()
		s.broken = why
		s.mu.Unlock()
		s.log.Error("what was read again is broken: what was in force stays so", "error", why)
		return
	}
	s.server.SetNotify(pushes)
	s.use(plan)
	s.log.Info("read again", "file", s.fileName, "elements", len(plan.elements))
}

// reread makes a plan of the file as it is now.
func (s *serving) reread(ctx context.Context) (*servePlan, http.Handler, error) {
	file, err := s.readFile()
	if err != nil {
		return nil, nil, err
	}
	s.watch.Set(s.named(file)...) // before they are read
	r, err := s.first.reread(&s.command.access, file)
	if err != nil {
		return nil, nil, err
	}
	plan, pushes, err := s.read(ctx, r)
	if err != nil {
		r.release()
		return nil, nil, err
	}
	return plan, pushes, nil
}

// status says in a line what is served.
func (s *serving) status() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	status := fmt.Sprintf("%s at %s", counted(len(s.plan.elements), "element"), s.server.URL())
	if s.broken != "" {
		status += "; the file is broken: " + s.broken
	}
	return status
}

// serve does what is due until ctx ends, and then lets copies end.
func (s *serving) serve(ctx context.Context) error {
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	defer signal.Stop(hangups)
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	work, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	ended := make(chan struct{})
	go func() {
		s.engine.Run(work)
		close(ended)
	}()
	s.server.SetReady("")
	s.log.Info("serving", "url", s.server.URL(), "file", s.fileName, "elements", len(s.plan.elements))
	s.supervisor.Ready(s.status())
	return s.tend(ctx, fail, stop, hangups, ended)
}

// tend looks after the server until the engine has ended, which it stops when ctx ends, and says so
// before. The error is why that was, nil if it was told to.
func (s *serving) tend(ctx context.Context, fail context.CancelCauseFunc, stop context.CancelFunc, hangups <-chan os.Signal, ended <-chan struct{}) (err error) {
	told, failed := ctx.Done(), s.server.Done()
	for {
		timer := s.command.env.time().NewTimer(s.tick())
		select {
		case <-timer.C():
			s.look(ctx)
		case <-hangups:
			if ctx.Err() == nil {
				s.watch.Changed()
				s.reload(ctx)
			}
		case <-failed:
			failed = nil
			err = fmt.Errorf("the server does not answer any more: %w", s.server.Err())
			fail(err)
		case <-told:
			told = nil
			s.server.SetReady("stopping")
			s.log.Info("stopping", "at_most", s.command.stopTimeout, "copies", s.engine.Load().Copying)
			s.supervisor.Stopping(s.command.stopTimeout + 2*lastAnswers)
			stop()
		case <-ended:
			timer.Stop()
			return err
		}
		timer.Stop()
	}
}

// tick is how long it is until look is called again.
func (s *serving) tick() time.Duration {
	if watchdog := s.supervisor.Watchdog(); watchdog > 0 {
		return min(lookEvery, watchdog)
	}
	return lookEvery
}

// look does what is to be done now and then.
func (s *serving) look(ctx context.Context) {
	alive, cancel := context.WithTimeout(context.WithoutCancel(ctx), lookEvery)
	defer cancel()
	if s.engine.Alive(alive) {
		s.supervisor.Alive()
	}
	s.memory.flush()
	if ctx.Err() == nil && s.watch.Changed() {
		s.reload(ctx)
	}
}

// close stops to answer, and gives back what is left.
func (s *serving) close() {
	if s.server != nil {
		ctx, cancel := context.WithTimeout(context.Background(), lastAnswers)
		defer cancel()
		_ = s.server.Shutdown(ctx) // who is cut off can ask the next server
	}
	if s.first != nil {
		_ = s.first.copier.Close() // closes connections that nobody uses any more
	}
}
